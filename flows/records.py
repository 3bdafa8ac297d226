"""What crosses between plan, push and reconcile: batches of records, and one receipt for each record.

A batch is one immutable Parquet file of a plan. Its columns are ``external_id``, ``crm_id`` (null for a create),
``changed`` (the CRM fields to send) and one typed column for every mapped CRM field, holding the desired value.
A lookup's column holds the parent's external id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from json.encoder import encode_basestring as _text
from pathlib import Path
from typing import IO, Any

from flows import warehouse

Value = str | int | float | bool | Decimal | date | datetime | list[str] | None
"""A field's value: decimals for money, UTC datetimes, strings for ids, a list of texts for a multi-picklist."""

MASK = "•••"
"""What people see in the place of a personal value."""


def shown(value: Value, *, pii: bool) -> str | None:
    """A value as people may see it: masked where it is personal, None where there is none."""
    if value is None:
        return None
    return MASK if pii else str(value)


class Operation(StrEnum):
    """What is to be done to a record in the CRM."""

    CREATE = "create"
    UPDATE = "update"
    ARCHIVE = "archive"


class Outcome(StrEnum):
    """What became of a record: only ``applied`` moves the ledger."""

    APPLIED = "applied"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Record:
    """One record to write: only the values that are to be sent.

    Attributes:
        external_id: our key of the record.
        crm_id: the CRM's own id, None where it is not known yet.
        values: CRM field -> value; a lookup field holds the parent's external id.
    """

    external_id: str
    crm_id: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The CRM's answer for one record.

    Attributes:
        external_id: our key of the record.
        outcome: applied, rejected, or unknown (no answer; it may or may not have been written).
        crm_id: the CRM's id where it told one.
        created: whether the record is new in the CRM; None where the CRM did not say. Of a rejected one: it was written
            all the same, and only what is written after it was refused (an association).
        code: the CRM's error code, empty when applied.
        message: the CRM's error text, empty when applied.
        fields: the CRM fields that the error names.
        other_id: where the CRM refuses a duplicate, its id of the record that is there already.
        gone: whether it was refused because the CRM holds no such record any more: somebody deleted it there.
    """

    external_id: str
    outcome: Outcome
    crm_id: str | None = None
    created: bool | None = None
    code: str = ""
    message: str = ""
    fields: tuple[str, ...] = ()
    other_id: str | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """One Parquet file of a plan: records of one sync that get the same operation.

    Attributes:
        path: the Parquet file.
        sync: the sync's name.
        operation: what is to be done to every record in it.
        count: records in the file.
        total: records that get this operation in the whole plan of this sync; connectors choose their API by it.
        depth: batches of a sync with a lookup to itself are pushed in this order, so that parents come first.
    """

    path: Path
    sync: str
    operation: Operation
    count: int
    total: int
    depth: int = 0

    @property
    def name(self) -> str:
        """The batch's name, unique in its plan: the file's stem."""
        return self.path.stem

    def records(self) -> Iterator[Record]:
        """Read the batch, a few thousand rows at a time.

        Returns:
            One `Record` per row in the file's order, with only the fields that are to be sent.
        """
        for row in warehouse.read_parquet(self.path):
            values = {name: row[name] for name in row["changed"] or ()}
            yield Record(row["external_id"], row["crm_id"], values)


def write_batch(
    path: Path, sync: str, operation: Operation, records: Sequence[Record], types: Mapping[str, str]
) -> Batch:
    """Write records as a batch file; the plan itself writes its batches in SQL, this is for a few records at hand.

    Args:
        path: the Parquet file to write.
        sync: the sync's name.
        operation: what is to be done to them.
        records: the records; the fields of their values are those sent.
        types: CRM field -> DuckDB type, for every mapped field.
    """
    rows = [(r.external_id, r.crm_id, list(r.values), *(r.values.get(name) for name in types)) for r in records]
    columns = {"external_id": "VARCHAR", "crm_id": "VARCHAR", "changed": "VARCHAR[]", **types}
    warehouse.write_parquet(path, columns, rows)
    return Batch(path, sync, operation, len(rows), len(rows))


class ReceiptWriter:
    """Appends receipts to a batch's JSON-lines file and syncs it, so that a crash loses no answer.

    Args:
        path: the receipts file; its folder exists. What an earlier attempt wrote is kept, but for a torn last line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> ReceiptWriter:
        drop_torn_line(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError:
            # What could not be written is tried once more here; why the body failed is what people must hear.
            if kind is None:
                raise

    def write(self, receipts: Iterable[Receipt]) -> None:
        """Append receipts and wait until they are on disk."""
        if self._file is None:
            raise RuntimeError("ReceiptWriter is used as a context manager")
        self._file.writelines(map(_line, receipts))
        self._file.flush()
        os.fsync(self._file.fileno())


def _line(receipt: Receipt) -> str:
    """A receipt as a line of JSON. Written out by hand, for a million of them took most of a push's time otherwise."""
    crm_id, other_id, created = receipt.crm_id, receipt.other_id, receipt.created
    return (
        f'{{"external_id": {_text(receipt.external_id)}, "outcome": "{receipt.outcome}", '
        f'"crm_id": {"null" if crm_id is None else _text(crm_id)}, '
        f'"created": {"null" if created is None else "true" if created else "false"}, '
        f'"code": {_text(receipt.code)}, "message": {_text(receipt.message)}, '
        f'"fields": [{", ".join(map(_text, receipt.fields)) if receipt.fields else ""}], '
        f'"other_id": {"null" if other_id is None else _text(other_id)}, '
        f'"gone": {"true" if receipt.gone else "false"}}}\n'
    )


def drop_torn_line(path: Path) -> None:
    """Cut the last line of a JSON-lines file if a crash left it without its end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def read_receipts(path: Path) -> Iterator[Receipt]:
    """Read a receipts file, leaving out a torn last line.

    Args:
        path: the file; one that does not exist holds no receipts.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                raw: dict[str, Any] = json.loads(line)
                yield Receipt(**{**raw, "outcome": Outcome(raw["outcome"]), "fields": tuple(raw["fields"])})
