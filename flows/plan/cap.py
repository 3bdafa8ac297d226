"""How far a night's requests go, where a connection has a limit, and who waits for another night.

Records that the CRM refused go last, over all syncs: those that it refuses for ever would else take every night's
requests, and all behind them would wait for ever. Among them go first those that were tried longest ago, so that one
which was mended has its turn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from flows.crm.common import first
from flows.plan import batches, diff
from flows.plan.values import Crm
from flows.project import Sync
from flows.records import Operation
from flows.warehouse import Warehouse, literal, quoted

Depths = Counter[int]
"""Depth -> records, least depth first."""


def cap(db: Warehouse, syncs: Sequence[Sync], crm: Crm) -> dict[str, int]:
    """Leave out what this night's requests are not enough for, where a connection has a limit.

    The order: turn by turn; in a turn that of the push, parents before children, creates before updates, archives last
    and children first; within them that of the batches. What comes after the first record that is left out is left out
    too, so that nothing goes without the new parent that it names.

    Args:
        db: the warehouse; the syncs' differences are made.
        syncs: parents before children.
        crm: what requests a write takes, and how many there may be.

    Returns:
        Sync -> records that wait for the next night.
    """
    left = dict.fromkeys((sync.name for sync in syncs), 0)
    room = {sync.crm: most for sync in syncs if (most := crm.most_requests(sync)) is not None}
    capped = [sync for sync in syncs if sync.crm in room]
    _take_turns(db, capped)
    taken: dict[tuple[str, Operation], Depths] = defaultdict(Counter)
    for turn, sync, operation, depths in _groups(db, capped):
        cost = partial(_cost, crm, sync, operation, taken[sync.name, operation], depths)
        count, fits = depths.total(), 0
        if sync.crm in room:
            # How many records the room is enough for; what they cost never falls as they grow.
            fits = bisect_right(range(1, count + 1), room[sync.crm] + cost(0), key=cost)
            room[sync.crm] -= cost(fits) - cost(0)
        taken[sync.name, operation] += _first(depths, fits)
        if fits < count:
            room.pop(sync.crm, None)
            left[sync.name] += count - fits
            _leave(db, sync, operation, turn, fits)
    return left


def _first(depths: Depths, count: int) -> Depths:
    """How many of each depth are among the first records, which are those of the least depth."""
    return Counter(dict(zip(depths, first(list(depths.values()), count), strict=True)))


def _cost(crm: Crm, sync: Sync, operation: Operation, taken: Depths, depths: Depths, count: int) -> int:
    """Requests of what is taken already, with the first records of a group."""
    both = taken + _first(depths, count)
    return crm.requests(sync, operation, [both[depth] for depth in sorted(both)])


def _take_turns(db: Warehouse, syncs: Sequence[Sync]) -> None:
    """Give what the CRM refused its turn: 0 is for all others, 1 for what was tried longest ago.

    What names a new parent has its turn with that parent or after it, or it would go without it. An archive waits for
    no child that is refused: it would wait as long as the child is.
    """
    refused = "from sync.rejections where closed_at is null"
    if not syncs or not db.scalar(f"select 1 {refused} limit 1"):
        return
    turns = f"select sync, external_id, dense_rank() over (order by last_seen_at) as turn {refused}"
    for sync in syncs:
        db.execute(
            f"update {diff.relation(sync)} d set _turn = t.turn from ({turns}) t "
            f"where t.sync = {literal(sync.name)} and t.external_id = d.external_id"
        )
    names = {sync.name for sync in syncs}
    behind = [
        f"update {diff.relation(sync)} c set _turn = p._turn from {diff.relation_of(mapped.parent)} p "
        f"where p.external_id = c.{quoted(mapped.crm_field)} and p._operation = 'create' and c._operation <> 'archive' "
        "and p._turn > c._turn"
        for sync in syncs
        for mapped in sync.fields
        if mapped.parent in names
    ]
    # Children of children: until no further one falls behind.
    while any([db.scalar(statement) for statement in behind]):
        pass


def _groups(db: Warehouse, syncs: Sequence[Sync]) -> Iterator[tuple[int, Sync, Operation, Depths]]:
    """What is to be written, in the order in which it goes: turn, sync, operation, and how many of each depth."""
    groups: dict[tuple[int, str, str], Depths] = defaultdict(Counter)
    for sync in syncs:
        for turn, operation, depth, count in db.execute(
            f"select _turn, _operation, _depth, count(*) from {diff.relation(sync)} group by all order by _depth"
        ):
            groups[turn, sync.name, operation][depth] = count
    writes = [(sync, op) for sync in syncs for op in (Operation.CREATE, Operation.UPDATE)]
    in_order = writes + [(sync, Operation.ARCHIVE) for sync in reversed(syncs)]
    for turn in sorted({turn for turn, *_ in groups}):
        for sync, operation in in_order:
            if depths := groups.get((turn, sync.name, operation.value)):
                yield turn, sync, operation, depths


def _leave(db: Warehouse, sync: Sync, operation: Operation, turn: int, fits: int) -> None:
    """Take all but the first records of a group out of a sync's difference."""
    these = f"{diff.relation(sync)} where _operation = {literal(operation.value)} and _turn = {turn}"
    db.execute(
        f"delete from {these} and external_id not in "
        f"(select external_id from {these} order by {batches.order(sync)} limit {fits})"
    )
