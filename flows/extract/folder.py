"""Finding files, and knowing each one for sure before it is loaded."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from flows.extract.base import Job
from flows.project import FilesExtract

CHUNK = 1 << 20
YOUNG_NS = 2_000_000_000
"""A file touched this shortly before it was read could be written again within one tick of the file system's clock."""

_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
_FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json"}


@dataclass(frozen=True, slots=True)
class Found:
    """A file that the glob matches.

    Attributes:
        name: its path from the glob's fixed folder on, with slashes.
        path: where it is.
        bytes: its size on disk.
        stamp: the file system's times of its last change; what is not equal may have another content.
        changed_ns: the later of these times, nanoseconds since 1970.
    """

    name: str
    path: Path
    bytes: int
    stamp: str
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A file whose every byte was read once.

    Attributes:
        found: the file.
        checksum: BLAKE2b of its bytes as they lie on disk.
        format: csv, parquet or json.
        header: a CSV file's column names; empty for other formats.
    """

    found: Found
    checksum: str
    format: str
    header: tuple[str, ...]


def look(name: str, path: Path) -> Found:
    """Ask the file system about one file: ``st_mtime``, and ``st_ctime``, which no program can set back."""
    stat = path.stat()
    changed = max(stat.st_mtime_ns, stat.st_ctime_ns)
    return Found(name, path, stat.st_size, f"{stat.st_mtime_ns}/{stat.st_ctime_ns}", changed)


def find(job: Job, extract: FilesExtract) -> list[Found]:
    """List the files that the glob matches, by name.

    Raises:
        ExtractError: the folder is missing or cannot be read, or nothing matches.
    """
    pattern = job.project_dir / extract.path
    fixed = [part for part in pattern.parts[:-1] if not _is_glob(part)]
    depth = next((i for i, part in enumerate(pattern.parts) if _is_glob(part)), len(pattern.parts) - 1)
    folder = Path(*fixed[:depth])
    todo = f"Check extract.path in {job.source.declared_in or 'the source'} and the variables that it is made of."
    try:
        paths = sorted(_walk(folder, pattern.parts[depth:]))
    except FileNotFoundError as error:
        raise job.error(f"the folder {folder} does not exist.", todo) from error
    except OSError as error:
        raise job.error(f"{error.filename or folder} cannot be read: {error.strerror}.", todo) from error
    if not paths:
        raise job.error(f"no file matches {pattern}.", f"Ask whether the delivery stopped. {todo}")
    return [look(path.relative_to(folder).as_posix(), path) for path in paths]


def _is_glob(part: str) -> bool:
    return any(mark in part for mark in "*?[")


def _walk(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    # Path.glob leaves out folders that cannot be read, and so would this night's rows be left out in silence.
    head, rest = parts[0], parts[1:]
    if head == "**":
        yield from _walk(folder, rest or ("*",))
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        hidden = entry.name.startswith(".") and not head.startswith(".")
        if hidden:
            continue
        if head == "**":
            if entry.is_dir():
                yield from _walk(folder / entry.name, parts)
        elif fnmatchcase(entry.name, head):
            if rest and entry.is_dir():
                yield from _walk(folder / entry.name, rest)
            elif not rest and entry.is_file():
                yield folder / entry.name


def day_of(job: Job, found: Found) -> date:
    """The day in a file's name: the last date in it.

    Raises:
        ExtractError: there is none.
    """
    for year, month, day in reversed(_DATE.findall(found.name)):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:
            continue
    raise job.error(
        f"{found.path}: its name holds no date such as 2010-12-01, but the source says date_in_name.",
        "Rename the file, narrow the glob, or drop date_in_name.",
    )


def check(job: Job, extract: FilesExtract, found: Found) -> Checked:
    """Read a file from its first to its last byte: its checksum, whether it is whole, and its header.

    DuckDB reads a cut or damaged gzip file without a word where the damage happens to look like CSV.

    Raises:
        ExtractError: it is empty, damaged, not readable, or of an unknown format.
    """
    kind = extract.format or _format(job, found)
    digest = hashlib.blake2b(digest_size=32)
    try:
        with found.path.open("rb") as raw:
            hashed = io.BufferedReader(_Hashed(raw, digest.update), CHUNK)
            if found.path.suffix == ".gz":
                with gzip.GzipFile(fileobj=hashed) as unpacked:
                    head = _drain(unpacked)
            else:
                head = _drain(hashed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise job.error(
            f"{found.path} is a damaged gzip file: {str(error).splitlines()[0].rstrip('.')}.",
            "Have it delivered again; it was cut or altered.",
        ) from error
    except OSError as error:
        raise job.error(f"{found.path} cannot be read: {error.strerror}.", "Check the file and its rights.") from error
    if not head:
        raise job.error(
            f"{found.path} is empty, without even a header.", "Have it delivered again, or take it out of the folder."
        )
    header = _header(job, extract, found, head) if kind == "csv" else ()
    return Checked(found, digest.hexdigest(), kind, header)


class _Hashed(io.RawIOBase):
    """A file that is hashed while it is read, so that it is read once."""

    def __init__(self, raw: IO[bytes], update: Callable[[bytes], None]) -> None:
        self._raw = raw
        self._update = update

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        chunk = self._raw.read(len(view))
        view[: len(chunk)] = chunk
        self._update(chunk)
        return len(chunk)


def _drain(file: io.BufferedIOBase) -> bytes:
    """Read to the end and keep the beginning."""
    head = file.read(CHUNK)
    while file.read(CHUNK):
        pass
    return head


def _format(job: Job, found: Found) -> str:
    name = found.path.name.removesuffix(".gz")
    kind = _FORMATS.get(Path(name).suffix.lower())
    if kind is None:
        raise job.error(
            f"{found.path}: its name does not tell its format.", "Say extract.format: csv, parquet or json."
        )
    return kind


def _header(job: Job, extract: FilesExtract, found: Found, head: bytes) -> tuple[str, ...]:
    text = head.decode("utf-8-sig", errors="replace")
    names = tuple(next(csv.reader(io.StringIO(text, newline=""), delimiter=extract.delimiter), []))
    twice = sorted({name for name in names if names.count(name) > 1} & set(job.columns))
    if twice:
        raise job.error(
            f"{found.path}: its header names {', '.join(map(repr, twice))} twice.", "Mend the file at the source."
        )
    return names
