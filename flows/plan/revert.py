"""What a run wrote, taken back: the difference between the ledger and what it said before that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flows import ledger
from flows.plan import diff
from flows.project import Sync
from flows.warehouse import Warehouse, literal, quoted


def make(db: Warehouse, sync: Sync, of: str) -> tuple[str, ...]:
    """Make the temp table of a sync's difference from ``sync.changes``, as `flows.plan.diff.make` does from the model.

    Updated fields get their value from before, records that the run created are archived, records that it archived are
    created again. What a later run changed is not touched.

    Args:
        db: the warehouse; its ledger has the sync's fields.
        sync: the sync.
        of: the run to take back.

    Returns:
        What cannot be taken back, in words.
    """
    names = [f.crm_field for f in sync.fields]
    _changes(db, sync, of)
    was = "".join(f", try_cast(c.{diff.before(f.crm_field)} as {f.type}) as {quoted(f.crm_field)}" for f in sync.fields)
    now = "".join(f", l.{quoted(n)} as {diff.before(n)}" for n in names)
    # A field is ours to take back while the ledger still says what the run sent.
    back = ", ".join(
        f"case when list_contains(c._fields, {literal(n)}) "
        f"and cast(l.{quoted(n)} as varchar) is not distinct from c.{quoted(n)} then {literal(n)} end"
        for n in names
    )
    held = ", ".join(f"case when c.{diff.before(n)} is not null then {literal(n)} end" for n in names)
    db.execute(
        f"create or replace temp table {diff.relation(sync)} as select c.external_id, "
        "case c._operation when 'create' then 'archive' when 'archive' then 'create' else 'update' end as _operation, "
        "case when c._operation = 'archive' then null else l._crm_id end as crm_id, "
        f"list_filter(case c._operation when 'update' then [{back}]::varchar[] "
        f"when 'archive' then [{held}]::varchar[] else []::varchar[] end, lambda x: x is not null) as changed, "
        f"l._external_id is not null as _acknowledged, null::varchar[] as _doubted, 0 as _depth, 0 as _turn{was}{now} "
        f"from reverted c left join {ledger.relation(sync.name)} l on l._external_id = c.external_id "
        "where case c._operation when 'archive' then l._external_id is null "
        "when 'create' then c._created and l._run_id = $run else l._external_id is not null and len(changed) > 0 end",
        {"run": of},
    )
    return _what_stays(db, sync, of)


def unsynced(db: Warehouse, syncs: Sequence[Sync], of: str) -> dict[str, int]:
    """What a run wrote for models that are not synced any more, and that can therefore not be taken back.

    Args:
        db: the warehouse.
        syncs: all that are synced.
        of: the run.

    Returns:
        Model -> records.
    """
    return dict(
        db.execute(
            "select sync, count(distinct external_id) from sync.changes where run_id = ? and outcome = 'applied' "
            "and sync not in (select unnest(?)) group by sync order by sync",
            (of, [sync.name for sync in syncs]),
        )
    )


def ours_alone(sync: Sync) -> Sync:
    """The sync by whose policies values are taken back: of a careful field, our own value, and nobody else's.

    A field that is only filled while it is empty holds what we sent, so that it would stay for ever.
    """
    return replace(
        sync, fields=tuple(replace(f, policy="if_unchanged") if f.policy == "if_empty" else f for f in sync.fields)
    )


def _changes(db: Warehouse, sync: Sync, of: str) -> None:
    """Make the temp table ``reverted``: one row for each record that the run wrote, with values before and after.

    ``_fields`` are those of its fields that are mapped still, ``_unmapped`` the others.
    """
    mapped = f"list_contains([{', '.join(literal(f.crm_field) for f in sync.fields)}]::varchar[], field)"
    columns = "".join(
        f", max(before) filter (field = {literal(f.crm_field)}) as {diff.before(f.crm_field)}"
        f", max(after) filter (field = {literal(f.crm_field)}) as {quoted(f.crm_field)}"
        for f in sync.fields
    )
    db.execute(
        "create or replace temp table reverted as select external_id, operation as _operation, "
        f"coalesce(bool_or(created), false) as _created, list(field) filter ({mapped}) as _fields, "
        f"list(field) filter (not {mapped}) as _unmapped{columns} "
        "from sync.changes where run_id = $run and sync = $sync and outcome = 'applied' group by all",
        {"run": of, "sync": sync.name},
    )


def _what_stays(db: Warehouse, sync: Sync, of: str) -> tuple[str, ...]:
    planned = f"select external_id from {diff.relation(sync)}"
    found, moved = db.execute(
        "select count(*) filter (_operation = 'create' and not _created), "
        # One of whose fields none is mapped any more is told below.
        "count(*) filter (case _operation when 'create' then _created when 'update' then len(_fields) > 0 else true "
        f"end) from reverted where external_id not in ({planned})"
    )[0]
    partly = db.scalar(
        f"select count(*) from reverted c join {diff.relation(sync)} d using (external_id) "
        "where c._operation = 'update' and len(d.changed) < len(c._fields)"
    )
    unmapped, names = db.execute(
        "select count(*), (select string_agg(distinct f, ', ' order by f) from (select unnest(_unmapped) as f "
        "from reverted where _operation <> 'create')) from reverted where _operation <> 'create' and len(_unmapped) > 0"
    )[0]
    unanswered = db.scalar("select count(*) from sync.doubts where sync = ? and run_id = ?", (sync.name, of))
    told = {
        "were in the CRM before we first wrote them: what they held then is not known": found,
        "were written again by a later run, and stay": moved,
        "were partly written again by a later run: those fields stay": partly,
        f"are not taken back in {names}: it is not mapped any more": unmapped,
        "had no answer: the next night makes of them what the models want": unanswered,
    }
    return tuple(f"{sync.name}: {count:,} records {what}" for what, count in told.items() if count)
