"""The warehouse: one DuckDB file, and the only module that opens DuckDB.

One process owns the file while it runs. Threads take a `Warehouse.cursor` each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from flows.errors import WarehouseError

Row = dict[str, Any]
Error = duckdb.Error
"""What DuckDB raises; stages turn it into an error of their own."""
SESSION = "set timezone = 'UTC'; set enable_progress_bar = false"
"""What holds for each connection. DuckDB draws its bar on standard output, where a command prints its answer."""


def quoted(name: str) -> str:
    """Quote an identifier for SQL; a dotted name is one identifier, not two."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for the few places of SQL where a parameter may not stand (COPY, CREATE)."""
    return "'" + text.replace("'", "''") + "'"


class Warehouse:
    """One connection to the warehouse file.

    Use `Warehouse.open`; it is a context manager.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None, memory: str | None = None) -> Warehouse:
        """Open the warehouse file, make it if it is not there, and make the flow's own tables.

        Args:
            path: the file.
            threads: DuckDB's threads; all cores where None.
            memory: DuckDB's own memory limit such as ``4GB``; its default (80 % of the machine) where None.

        Raises:
            WarehouseError: another process holds it, it is not a DuckDB file, or the disk cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # No config here: dbt and SQLAlchemy open the same file in this process and must find equal settings.
            connection = duckdb.connect(str(path))
            connection.execute(SESSION)
            if threads is not None:
                connection.execute(f"set threads = {int(threads)}")
            if memory is not None:
                connection.execute(f"set memory_limit = {literal(memory)}")
            connection.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
        except duckdb.Error as error:
            raise _opening_failed(path, error) from error
        except OSError as error:
            raise WarehouseError(f"{path}: {error.strerror}.", todo="Choose another NIGHTSHIFT_HOME.") from error
        return cls(connection, path)

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this connection; the file is let go with the last one."""
        self.connection.close()

    def cursor(self) -> Warehouse:
        """Another connection to the same file, for another thread."""
        cursor = self.connection.cursor()
        cursor.execute(SESSION)
        return Warehouse(cursor, self.path)

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL and fetch all rows; parameters are ``?`` or ``$name``."""
        with translated(self.path):
            return self.connection.execute(sql, parameters).fetchall()

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Run SQL and fetch all rows as dicts."""
        with translated(self.path):
            return list(_dicts(self.connection.execute(sql, parameters)))

    def scalar(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Run SQL and fetch the first column of the first row; None where there is no row."""
        found = self.execute(sql, parameters)
        return found[0][0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back when the body raises."""
        with translated(self.path):
            self.connection.execute("begin transaction")
            try:
                yield
            except BaseException:
                # A statement that failed for want of disk space has already ended its transaction.
                with suppressed():
                    self.connection.execute("rollback")
                raise
            self.connection.execute("commit")

    def define(self, name: str, function: Callable[..., Any], parameters: Sequence[str], returns: str) -> None:
        """Make a Python function callable in SQL, once for as long as the file is open.

        Args:
            name: its name in SQL.
            function: is called with every row's values, none of them null.
            parameters: their DuckDB types.
            returns: the DuckDB type of what comes back.
        """
        if not self.scalar("select 1 from duckdb_functions() where function_name = ? limit 1", (name,)):
            self.connection.create_function(name, function, list(parameters), returns)

    def columns(self, relation: str) -> dict[str, str]:
        """Column -> DuckDB type of a table or view.

        Args:
            relation: quoted for SQL, such as ``"crm"."crm_accounts"``.
        """
        return {row[0]: row[1] for row in self.execute(f"describe {relation}")}

    def exists(self, schema: str, table: str) -> bool:
        """Whether a table or view exists; DuckDB minds no case."""
        return bool(
            self.execute(
                "select 1 from information_schema.tables "
                "where lower(table_schema) = lower(?) and lower(table_name) = lower(?)",
                (schema, table),
            )
        )


@contextmanager
def suppressed() -> Iterator[None]:
    """Ignore DuckDB's errors in the body."""
    try:
        yield
    except duckdb.Error:
        return


_OF_SQL = re.compile(r"(?:[\w ]+ Error in [^:]+?\s)??(?:Binder|Catalog|Parser) Error: ")
_KIND = re.compile(r"\b(?:Conversion|Constraint|Invalid Input|Invalid Type|Mismatch Type|Out of Range) Error(?=: )")
_COLUMN = re.compile(r"when casting from source column (\w+)\s*(?:LINE \d+:|$)")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn a full disk or exhausted memory into a WarehouseError; let other DuckDB errors pass."""
    try:
        yield
    except (
        duckdb.IOException,
        duckdb.OutOfMemoryException,
        duckdb.FatalException,
        duckdb.TransactionException,
    ) as error:
        # A commit that finds the disk full is a TransactionException; so is a conflict, which is not ours to explain.
        if isinstance(error, duckdb.TransactionException) and "Could not write" not in str(error):
            raise
        raise WarehouseError(
            f"{path}: {first_line(error)}",
            safe="The last transaction was rolled back; what was committed before stays.",
            todo="Free disk space (or memory) where the warehouse lies, then run again.",
        ) from error


def without_values(message: str) -> str:
    """A database's message as people may read it where the data is personal.

    Args:
        message: DuckDB's, or another program's around it.

    Returns:
        The message where it speaks of the SQL alone; else only its kind and the column, since there is no telling where
        a value ends that it quotes.
    """
    if _OF_SQL.match(message):
        return message
    kind, column = _KIND.search(message), _COLUMN.search(message)
    where = f" in the column {column[1]}" if column else ""
    return f"{kind[0] if kind else 'an error'}{where} (its text is left out, since it may quote personal data)"


def first_line(error: Exception, *, private: bool = False) -> str:
    """What an error of DuckDB's says, in one line.

    Args:
        error: the error.
        private: whether a value that it quotes may be personal; see `without_values`.
    """
    why = str(error).strip()
    return (without_values(why) if private else why).splitlines()[0]


def _opening_failed(path: Path, error: duckdb.Error) -> WarehouseError:
    message = str(error)
    if "Conflicting lock" in message or "Could not set lock" in message:
        return WarehouseError(
            f"{path} is held by another process: {first_line(error)}",
            safe="Nothing ran; the warehouse is as it was.",
            todo="Wait until the other run has ended, or close the program that has the file open.",
        )
    return WarehouseError(
        f"{path} cannot be opened: {first_line(error)}",
        safe="Nothing ran.",
        todo="If it is not a DuckDB file of this version, move it away; `nightshift adopt` can fill a new ledger.",
    )


def _dicts(result: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    names = [column[0] for column in result.description or ()]
    while chunk := result.fetchmany(2048):
        for row in chunk:
            yield dict(zip(names, row, strict=True))


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """A small in-memory DuckDB for reading and writing files without the warehouse."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    try:
        connection.execute("set timezone = 'UTC'")
        yield connection
    finally:
        connection.close()


def read_parquet(path: Path) -> Iterator[Row]:
    """Read a Parquet file row by row, in its order, without opening the warehouse.

    Args:
        path: the file.
    """
    with scratch() as connection:
        yield from _dicts(connection.execute("select * from read_parquet(?)", [str(path)]))


def write_parquet(path: Path, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a few rows as a Parquet file.

    Args:
        path: the file.
        columns: column -> DuckDB type.
        rows: values in the columns' order.
    """
    with scratch() as connection:
        declared = ", ".join(f"{quoted(name)} {data_type}" for name, data_type in columns.items())
        connection.execute(f"create table batch ({declared})")
        row_sql = f"({', '.join(f'cast(? as {data_type})' for data_type in columns.values())})"
        waiting = iter(rows)
        # One statement for many rows: a statement for each row costs a millisecond.
        while chunk := list(islice(waiting, 200)):
            values = [value for row in chunk for value in row]
            connection.execute(f"insert into batch values {', '.join([row_sql] * len(chunk))}", values)
        connection.execute(f"copy batch to {literal(str(path))} (format parquet)")
