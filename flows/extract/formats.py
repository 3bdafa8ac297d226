"""CSV, Parquet and JSON lines as DuckDB reads them: which columns there are, the SELECT, and what is wrong."""

from __future__ import annotations

import glob
import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.extract.base import Job, extra_columns, listed, missing_columns
from flows.extract.folder import Checked
from flows.project import FilesExtract
from flows.warehouse import Error, literal, quoted

_CSV = "header = true, auto_detect = false, quote = '\"', escape = '\"'"


def patterns(files: Sequence[Checked]) -> list[str]:
    """The files' paths such that DuckDB takes no character in them for a pattern."""
    return [glob.escape(str(file.found.path)) for file in files]


def with_columns(job: Job, files: Sequence[Checked]) -> tuple[list[Checked], list[str]]:
    """Find every file's column names and hold them against the declared ones.

    Args:
        job: whose columns are wanted.
        files: checked files.

    Returns:
        The files with their ``header``, and a warning for each set of columns that nobody declared.

    Raises:
        ExtractError: a declared column is missing; names file, columns found and a near name.
    """
    known = [file if file.format == "csv" else replace(file, header=_columns(job, file)) for file in files]
    extra: dict[tuple[str, ...], list[str]] = {}
    for file in known:
        # A JSON file without records has no columns to miss.
        if (file.header or file.format != "json") and (missing := missing_columns(file.header, job.columns)):
            raise job.error(
                f"{file.found.path}: column {missing} is missing; found {', '.join(file.header)}; "
                f"expected {', '.join(job.columns)}.",
                f"Mend the file, or declare the new name in {job.source.declared_in or 'the source'}.",
            )
        if unknown := tuple(extra_columns(file.header, job.columns)):
            extra.setdefault(unknown, []).append(file.found.name)
    return known, [
        f"{listed(named, 2)}: left out {', '.join(map(repr, columns))}, declared by nobody."
        for columns, named in extra.items()
    ]


def _columns(job: Job, file: Checked) -> tuple[str, ...]:
    parameter = {"files": patterns([file])}
    if file.format == "parquet":
        try:
            found = job.warehouse.execute("describe select * from read_parquet($files)", parameter)
        except Error as error:
            raise job.error(
                f"{file.found.path} is not a Parquet file that can be read: {_first_line(error)}",
                "Have it delivered again.",
            ) from error
        return tuple(row[0] for row in found)
    try:
        objects, rows = job.warehouse.execute(
            "select count(*) filter (json_type(json) = 'OBJECT'), count(*)"
            " from read_ndjson_objects($files, maximum_object_size = 67108864)",
            parameter,
        )[0]
    except Error as error:
        raise _bad_json(job, file, error) from error
    if objects != rows:
        raise _bad_json(job, file, None)
    found = job.warehouse.execute(
        "select distinct unnest(json_keys(json)) as key"
        " from read_ndjson_objects($files, maximum_object_size = 67108864) order by key",
        parameter,
    )
    return tuple(row[0] for row in found)


def select(job: Job, extract: FilesExtract, like: Checked) -> str:
    """SQL that reads ``$files``: the declared columns, and each row's file as ``_part``.

    Args:
        job: whose columns are wanted.
        extract: how it is declared.
        like: one of the files; all others have its format and its header.
    """
    if like.format == "csv":
        wanted = ", ".join(f"c{like.header.index(name)} as {quoted(name)}" for name in job.columns)
        return f"select {wanted}, _part from {_csv(extract, like)}"
    if like.format == "parquet":
        wanted = ", ".join(map(quoted, job.columns))
        return f"select {wanted}, _part from read_parquet($files, filename = '_part')"
    shape = literal(json.dumps(dict.fromkeys(job.columns, "VARCHAR")))
    return (
        f"select unnest(json_transform(json, {shape})), _part"
        " from read_ndjson_objects($files, filename = '_part', maximum_object_size = 67108864)"
    )


def _csv(extract: FilesExtract, like: Checked, more: str = "") -> str:
    # By position: two columns that nobody declared may have one name, and DuckDB folds upper and lower case.
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(like.header)))
    return (
        f"read_csv($files, columns = {{{columns}}}, {_CSV}, delim = {literal(extract.delimiter)},"
        f" filename = '_part'{more})"
    )


def explain(job: Job, extract: FilesExtract, files: Sequence[Checked], error: Exception) -> Exception:
    """Say what DuckDB could not read in files of one format and header: file, line and reason, but no content.

    Args:
        job: whose files.
        extract: how they are declared.
        files: the files that one statement read.
        error: DuckDB's own.
    """
    if files[0].format == "csv":
        rejects = ", store_rejects = true, rejects_table = 'rejected', rejects_scan = 'rejected_in', rejects_limit = 1"
        try:
            job.warehouse.execute(
                f"create or replace temp table landing as select * from {_csv(extract, files[0], rejects)}",
                {"files": patterns(files)},
            )
            found = job.warehouse.execute(
                "select s.file_path, e.line, e.error_message from temp.rejected e"
                " join temp.rejected_in s using (scan_id, file_id) order by all limit 1"
            )
        finally:
            for table in ("landing", "rejected", "rejected_in"):
                job.warehouse.execute(f"drop table if exists temp.{table}")
        for path, line, message in found:
            return job.error(f"{path}, line {line:,}: {_first_line(message)}", "Mend the file at its source.")
    return job.error(
        f"{listed(str(file.found.path) for file in files)}: {_first_line(error)}", "Mend the file at its source."
    )


def _bad_json(job: Job, file: Checked, error: Exception | None) -> Exception:
    line = _bad_line(file.found.path)
    return job.error(
        f"{file.found.path}, line {line:,}: not one JSON object in one line."
        if line
        else f"{file.found.path}: {_first_line(error) if error else 'it holds something else than JSON objects.'}",
        "Write JSON lines: one object a line, no list around them.",
    )


def _bad_line(path: Path) -> int:
    """The first line that is not a JSON object, from 1; 0 where every line is one."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return number
            except ValueError:
                return number
    return 0


def _first_line(error: object) -> str:
    line = str(error).strip().splitlines()[0]
    return line if line.endswith((".", "!")) else line + "."
