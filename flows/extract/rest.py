"""The ``rest`` source: an API's pages, brought to disk first and then into the raw table in one transaction."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import datetime
from datetime import time as clock
from pathlib import Path
from typing import cast

from flows.errors import WarehouseError
from flows.extract.base import (
    LANDING,
    Extracted,
    Job,
    casts,
    check_values,
    extra_columns,
    listed,
    missing_columns,
    record,
)
from flows.extract.merge import INCOMING, STRATEGIES
from flows.extract.pages import Client
from flows.project import RestExtract
from flows.warehouse import Error, first_line, literal, quoted

SCRATCH = "extract-"
"""How the folders begin, beside the warehouse, that hold pages until they are loaded."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What lies on disk: one line a record, with its page and its place.

    Attributes:
        path: the JSON-lines file.
        rows: records in it.
        pages: pages read.
        bytes: their size, decoded.
        keys: every key that occurs in any record, in the order met.
    """

    path: Path
    rows: int
    pages: int
    bytes: int
    keys: tuple[str, ...]


def load(job: Job) -> Extracted:
    """Read all pages, from the highest cursor known on, and merge, append or replace.

    The cursor is inclusive, so that no record of its very moment is missed: what is there already and equal stays
    untouched, with its ``_extracted_at``.

    Raises:
        ConfigError: the address is not set, or a header cannot be sent.
        ExtractError: the source could not be read, or what it sent does not fit.
    """
    started = time.perf_counter()
    extract = cast(RestExtract, job.source.extract)
    before = _cursor(job, extract)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=job.warehouse.path.parent) as folder:
        fetched = _fetch(job, extract, before, Path(folder) / "records.jsonl")
        warnings = _check_keys(job, fetched)
        try:
            done = _store(job, extract, fetched, before, warnings, started)
        except Error as error:
            told = first_line(error, private=bool(job.source.pii))
            raise job.error(f"what it sent cannot be loaded: {told}", "Mend it at the source.") from error
    return replace(done, seconds=time.perf_counter() - started)


def _store(
    job: Job, extract: RestExtract, fetched: _Fetched, before: str | None, warnings: list[str], started: float
) -> Extracted:
    """Bring the records from disk into the raw table, and remember how far they reach: one transaction."""
    with job.warehouse.transaction():
        _land(job, extract, fetched)
        warnings += _drop_later(job, extract)
        after, warned = _advance(job, extract, before)
        rows = STRATEGIES[extract.strategy](job, extract)
        job.warehouse.execute(f"drop table {LANDING}")
        job.warehouse.execute(f"drop table {INCOMING}")
        done = Extracted(
            source=job.source.name,
            rows=rows,
            bytes=fetched.bytes,
            files_or_pages=fetched.pages,
            cursor_before=before,
            cursor_after=after,
            seconds=time.perf_counter() - started,
            warnings=(*warnings, *warned),
        )
        record(job, done)
    return done


def _cursor(job: Job, extract: RestExtract) -> str | None:
    """The highest cursor known; None for a source that is read whole, a first time, or an emptied table."""
    if extract.cursor is None or extract.strategy == "replace":
        return None
    if not job.warehouse.scalar(f"select count(*) from {job.source.relation}"):
        return None
    kind = job.columns[extract.cursor]
    found = job.warehouse.scalar(
        f"select cursor_after from ops.extracts where source = ? and cursor_after is not null"
        f" order by try_cast(cursor_after as {kind}) desc nulls last limit 1",
        (job.source.name,),
    )
    return None if found is None else str(found)


def _fetch(job: Job, extract: RestExtract, before: str | None, path: Path) -> _Fetched:
    parameters = {}
    if before is not None:
        parameters[extract.cursor_param] = before
    if job.as_of is not None and extract.until_param is not None:
        parameters[extract.until_param] = _end_of_day(job)
    rows = pages = size = 0
    keys: dict[str, None] = {}
    with Client(job, extract) as client:
        try:
            with path.open("w", encoding="utf-8") as file:
                for page in client.pages(parameters):
                    pages, rows, size = page.number, rows + len(page.records), size + page.bytes
                    for values in page.records:
                        keys.update(dict.fromkeys(values))
                        file.write(json.dumps({"page": str(page.number), "record": values}) + "\n")
                    job.progress(pages, None)
        except OSError as error:
            raise WarehouseError(
                f"{path.parent.parent}: pages of {job.source.name} cannot be kept: {error.strerror}.",
                safe=f"Nothing of {job.source.name} was loaded.",
                todo="Free disk space where the warehouse lies, then run again.",
            ) from error
    return _Fetched(path, rows, pages, size, tuple(keys))


def _end_of_day(job: Job) -> str:
    assert job.as_of is not None  # noqa: S101 - asked by its callers
    return f"{datetime.combine(job.as_of, clock.max).isoformat()}Z"


def _check_keys(job: Job, fetched: _Fetched) -> list[str]:
    if not fetched.rows:
        return []
    if missing := missing_columns(fetched.keys, job.columns):
        raise job.error(
            f"no record has the column {missing}; found {', '.join(fetched.keys) or 'none'}; "
            f"expected {', '.join(job.columns)}.",
            f"Ask what the source calls it now, and declare that in {job.source.declared_in or 'the source'}.",
        )
    extra = extra_columns(fetched.keys, job.columns)
    return [f"Left out {listed(map(repr, extra))}, declared by nobody."] if extra else []


def _land(job: Job, extract: RestExtract, fetched: _Fetched) -> None:
    """Fill the landing from disk, check every value, and cast it into ``incoming``."""
    shape = ", ".join(f"{quoted(name)} VARCHAR" for name in job.columns)
    job.warehouse.execute(
        f"create or replace temp table landing as select unnest(record), page as _part from read_json("
        f"$file, format = 'newline_delimited', maximum_object_size = 67108864,"
        f" columns = {{'page': 'VARCHAR', 'record': {literal(f'STRUCT({shape})')}}})",
        {"file": str(fetched.path)},
    )
    if extract.key is not None:
        nameless = job.warehouse.execute(
            f"select count(*), min(_part::bigint) from {LANDING} where {quoted(extract.key)} is null"
        )[0]
        if nameless[0] and extract.strategy != "append":
            raise job.error(
                f"{nameless[0]:,} records have no {extract.key!r}, the first on page {nameless[1]}.",
                "A record without its key cannot be told from others; mend it at the source.",
            )
    check_values(job, lambda page, row: _place(job, extract, page, row))
    job.warehouse.execute(
        f"create or replace temp table incoming as select {casts(job.columns)}, _part as _page, l.rowid as _place"
        f" from {LANDING} l"
    )


def _place(job: Job, extract: RestExtract, page: str, row: int) -> str:
    if extract.key is None or extract.key in job.source.pii:
        return f"page {page}"
    key = job.warehouse.scalar(f"select {quoted(extract.key)} from {LANDING} where rowid = ?", (row,))
    return f"the record whose {extract.key} is {key!r} (page {page})"


def _drop_later(job: Job, extract: RestExtract) -> list[str]:
    """Drop what is later than ``as_of``, for sources that do not know how to be asked for an end."""
    if job.as_of is None or extract.cursor is None or not _is_time(job, extract):
        return []
    dropped = job.warehouse.scalar(
        f"delete from {INCOMING} where {quoted(extract.cursor)} > cast(? as {job.columns[extract.cursor]})",
        (_end_of_day(job),),
    )
    return [f"Left out {dropped:,} records that changed after {job.as_of:%Y-%m-%d}."] if dropped else []


def _is_time(job: Job, extract: RestExtract) -> bool:
    return extract.cursor is not None and job.columns[extract.cursor].startswith("TIMESTAMP")


def _advance(job: Job, extract: RestExtract, before: str | None) -> tuple[str | None, list[str]]:
    """The cursor for the next run, as text, and a warning where the source's clock is ahead of ours."""
    if extract.cursor is None:
        return None, []
    kind = job.columns[extract.cursor]
    highest = job.warehouse.scalar(
        f"select greatest(max({quoted(extract.cursor)}), cast(? as {kind})) from {INCOMING}", (before,)
    )
    if highest is None:
        return None, []
    if not isinstance(highest, datetime):
        return str(highest), []
    highest = highest.replace(tzinfo=None)
    if highest <= job.now:
        return f"{highest.isoformat()}Z", []
    # One record dated in the year 9999 would otherwise hide every later change for ever.
    return f"{job.now.isoformat()}Z", [
        f"The newest {extract.cursor} is {highest.isoformat()}Z, in the future; the next run asks from now on again."
    ]
