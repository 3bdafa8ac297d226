"""A sync's difference, cut into batch files: in which order, and how far this night's requests go."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flows.crm.common import first
from flows.plan import diff
from flows.plan.values import Crm
from flows.project import Sync
from flows.records import Batch, Operation
from flows.warehouse import Warehouse, literal, quoted


def counts(db: Warehouse, sync: Sync) -> dict[Operation, int]:
    """How many records get each operation."""
    return {operation: sum(found) for operation, found in by_depth(db, sync).items()}


def by_depth(db: Warehouse, sync: Sync) -> dict[Operation, list[int]]:
    """How many records get each operation, of each depth."""
    rows = db.execute(
        f"select _operation, count(*) from {diff.relation(sync)} group by _operation, _depth order by _depth"
    )
    return {operation: [count for name, count in rows if name == operation.value] for operation in Operation}


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


def cap(db: Warehouse, syncs: Sequence[Sync], crm: Crm) -> dict[str, int]:
    """Leave out what this night's requests are not enough for, where a connection has a limit.

    The order is that of the push: parents before children, creates before updates, archives last and children first;
    within them that of the batches. What comes after the first record that is left out is left out too.

    Returns:
        Sync -> records that wait for the next night.
    """
    left = dict.fromkeys((sync.name for sync in syncs), 0)
    room: dict[str, int] = {}
    for sync, operation in _in_order(syncs):
        most = crm.most_requests(sync)
        depths = by_depth(db, sync)[operation]
        count = sum(depths)
        if most is None or not count:
            continue
        room.setdefault(sync.crm, most)
        # How many records the room is enough for; what they cost never falls as they grow.
        fits = bisect_right(range(1, count + 1), room[sync.crm], key=partial(_cost, crm, sync, operation, depths))
        room[sync.crm] = room[sync.crm] - crm.requests(sync, operation, depths) if fits == count else 0
        if fits < count:
            left[sync.name] += count - fits
            these = f"{diff.relation(sync)} where _operation = {literal(operation.value)}"
            db.execute(
                f"delete from {these} and external_id not in "
                f"(select external_id from {these} order by {_order(sync)} limit {fits})"
            )
    return left


def _cost(crm: Crm, sync: Sync, operation: Operation, depths: Sequence[int], count: int) -> int:
    """Requests of the first records, which are those of the least depth."""
    return crm.requests(sync, operation, first(depths, count))


def _in_order(syncs: Sequence[Sync]) -> list[tuple[Sync, Operation]]:
    writes = [(sync, op) for sync in syncs for op in (Operation.CREATE, Operation.UPDATE)]
    return writes + [(sync, Operation.ARCHIVE) for sync in reversed(syncs)]


def _order(sync: Sync) -> str:
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
    order = _order(sync)
    db.execute(
        f"create or replace temp table ordered as select external_id, crm_id, changed, _depth{names}, "
        f"(row_number() over (partition by _depth order by {order}) - 1) // {size} as _part "
        f"from {diff.relation(sync)} where _operation = {literal(operation.value)}"
    )
    parts = db.execute("select _depth, _part, count(*) from ordered group by all order by all")
    total = sum(count for *_, count in parts)
    batches = []
    for number, (depth, part, count) in enumerate(parts):
        path = folder / f"{sync.level}-{sync.name}-{operation.value}-{number:05d}.parquet"
        db.execute(
            f"copy (select * exclude (_part, _depth) from ordered where _depth = {depth} and _part = {part} "
            f"order by {order}) to {literal(str(path))} (format parquet)"
        )
        batches.append(Batch(path, sync.name, operation, count, total, depth))
    return batches
