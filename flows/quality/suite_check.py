"""Suites against what they speak of: tables, columns, SQL and regular expressions, without judging a single row.

Tables are made empty in a DuckDB of its own, as dbt declares them or as the warehouse has them, and every condition and
query is prepared on them there: what DuckDB would refuse at night is refused by day, with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flows.gate import Expectation, Suite
from flows.quality import type_check
from flows.quality.stated import Rule, Table
from flows.warehouse import Error, quoted, scratch

Columns = Mapping[str, str]

_COMPILED = ("regex", "regex_list")
"""Arguments that are regular expressions."""
_STATED = {
    "expect_column_values_to_not_be_null": "not_null",
    "expect_column_values_to_be_unique": "unique",
    "expect_column_values_to_be_in_set": "accepted_values",
    "expect_column_distinct_values_to_be_in_set": "accepted_values",
}
"""Expectations that say what one of dbt's tests says."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong in suites, and what dbt states already; each line begins with file and line."""

    problems: tuple[str, ...]
    hints: tuple[str, ...]


def check(suites: Iterable[Suite], tables: Mapping[str, Table], built: Mapping[str, Columns]) -> Checked:
    """Compare suites with the tables that dbt declares and that the warehouse has.

    Args:
        suites: the suites.
        tables: what dbt states (`flows.quality.stated.tables`).
        built: ``<schema>.<table>`` -> column -> DuckDB type of the warehouse's tables; empty where there is none.
    """
    known = _known(tables, built)
    problems: list[str] = []
    hints: list[str] = []
    with scratch() as connection:
        unknown = {name for name, columns in known.items() if not _made(connection, name, columns)}
        # The flow makes ledgers; a query may ask them before there was a night.
        unknown |= {f"sync.ledger__{stated.node}" for stated in tables.values() if stated.key} - known.keys()
        for suite in suites:
            problems += _suite(connection, suite, known, unknown)
            hints += _hints(suite, tables.get(suite.name.lower()))
    return Checked(tuple(problems), tuple(hints))


def _known(tables: Mapping[str, Table], built: Mapping[str, Columns]) -> dict[str, Columns | None]:
    """Every table -> its columns; None where nobody can tell before it is built."""
    known: dict[str, Columns | None] = {stated.name: None for stated in tables.values()}
    spelt = {name.lower(): name for name in known}
    for name, columns in built.items():
        known[spelt.get(name.lower(), name)] = columns
    # What is declared whole is what the next night builds, whatever the warehouse has now.
    known |= {stated.name: stated.types for stated in tables.values() if stated.complete}
    return known


def _made(connection: Any, name: str, columns: Columns | None) -> bool:
    """Make an empty table; whether that could be done. Its schema is made in any case."""
    schema, _, table = name.partition(".")
    connection.execute(f"create schema if not exists {quoted(schema)}")
    if not columns:
        return False
    declared = ", ".join(f"{quoted(column)} {data_type or 'varchar'}" for column, data_type in columns.items())
    try:
        connection.execute(f"create table {quoted(schema)}.{quoted(table)} ({declared})")
    except Error:
        return False  # a type that only the warehouse knows, such as an enumeration
    return True


def _suite(connection: Any, suite: Suite, known: Mapping[str, Columns | None], unknown: Iterable[str]) -> Iterator[str]:
    spelt = next((name for name in known if name.lower() == suite.name.lower()), None)
    if spelt is None:
        near = _near(suite.name, known)
        yield (
            f"{suite.path}:{suite.line}: there is no table {suite.name}: no source or model of dbt is "
            f"called so, and the warehouse has none{near}"
        )
    columns = known[spelt] if spelt is not None else None
    if columns is not None:
        lower = {column.lower() for column in columns}
        for column in sorted(suite.pii):
            if column.lower() not in lower:
                near = _near(column, columns)
                yield f"{suite.path}:{_line(suite.path, 'pii')}: pii: {suite.name} has no column {column}{near}"
    unsure = {name.lower().rpartition(".")[2] for name in unknown}
    for expectation in suite.expectations:
        found = [*_uncompiled(connection, expectation)]
        if columns is not None:
            missing = list(_missing(suite, expectation, columns))
            # SQL over a table without the column would only say so again.
            found += missing or [
                *type_check.problems(connection, expectation, columns),
                *_refused(connection, suite, expectation, unsure),
            ]
        yield from (f"{suite.path}:{expectation.line}: {what}" for what in found)


def _missing(suite: Suite, expectation: Expectation, columns: Columns) -> Iterator[str]:
    if expectation.rows == "new" and "_run_id" not in columns:
        yield f"rows: new needs the column _run_id, which {suite.name} has not; extracted tables have it"
    if expectation.kind.class_name.startswith(("ExpectTable", "ExpectColumnToExist")):
        return
    for column in dict.fromkeys(expectation.columns):
        if column not in columns:
            yield f"{expectation.kind.name}: {suite.name} has no column {column}{_near(column, columns)}"


def _uncompiled(connection: Any, expectation: Expectation) -> Iterator[str]:
    for argument in _COMPILED:
        told = expectation.arguments.get(argument)
        for text in [told] if isinstance(told, str) else told or ():
            try:
                connection.execute("select regexp_matches('', ?)", [text])
            except Error as error:
                what = f"found {text!r}, expected a regular expression of RE2: {_said(error)}"
                yield f"{expectation.kind.name}.{argument}: {what}"


def _refused(connection: Any, suite: Suite, expectation: Expectation, unsure: Iterable[str]) -> Iterator[str]:
    """What DuckDB says of the row condition and of the query."""
    schema, table = quoted(suite.schema), quoted(suite.table)
    rows = f"select * from {schema}.{table}"
    if expectation.row_condition:
        rows += f" where ({expectation.row_condition}\n)"
        if why := _explained(connection, rows, unsure):
            yield f"row_condition: {why}"
            return
    if expectation.is_query:
        (query,) = expectation.arguments.values()
        filled = str(query).strip().rstrip(";").format(batch=f"({rows})")
        selected: list[str] = []
        if why := _explained(connection, f"select * from (\n{filled}\n) as unexpected_rows", unsure, selected):
            yield f"{expectation.kind.name}: {why}"
        elif (
            selected and suite.key and suite.on_fail(expectation) == "quarantine" and suite.key.lower() not in selected
        ):
            yield f"on_fail: quarantine holds rows by {suite.key}, which the query does not select"


def _explained(connection: Any, sql: str, unsure: Iterable[str], selected: list[str] | None = None) -> str:
    """Why DuckDB would not run a statement; empty where it would, or where a table of it is not built yet.

    The columns that it selects are added to ``selected``, in lower case; none where a table of it is not built yet.
    """
    try:
        connection.execute(f"explain {sql}")
        found = connection.execute(f"describe {sql}").fetchall()
    except Error as error:
        missing = re.search(r"Table with name \"?(\w+)\"? does not exist", str(error))
        return "" if missing and missing[1].lower() in unsure else _said(error)
    if selected is not None:
        selected += [column.lower() for column, *_ in found]
    return ""


def _said(error: Exception) -> str:
    """DuckDB's message on one line, without the statement that it repeats."""
    text = re.split(r"\n\s*(?:LINE \d+:|\n)", str(error).strip())[0]
    return " ".join(text.split())


def _near(name: str, known: Iterable[str]) -> str:
    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def _line(path: Path, key: str) -> int:
    """The line of a suite's own key."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((at for at, line in enumerate(lines, 1) if line.startswith(f"{key}:")), 1)


def _hints(suite: Suite, stated: Table | None) -> Iterator[str]:
    """Rules that dbt sees to already, on all rows and all of each."""
    for expectation in suite.expectations:
        name = _STATED.get(expectation.kind.name)
        if name is None or stated is None or expectation.row_condition or expectation.arguments.get("mostly", 1) < 1:
            continue
        for column in expectation.columns:
            rule = stated.said(column, name)
            if rule is not None and _says_as_much(rule, expectation):
                yield (
                    f"{suite.path}:{expectation.line}: {expectation.kind.name} of {column} is stated by dbt already "
                    f"({rule.name}, {rule.by}); keep one"
                )


def _says_as_much(rule: Rule, expectation: Expectation) -> bool:
    """Whether dbt's rule lets nothing through that the expectation would not."""
    return rule.name != "accepted_values" or set(rule.values) <= set(map(str, expectation.arguments["value_set"]))
