"""What the CRM now holds against what was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from flows.crm import connect
from flows.crm.base import Usage
from flows.project import Connection, Sync
from flows.records import Batch, Operation, Outcome, Record, Value, read_receipts, shown
from flows.returned import Writer
from flows.warehouse import Warehouse, literal


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A field that the CRM does not hold as it was sent; personal values are masked.

    ``field`` is None where the whole record is wrong.
    """

    sync: str
    external_id: str
    field: str | None
    sent: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What reading one batch back showed.

    Attributes:
        batch: the batch's name.
        checked: acknowledged records that were looked for.
        mismatched: those of them that are not as sent.
        usage: requests it took.
    """

    batch: str
    checked: int
    mismatched: int
    usage: Usage


def read_back(connection: Connection, sync: Sync, batch: Batch, receipts: Path, folder: Path) -> ReadBack:
    """Read every record of a batch that the CRM acknowledged, compare, and write mismatches and findings down.

    Args:
        connection: the CRM.
        sync: the sync that the batch is of.
        batch: what was sent.
        receipts: the folder of receipts files.
        folder: where the mismatches file goes, named like the batch, and beside it what was found (`returned_file`).

    Raises:
        PushError: the CRM did not answer.
    """
    return asyncio.run(_read_back(connection, sync, batch, receipts, folder))


async def _read_back(connection: Connection, sync: Sync, batch: Batch, receipts: Path, folder: Path) -> ReadBack:
    ids = {
        receipt.external_id: receipt.crm_id
        for receipt in read_receipts(receipts / f"{batch.name}.jsonl")
        if receipt.outcome is Outcome.APPLIED
    }
    wrong: set[str] = set()
    folder.mkdir(parents=True, exist_ok=True)
    async with connect(connection) as crm:
        with (
            (folder / f"{batch.name}.jsonl").open("w", encoding="utf-8") as file,
            Writer(returned_file(folder, batch.name)) as returned,
        ):
            sent = [record for record in batch.records() if record.external_id in ids]
            known = [replace(r, crm_id=ids[r.external_id] or r.crm_id) for r in sent]
            found: dict[str, Record] = {}
            if known:
                async for records in crm.read(sync, known):
                    found.update((record.external_id, record) for record in records)
            for record in sent:
                returned.write(record.external_id, found.get(record.external_id))
                for mismatch in compare(sync, batch.operation, record, found.get(record.external_id)):
                    wrong.add(record.external_id)
                    file.write(json.dumps(asdict(mismatch), ensure_ascii=False) + "\n")
        usage = crm.usage
    return ReadBack(batch.name, len(ids), len(wrong), usage)


def returned_file(folder: Path, batch: str) -> Path:
    """Where the records of a batch stand as the CRM returned them; see `flows.returned`."""
    return folder / f"{batch}.returned.jsonl"


def compare(sync: Sync, operation: Operation, sent: Record, found: Record | None) -> list[Mismatch]:
    """Compare one record as sent with the record as found.

    Args:
        sync: the sync, for its types.
        operation: what was done to the record.
        sent: the values that were sent.
        found: what the CRM holds; None where it holds no such record.

    Returns:
        One mismatch for each field that differs; one without a field where the record is missing, or is still there
        though it was archived.
    """
    if operation is Operation.ARCHIVE:
        gone = found is None
        return [] if gone else [Mismatch(sync.name, sent.external_id, None, "archived", "still there")]
    if found is None:
        return [Mismatch(sync.name, sent.external_id, None, "written", "not there")]
    return [
        Mismatch(
            sync.name,
            sent.external_id,
            name,
            shown(value, pii=name in sync.pii),
            shown(found.values.get(name), pii=name in sync.pii),
        )
        for name, value in sent.values.items()
        if not same(value, found.values.get(name))
    ]


def same(sent: Value, found: Value) -> bool:
    """Whether two values are the same to a CRM.

    No value, an empty text and an empty list are; times to the millisecond; a picklist's values in any order.
    """
    return _as_kept(sent) == _as_kept(found)


def _as_kept(value: Value) -> Value | frozenset[str]:
    if isinstance(value, list):
        return frozenset(value) or None
    if isinstance(value, datetime):
        return value.replace(microsecond=value.microsecond // 1000 * 1000)
    return None if value == "" else value


def record_mismatches(db: Warehouse, run_id: str, files: Sequence[Path]) -> int:
    """Write the mismatches of a run into ``sync.mismatches``.

    Args:
        db: the warehouse.
        run_id: the run.
        files: the mismatches files of its batches.

    Returns:
        How many there are.
    """
    listed = ", ".join(literal(str(path)) for path in files if path.stat().st_size)
    if not listed:
        return 0
    columns = "{sync: 'VARCHAR', external_id: 'VARCHAR', field: 'VARCHAR', sent: 'VARCHAR', found: 'VARCHAR'}"
    with db.transaction():
        db.execute("delete from sync.mismatches where run_id = ?", (run_id,))
        return int(
            db.scalar(
                "insert into sync.mismatches by name select $run as run_id, *, now() as seen_at "
                f"from read_json([{listed}], format = 'newline_delimited', columns = {columns})",
                {"run": run_id},
            )
        )
