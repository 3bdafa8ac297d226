"""The ledger: what the CRM is known to hold. It moves forward only from receipts, in one transaction.

What stands in records that others made is taken up as it is read (`adopt`, `flows.returned.take_up`).

``sync.ledger__<sync>`` has one row per record that the CRM acknowledged: ``_external_id``, ``_crm_id``, the last
acknowledged value of every mapped field in the sync's own types, ``_acked_at`` (null for a record that was only found
there, and never written by us) and ``_run_id``.

What was tried without an answer is in doubt: the ledger does not move, and ``sync.doubts`` says which fields the next
plan sends again even where ledger and model agree, because the CRM may hold what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from flows.records import MASK, Batch, Operation, Outcome
from flows.warehouse import Warehouse, literal, quoted

RECEIPT_COLUMNS = (
    "{external_id: 'VARCHAR', outcome: 'VARCHAR', crm_id: 'VARCHAR', created: 'BOOLEAN', "
    "code: 'VARCHAR', message: 'VARCHAR', fields: 'VARCHAR[]', other_id: 'VARCHAR', gone: 'BOOLEAN'}"
)

_ANSWER = ", ".join(
    f"r.{name} as _{name}" for name in ("outcome", "created", "code", "message", "fields", "other_id", "gone")
)
"""What a receipt says, beside the CRM's fields, one of which may be called `message`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the ledger must know of a sync to take up its receipts.

    Attributes:
        types: CRM field -> DuckDB type, as planned.
        pii: the CRM fields whose values may not be kept beside a rejection.
        deleted: what to do about a record that was deleted in the CRM: report, recreate or forget.
        lookups: CRM field -> the parent's sync.
        settled: refused records for which the plan found that nothing is wanted any more.
    """

    types: Mapping[str, str]
    pii: frozenset[str] = frozenset()
    deleted: str = "report"
    lookups: Mapping[str, str] = field(default_factory=dict)
    settled: tuple[str, ...] = ()


def relation(sync: str) -> str:
    """The ledger table of a sync, quoted for SQL."""
    return f'"sync".{quoted("ledger__" + sync)}'


def ensure(warehouse: Warehouse, sync: str, types: Mapping[str, str]) -> None:
    """Make a sync's ledger, or bring its columns to the sync's fields and types.

    A field that is no longer mapped keeps its column: what was acknowledged stays true. An acknowledged value that
    the new type cannot hold exactly is forgotten, so that the next plan sends the field again.

    Args:
        warehouse: the warehouse.
        sync: the sync's name.
        types: CRM field -> DuckDB type.
    """
    declared = "".join(f", {quoted(name)} {data_type}" for name, data_type in types.items())
    warehouse.execute(
        f"create table if not exists {relation(sync)} (_external_id varchar not null, _crm_id varchar{declared}, "
        "_acked_at timestamp, _run_id varchar not null)"
    )
    # DuckDB's names, like the CRM's, are the same in any case of their letters.
    present = {name.casefold(): found for name, found in warehouse.columns(relation(sync)).items()}
    for name, data_type in types.items():
        column, found = quoted(name), present.get(name.casefold())
        if found is None:
            warehouse.execute(f"alter table {relation(sync)} add column {column} {data_type}")
        elif found != warehouse.scalar(f"select typeof(cast(null as {data_type}))"):
            # 1.239 as decimal(4,2) is 1.24, which the CRM was never sent: only what survives the way back is kept.
            exact = f"try_cast(try_cast({column} as {data_type}) as {found}) is not distinct from {column}"
            warehouse.execute(
                f"alter table {relation(sync)} alter {column} type {data_type} "
                f"using case when {exact} then try_cast({column} as {data_type}) end"
            )


def size(warehouse: Warehouse, sync: str) -> int:
    """How many records the CRM is known to hold for a sync."""
    return int(warehouse.scalar(f"select count(*) from {relation(sync)}"))


def found(warehouse: Warehouse, sync: str) -> int:
    """How many of them were only found there, and never written by us."""
    return int(warehouse.scalar(f"select count(*) from {relation(sync)} where _acked_at is null"))


def begun(warehouse: Warehouse) -> set[str]:
    """The syncs whose first run goes on: the last night left records of it to create for another one."""
    rows = warehouse.execute(
        "select unnest(begun) from (select begun from sync.plans where merged_at is not null "
        "and coalesce(kind, 'night') = 'night' order by planned_at desc limit 1)"
    )
    return {sync for (sync,) in rows}


@dataclass(frozen=True, slots=True)
class Merged:
    """What the receipts of one sync said: records by outcome."""

    applied: int = 0
    rejected: int = 0
    unknown: int = 0


def adopt(warehouse: Warehouse, sync: str, run_id: str, found: str, fields: Sequence[str]) -> int:
    """Take up records that the CRM was found to hold, and that we never wrote.

    Args:
        warehouse: the warehouse.
        sync: the sync's name.
        run_id: the run that found them.
        found: a table with ``_external_id``, ``_crm_id`` and the fields.
        fields: the CRM fields whose values are taken up.

    Returns:
        How many there are.
    """
    columns = "".join(f", {quoted(name)}" for name in fields)
    # Ledgers that an earlier version made ask for it.
    warehouse.execute(f"alter table {relation(sync)} alter column _acked_at drop not null")
    return int(
        warehouse.scalar(
            f"insert into {relation(sync)} (_external_id, _crm_id{columns}, _acked_at, _run_id) "
            f"select _external_id, _crm_id{columns}, null, $run from {found}",
            {"run": run_id},
        )
    )


def release(warehouse: Warehouse, sync: str, keys: str) -> None:
    """Remember forgotten records no longer than a model holds them.

    Args:
        warehouse: the warehouse.
        sync: the sync's name.
        keys: SQL that selects the model's external ids.
    """
    if warehouse.scalar("select 1 from sync.forgotten where sync = ? limit 1", (sync,)):
        warehouse.execute(f"delete from sync.forgotten where sync = ? and external_id not in ({keys})", (sync,))


def merge(
    warehouse: Warehouse, run_id: str, batches: Sequence[Batch], receipts: Path, terms: Mapping[str, Terms]
) -> dict[str, Merged]:
    """Move the ledger forward from a run's receipts, and write down changes and rejections. All or nothing.

    A record of a batch without a receipt counts as unknown: the ledger does not move, the next plan holds it again.
    Merging the same run twice is refused by doing nothing the second time.

    Args:
        warehouse: the warehouse.
        run_id: the run that the receipts are of.
        batches: the plan's batches in its order, parents before children.
        receipts: the folder of the receipts files, named like the batches.
        terms: sync -> what must be known of it.

    Returns:
        Sync -> counts.
    """
    merged = {name: Merged() for name in terms}
    with warehouse.transaction():
        if warehouse.scalar("select 1 from sync.plans where run_id = ? and merged_at is not null", (run_id,)):
            return merged
        for sync, known in terms.items():
            ensure(warehouse, sync, known.types)
        for batch in batches:
            counts = _merge_batch(warehouse, run_id, batch, receipts / f"{batch.name}.jsonl", terms)
            before = merged[batch.sync]
            merged[batch.sync] = Merged(
                before.applied + counts[Outcome.APPLIED],
                before.rejected + counts[Outcome.REJECTED],
                before.unknown + batch.count - counts[Outcome.APPLIED] - counts[Outcome.REJECTED],
            )
        for sync, known in terms.items():
            # What the plan merely left out (held back, or for another night) is still refused.
            _close_rejections(warehouse, sync, "select unnest(?)", list(known.settled))
        warehouse.execute("update sync.plans set merged_at = now() where run_id = ?", (run_id,))
    return merged


def _merge_batch(
    warehouse: Warehouse, run_id: str, batch: Batch, receipts: Path, all_terms: Mapping[str, Terms]
) -> dict[Outcome, int]:
    """Merge one batch inside the caller's transaction; returns how many records had which outcome."""
    counts = dict.fromkeys(Outcome, 0)
    terms = all_terms[batch.sync]
    if not receipts.exists():
        return counts
    # A crash can leave a torn last line: ignore_errors leaves that line out, its record has no receipt then.
    # Where a batch was tried twice, the answer that says most counts.
    # What is to be archived and is gone for good is archived.
    gone = "gone and outcome = 'rejected'" if batch.operation is Operation.ARCHIVE else "false"
    warehouse.execute(
        "create or replace temp table receipt as "
        f"select * replace (case when {gone} then 'applied' else outcome end as outcome) "
        f"from read_json({literal(str(receipts))}, "
        f"format = 'newline_delimited', ignore_errors = true, columns = {RECEIPT_COLUMNS}) "
        "where external_id is not null "
        "qualify row_number() over (partition by external_id order by outcome) = 1"
    )
    ledger = relation(batch.sync)
    sent = "".join(f", b.{quoted(name)}" for name in terms.types)
    # What was not sent stays what it was.
    holds = "".join(
        f", case when list_contains(b.changed, {literal(name)}) then b.{quoted(name)} else l.{quoted(name)} end "
        f"as {quoted('holds ' + name)}"
        for name in terms.types
    )
    warehouse.execute(
        "create or replace temp table answered as select b.external_id, coalesce(r.crm_id, b.crm_id) as crm_id, "
        f"b.changed, {_ANSWER}{sent}{holds} "
        f"from read_parquet({literal(str(batch.path))}) b join receipt r using (external_id) "
        f"left join {ledger} l on l._external_id = b.external_id"
    )
    _write_changes(warehouse, run_id, batch, terms.types)
    if batch.operation is Operation.CREATE:
        _point_again(warehouse, run_id, batch, all_terms)
    _write_doubts(warehouse, run_id, batch)
    warehouse.execute(
        f"delete from {ledger} where _external_id in (select external_id from answered where _outcome = 'applied')"
    )
    if batch.operation is not Operation.ARCHIVE:
        columns = "".join(f", {quoted(name)}" for name in terms.types)
        values = "".join(f", {quoted('holds ' + name)}" for name in terms.types)
        warehouse.execute(
            f"insert into {ledger} (_external_id, _crm_id{columns}, _acked_at, _run_id) "
            f"select external_id, crm_id{values}, now(), $run from answered where _outcome = 'applied'",
            {"run": run_id},
        )
    _write_rejections(warehouse, run_id, batch, terms)
    _let_go(warehouse, run_id, batch, terms)
    found = warehouse.execute("select _outcome, count(*) from answered group by _outcome")
    return counts | {Outcome(outcome): count for outcome, count in found}


def _write_changes(warehouse: Warehouse, run_id: str, batch: Batch, types: Mapping[str, str]) -> None:
    """One row for each field; a record that comes or goes without a single value has one row without a field."""
    names = ", ".join([*(literal(name) for name in types), "null"])
    before = ", ".join([*(f"cast(l.{quoted(name)} as varchar)" for name in types), "null"])
    after = ", ".join([*(f"cast(a.{quoted(name)} as varchar)" for name in types), "null"])
    # An archive has no changed fields: what the record held is what revert will need.
    archive = batch.operation is Operation.ARCHIVE
    wanted = "before is not null" if archive else "list_contains(changed, field)"
    empty = "len(list_filter(held, lambda x: x is not null)) = 0" if archive else "len(changed) = 0"
    warehouse.execute(
        "insert into sync.changes by name "
        "select $run as run_id, $sync as sync, external_id, $operation as operation, field, before, after, outcome, "
        "created, now() as changed_at from ("
        f"select a.external_id, a._outcome as outcome, a._created as created, a.changed, "
        f"[{before}]::varchar[] as held, unnest([{names}]::varchar[]) as field, "
        f"unnest([{before}]::varchar[]) as before, unnest([{after}]::varchar[]) as after from answered a "
        f"left join {relation(batch.sync)} l on l._external_id = a.external_id"
        f") where case when field is null then {empty} else {wanted} end",
        {"run": run_id, "sync": batch.sync, "operation": batch.operation.value},
    )


def _write_doubts(warehouse: Warehouse, run_id: str, batch: Batch) -> None:
    """Note every record of a batch that was begun and that the CRM neither took nor refused.

    One that was written, and refused a part that is written after it, is in doubt too: its receipt says `created`.
    An answer settles the fields that it is about. A night sends all that are in doubt; a revert may send others.
    """
    applied = "external_id in (select external_id from answered where _outcome = 'applied')"
    if batch.operation is not Operation.ARCHIVE:
        warehouse.execute(
            "update sync.doubts d set operation = 'update', "
            "fields = list_filter(d.fields, lambda x: not list_contains(a.changed, x)) from answered a "
            "where d.sync = ? and d.external_id = a.external_id and a._outcome = 'applied'",
            (batch.sync,),
        )
        applied += " and len(fields) = 0"
    warehouse.execute(f"delete from sync.doubts where sync = ? and {applied}", (batch.sync,))
    warehouse.execute(
        "insert into sync.doubts by name select $sync as sync, external_id, $operation as operation, "
        f"changed as fields, $run as run_id from read_parquet({literal(str(batch.path))}) "
        "where external_id not in (select external_id from answered where _outcome = 'applied' "
        "or (_outcome = 'rejected' and _created is null)) "
        "on conflict do update set run_id = excluded.run_id, "
        "fields = list_distinct(list_concat(doubts.fields, excluded.fields)), operation = "
        "case when doubts.operation = 'archive' then doubts.operation else excluded.operation end",
        {"run": run_id, "sync": batch.sync, "operation": batch.operation.value},
    )


def _write_rejections(warehouse: Warehouse, run_id: str, batch: Batch, terms: Terms) -> None:
    """Keep what the CRM refused, with the values that it was sent; those of personal fields are masked."""
    sent = ", ".join(f"{{k: {literal(name)}, v: {_shown(name, terms.pii)}}}" for name in terms.types)
    warehouse.execute(
        "insert into sync.rejections by name select $sync as sync, external_id, $operation as operation, "
        "_code as code, _message as message, _fields as fields, _other_id as other_id, _gone as gone, "
        f"map_from_entries(list_filter([{sent}], lambda _e: list_contains(changed, _e.k))) as sent, "
        "1 as attempts, now() as first_seen_at, now() as last_seen_at, $run as last_run_id, "
        "null as closed_at from answered where _outcome = 'rejected' "
        "on conflict do update set operation = excluded.operation, code = excluded.code, "
        "message = excluded.message, fields = excluded.fields, other_id = excluded.other_id, gone = excluded.gone, "
        "sent = excluded.sent, "
        "last_seen_at = excluded.last_seen_at, last_run_id = excluded.last_run_id, closed_at = null, "
        "attempts = case when rejections.closed_at is null then rejections.attempts + 1 else 1 end, "
        "first_seen_at = case when rejections.closed_at is null then rejections.first_seen_at "
        "else excluded.first_seen_at end",
        {"run": run_id, "sync": batch.sync, "operation": batch.operation.value},
    )
    _close_rejections(warehouse, batch.sync, "select external_id from answered where _outcome = 'applied'")


def _shown(name: str, pii: Set[str]) -> str:
    """SQL: a sent value as people may see it."""
    text = f"cast({quoted(name)} as varchar)"
    return f"case when {text} is not null then {literal(MASK)} end" if name in pii else text


def _let_go(warehouse: Warehouse, run_id: str, batch: Batch, terms: Terms) -> None:
    """Drop from the ledger what was deleted in the CRM, where the sync says so.

    A record to recreate is new to the next plan; one to forget is left alone until its row has left the model.
    """
    if terms.deleted == "report":
        return
    gone = "select external_id from answered where _outcome = 'rejected' and _gone"
    warehouse.execute(f"delete from {relation(batch.sync)} where _external_id in ({gone})")
    warehouse.execute(f"delete from sync.doubts where sync = ? and external_id in ({gone})", (batch.sync,))
    if terms.deleted == "forget":
        warehouse.execute(
            "insert or ignore into sync.forgotten (sync, external_id, run_id, forgotten_at) "
            f"select $sync, external_id, $run, now() from ({gone})",
            {"sync": batch.sync, "run": run_id},
        )
        _close_rejections(warehouse, batch.sync, gone)


def known_before(sync: str, run_id: str = "") -> str:
    """SQL: the external ids of records that the CRM once held by our own account, whatever became of them.

    Args:
        sync: the sync's name.
        run_id: a run that does not count.
    """
    of_sync = f"where sync = {literal(sync)}"
    return (
        f"select external_id from sync.changes {of_sync} and outcome = 'applied' and run_id <> {literal(run_id)} "
        f"union all select external_id from sync.rejections {of_sync} and gone"
    )


def _point_again(warehouse: Warehouse, run_id: str, batch: Batch, terms: Mapping[str, Terms]) -> None:
    """Empty the lookups to records that were made again just now, or may have been: the next plan sends them again.

    Whatever led to them before led to another record, which is gone: we archived it, or somebody deleted it. What
    this run sent to the new ones is taken up after them; so what was sent since the first try is right.
    """
    made = (
        f"select external_id from read_parquet({literal(str(batch.path))}) where external_id not in "
        "(select external_id from answered where _outcome = 'rejected' and _created is null) and external_id not in "
        f"(select external_id from sync.doubts where sync = {literal(batch.sync)} and operation <> 'archive')"
    )
    for child, known in terms.items():
        for name in (quoted(n) for n, sync in known.lookups.items() if sync == batch.sync):
            # The log is read whole for it, so only where there is anything.
            if warehouse.scalar(f"select 1 from {relation(child)} where {name} in ({made}) limit 1"):
                warehouse.execute(
                    f"update {relation(child)} set {name} = null "
                    f"where {name} in ({made}) and {name} in ({known_before(batch.sync, run_id)})"
                )


def _close_rejections(warehouse: Warehouse, sync: str, keys: str, *values: list[str]) -> None:
    """Close the open rejections of these records."""
    warehouse.execute(
        "update sync.rejections set closed_at = now() "
        f"where sync = ? and closed_at is null and external_id in ({keys})",
        (sync, *values),
    )
