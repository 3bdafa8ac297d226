"""Plan to receipts: send one batch, and write down each answer as it comes.

A push reads a batch file and writes a receipts file and touches no database: it may run in threads, in processes or on
other machines, and a crash loses no answer that was given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.crm import connect
from flows.crm.base import Connector, Usage
from flows.errors import PushError
from flows.project import Connection, Sync
from flows.records import Batch, Operation, Outcome, Receipt, ReceiptWriter, write_batch

Progress = Callable[[int], None]
"""Called with how many more records have an answer."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one batch.

    Attributes:
        batch: the batch's name.
        applied: records that the CRM acknowledged.
        rejected: records that it refused.
        unknown: records without an answer.
        usage: requests it took.
    """

    batch: str
    applied: int
    rejected: int
    unknown: int
    usage: Usage


def push_batch(
    connection: Connection, sync: Sync, batch: Batch, receipts: Path, progress: Progress | None = None
) -> Pushed:
    """Send one batch.

    Args:
        connection: the CRM.
        sync: the sync that the batch is of.
        batch: what to send.
        receipts: the folder of receipts files; this batch's is named like the batch.
        progress: told as answers come.

    Returns:
        Counts by outcome.

    Raises:
        PushError: the batch could not be tried, or an answer could not be written down; receipts written before that
            stand.
        ConfigError: the login is refused.
    """
    return asyncio.run(_push(connection, sync, batch, receipts, progress))


async def _push(connection: Connection, sync: Sync, batch: Batch, receipts: Path, progress: Progress | None) -> Pushed:
    outcomes: Counter[Outcome] = Counter()
    receipts.mkdir(parents=True, exist_ok=True)
    with ReceiptWriter(receipts / f"{batch.name}.jsonl") as writer:

        def note(answers: list[Receipt]) -> None:
            try:
                writer.write(answers)
            except OSError as error:
                raise PushError(
                    f"{writer.path}: {error.strerror}.",
                    safe="Records without a receipt are sent again by the next run; none of them is made twice.",
                    todo="Free disk space where NIGHTSHIFT_HOME lies, then run again.",
                ) from error
            outcomes.update(receipt.outcome for receipt in answers)
            if progress is not None:
                progress(len(answers))

        async with connect(connection) as crm:
            todo = batch
            if batch.operation is Operation.ARCHIVE:
                todo, gone = await _found(crm, sync, batch, receipts)
                note(gone)
            async for answers in crm.write(sync, todo):
                note(answers)
            usage = crm.usage
    applied, rejected = outcomes[Outcome.APPLIED], outcomes[Outcome.REJECTED]
    return Pushed(batch.name, applied, rejected, batch.count - applied - rejected, usage)


async def _found(crm: Connector, sync: Sync, batch: Batch, folder: Path) -> tuple[Batch, list[Receipt]]:
    """Look up the CRM ids of records to archive that were written without an answer; who is not there is archived.

    Returns:
        The batch of those that are there, and receipts for the others.
    """
    records = list(batch.records())
    nameless = [record for record in records if record.crm_id is None]
    if not nameless:
        return batch, []
    ids = {record.external_id: record.crm_id async for found in crm.read(sync, nameless) for record in found}
    here = [replace(r, crm_id=r.crm_id or ids.get(r.external_id)) for r in records]
    there = [record for record in here if record.crm_id is not None]
    gone = [Receipt(record.external_id, Outcome.APPLIED) for record in here if record.crm_id is None]
    path = folder / f"{batch.name}.parquet"
    return replace(write_batch(path, sync.name, batch.operation, there, sync.types), total=batch.total), gone


def waves(batches: Sequence[Batch], syncs: Sequence[Sync]) -> list[list[tuple[Sync, Batch]]]:
    """Cut a plan's batches into waves that may each be pushed in parallel, one wave after the other.

    Parents are created and updated before their children, level by level, and within a sync that looks up itself depth
    by depth; archives run in the reverse order.

    Args:
        batches: the plan's batches.
        syncs: the syncs it was made from.

    Returns:
        Waves of (sync, batch); none is empty.
    """
    by_name = {sync.name: sync for sync in syncs}
    levels = sorted({sync.level for sync in syncs})
    pairs = [(by_name[batch.sync], batch) for batch in batches]
    writes = [
        [(s, b) for s, b in pairs if (s.level, b.depth) == (level, depth) and b.operation is not Operation.ARCHIVE]
        for level in levels
        for depth in sorted({b.depth for _, b in pairs})
    ]
    archives = [
        [(s, b) for s, b in pairs if s.level == level and b.operation is Operation.ARCHIVE]
        for level in reversed(levels)
    ]
    return [wave for wave in (*writes, *archives) if wave]
