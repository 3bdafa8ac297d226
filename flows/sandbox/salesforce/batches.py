"""A Bulk job's rows, ten thousand at a time: read from the upload, written to the store, told in the results."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

from flows.sandbox.org import Org
from flows.sandbox.salesforce import rows
from flows.sandbox.salesforce.rows import RowResult, UnknownColumn, Write
from flows.sandbox.world import World

BATCH = 10_000
MAX_VALUE = 32_000
_CREATED = ("false", "true")


class BadUpload(Exception):
    """An upload that fails its job."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a job does with its rows, and how they are written.

    Attributes:
        operation: insert, update, upsert, delete or hardDelete.
        object: the object's name.
        key: the external id field of an upsert.
        delimiter: between two values.
        line_ending: after each row of the results.
        header: the columns.
    """

    operation: str
    object: str
    key: str
    delimiter: str
    line_ending: str
    header: tuple[str, ...]

    def how(self, org: Org, **more: Any) -> Write:
        """The same, as rows are written by it."""
        kind = org.objects[self.object]
        return Write(self.operation, kind, kind.find(self.key) if self.key else None, csv=True, **more)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of an upload, and their lines as they came where no value is quoted."""

    rows: list[list[str]]
    lines: list[str] | None


def reader(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Read CSV."""
    return csv.reader(lines, delimiter=delimiter, strict=True)


def read(file: IO[str], delimiter: str, size: int) -> Chunk | None:
    """Read the next rows; blank lines do not count. Plain lines are split, for that takes half of the time.

    Args:
        file: the upload.
        delimiter: between two values.
        size: how many rows.

    Returns:
        The rows; None at the upload's end.
    """
    lines = list(itertools.islice(file, size))
    if not lines:
        return None
    if any('"' in line for line in lines):
        # A row has at least one line, so that no line is left over.
        found = list(itertools.islice(reader(itertools.chain(lines, file), delimiter), size))
        return Chunk([row for row in found if row], None)
    plain = [line for text in lines if (line := text.rstrip("\r\n"))]
    return Chunk([line.split(delimiter) for line in plain], plain)


def by_column(layout: Layout, chunk: Chunk) -> dict[str, Sequence[str]]:
    """Turn rows into columns.

    Returns:
        Column -> one value for each row.

    Raises:
        BadUpload: a row has another number of values than the header, or a value is too long.
    """
    try:
        columns = dict(zip(layout.header, zip(*chunk.rows, strict=True), strict=True))
    except ValueError:
        raise BadUpload("a row has more or fewer values than the header") from None
    if any(max(map(len, column)) > MAX_VALUE for column in columns.values()):
        raise BadUpload(f"a value is longer than {MAX_VALUE} characters")
    if "Id" not in columns:
        columns = {("Id" if name.lower() == "id" else name): column for name, column in columns.items()}
    return dict(columns)


def write(world: World, how: Write, columns: Mapping[str, Sequence[str]], count: int) -> list[RowResult]:
    """Write rows.

    Raises:
        BadUpload: the header names a field that the object does not have.
    """
    try:
        return rows.write(world, how, columns, count)
    except UnknownColumn as error:
        raise BadUpload(f"Field name not found : {error}") from error


def told(layout: Layout, chunk: Chunk, done: Sequence[RowResult]) -> tuple[str, str]:
    """What became of rows, as lines of the successful and of the failed results.

    The last row comes first, for Salesforce promises no order.
    """
    good = [row for row in reversed(range(len(done))) if not done[row].error]
    bad = [row for row in reversed(range(len(done))) if done[row].error] if len(good) < len(done) else []
    failed = as_csv(layout, ([done[row].id or "", _error(done[row]), *chunk.rows[row]] for row in bad))
    if chunk.lines is None:
        rows_told = ([done[row].id, _CREATED[done[row].created], *chunk.rows[row]] for row in good)
        return as_csv(layout, rows_told), failed
    d, end, lines = layout.delimiter, layout.line_ending, chunk.lines
    plain = [f"{done[row].id}{d}{_CREATED[done[row].created]}{d}{lines[row]}{end}" for row in good]
    return "".join(plain), failed


def as_csv(layout: Layout, lines: Iterable[Iterable[Any]]) -> str:
    """Write rows as the job's CSV."""

    def written(quoting: Literal[0, 1]) -> str:
        text = io.StringIO(newline="")
        style: dict[str, Any] = {"delimiter": layout.delimiter, "lineterminator": layout.line_ending}
        csv.writer(text, quoting=quoting, **style).writerows(listed)
        return text.getvalue()

    listed = list(lines)
    text = written(csv.QUOTE_MINIMAL)
    # Python puts no quotes around a carriage return, which others take for the end of a line.
    return written(csv.QUOTE_ALL) if "\r" in text and layout.line_ending == "\n" else text


def _error(result: RowResult) -> str:
    if result.error is None:
        return ""
    fields = ",".join(result.error.fields)
    return f"{result.error.code}:{result.error.message}:{fields}{' ' if fields else ''}--"
