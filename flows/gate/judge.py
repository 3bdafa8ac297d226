"""Great Expectations judges a suite's table, in SQL on the warehouse's own connection.

Nothing of a table but counts, sums and a few sample values comes to Python: rows that fail go from table to table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any

from flows.errors import ConfigError
from flows.gate import answers, engine, failing, quarantine, reading
from flows.gate.catalogue import PYTHON
from flows.gate.declared import Expectation, Suite
from flows.gate.failing import Failing
from flows.gate.results import ExpectationResult, GateReport, Quarantine, Stage, store
from flows.warehouse import Error, Warehouse, quoted

NEW_ROWS = "\"_run_id\" not in (select run_id from ops.runs where state = 'done')"
"""Rows that no finished run has carried: the night's own, and those of runs that stopped."""

# Which rows fail is asked once it is known that some do: looking for a few of them may mean to read the whole table.
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}
# The few expectations on the table that list values need room for them.
_LISTS = {"result_format": "BASIC", "partial_unexpected_count": 20}


NOTHING_PERSONAL: Mapping[str, Collection[str]] = MappingProxyType({})


def check(
    suite: Suite,
    warehouse: Warehouse,
    *,
    run_id: str,
    stage: Stage,
    pii: Mapping[str, Collection[str]] = NOTHING_PERSONAL,
) -> GateReport:
    """Judge a suite's table, hold back rows, and write the results to ``quality.results``.

    A failed expectation is a result and raises nothing (see `flows.gate.verdict`); so is one that cannot be judged
    because a table or a column is missing or SQL fails. Rows are held back in ``quality.quarantine``, of a table that
    has a key (see `flows.gate.with_keys`).

    Args:
        suite: what to judge.
        warehouse: the thread's own cursor.
        run_id: the run.
        stage: raw (before the transform), crm (before the push) or crm_after (what the CRM gave back).
        pii: ``<schema>.<table>`` in lower case -> columns whose values are not shown, beside those that the suite
            names; of every table that a query may read, as what is not named here may be personal.

    Returns:
        One result for each expectation, in the suite's order, and what is held back.

    Raises:
        ConfigError: Great Expectations refuses an expectation's arguments.
        WarehouseError: the results cannot be written.
    """
    started = time.monotonic()
    at = datetime.now(UTC).replace(tzinfo=None)
    work = _Work.begin(suite, warehouse, pii)
    for condition, positions in work.judgeable().items():
        work.results.update(_without_new_rows(work, condition, positions))
    if groups := work.judgeable():
        python = any(suite.expectations[at].kind.name in PYTHON for positions in groups.values() for at in positions)
        with engine.datasource(warehouse, python=python) as datasource:
            for condition, positions in groups.items():
                _judge(work, datasource, condition, positions)
    held = _hold(work, run_id, at) if suite.holds and work.columns else None
    report = GateReport(
        run_id=run_id,
        stage=stage,
        table=suite.name,
        results=tuple(work.results[position] for position in range(len(suite.expectations))),
        seconds=time.monotonic() - started,
        checked_at=at,
        quarantine=held,
    )
    store(report, warehouse)
    return report


@dataclass(frozen=True, slots=True)
class _Work:
    """One suite while it is judged.

    Attributes:
        suite: the suite.
        warehouse: the thread's own cursor.
        columns: the table's columns; None where there is no table.
        hidden: those whose values are not shown.
        elsewhere: positions of expectations whose SQL reads what is personal in another table.
        results: position in the suite -> result, as far as there is one.
        failing: expectation's id -> the rows that are to be held back.
    """

    suite: Suite
    warehouse: Warehouse
    columns: Collection[str] | None
    hidden: frozenset[str]
    elsewhere: frozenset[int]
    results: dict[int, ExpectationResult]
    failing: dict[str, Failing]

    @classmethod
    def begin(cls, suite: Suite, warehouse: Warehouse, pii: Mapping[str, Collection[str]]) -> _Work:
        """Look at the table, and say of which expectations it lacks what they need."""
        columns = warehouse.columns(_relation(suite)) if warehouse.exists(suite.schema, suite.table) else None
        missing = {
            position: answers.unjudged(suite, expectation, why)
            for position, expectation in enumerate(suite.expectations)
            if (why := _missing(suite, expectation, columns))
        }
        own = suite.name.lower()
        elsewhere = frozenset(
            position
            for position, expectation in enumerate(suite.expectations)
            if position not in missing
            if (sql := failing.own_sql(expectation))
            if reading.is_personal(reading.tables_of(sql, warehouse, own=failing.ROWS), warehouse, {own: (), **pii})
        )
        return cls(suite, warehouse, columns, _hidden(suite, columns or {}, pii.get(own, ())), elsewhere, missing, {})

    def hides(self, position: int) -> Collection[str]:
        """The columns whose values an expectation does not show: all where it reads what is personal elsewhere."""
        return frozenset(self.columns or ()) if position in self.elsewhere else self.hidden

    def place(self) -> tuple[str, ...]:
        """The columns by which people find a row: its key, or its file and its place there; never a hidden one."""
        columns = self.columns or ()
        own = next((column for column in columns if self.suite.key and column.lower() == self.suite.key.lower()), None)
        found = (own,) if own else (failing.FILE, failing.ROW)
        return found if set(found) <= set(columns) - self.hidden else ()

    def judgeable(self) -> dict[str, list[int]]:
        """The expectations without a result, by the rows that they judge."""
        groups: dict[str, list[int]] = {}
        for position, expectation in enumerate(self.suite.expectations):
            if position not in self.results:
                groups.setdefault(_condition(self.suite, expectation), []).append(position)
        return groups


def _relation(suite: Suite) -> str:
    return f"{quoted(suite.schema)}.{quoted(suite.table)}"


def _hidden(suite: Suite, columns: Collection[str], pii: Collection[str]) -> frozenset[str]:
    """The columns whose values are not shown, as the table spells them (DuckDB knows no case)."""
    named = {name.lower() for name in (*suite.pii, *pii)}
    # A suite that names a column which is not there is misspelt or out of date: better to show nothing.
    misspelt = {name.lower() for name in suite.pii} - {column.lower() for column in columns}
    return frozenset(column for column in columns if misspelt or column.lower() in named)


def _condition(suite: Suite, expectation: Expectation) -> str:
    """The rows to judge, as SQL; empty for all."""
    parts = [f"({said}\n)" for said in (suite.only, expectation.row_condition) if said]
    return " and ".join([*parts, NEW_ROWS] if expectation.rows == "new" else parts)


def _missing(suite: Suite, expectation: Expectation, columns: Mapping[str, str] | None) -> str:
    """Which table or column the expectation needs and does not find; empty where all are there."""
    if columns is None:
        return f"there is no table {suite.name} in the warehouse"
    if expectation.rows == "new" and "_run_id" not in columns:
        return f"rows: new needs the column _run_id, which {suite.name} has not; extracted tables have it"
    if not expectation.kind.class_name.startswith(("ExpectTable", "ExpectColumnToExist")):
        for column in expectation.columns:
            if column not in columns:
                near = get_close_matches(column.lower(), {name.lower(): name for name in columns}, n=1)
                meant = next((name for name in columns if near and name.lower() == near[0]), None)
                return f"{suite.name} has no column {column}" + (f"; did you mean {meant}?" if meant else "")
    return ""


def _without_new_rows(work: _Work, condition: str, positions: Sequence[int]) -> dict[int, ExpectationResult]:
    """Pass what judges new rows only where there are none."""
    suite = work.suite
    if NEW_ROWS not in condition or work.warehouse.scalar(f"select 1 from {_relation(suite)} where {NEW_ROWS} limit 1"):
        return {}
    passed = {
        at: answers.result(suite, suite.expectations[at], passed=True, observed="no new rows") for at in positions
    }
    return {at: replace(r, evaluated_rows=0, unexpected_rows=0) if r.row_level else r for at, r in passed.items()}


def _judge(work: _Work, datasource: Any, condition: str, positions: Sequence[int]) -> None:
    """Judge the expectations that look at the same rows, in as few statements as Great Expectations can bundle."""
    gx = engine.great_expectations()
    suite = work.suite
    # A row condition is SQL here, while that of Great Expectations is a small language of its own: so the rows are
    # chosen by the query that the expectations judge.
    rows = f"select * from {_relation(suite)}" + (f" where {condition}" if condition else "")
    asset = datasource.add_query_asset(f"rows {positions[0]}", query=rows)
    batch = asset.add_batch_definition_whole_table("all").get_batch()
    built = {position: _built(gx, suite, position) for position in positions}
    for result_format in (_COUNTS_ONLY, _LISTS):
        chosen = [each for at, each in built.items() if _format(suite.expectations[at]) is result_format]
        if not chosen:
            continue
        judged = batch.validate(gx.ExpectationSuite(name=suite.name, expectations=chosen), result_format=result_format)
        for answer in judged.results:
            position = answer.expectation_config.meta["position"]
            work.results[position] = answers.read(suite, suite.expectations[position], answer, work.hides(position))
    execution = datasource.get_execution_engine()
    for position, each in built.items():
        expectation = suite.expectations[position]
        holds = suite.on_fail(expectation) == "quarantine"
        if work.results[position].unexpected_rows or (holds and expectation.is_query):
            key = suite.key if holds else None
            _look(work, position, partial(_failing, work, expectation, rows, key, each, batch, execution))


def _format(expectation: Expectation) -> Mapping[str, Any]:
    return _LISTS if "distinct_values" in expectation.kind.name else _COUNTS_ONLY


def _failing(
    work: _Work, expectation: Expectation, rows: str, key: str | None, built: Any, batch: Any, execution: Any
) -> Failing:
    if expectation.is_query:
        return failing.of_query(expectation, rows, work.warehouse, key)
    return failing.of_rows(expectation, built, batch, execution, key, work.place())


def _look(work: _Work, position: int, query: Callable[[], Failing]) -> None:
    """Look at the rows that fail an expectation: show a few, and remember the query where they are to be held back."""
    suite, expectation, result = work.suite, work.suite.expectations[position], work.results[position]
    try:
        found = query()
        shown = not answers.private(expectation, work.hides(position))
        few = found.few(work.warehouse, keyed=expectation.is_query, values=shown)
        rows = [values for values, _ in few] if shown else []
        if not shown and expectation.is_query and suite.key:
            rows = found.keys(work.warehouse, suite.key, f"select {quoted(suite.key)} from {_relation(suite)}")
        samples = answers.samples(rows, whole=expectation.is_query)
        result = replace(result, samples=samples, failing_rows=answers.places(where for _, where in few))
    except failing.KeylessError as error:
        result = answers.unjudged(suite, expectation, str(error))
    except Error as error:
        result = answers.broken(suite, expectation, str(error), work.hides(position))
    else:
        if result.on_fail == "quarantine" and not result.passed:
            work.failing[result.id] = found
    work.results[position] = result


def _hold(work: _Work, run_id: str, at: datetime) -> Quarantine:
    """Hold back what fails, of every expectation that asks for it."""
    suite, db = work.suite, work.warehouse
    holding = {p: each for p, each in enumerate(suite.expectations) if suite.on_fail(each) == "quarantine"}
    # A query may name a row several times, so that its count is not one of rows.
    found = [work.results[p] for p, each in holding.items() if not each.is_query]
    failed = {r.id: r.unexpected_rows for r in found if r.unexpected_rows and r.id in work.failing}
    held = quarantine.crowded(db, suite, run_id, at, failed)
    if held is None:
        quarantine.begin(db)
        for position, expectation in holding.items():
            if query := work.failing.get(suite.id(expectation)):
                # A query may give a hidden column's value any name, or make another value of it.
                hidden = work.hides(position)
                hidden = query.columns.values() if expectation.is_query and hidden else hidden
                try:
                    quarantine.collect(db, suite.id(expectation), query, hidden)
                except Error as error:
                    work.results[position] = answers.broken(suite, expectation, str(error), hidden)
        judged = {suite.id(each): each for p, each in holding.items() if work.results[p].evaluated}
        unjudged = {suite.id(each) for each in holding.values()} - judged.keys()
        held = quarantine.hold(db, suite, run_id, at, judged, unjudged)
        quarantine.end(db)
    for position in holding:
        result = work.results[position]
        work.results[position] = replace(result, quarantined_rows=held.held_by.get(result.id, 0))
    return held


def _built(gx: Any, suite: Suite, position: int) -> Any:
    expectation = suite.expectations[position]
    arguments = dict(expectation.arguments)
    if expectation.is_query:
        arguments = dict.fromkeys(arguments, failing.query(expectation, "select * from {batch}"))
    try:
        kind = getattr(gx.expectations, expectation.kind.class_name)
        return kind(**arguments, severity=expectation.severity, meta={"position": position})
    except (ValueError, gx.exceptions.GreatExpectationsError) as error:  # pydantic's errors are ValueErrors
        raise ConfigError(
            f"{suite.path}:{expectation.line}: {expectation.kind.name}: {' '.join(str(error).split())}",
            safe="Nothing was sent.",
            todo="Correct the expectation's arguments.",
        ) from error
