"""The middle of a night over a real connector, without the flow around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows import ledger, plan
from flows.project import Connection, Sync
from flows.push import push_batch, waves
from flows.reconcile import ReadBack, read_back
from flows.warehouse import Warehouse


def planned(db: Warehouse, run_id: str, syncs: Sequence[Sync], connection: Connection, folder: Path) -> plan.Plan:
    """Plan a run; its files are in a folder of its own below this one."""
    return plan.make(db, run_id, syncs, folder / run_id, plan.crm_of({"main": connection}))


def pushed(db: Warehouse, made: plan.Plan, syncs: Sequence[Sync], connection: Connection) -> dict[str, ledger.Merged]:
    """Push a plan, batch by batch in its waves, and merge the receipts."""
    receipts = made.folder / "receipts"
    for wave in waves(made.batches, syncs):
        for sync, batch in wave:
            push_batch(connection, sync, batch, receipts)
    return ledger.merge(db, made.run_id, made.batches, receipts, made.terms)


def read(made: plan.Plan, syncs: Sequence[Sync], connection: Connection) -> list[ReadBack]:
    """Read every batch back; what is found lies in the plan's folder ``readback``."""
    by_name = {sync.name: sync for sync in syncs}
    receipts, folder = made.folder / "receipts", made.folder / "readback"
    return [read_back(connection, by_name[batch.sync], batch, receipts, folder) for batch in made.batches]
