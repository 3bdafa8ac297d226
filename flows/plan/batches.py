"""A sync's difference, counted, put in order and cut into batch files."""

from __future__ import annotations

from pathlib import Path

from flows.plan import diff
from flows.project import Sync
from flows.records import Batch, Operation
from flows.warehouse import Warehouse, literal, quoted


def counts(db: Warehouse, sync: Sync) -> dict[Operation, int]:
    """How many records get each operation."""
    found = dict(db.execute(f"select _operation, count(*) from {diff.relation(sync)} group by _operation"))
    return {operation: found.get(operation.value, 0) for operation in Operation}


def deepen(db: Warehouse, sync: Sync) -> None:
    """Where a sync looks up itself, say how many of its new parents stand above a record.

    New records are pushed depth by depth, and updates after them all: they may point to any of them. Records that
    form a ring are left to the CRM, which refuses them.
    """
    own = [quoted(f.crm_field) for f in sync.fields if f.parent == sync.name]
    if not own:
        return
    table = diff.relation(sync)
    db.execute(f"update {table} set _depth = null where _operation = 'create'")
    depth = 0
    while True:
        waits = " or ".join(
            f"t.{name} in (select external_id from {table} where _depth is null and external_id <> t.external_id)"
            for name in own
        )
        placed = db.scalar(
            f"update {table} set _depth = {depth} where external_id in ("
            f"select t.external_id from {table} t where t._depth is null and not coalesce({waits}, false))"
        )
        if not placed:
            break
        depth += 1
    db.execute(f"update {table} set _depth = {depth} where _depth is null or _operation = 'update'")


def order(sync: Sync) -> str:
    """SQL: the order of a batch; children of one parent stand together, so that they do not lock it for each other."""
    return ", ".join(["_depth", *(quoted(f.crm_field) for f in sync.fields if f.parent), "external_id"])


def write(db: Warehouse, sync: Sync, operation: Operation, size: int, folder: Path) -> list[Batch]:
    """Write one operation's records in files of at most ``size``; one file holds records of one depth.

    Args:
        db: the warehouse; the sync's difference is made.
        sync: the sync.
        operation: which records.
        size: records in a file.
        folder: where the files go.
    """
    names = "".join(f", {quoted(f.crm_field)}" for f in sync.fields)
    sorting = order(sync)
    db.execute(
        f"create or replace temp table ordered as select external_id, crm_id, changed, _depth{names}, "
        f"(row_number() over (partition by _depth order by {sorting}) - 1) // {size} as _part "
        f"from {diff.relation(sync)} where _operation = {literal(operation.value)}"
    )
    parts = db.execute("select _depth, _part, count(*) from ordered group by all order by all")
    total = sum(count for *_, count in parts)
    batches = []
    for number, (depth, part, count) in enumerate(parts):
        path = folder / f"{sync.level}-{sync.name}-{operation.value}-{number:05d}.parquet"
        db.execute(
            f"copy (select * exclude (_part, _depth) from ordered where _depth = {depth} and _part = {part} "
            f"order by {sorting}) to {literal(str(path))} (format parquet)"
        )
        batches.append(Batch(path, sync.name, operation, count, total, depth))
    return batches
