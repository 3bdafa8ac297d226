"""Desired state against ledger: the plan, made before every push.

A plan is a folder of immutable Parquet batches and a ``plan.json`` that says what is in them: creates, updates and
archives per sync, changed records per field, samples, and a hash over all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flows import ledger, warehouse
from flows.errors import ConfigError, GateFailed, WarehouseError
from flows.project import Guard, Sync, Threshold
from flows.records import Batch, Operation, shown
from flows.summary import Sample
from flows.warehouse import Warehouse, literal, quoted

SAMPLES = 5
"""Records of each operation that a plan shows, per sync."""

BatchSize = Callable[[Sync, Operation, int], int]
"""Sync, operation and how many records get it -> records in one batch file; a connector's choice."""


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What the plan does for one sync.

    Attributes:
        sync: the sync's name.
        object: the CRM object.
        creates: records to create.
        updates: records to update.
        archives: records to archive.
        unchanged: records that are already as desired.
        fields: CRM field -> updates that change it.
        samples: a few of the changes.
        held: the guards that this goes over, in words.
        types: CRM field -> DuckDB type.
        batches: the batch files.
    """

    sync: str
    object: str
    creates: int = 0
    updates: int = 0
    archives: int = 0
    unchanged: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    held: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[Batch, ...] = ()

    @property
    def operations(self) -> int:
        """Records to write."""
        return self.creates + self.updates + self.archives


@dataclass(frozen=True, slots=True)
class Plan:
    """One run's plan.

    Attributes:
        run_id: the run.
        folder: where its batches lie.
        syncs: parents before children.
        hash: SHA-256 over every batch file and the counts, in hexadecimal.
    """

    run_id: str
    folder: Path
    syncs: tuple[SyncPlan, ...]
    hash: str

    @property
    def operations(self) -> int:
        """Records to write over all syncs."""
        return sum(sync.operations for sync in self.syncs)

    @property
    def held(self) -> tuple[str, ...]:
        """The guards that the plan goes over; empty when it may be pushed."""
        return tuple(reason for sync in self.syncs for reason in sync.held)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All batch files."""
        return tuple(batch for sync in self.syncs for batch in sync.batches)

    @property
    def types(self) -> dict[str, Mapping[str, str]]:
        """Sync -> CRM field -> DuckDB type."""
        return {sync.sync: sync.types for sync in self.syncs}


def make(db: Warehouse, run_id: str, syncs: Sequence[Sync], folder: Path, batch_size: BatchSize) -> Plan:
    """Compare every sync's model with its ledger and write the plan. Nothing is sent.

    Args:
        db: the warehouse.
        run_id: the run.
        syncs: parents before children.
        folder: where ``plan.json`` and ``plan/`` go.
        batch_size: how many records a batch file holds.

    Raises:
        ConfigError: a model lacks a mapped column or has not been built.
        GateFailed: a model's external id is null or stands twice.
    """
    (folder / "plan").mkdir(parents=True, exist_ok=True)
    planned = tuple(_plan_sync(db, sync, folder / "plan", batch_size) for sync in syncs)
    plan = Plan(run_id, folder, planned, hashed(planned))
    (folder / "plan.json").write_text(_dump(plan), encoding="utf-8")
    for path in (folder / "plan.json", *(batch.path for batch in plan.batches)):
        _to_disk(path)
    db.execute(
        "insert or replace into sync.plans (run_id, hash, planned_at, held) values (?, ?, now(), ?)",
        (run_id, plan.hash, list(plan.held)),
    )
    return plan


def _to_disk(path: Path) -> None:
    """Receipts are synced one by one; after a power cut they would mean nothing without the plan that they answer."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def load(folder: Path) -> Plan:
    """Read the plan that lies in a run's folder.

    Raises:
        WarehouseError: it made none, or the files are not those that were planned.
    """
    try:
        raw = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise _spoilt(folder, f"{folder / 'plan.json'} is missing or torn.") from error
    syncs = tuple(
        SyncPlan(
            **{
                **item,
                "samples": tuple(Sample(**sample) for sample in item["samples"]),
                "held": tuple(item["held"]),
                "batches": tuple(
                    Batch(folder / "plan" / b["file"], item["sync"], Operation(b["operation"]), b["count"], b["total"])
                    for b in item["batches"]
                ),
            }
        )
        for item in raw["syncs"]
    )
    plan = Plan(raw["run_id"], folder, syncs, raw["hash"])
    missing = [batch.path for batch in plan.batches if not batch.path.is_file()]
    if missing or hashed(syncs) != plan.hash:
        wrong = f"{missing[0].name} is missing" if missing else "a file of it was changed"
        raise _spoilt(folder, f"{folder / 'plan'} is not the plan that was made: {wrong}.")
    return plan


def _spoilt(folder: Path, what: str) -> WarehouseError:
    return WarehouseError(
        what,
        safe="Nothing was sent, and the ledger is as it was.",
        todo=f"Put the file back, or move {folder} away: then what that run had sent is sent once more.",
    )


def _dump(plan: Plan) -> str:
    syncs = [
        {
            **asdict(sync),
            "batches": [
                {"file": b.path.name, "operation": b.operation, "count": b.count, "total": b.total}
                for b in sync.batches
            ],
        }
        for sync in plan.syncs
    ]
    return json.dumps({"run_id": plan.run_id, "hash": plan.hash, "syncs": syncs}, ensure_ascii=False, indent=1)


def hashed(syncs: Sequence[SyncPlan]) -> str:
    """SHA-256 over the counts and every byte of every batch file, in hexadecimal."""
    digest = hashlib.sha256()
    for sync in syncs:
        digest.update(f"{sync.sync} {sync.object} {sync.creates} {sync.updates} {sync.archives}\n".encode())
        for batch in sync.batches:
            digest.update(f"{batch.path.name} {batch.operation}\n".encode())
            with batch.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _plan_sync(db: Warehouse, sync: Sync, folder: Path, batch_size: BatchSize) -> SyncPlan:
    ledger.ensure(db, sync.name, sync.types)
    _check_model(db, sync)
    _diff(db, sync)
    found = {row[0]: row[1] for row in db.execute("select _operation, count(*) from diff group by all")}
    known_and_planned = int(db.scalar("select count(*) from diff where _acknowledged"))
    creates, updates, archives = (found.get(op.value, 0) for op in Operation)
    known, desired = ledger.size(db, sync.name), int(db.scalar(f"select count(*) from {sync.relation}"))
    fields = _field_counts(db, sync)
    return SyncPlan(
        sync=sync.name,
        object=sync.object,
        creates=creates,
        updates=updates,
        archives=archives,
        unchanged=known - known_and_planned,
        fields=fields,
        samples=_samples(db, sync),
        held=tuple(over_guard(sync, known, desired, creates, updates, archives, fields)),
        types=sync.types,
        batches=tuple(
            batch
            for op, count in zip(Operation, (creates, updates, archives), strict=True)
            if count
            for batch in _write_batches(db, sync, op, count, batch_size(sync, op, count), folder)
        ),
    )


def _check_model(db: Warehouse, sync: Sync) -> None:
    """The model is there, has the mapped columns, and its key is a key."""
    try:
        columns = db.columns(sync.relation)
    except warehouse.Error as error:
        raise ConfigError(
            f"{sync.declared_in}: {sync.name}: the table {sync.relation} does not exist.",
            safe="Nothing was sent.",
            todo="Build the dbt project (nightshift run does), or remove the sync.",
        ) from error
    wanted = [sync.external_id_column, *(f.column for f in sync.fields)]
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise ConfigError(
            f"{sync.declared_in}: {sync.name}: the table {sync.relation} has no column {', '.join(missing)}.",
            safe="Nothing was sent.",
            todo="Correct the mapping, or select the column in the model.",
        )
    key = quoted(sync.external_id_column)
    text = f"nullif(cast({key} as varchar), '')"
    nulls, rows, keys = db.execute(
        f"select count(*) - count(k), count(k), count(distinct k) from (select {text} as k from {sync.relation})"
    )[0]
    if not nulls and rows == keys:
        return
    doubled = db.execute(
        f"select {text} from {sync.relation} group by 1 having count(*) > 1 and {text} is not null order by 1 limit 3"
    )
    what = (
        f"{rows - keys} rows repeat an external id (such as {', '.join(row[0] for row in doubled)})"
        if doubled
        else f"{nulls} rows have no external id"
    )
    raise GateFailed(
        f"{sync.declared_in}: {sync.name}: {what} in the column {sync.external_id_column}.",
        safe="Nothing was sent; the ledger is as it was.",
        todo=f"Make {sync.external_id_column} unique and not null in the model, and add those dbt tests.",
    )


def _diff(db: Warehouse, sync: Sync) -> None:
    """Make the temp table ``diff``: one row for each record to write, with before and after of every field."""
    names = [f.crm_field for f in sync.fields]
    desired = "".join(f", cast({quoted(f.column)} as {f.type}) as {quoted(f.crm_field)}" for f in sync.fields)
    doubts = bool(db.scalar("select count(*) from sync.doubts where sync = ?", (sync.name,)))
    # A record that may have been archived without an answer is made again, by its external id.
    lost = "k._acknowledged is distinct from true" + (" or k._doubt = 'archive'" if sync.mode != "update_only" else "")
    doubted = " or list_contains(k._doubted, {})" if doubts else ""
    differs = {n: f"d.{quoted(n)} is distinct from k.{quoted(n)}{doubted.format(literal(n))}" for n in names}
    # A new record need not be told what it does not have; one that may be there already must be.
    holds = {n: f"d.{quoted(n)} is not null" + (" or k._doubt is not null" if doubts else "") for n in names}
    both = "".join(f", d.{quoted(n)} as {quoted(n)}, k.{quoted(n)} as {quoted('before ' + n)}" for n in names)
    wanted = {
        "create": sync.mode != "update_only",
        "update": sync.mode != "create_only",
        "archive": sync.mode == "mirror",
    }
    try:
        db.execute(
            "create or replace temp table diff as "
            f"with desired as (select cast({quoted(sync.external_id_column)} as varchar) as _external_id{desired} "
            f"from {sync.relation}), known as ({_known(sync, names, doubts=doubts)}) "
            "select coalesce(d._external_id, k._external_id) as external_id, "
            "case when d._external_id is null then 'archive' "
            f"when {lost} then 'create' else 'update' end as _operation, "
            # What may be gone may also have come back under another id: it is found by its external id.
            "case when k._doubt = 'archive' and _operation <> 'update' then null else k._crm_id end as crm_id, "
            f"case _operation when 'create' then {_listed(holds)} when 'update' then {_listed(differs)} else [] end "
            f"as changed, coalesce(k._acknowledged, false) as _acknowledged{both} "
            "from desired d full join known k on d._external_id = k._external_id "
            f"where _operation in ({', '.join(literal(name) for name, is_wanted in wanted.items() if is_wanted)}) "
            "and (_operation <> 'update' or len(changed) > 0)"
        )
    except warehouse.Error as error:
        raise GateFailed(
            f"{sync.declared_in}: {sync.name}: a value of {sync.relation} does not fit its column's data_type: "
            f"{str(error).strip().splitlines()[0]}",
            safe="Nothing was sent; the ledger is as it was.",
            todo="Cast the column in the model, or declare the data_type that it has.",
        ) from error


def _known(sync: Sync, names: Sequence[str], *, doubts: bool) -> str:
    """SQL: what the CRM holds or may hold, one row for each external id."""
    held = "".join(f", l.{quoted(name)}" for name in names)
    if not doubts:
        return (
            "select l._external_id, l._crm_id, true as _acknowledged, null::varchar as _doubt"
            f"{held} from {ledger.relation(sync.name)} l"
        )
    return (
        "select coalesce(l._external_id, t.external_id) as _external_id, l._crm_id, "
        f"l._external_id is not null as _acknowledged, t.operation as _doubt, t.fields as _doubted{held} "
        f"from {ledger.relation(sync.name)} l "
        f"full join (from sync.doubts where sync = {literal(sync.name)}) t on t.external_id = l._external_id"
    )


def _listed(tests: Mapping[str, str]) -> str:
    """SQL: the list of the names whose test is true."""
    cases = ", ".join(f"case when {test} then {literal(name)} end" for name, test in tests.items())
    return f"list_filter([{cases}]::varchar[], lambda x: x is not null)"


def _field_counts(db: Warehouse, sync: Sync) -> dict[str, int]:
    found = dict(
        db.execute(
            "select f, count(*) from (select unnest(changed) as f from diff where _operation = 'update') group by f"
        )
    )
    return {f.crm_field: found[f.crm_field] for f in sync.fields if f.crm_field in found}


def _samples(db: Warehouse, sync: Sync) -> tuple[Sample, ...]:
    """A few records of each operation; of a create and an archive, the fields that hold something."""
    samples: list[Sample] = []
    rows = db.rows(
        "select * from diff qualify row_number() over (partition by _operation order by external_id) <= "
        f"{SAMPLES} order by _operation, external_id"
    )
    for row in rows:
        for f in sync.fields:
            before, after = row["before " + f.crm_field], row[f.crm_field]
            if before == after or (row["_operation"] == "update" and f.crm_field not in row["changed"]):
                continue
            samples.append(
                Sample(
                    row["external_id"],
                    row["_operation"],
                    f.crm_field,
                    shown(before, pii=f.pii),
                    shown(after, pii=f.pii),
                )
            )
    return tuple(samples)


def _write_batches(db: Warehouse, sync: Sync, operation: Operation, count: int, size: int, folder: Path) -> list[Batch]:
    """Write one operation's records in files of ``size``; children of one parent stand together."""
    lookups = [quoted(f.crm_field) for f in sync.fields if f.parent]
    order = ", ".join([*lookups, "external_id"])
    names = "".join(f", {quoted(f.crm_field)}" for f in sync.fields)
    db.execute(
        f"create or replace temp table ordered as select external_id, crm_id, changed{names}, "
        f"(row_number() over (order by {order}) - 1) // {size} as _batch "
        f"from diff where _operation = {literal(operation.value)}"
    )
    batches = []
    for number in range(-(-count // size)):
        path = folder / f"{sync.level}-{sync.name}-{operation.value}-{number:05d}.parquet"
        db.execute(
            f"copy (select * exclude (_batch) from ordered where _batch = {number} order by {order}) "
            f"to {literal(str(path))} (format parquet)"
        )
        batches.append(Batch(path, sync.name, operation, min(size, count - number * size), count))
    return batches


def over_guard(
    sync: Sync, known: int, desired: int, creates: int, updates: int, archives: int, fields: Mapping[str, int]
) -> list[str]:
    """Say which guards a sync's plan goes over.

    A share is of the records that the ledger knew before; below ``guard.at_least`` records it is not checked,
    because a share of little means nothing.

    Args:
        sync: the sync with its guard.
        known: records in the ledger.
        desired: records in the model.
        creates: records to create.
        updates: records to update.
        archives: records to archive.
        fields: CRM field -> updates that change it.

    Returns:
        One sentence for each guard; empty when the plan may be pushed.
    """
    guard = sync.guard
    reasons = []
    if archives and not desired:
        reasons.append(
            f"{sync.name}: the model is empty and would archive all {archives} records; absence must be proven"
        )
    checks: list[tuple[str, int, Threshold | None]] = [
        ("max_creates", creates, guard.max_creates if known else None),
        ("max_updates", updates, guard.max_updates),
        ("max_archives", archives, guard.max_archives),
        ("max_changes", updates + archives, guard.max_changes),
        *((f"fields.{name}", fields.get(name, 0), limit) for name, limit in guard.fields.items()),
    ]
    reasons.extend(
        f"{sync.name}: {count} records against guard {name} of {_told(limit, known)}"
        for name, count, limit in checks
        if limit is not None and _is_over(count, limit, known, guard)
    )
    return reasons


def _is_over(count: int, limit: Threshold, known: int, guard: Guard) -> bool:
    if isinstance(limit, float):
        return count >= guard.at_least and count > limit * known
    return count > limit


def _told(limit: Threshold, known: int) -> str:
    return f"{limit:.2%} of {known}".replace(".00%", "%") if isinstance(limit, float) else str(limit)
