"""What a CRM deletes together with the records that a plan archives, and the plan does not: those are not archived.

Only records that we wrote ourselves are ever archived. Salesforce deletes with an account its contacts and
opportunities, whoever made them, so that an account has to stay while it has others than those that go anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.crm.base import Child
from flows.plan import diff
from flows.plan.values import Crm
from flows.project import Sync
from flows.records import Record
from flows.warehouse import Warehouse, literal

SHOWN = 5
"""External ids that are named of records that have to stay."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The records of a sync that are not archived.

    Attributes:
        records: how many.
        such_as: the external ids of some.
        children: the CRM's object -> records of it that would go with them; 0 where this login may not read it.
    """

    records: int
    such_as: tuple[str, ...]
    children: dict[str, int]


def keep(db: Warehouse, syncs: Sequence[Sync], crm: Crm) -> tuple[dict[str, Kept], int]:
    """Take out of the differences each archive with which the CRM would delete what the plan does not archive.

    Args:
        db: the warehouse; the differences of all syncs are made.
        syncs: the syncs.
        crm: says what goes with a record; asked only where something is archived.

    Returns:
        Sync -> what of it stays, for those where something does; and the requests that it took.
    """
    archiving = [sync for sync in syncs if db.scalar(f"select 1 from {_archives(sync)} limit 1")]
    if not archiving:
        return {}, 0
    db.execute("create or replace temp table attached (sync varchar, external_id varchar, object varchar, id varchar)")
    requests = sum(_ask(db, sync, crm) for sync in archiving)
    # A record that stays may itself be what another one would take along: until no further one stays.
    while any([_leave_out(db, sync, archiving) for sync in archiving]):
        pass
    kept = {sync.name: found for sync in archiving if (found := _kept(db, sync, archiving)) is not None}
    db.execute("drop table temp.attached")
    return kept, requests


def _ask(db: Warehouse, sync: Sync, crm: Crm) -> int:
    def note(found: list[Child]) -> None:
        columns = [list(column) for column in zip(*((c.external_id, c.object, c.id) for c in found), strict=True)]
        if columns:
            db.execute(
                "insert into attached select ?, unnest(?), unnest(?), unnest(?::varchar[])", (sync.name, *columns)
            )

    rows = db.execute(f"select external_id, crm_id from {_archives(sync)}")
    return crm.children(sync, [Record(key, crm_id) for key, crm_id in rows], note)


def _archives(sync: Sync) -> str:
    return f"{diff.relation(sync)} where _operation = 'archive'"


def _staying(sync: Sync, archiving: Sequence[Sync]) -> str:
    """SQL, from a FROM on: what would go with records of a sync, and is not archived by the plan."""
    archived = " union all ".join(
        f"select {literal(other.object)} as object, crm_id as id from {_archives(other)}"
        for other in archiving
        if other.crm == sync.crm
    )
    return f"from attached a anti join ({archived}) b using (object, id) where a.sync = {literal(sync.name)}"


def _leave_out(db: Warehouse, sync: Sync, archiving: Sequence[Sync]) -> int:
    staying = f"select a.external_id {_staying(sync, archiving)}"
    return int(db.scalar(f"delete from {_archives(sync)} and external_id in ({staying})") or 0)


def _kept(db: Warehouse, sync: Sync, archiving: Sequence[Sync]) -> Kept | None:
    staying = _staying(sync, archiving)
    records, such_as = db.execute(
        f"select count(distinct a.external_id), min(distinct a.external_id, {SHOWN}) {staying}"
    )[0]
    if not records:
        return None
    children = db.execute(f"select a.object, count(distinct a.id) {staying} group by a.object order by 2 desc, 1")
    return Kept(records, tuple(such_as), dict(children))
