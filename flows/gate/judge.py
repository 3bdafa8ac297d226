"""Great Expectations judges a suite's table, in SQL on the warehouse's own connection.

Nothing of a table but counts, sums and a few sample values comes to Python.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from flows.errors import ConfigError
from flows.gate.catalogue import SQL
from flows.gate.results import ExpectationResult, GateReport, Stage, store
from flows.gate.suites import Expectation, Suite
from flows.warehouse import Warehouse, quoted

NEW_ROWS = "\"_run_id\" not in (select run_id from ops.runs where state = 'done')"
"""Rows that no finished run has carried: the night's own, and those of runs that stopped."""

_SAMPLES = 5
_SAMPLE_LENGTH = 80
# Enough values to find a few different ones; more would only cost memory.
_RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 20}
# Only COMPLETE shows rows of a query; Great Expectations fetches 200 at most.
_QUERY_FORMAT = {"result_format": "COMPLETE"}
_COUNTS = ("unique_value_count", "proportion_of")
"""What a table-level expectation's name says when its observed value is a count or a share, not a column's value."""

# Great Expectations keeps its current context in a global, so that two threads must not judge at once.
_one_at_a_time = threading.Lock()


def warm_up() -> None:
    """Import Great Expectations, which takes 3 to 6 seconds; for a thread beside earlier stages.

    Raises nothing: what goes wrong here is raised by `check`.
    """
    with suppress(Exception):  # check() imports again, and raises
        _great_expectations()


def _great_expectations() -> Any:
    # Whoever configures the root logger (dbt does) would show its progress otherwise.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations
    import great_expectations.expectations

    import flows.gate.dialect  # noqa: F401  # registers it

    return great_expectations


def check(suite: Suite, warehouse: Warehouse, *, run_id: str, stage: Stage, pii: Collection[str] = ()) -> GateReport:
    """Judge a suite's table and write the results to ``quality.results``.

    A failed expectation is a result and raises nothing (see `flows.gate.verdict`); so is one that cannot be judged
    because a table or a column is missing or SQL fails.

    Args:
        suite: what to judge.
        warehouse: the thread's own cursor.
        run_id: the run.
        stage: raw (before the transform) or crm (before the push).
        pii: columns whose values are not shown, beside those that the suite names.

    Returns:
        One result for each expectation, in the suite's order.

    Raises:
        ConfigError: Great Expectations refuses an expectation's arguments.
        WarehouseError: the results cannot be written.
    """
    started = time.monotonic()
    results: dict[int, ExpectationResult] = {}
    judgeable: dict[str, list[int]] = {}
    columns = warehouse.columns(_relation(suite)) if warehouse.exists(suite.schema, suite.table) else None
    hidden = _hidden(suite, columns or {}, pii)
    for position, expectation in enumerate(suite.expectations):
        if missing := _missing(suite, expectation, columns):
            results[position] = _unjudged(expectation, missing)
        else:
            judgeable.setdefault(_condition(expectation), []).append(position)
    results |= _without_new_rows(suite, warehouse, judgeable)
    if judgeable:
        with _one_at_a_time, _datasource(warehouse) as datasource:
            for condition, positions in judgeable.items():
                results |= _judged(suite, datasource, condition, positions, hidden)
    report = GateReport(
        run_id=run_id,
        stage=stage,
        table=suite.name,
        results=tuple(results[position] for position in range(len(suite.expectations))),
        seconds=time.monotonic() - started,
        checked_at=datetime.now(UTC).replace(tzinfo=None),
    )
    store(report, warehouse)
    return report


def _relation(suite: Suite) -> str:
    return f"{quoted(suite.schema)}.{quoted(suite.table)}"


def _hidden(suite: Suite, columns: Collection[str], pii: Collection[str]) -> frozenset[str]:
    """The columns whose values are not shown, as the table spells them (DuckDB knows no case)."""
    named = {name.lower() for name in (*suite.pii, *pii)}
    # A suite that names a column which is not there is misspelt or out of date: better to show nothing.
    misspelt = {name.lower() for name in suite.pii} - {column.lower() for column in columns}
    return frozenset(column for column in columns if misspelt or column.lower() in named)


def _condition(expectation: Expectation) -> str:
    """The rows to judge, as SQL; empty for all."""
    parts = [f"({expectation.row_condition}\n)"] if expectation.row_condition else []
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


def _without_new_rows(
    suite: Suite, warehouse: Warehouse, judgeable: dict[str, list[int]]
) -> dict[int, ExpectationResult]:
    """Pass what judges new rows only where there are none, and take it out of what is to be judged."""
    waiting = [at for positions in judgeable.values() for at in positions if suite.expectations[at].rows == "new"]
    if not waiting or warehouse.scalar(f"select 1 from {_relation(suite)} where {NEW_ROWS} limit 1"):
        return {}
    for condition in [c for c, positions in judgeable.items() if set(positions) <= set(waiting)]:
        del judgeable[condition]
    passed = {at: _result(suite.expectations[at], passed=True, observed="no new rows") for at in waiting}
    return {at: replace(r, evaluated_rows=0, unexpected_rows=0) if r.row_level else r for at, r in passed.items()}


@contextmanager
def _datasource(warehouse: Warehouse) -> Iterator[Any]:
    """The warehouse as a SQL datasource of Great Expectations, in a context that leaves nothing on disk."""
    gx = _great_expectations()
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    from flows.gate import dialect

    # Without a configuration of our own a context makes a temporary folder for a site that nobody asked for.
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    with dialect.lent(warehouse) as url:
        context = gx.get_context(mode="ephemeral", project_config=config)
        datasource = context.data_sources.add_sql("warehouse", connection_string=url)
        engine = datasource.get_execution_engine()
        # Great Expectations knows by the dialect's module what a database can do (regular expressions, LIKE). It finds
        # the module by a list of databases without DuckDB; there is no public way to tell it, but the attribute.
        engine.dialect_module = dialect
        try:
            yield datasource
        finally:
            engine.engine.dispose()
            datasource.get_engine().dispose()


def _judged(
    suite: Suite, datasource: Any, condition: str, positions: Sequence[int], hidden: frozenset[str]
) -> dict[int, ExpectationResult]:
    """Judge the expectations that look at the same rows, in as few statements as Great Expectations can bundle."""
    gx = _great_expectations()
    # A row condition is SQL here, while that of Great Expectations is a small language of its own: so the rows are
    # chosen by the query that the expectations judge.
    query = f"select * from {_relation(suite)}" + (f" where {condition}" if condition else "")
    asset = datasource.add_query_asset(f"rows {positions[0]}", query=query)
    built = {position: _built(gx, suite, position) for position in positions}
    results: dict[int, ExpectationResult] = {}
    for result_format in (_RESULT_FORMAT, _QUERY_FORMAT):
        chosen = [
            expectation
            for position, expectation in built.items()
            if (suite.expectations[position].kind.name == SQL) == (result_format is _QUERY_FORMAT)
        ]
        if not chosen:
            continue
        batch = asset.add_batch_definition_whole_table(str(result_format["result_format"])).get_batch()
        judged = batch.validate(gx.ExpectationSuite(name=suite.name, expectations=chosen), result_format=result_format)
        for answer in judged.results:
            position = answer.expectation_config.meta["position"]
            results[position] = _read(suite.expectations[position], answer, hidden)
    return results


def _built(gx: Any, suite: Suite, position: int) -> Any:
    expectation = suite.expectations[position]
    arguments = dict(expectation.arguments)
    if expectation.kind.name == SQL:
        # Great Expectations puts the query between brackets, on the line of its end, which may be a comment.
        (query,) = arguments.values()
        arguments = dict.fromkeys(arguments, f"select * from (\n{query.strip().rstrip(';')}\n) as unexpected_rows")
    try:
        kind = getattr(gx.expectations, expectation.kind.class_name)
        return kind(**arguments, severity=expectation.severity, meta={"position": position})
    except (ValueError, gx.exceptions.GreatExpectationsError) as error:  # pydantic's errors are ValueErrors
        raise ConfigError(
            f"{suite.path}:{expectation.line}: {expectation.kind.name}: {' '.join(str(error).split())}",
            safe="Nothing was sent.",
            todo="Correct the expectation's arguments.",
        ) from error


def _result(expectation: Expectation, *, passed: bool, observed: str | None = None) -> ExpectationResult:
    return ExpectationResult(
        expectation=expectation.kind.name,
        column=", ".join(expectation.columns) or None,
        severity=expectation.severity,
        passed=passed,
        row_level=expectation.kind.row_level,
        expected=expectation.expected,
        observed=observed,
        detail=expectation.description,
        owner=expectation.owner,
    )


def _unjudged(expectation: Expectation, why: str) -> ExpectationResult:
    return replace(_result(expectation, passed=False), evaluated=False, detail=f"could not be judged: {why}")


def _read(expectation: Expectation, answer: Any, hidden: frozenset[str]) -> ExpectationResult:
    """Turn one answer of Great Expectations into a result."""
    if why := _exception(answer.exception_info):
        return _unjudged(expectation, _without_values(why) if hidden else why)
    found = answer.result or {}
    private = bool(hidden) if expectation.kind.name == SQL else not hidden.isdisjoint(expectation.columns)
    result = replace(
        _result(expectation, passed=bool(answer.success)),
        samples=() if private else _samples(found),
    )
    if expectation.kind.row_level:
        judged = found["element_count"] - (found.get("missing_count") or 0)
        unexpected = found["unexpected_count"] or 0  # None for an empty table
        observed = f"{unexpected:,} of {judged:,} rows"
        return replace(result, observed=observed, evaluated_rows=judged, unexpected_rows=unexpected)
    if expectation.kind.name == SQL:
        rows = found["observed_value"]
        return replace(result, observed=f"{rows:,} rows", unexpected_rows=rows)
    shown = not private or any(word in expectation.kind.name for word in _COUNTS)
    exact = bool(expectation.arguments.get("exact_match", True))
    return replace(result, observed=_observed(found, success=result.passed, exact=exact) if shown else None)


def _exception(info: Mapping[str, Any]) -> str:
    """Why Great Expectations could not judge; empty where it could."""
    infos = [info] if "raised_exception" in info else list(info.values())
    raised = [str(i.get("exception_message") or "unknown error") for i in infos if i.get("raised_exception", True)]
    if not raised:
        return ""
    # SQLAlchemy's text holds the driver's message, then the statement.
    first = raised[0].split("[SQL:")[0].strip()
    return " ".join(re.sub(r"^\(\S+\)\s*", "", first).split())


def _without_values(why: str) -> str:
    """An error's text where it speaks of the SQL; only its kind where it may quote a value of the table."""
    if re.match(r"(Binder|Catalog|Parser) Error", why):
        return why
    kind = re.match(r"\w+ Error", why)
    return f"{kind[0] if kind else 'an error'} (its text is left out, since it may quote personal data)"


def _observed(found: Mapping[str, Any], *, success: bool, exact: bool) -> str:
    """What a table-level expectation saw, as text."""
    details = found.get("details") or {}
    mismatched = details.get("mismatched") if isinstance(details, Mapping) else None
    if isinstance(mismatched, Mapping):
        wrong = ("missing", "unexpected") if exact else ("missing",)
        named = "; ".join(f"{what}: {_text(mismatched[what])}" for what in wrong if what in mismatched)
        return "as expected" if success else named
    for what in ("unexpected", "missing"):
        if values := found.get(f"partial_{what}_list"):
            return f"{what}: {_text(values)}"
    if found.get("observed_value") is None:
        return "as expected" if success else "nothing"
    return _text(found["observed_value"])


def _samples(found: Mapping[str, Any]) -> tuple[str, ...]:
    """A few different values (of a query: rows) that failed."""
    details = found.get("details") or {}
    values = details.get("unexpected_rows", ()) if isinstance(details, Mapping) else ()
    texts = (_text(value) for value in [*(found.get("partial_unexpected_list") or ()), *values] if value is not None)
    return tuple(dict.fromkeys(texts))[:_SAMPLES]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}={_text(part)}" for name, part in value.items())
    elif isinstance(value, list | tuple | set):
        text = ", ".join(map(_text, value))
    elif isinstance(value, float):
        text = f"{value:.12g}"
    else:
        text = str(value)
    return text if len(text) <= _SAMPLE_LENGTH else text[: _SAMPLE_LENGTH - 1] + "…"
