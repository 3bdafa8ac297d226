"""Rows that the gate holds back are not planned, and neither are the children of a new parent among them."""

from __future__ import annotations

from collections.abc import Collection

from flows import ledger
from flows.plan import diff
from flows.project import Sync
from flows.warehouse import Warehouse, literal, quoted


def _absent(sync: str) -> str:
    """The temp table of a sync's records that are held back and that the CRM does not have, quoted for SQL."""
    return f"temp.{quoted('absent__' + sync)}"


def hold(db: Warehouse, sync: Sync, planned: Collection[str]) -> tuple[int, int]:
    """Take out of a sync's difference what is in quarantine, and what waits for a parent that is.

    A held record is neither created nor updated; it is not archived either, since its row is in the model.

    Args:
        db: the warehouse; the sync's difference is made.
        sync: the sync.
        planned: the syncs that this was done for already, parents first.

    Returns:
        Records in quarantine that there was something to do for; and records that wait for their parent.
    """
    table, key = diff.relation(sync), diff.key(sync)
    held = (
        f"select key from quality.quarantine where table_name = {literal(sync.relation.replace(chr(34), ''))} "
        "and ended_at is null"
    )
    db.execute(f"create or replace temp table {_absent(sync.name)} (key varchar)")
    quarantined = 0
    # Both tables are read whole for it, so only where there is anything.
    if db.scalar(f"select 1 from ({held}) limit 1"):
        db.execute(
            f"insert into {_absent(sync.name)} select {key} from {sync.relation} "
            f"where {key} in ({held}) and {key} not in (select _external_id from {ledger.relation(sync.name)})"
        )
        quarantined = int(db.scalar(f"delete from {table} where external_id in ({held})"))
    parents = [f for f in sync.fields if f.parent == sync.name or f.parent in planned]
    waiting = 0
    # Children of children: until no further one waits, which without a lookup to the sync itself is at once.
    while parents:
        waits = " or ".join(f"{quoted(f.crm_field)} in (from {_absent(str(f.parent))})" for f in parents)
        now = db.execute(
            f"delete from {table} where _operation <> 'archive' and ({waits}) returning external_id, _acknowledged"
        )
        waiting += len(now)
        new = [external_id for external_id, known in now if not known]
        if not new:
            break
        db.execute(f"insert into {_absent(sync.name)} select unnest(?)", (new,))
    return quarantined, waiting
