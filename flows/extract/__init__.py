"""The extract stage: brings what sources have into the warehouse's schema ``raw``.

One source is one transaction: its rows, its files' memory and its line in ``ops.extracts`` land together or not at
all. Every raw row says when it was extracted (one time for all rows of a source in a run), by which run, and from
which file and row or which page.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from flows.errors import ConfigError
from flows.extract import files, rest
from flows.extract.base import Extracted, Job, Progress, bookkeeping, own_columns, utc_now
from flows.project import FilesExtract, Source
from flows.warehouse import Error, Warehouse, quoted

__all__ = ["Extracted", "extract", "prepare"]


def extract(
    source: Source,
    warehouse: Warehouse,
    *,
    run_id: str,
    as_of: date | None,
    project_dir: Path,
    progress: Progress | None = None,
) -> Extracted:
    """Extract one source into its raw table, all of it or nothing.

    Args:
        source: what to extract; `prepare` has made its table.
        warehouse: a cursor that no other thread uses.
        run_id: the run, for the rows' ``_run_id``.
        as_of: take only what had arrived by the end of this day (UTC): files whose name's date is not later (a
            source without ``date_in_name`` loads every file that is there), records whose cursor is not later.
        project_dir: the folder that relative paths start from.
        progress: told after each file or page how many are read, and of how many (None: unknown).

    Returns:
        What came in. Files: rows of new files; pages: records that are new or differ from what is there.

    Raises:
        ConfigError: the source's address is not set, or a header cannot be sent.
        ExtractError: the source could not be read; the warehouse is as it was.
        WarehouseError: the disk is full.
    """
    types = warehouse.columns(source.relation)
    columns = {name: types[name] for name in own_columns(source)}
    told = progress or (lambda done, total: None)
    job = Job(source, warehouse, run_id, as_of, project_dir, utc_now(), told, columns)
    return files.load(job) if isinstance(source.extract, FilesExtract) else rest.load(job)


def prepare(sources: Iterable[Source], warehouse: Warehouse) -> None:
    """Make every source's raw table, add columns declared since, and clear what a killed run left on disk.

    Args:
        sources: all sources of the project.
        warehouse: no extraction is under way on it.

    Raises:
        ConfigError: a column's declared type is not the one that its table has, or is no type of DuckDB.
    """
    for leftover in warehouse.path.parent.glob(f"{rest.SCRATCH}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for source in sources:
        _prepare(source, warehouse)


def _prepare(source: Source, warehouse: Warehouse) -> None:
    wanted = {**own_columns(source), **bookkeeping(source)}
    for name, data_type in wanted.items():
        wanted[name] = _canonical(source, name, data_type, warehouse)
    if not warehouse.exists("raw", source.table):
        declared = ", ".join(f"{quoted(name)} {data_type}" for name, data_type in wanted.items())
        warehouse.execute(f"create table {source.relation} ({declared})")
        return
    found = warehouse.columns(source.relation)
    for name, data_type in wanted.items():
        if name not in found:
            warehouse.execute(f"alter table {source.relation} add column {quoted(name)} {data_type}")
        elif found[name] != data_type:
            raise ConfigError(
                f"{source.declared_in}: {source.name}.{name}: declared {data_type}, but raw.{source.table} holds "
                f"{found[name]}.",
                safe="Nothing was extracted; the table is as it was.",
                todo=f"Declare {found[name]} again, or drop raw.{source.table} so that it is extracted anew.",
            )


def _canonical(source: Source, column: str, data_type: str, warehouse: Warehouse) -> str:
    """DuckDB's own name of a type: ``DECIMAL(18,4)`` for ``decimal(18, 4)``."""
    try:
        return str(warehouse.scalar(f"select typeof(cast(null as {data_type}))"))
    except Error as error:
        raise ConfigError(
            f"{source.declared_in}: {source.name}.{column}: {data_type!r} is not a type of DuckDB.",
            safe="Nothing was extracted.",
            todo="Use a type such as varchar, bigint, decimal(18,4), boolean, date or timestamp.",
        ) from error
