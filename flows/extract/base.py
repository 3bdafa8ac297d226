"""What both kinds of source share: the outcome, the raw table's own columns, and the strict reading of values.

What was read lies first in a temporary table, the landing: one column of whatever type for every declared column,
``_part`` (the file or the page) and DuckDB's ``rowid`` (the order in which it was read). From there it is cast.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from flows.errors import ExtractError
from flows.project import RestExtract, Source
from flows.warehouse import Warehouse, quoted

LANDING = "temp.landing"

WHOLE_NUMBERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)

Progress = Callable[[int, int | None], None]
"""Told how many files or pages are read, and of how many (None: unknown)."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one source brought in one run.

    Attributes:
        source: its name.
        rows: rows that are new or changed in the raw table.
        bytes: bytes read (of files: as they lie on disk; of pages: decoded).
        files_or_pages: files loaded, or pages read.
        cursor_before: the highest cursor known before; None for files and for a first time.
        cursor_after: the highest cursor known now.
        seconds: wall time.
        warnings: what was odd but no error, a sentence each.
    """

    source: str
    rows: int
    bytes: int
    files_or_pages: int
    cursor_before: str | None
    cursor_after: str | None
    seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One source's extraction in one run.

    Attributes:
        source: what to extract.
        warehouse: a cursor of this thread's own.
        run_id: the run.
        as_of: the last day whose input counts; None for all.
        project_dir: what relative paths start from.
        now: ``_extracted_at`` of every row, UTC without a zone.
        progress: told after each file or page.
        columns: the source's own columns -> DuckDB's name of their type, as the raw table has them.
    """

    source: Source
    warehouse: Warehouse
    run_id: str
    as_of: date | None
    project_dir: Path
    now: datetime
    progress: Progress
    columns: Mapping[str, str]

    def error(self, what: str, todo: str) -> ExtractError:
        """An error of this source."""
        safe = f"Nothing of {self.source.name} was loaded in this run; the next run reads the same again."
        return ExtractError(f"{self.source.name}: {what}", safe=safe, todo=todo)


def bookkeeping(source: Source) -> dict[str, str]:
    """The columns that a raw table has beside the source's own -> DuckDB type."""
    shared = {"_extracted_at": "TIMESTAMP", "_run_id": "VARCHAR"}
    if isinstance(source.extract, RestExtract):
        return {**shared, "_page": "VARCHAR"}
    return {**shared, "_file": "VARCHAR", "_row": "BIGINT"}


def own_columns(source: Source) -> dict[str, str]:
    """The columns that the source must deliver; dbt's YAML may also describe the bookkeeping ones."""
    ours = bookkeeping(source)
    return {name: data_type for name, data_type in source.columns.items() if name not in ours}


def utc_now() -> datetime:
    """Now in UTC, without a zone, as the warehouse's TIMESTAMP holds it."""
    return datetime.now(UTC).replace(tzinfo=None)


def listed(names: Iterable[str], limit: int = 5) -> str:
    """Name the first few of many."""
    all_names = list(names)
    more = f" and {len(all_names) - limit:,} more" if len(all_names) > limit else ""
    return ", ".join(all_names[:limit]) + more


def missing_columns(found: Iterable[str], declared: Iterable[str]) -> str:
    """Say which declared columns are not there and what they may be called now; empty when all are there."""
    there = list(found)
    wanted = list(declared)
    spare = [name for name in there if name not in set(wanted)]
    parts = []
    for name in (name for name in wanted if name not in set(there)):
        folded = {other.strip().casefold(): other for other in spare}
        near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
        parts.append(repr(name) + (f" (is it {folded[near[0]]!r} now?)" if near else ""))
    return ", ".join(parts)


def extra_columns(found: Iterable[str], declared: Iterable[str]) -> list[str]:
    """The columns that nobody declared, in their order."""
    wanted = set(declared)
    return [name for name in found if name not in wanted]


def _cast(value: str, data_type: str, function: str = "cast") -> str:
    if data_type.startswith("TIMESTAMP"):
        # Straight to TIMESTAMP, DuckDB drops an offset such as +02:00; by way of a zone it is brought to UTC. That is
        # five times slower, so what ends in its seconds goes straight.
        zoned = f"{function}({value} as TIMESTAMP WITH TIME ZONE)"
        return (
            f"case when regexp_full_match({value}::varchar, '.{{16}}:\\d\\d') then {function}({value} as {data_type})"
            f" else {function}({zoned} as {data_type}) end"
        )
    return f"{function}({value} as {data_type})"


def _bad(column: str, data_type: str) -> str | None:
    """SQL that is true for a value that does not fit; None for a type that takes every text."""
    if data_type == "VARCHAR":
        return None
    unfit = f"{_cast(column, data_type, 'try_cast')} is null"
    if data_type in WHOLE_NUMBERS:
        # DuckDB rounds '2.6' to 3; a quantity that is not whole is a fault of the source, not ours to round.
        unfit += f" or not regexp_full_match(trim({column}::varchar), '[+-]?\\d+(\\.0*)?')"
    return f"({column} is not null and ({unfit}))"


def check_values(job: Job, place: Callable[[str, int], str]) -> None:
    """Look for values in the landing that do not fit their declared type.

    Args:
        job: whose landing.
        place: says where a row stands, from its ``_part`` and its rowid.

    Raises:
        ExtractError: names place, column, value and type of the first one, and counts the others.
    """
    tests = {name: test for name, kind in job.columns.items() if (test := _bad(quoted(name), kind)) is not None}
    if not tests:
        return
    counts = job.warehouse.execute(
        f"select {', '.join(f'count(*) filter (where {test})' for test in tests.values())} from {LANDING}"
    )[0]
    problems = []
    for (name, test), count in zip(tests.items(), counts, strict=True):
        if not count:
            continue
        part, row, value = job.warehouse.execute(
            f"select _part, rowid, {quoted(name)}::varchar from {LANDING} where {test} order by rowid limit 1"
        )[0]
        shown = "the value (personal data, not shown)" if name in job.source.pii else repr(value[:100])
        more = f" (and {count - 1:,} more in this column)" if count > 1 else ""
        problems.append(f"{place(part, row)}, column {name!r}: {shown} is not a {job.columns[name]}{more}")
    if problems:
        raise job.error(
            "; ".join(problems) + ".",
            f"Mend it at the source, or declare another data_type in {job.source.declared_in or 'the source'}.",
        )


def casts(columns: Mapping[str, str], alias: str = "l") -> str:
    """SQL: the landing's columns as their declared types."""
    return ", ".join(f"{_cast(f'{alias}.{quoted(name)}', kind)} as {quoted(name)}" for name, kind in columns.items())


def names(columns: Iterable[str]) -> str:
    """SQL: column names, quoted."""
    return ", ".join(quoted(name) for name in columns)


def record(job: Job, done: Extracted) -> None:
    """Write the source's row of ``ops.extracts``; called in the transaction that holds the rows."""
    job.warehouse.execute(
        "insert into ops.extracts (run_id, source, rows_loaded, bytes, files_or_pages, cursor_before, cursor_after,"
        " seconds, extracted_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.run_id,
            done.source,
            done.rows,
            done.bytes,
            done.files_or_pages,
            done.cursor_before,
            done.cursor_after,
            done.seconds,
            job.now,
        ),
    )
