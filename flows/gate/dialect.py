"""SQLAlchemy on the warehouse's own connection, which is how Great Expectations reaches DuckDB.

A module of its own since SQLAlchemy and Great Expectations look dialects up in modules, and because importing it
brings SQLAlchemy; `flows.gate.judge` does so late.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import duckdb_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.types import NULLTYPE

from flows.warehouse import Warehouse

_lent: dict[str, Warehouse] = {}


class _Compiler(PGCompiler):
    def visit_textclause(self, textclause: Any, add_to_result_map: Any = None, **_: Any) -> str:
        """Give SQL as it is written: SQLAlchemy would take ``:word`` for a parameter, also inside a text of the SQL's.

        A parameter that nobody fills is null, so that a condition with one would choose no row. Great Expectations has
        none in its texts.
        """
        if not self.stack:
            self.isplaintext = True
        if add_to_result_map:
            add_to_result_map(None, None, (textclause,), NULLTYPE)
        return str(self.post_process_text(textclause.text))  # type: ignore[no-untyped-call]

    def visit_custom_op_binary(self, element: Any, operator: Any, **kwargs: Any) -> str:
        """Compile PostgreSQL's ``~``: it finds a match anywhere, while DuckDB's own ``~`` must match the whole text."""
        if operator.opstring not in ("~", "!~"):
            return str(super().visit_custom_op_binary(element, operator, **kwargs))  # type: ignore[no-untyped-call]
        left, right = self.process(element.left, **kwargs), self.process(element.right, **kwargs)
        return f"{'NOT ' if operator.opstring == '!~' else ''}regexp_matches({left}, {right})"


class LentConnection(duckdb_engine.Dialect):
    """duckdb_engine's dialect over cursors of a `Warehouse` that is open already.

    duckdb_engine would open the file with a configuration of its own, which DuckDB refuses while this process holds
    the file with another one. Transactions are left to DuckDB: Great Expectations fetches a result after it has given
    its connection back, and the rollback that SQLAlchemy does then would drop the result
    (github.com/great-expectations/great_expectations/issues/10738).
    """

    driver = "lent"
    statement_compiler = _Compiler
    supports_statement_cache = False

    def connect(self, *args: Any, **arguments: Any) -> Any:
        """A connection of its own to the warehouse that the URL names."""
        return duckdb_engine.ConnectionWrapper(_lent[arguments["database"]].cursor().connection)

    def do_begin(self, connection: Any) -> None:
        """Nothing: only reads are done here."""

    def do_commit(self, connection: Any) -> None:
        """Nothing, see `do_begin`."""

    def do_rollback(self, connection: Any) -> None:
        """Nothing: it would drop a result that is still to be fetched."""


dialect = LentConnection
"""By this name Great Expectations asks a dialect's module what it descends from; ours is a PostgreSQL."""

registry.register("duckdb.lent", __name__, "LentConnection")


@contextmanager
def lent(warehouse: Warehouse) -> Iterator[str]:
    """Lend a warehouse under a SQLAlchemy URL while the body runs.

    Args:
        warehouse: stays open; every connection is a cursor of it.
    """
    name = uuid4().hex
    _lent[name] = warehouse
    try:
        yield f"duckdb+lent:///{name}"
    finally:
        del _lent[name]
