"""The ledger: what the CRM is known to hold. It moves forward only from receipts, in one transaction.

``sync.ledger__<sync>`` has one row per record that the CRM acknowledged: ``_external_id``, ``_crm_id``, the last
acknowledged value of every mapped field in the sync's own types, ``_acked_at`` and ``_run_id``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.records import Batch, Operation, Outcome
from flows.warehouse import Warehouse, literal, quoted

RECEIPT_COLUMNS = (
    "{external_id: 'VARCHAR', outcome: 'VARCHAR', crm_id: 'VARCHAR', created: 'BOOLEAN', "
    "code: 'VARCHAR', message: 'VARCHAR', fields: 'VARCHAR[]'}"
)


def relation(sync: str) -> str:
    """The ledger table of a sync, quoted for SQL."""
    return f'"sync".{quoted("ledger__" + sync)}'


def ensure(warehouse: Warehouse, sync: str, types: Mapping[str, str]) -> None:
    """Make a sync's ledger, or bring its columns to the sync's fields and types.

    A field that is no longer mapped keeps its column: what was acknowledged stays true.

    Args:
        warehouse: the warehouse.
        sync: the sync's name.
        types: CRM field -> DuckDB type.
    """
    declared = "".join(f", {quoted(name)} {data_type}" for name, data_type in types.items())
    warehouse.execute(
        f"create table if not exists {relation(sync)} (_external_id varchar not null, _crm_id varchar{declared}, "
        "_acked_at timestamp not null, _run_id varchar not null)"
    )
    present = warehouse.columns(relation(sync))
    for name, data_type in types.items():
        if name not in present:
            warehouse.execute(f"alter table {relation(sync)} add column {quoted(name)} {data_type}")
        elif present[name] != warehouse.scalar(f"select typeof(cast(null as {data_type}))"):
            warehouse.execute(f"alter table {relation(sync)} alter {quoted(name)} type {data_type}")


def size(warehouse: Warehouse, sync: str) -> int:
    """How many records the CRM is known to hold for a sync."""
    return int(warehouse.scalar(f"select count(*) from {relation(sync)}"))


@dataclass(frozen=True, slots=True)
class Merged:
    """What the receipts of one sync said: records by outcome."""

    applied: int = 0
    rejected: int = 0
    unknown: int = 0


def merge(
    warehouse: Warehouse, run_id: str, batches: Sequence[Batch], receipts: Path, types: Mapping[str, Mapping[str, str]]
) -> dict[str, Merged]:
    """Move the ledger forward from a run's receipts, and write down changes and rejections. All or nothing.

    A record of a batch without a receipt counts as unknown: the ledger does not move, the next plan holds it again.
    Merging the same run twice is refused by doing nothing the second time.

    Args:
        warehouse: the warehouse.
        run_id: the run that the receipts are of.
        batches: the plan's batches, in any order.
        receipts: the folder of the receipts files, named like the batches.
        types: sync -> CRM field -> DuckDB type, as planned.

    Returns:
        Sync -> counts.
    """
    merged = {name: Merged() for name in types}
    with warehouse.transaction():
        if warehouse.scalar("select 1 from sync.plans where run_id = ? and merged_at is not null", (run_id,)):
            return merged
        for sync, fields in types.items():
            ensure(warehouse, sync, fields)
        for batch in batches:
            counts = _merge_batch(warehouse, run_id, batch, receipts / f"{batch.name}.jsonl", types[batch.sync])
            before = merged[batch.sync]
            merged[batch.sync] = Merged(
                before.applied + counts[Outcome.APPLIED],
                before.rejected + counts[Outcome.REJECTED],
                before.unknown + batch.count - counts[Outcome.APPLIED] - counts[Outcome.REJECTED],
            )
        for sync in types:
            _close_rejections(warehouse, sync, [b.path for b in batches if b.sync == sync])
        warehouse.execute("update sync.plans set merged_at = now() where run_id = ?", (run_id,))
    return merged


def _merge_batch(
    warehouse: Warehouse, run_id: str, batch: Batch, receipts: Path, types: Mapping[str, str]
) -> dict[Outcome, int]:
    """Merge one batch inside the caller's transaction; returns how many records had which outcome."""
    counts = dict.fromkeys(Outcome, 0)
    if not receipts.exists():
        return counts
    # A crash can leave a torn last line: ignore_errors leaves that line out, its record has no receipt then.
    warehouse.execute(
        f"create or replace temp table receipt as select * from read_json({literal(str(receipts))}, "
        f"format = 'newline_delimited', ignore_errors = true, columns = {RECEIPT_COLUMNS}) "
        "where external_id is not null "
        "qualify row_number() over (partition by external_id order by outcome = 'applied' desc) = 1"
    )
    fields = ", ".join(f"b.{quoted(name)}" for name in types)
    warehouse.execute(
        "create or replace temp table answered as select b.external_id, coalesce(r.crm_id, b.crm_id) as crm_id, "
        f"b.changed, r.outcome, r.code, r.message, r.fields{', ' + fields if fields else ''} "
        f"from read_parquet({literal(str(batch.path))}) b join receipt r using (external_id)"
    )
    _write_changes(warehouse, run_id, batch, types)
    ledger = relation(batch.sync)
    warehouse.execute(
        f"delete from {ledger} where _external_id in (select external_id from answered where outcome = 'applied')"
    )
    if batch.operation is not Operation.ARCHIVE:
        columns = "".join(f", {quoted(name)}" for name in types)
        warehouse.execute(
            f"insert into {ledger} (_external_id, _crm_id{columns}, _acked_at, _run_id) "
            f"select external_id, crm_id{columns}, now(), $run from answered where outcome = 'applied'",
            {"run": run_id},
        )
    _write_rejections(warehouse, run_id, batch)
    found = warehouse.execute("select outcome, count(*) from answered group by outcome")
    return counts | {Outcome(outcome): count for outcome, count in found}


def _write_changes(warehouse: Warehouse, run_id: str, batch: Batch, types: Mapping[str, str]) -> None:
    if not types:
        return
    names = ", ".join(literal(name) for name in types)
    before = ", ".join(f"cast(l.{quoted(name)} as varchar)" for name in types)
    after = ", ".join(f"cast(a.{quoted(name)} as varchar)" for name in types)
    # An archive has no changed fields: what the record held is what revert will need.
    wanted = "before is not null" if batch.operation is Operation.ARCHIVE else "list_contains(changed, field)"
    warehouse.execute(
        "insert into sync.changes by name "
        "select $run as run_id, $sync as sync, external_id, $operation as operation, field, before, after, outcome, "
        "now() as changed_at from ("
        f"select a.external_id, a.outcome, a.changed, unnest([{names}]) as field, unnest([{before}]) as before, "
        f"unnest([{after}]) as after from answered a "
        f"left join {relation(batch.sync)} l on l._external_id = a.external_id"
        f") where {wanted}",
        {"run": run_id, "sync": batch.sync, "operation": batch.operation.value},
    )


def _write_rejections(warehouse: Warehouse, run_id: str, batch: Batch) -> None:
    warehouse.execute(
        "insert into sync.rejections by name select $sync as sync, external_id, $operation as operation, code, "
        "message, fields, 1 as attempts, now() as first_seen_at, now() as last_seen_at, $run as last_run_id, "
        "null as closed_at from answered where outcome = 'rejected' "
        "on conflict do update set operation = excluded.operation, code = excluded.code, "
        "message = excluded.message, fields = excluded.fields, last_seen_at = excluded.last_seen_at, "
        "last_run_id = excluded.last_run_id, closed_at = null, "
        "attempts = case when rejections.closed_at is null then rejections.attempts + 1 else 1 end, "
        "first_seen_at = case when rejections.closed_at is null then rejections.first_seen_at "
        "else excluded.first_seen_at end",
        {"run": run_id, "sync": batch.sync, "operation": batch.operation.value},
    )
    warehouse.execute(
        "update sync.rejections set closed_at = now() where sync = ? and closed_at is null "
        "and external_id in (select external_id from answered where outcome = 'applied')",
        (batch.sync,),
    )


def _close_rejections(warehouse: Warehouse, sync: str, planned: Sequence[Path]) -> None:
    """Close the rejections of records whose desired state is no longer different: the plan does not hold them."""
    files = ", ".join(literal(str(path)) for path in planned)
    still = f"and external_id not in (select external_id from read_parquet([{files}]))" if planned else ""
    warehouse.execute(
        f"update sync.rejections set closed_at = now() where sync = ? and closed_at is null {still}", (sync,)
    )
