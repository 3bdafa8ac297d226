"""The ``files`` source: a folder of CSV, Parquet or JSON-lines files, each loaded once.

A file is known by its name, its size and its checksum. A file whose size and file-system times are as they were is
not read again; one whose times moved is, and is a changed file only if its content differs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast

from flows.errors import WarehouseError
from flows.extract import folder, formats
from flows.extract.base import LANDING, Extracted, Job, casts, check_values, listed, names, record
from flows.extract.folder import Checked, Found
from flows.project import FilesExtract
from flows.warehouse import Error

READERS = 4
"""Threads that check files; reading, unpacking and hashing leave Python's lock alone."""
SLICE = 16 << 20
"""Bytes on disk of the files that one statement reads: what is in the landing at a time."""


@dataclass(frozen=True, slots=True)
class _Known:
    bytes: int
    checksum: str
    stamp: str
    rows: int


@dataclass(frozen=True, slots=True)
class _Todo:
    """What a night has to do: files to load, names whose rows go first, and stamps that only moved."""

    load: tuple[Checked, ...]
    drop: tuple[str, ...]
    touched: tuple[Checked, ...]
    warnings: tuple[str, ...]


def load(job: Job) -> Extracted:
    """Load what is new in the folder, in one transaction.

    ``append`` keeps the rows of files that are gone; ``replace`` makes the table what the folder is now.

    Raises:
        ExtractError: the folder or a file cannot be read, or a loaded file changed.
    """
    started = time.perf_counter()
    extract = cast(FilesExtract, job.source.extract)
    present, warnings = _arrived(job, extract, folder.find(job, extract))
    known, forgotten = _known(job)
    todo = _compare(job, extract, present, known)
    files, extra = formats.with_columns(job, todo.load)
    warnings = [*warnings, *forgotten, *todo.warnings, *extra]
    loaded: dict[str, int] = {}
    part: list[Checked] = []
    try:
        with job.warehouse.transaction():
            if not known:
                job.warehouse.execute("delete from ops.files where source = ?", (job.source.name,))
            _forget(job, todo.drop)
            for part in _slices(files):
                loaded |= _load(job, extract, part)
            _remember(job, todo, loaded)
            done = Extracted(
                source=job.source.name,
                rows=sum(loaded.values()),
                bytes=sum(file.found.bytes for file in todo.load),
                files_or_pages=len(todo.load),
                cursor_before=None,
                cursor_after=None,
                seconds=time.perf_counter() - started,
                warnings=tuple(warnings),
            )
            record(job, done)
    except Error as error:
        raise formats.explain(job, extract, part, error) from error
    except WarehouseError as error:
        gone = [file.found.path for file in todo.load if not file.found.path.is_file()]
        if not gone:
            raise
        raise job.error(f"{gone[0]} went away while it was read.", "Run again.") from error
    return replace(done, seconds=time.perf_counter() - started)


def _arrived(job: Job, extract: FilesExtract, found: list[Found]) -> tuple[list[Found], list[str]]:
    """Leave out what came after ``as_of``, and miss the file of that very day if it is not there."""
    if not extract.date_in_name:
        return found, []
    days = {file.name: folder.day_of(job, file) for file in found}
    if job.as_of is None:
        return found, []
    present = [file for file in found if days[file.name] <= job.as_of]
    if job.as_of in days.values():
        return present, []
    if extract.missing == "error" or not present:
        newest = max((file.name for file in present), key=lambda name: days[name], default=None)
        raise job.error(
            f"{extract.path} holds no file of {job.as_of:%Y-%m-%d}; "
            + (f"the newest before it is {newest}." if newest else "the oldest is later."),
            "Wait for the file, or name a day that has one; where days without a file are usual, "
            f"say `missing: warning` in {job.source.declared_in}.",
        )
    return present, [f"There is no file of {job.as_of:%Y-%m-%d}."]


def _known(job: Job) -> tuple[dict[str, _Known], list[str]]:
    """What ``ops.files`` remembers, unless somebody emptied the raw table: then all files are new."""
    rows = job.warehouse.execute(
        "select file, bytes, checksum, stamp, rows_loaded from ops.files where source = ?", (job.source.name,)
    )
    known = {row[0]: _Known(*row[1:]) for row in rows}
    there = job.warehouse.scalar(f"select count(*) from {job.source.relation}")
    remembered = sum(file.rows for file in known.values())
    if there == remembered:
        return known, []
    if there == 0:
        return {}, [f"raw.{job.source.table} had been emptied; every file is loaded again."]
    return known, [f"raw.{job.source.table} holds {there:,} rows, but {remembered:,} were loaded: somebody changed it."]


def _compare(job: Job, extract: FilesExtract, present: list[Found], known: dict[str, _Known]) -> _Todo:
    suspects = [
        file
        for file in present
        if (was := known.get(file.name)) is None or (file.bytes, file.stamp) != (was.bytes, was.stamp)
    ]
    checked: list[Checked] = []
    with ThreadPoolExecutor(READERS) as readers:
        for done, file in enumerate(readers.map(lambda found: folder.check(job, extract, found), suspects), 1):
            checked.append(file)
            job.progress(done, len(suspects))
    fresh = [file for file in checked if file.found.name not in known]
    same = [file for file in checked if file.found.name in known and file.checksum == known[file.found.name].checksum]
    changed = [file for file in checked if file.found.name in known and file not in same]
    if changed and extract.strategy == "append" and extract.changed == "error":
        raise job.error(
            f"{listed(str(file.found.path) for file in changed)} changed after "
            f"{'it was' if len(changed) == 1 else 'they were'} loaded.",
            "Put the original back; or say `changed: reload` at the source, and its rows are replaced.",
        )
    gone = set(known) - {file.name for file in present} if extract.strategy == "replace" else set()
    drop = sorted(gone) + [file.found.name for file in changed]
    return _Todo((*fresh, *changed), tuple(drop), tuple(same), tuple(_doubles(fresh, known)))


def _doubles(fresh: list[Checked], known: dict[str, _Known]) -> Iterator[str]:
    first = {was.checksum: name for name, was in known.items() if was.rows}
    for file in fresh:
        other = first.setdefault(file.checksum, file.found.name)
        if other != file.found.name:
            yield f"{file.found.name} has the same content as {other}; both are loaded."


def _slices(checked: Sequence[Checked]) -> Iterator[list[Checked]]:
    """Files of one format and one header, a limited number of bytes at a time."""
    for _, alike in groupby(checked, key=lambda file: (file.format, file.header)):
        part: list[Checked] = []
        size = 0
        for file in alike:
            if part and size + file.found.bytes > SLICE:
                yield part
                part, size = [], 0
            part.append(file)
            size += file.found.bytes
        yield part


def _load(job: Job, extract: FilesExtract, part: list[Checked]) -> dict[str, int]:
    """Read some files into the landing and from there into the raw table; returns name -> rows."""
    job.warehouse.execute(
        f"create or replace temp table landing as {formats.select(job, extract, part[0])}",
        {"files": formats.patterns(part)},
    )
    job.warehouse.execute(
        "create or replace temp table parts as"
        " select path, name, coalesce(first_row, 0) as first_row, coalesce(row_count, 0) as row_count"
        " from (select unnest($paths) as path, unnest($names) as name) left join"
        f" (select _part, min(rowid) as first_row, count(*) as row_count from {LANDING} group by _part)"
        " on path = _part",
        {"paths": [str(file.found.path) for file in part], "names": [file.found.name for file in part]},
    )
    counts: dict[str, int] = dict(job.warehouse.execute("select name, row_count from temp.parts"))
    firsts = dict(job.warehouse.execute("select path, first_row from temp.parts"))
    check_values(job, lambda path, row: f"{path}, row {row - firsts[path] + 1:,}")
    job.warehouse.execute(
        f"insert into {job.source.relation} ({names(job.columns)}, _extracted_at, _run_id, _file, _row)"
        f" select {casts(job.columns)}, $now, $run, p.name, l.rowid - p.first_row + 1"
        f" from {LANDING} l join temp.parts p on p.path = l._part",
        {"now": job.now, "run": job.run_id},
    )
    job.warehouse.execute("drop table temp.landing")
    job.warehouse.execute("drop table temp.parts")
    for file in part:
        if folder.look(file.found.name, file.found.path) != file.found:
            raise job.error(f"{file.found.path} was written to while it was read.", "Run again once it is complete.")
    return counts


def _forget(job: Job, drop: Sequence[str]) -> None:
    if drop:
        given = {"source": job.source.name, "files": list(drop)}
        job.warehouse.execute(
            f"delete from {job.source.relation} where _file in (select unnest($files))", {"files": given["files"]}
        )
        job.warehouse.execute("delete from ops.files where source = $source and file in (select unnest($files))", given)


def _remember(job: Job, todo: _Todo, loaded: Mapping[str, int]) -> None:
    read_ns = time.time_ns()

    def stamp(file: Checked) -> str:
        return "" if read_ns - file.found.changed_ns < folder.YOUNG_NS else file.found.stamp

    if todo.load:
        job.warehouse.execute(
            "insert into ops.files (source, file, bytes, checksum, stamp, rows_loaded, run_id, loaded_at)"
            " select $source, unnest($files), unnest($bytes), unnest($checksums), unnest($stamps), unnest($rows),"
            " $run, $now",
            {
                "source": job.source.name,
                "files": [file.found.name for file in todo.load],
                "bytes": [file.found.bytes for file in todo.load],
                "checksums": [file.checksum for file in todo.load],
                "stamps": [stamp(file) for file in todo.load],
                "rows": [loaded[file.found.name] for file in todo.load],
                "run": job.run_id,
                "now": job.now,
            },
        )
    if todo.touched:
        job.warehouse.execute(
            "update ops.files set stamp = t.stamp"
            " from (select unnest($files) as file, unnest($stamps) as stamp) t"
            " where ops.files.source = $source and ops.files.file = t.file",
            {
                "source": job.source.name,
                "files": [file.found.name for file in todo.touched],
                "stamps": [stamp(file) for file in todo.touched],
            },
        )
