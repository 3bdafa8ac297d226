"""Great Expectations' answers as results: what people see of them, and what of it may be personal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from flows.gate.declared import Expectation, Suite
from flows.gate.results import ExpectationResult
from flows.warehouse import without_values

MOST_SAMPLES = 5
_LONGEST = 80
"""Characters of a sample, and of an observed value."""
_COUNTS = ("unique_value_count", "proportion_of")
"""What a table-level expectation's name says when its observed value is a count or a share, not a column's value."""

_DIVERGENCE = "expect_column_kl_divergence_to_be_less_than"
_OF_NOTHING = ("division by zero", "unsupported operand type(s) for /: 'NoneType' and ")
"""How its error begins where the column has no values; other expectations do not raise when they find nothing."""


def result(suite: Suite, expectation: Expectation, *, passed: bool, observed: str | None = None) -> ExpectationResult:
    """A result without what was counted.

    Args:
        suite: the expectation's suite.
        expectation: the expectation.
        passed: whether it held.
        observed: what was found, as text.
    """
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
        id=suite.id(expectation),
        on_fail=suite.on_fail(expectation),
    )


def unjudged(suite: Suite, expectation: Expectation, why: str) -> ExpectationResult:
    """The result of an expectation that could not be judged.

    Args:
        suite: the expectation's suite.
        expectation: the expectation.
        why: in words.
    """
    failed = result(suite, expectation, passed=False)
    return replace(failed, evaluated=False, detail=f"could not be judged: {why}")


def broken(suite: Suite, expectation: Expectation, text: str, hidden: Collection[str]) -> ExpectationResult:
    """The result of an expectation over which SQL failed.

    Args:
        suite: the expectation's suite.
        expectation: the expectation.
        text: what the database said.
        hidden: the columns whose values are not shown; the text may quote one.
    """
    # SQLAlchemy's text holds the driver's message, then the statement.
    first = text.split("[SQL:")[0].strip()
    why = " ".join(re.sub(r"^\(\S+\)\s*", "", first).split())
    return unjudged(suite, expectation, without_values(why) if hidden else why)


def private(expectation: Expectation, hidden: Collection[str]) -> bool:
    """Whether what fails an expectation may be personal: a query may show any column."""
    return bool(hidden) if expectation.is_query else not set(hidden).isdisjoint(expectation.columns)


def read(suite: Suite, expectation: Expectation, answer: Any, hidden: Collection[str]) -> ExpectationResult:
    """Turn one answer of Great Expectations into a result, without samples.

    Args:
        suite: the expectation's suite.
        expectation: the expectation.
        answer: Great Expectations' ``ExpectationValidationResult``.
        hidden: the columns whose values are not shown.
    """
    if why := _exception(answer.exception_info):
        if expectation.kind.name == _DIVERGENCE and why.startswith(_OF_NOTHING):
            return result(suite, expectation, passed=False, observed="nothing")
        return broken(suite, expectation, why, hidden)
    found = answer.result or {}
    plain = result(suite, expectation, passed=bool(answer.success))
    if expectation.kind.row_level:
        judged = found["element_count"] - (found.get("missing_count") or 0)
        unexpected = found["unexpected_count"] or 0  # None for an empty table
        observed = f"{unexpected:,} of {judged:,} rows"
        return replace(plain, observed=observed, evaluated_rows=judged, unexpected_rows=unexpected)
    if expectation.is_query:
        rows = found["observed_value"]
        return replace(plain, observed=f"{rows:,} rows", unexpected_rows=rows)
    shown = not private(expectation, hidden) or any(word in expectation.kind.name for word in _COUNTS)
    exact = bool(expectation.arguments.get("exact_match", True))
    return replace(plain, observed=_observed(found, success=plain.passed, exact=exact) if shown else None)


def _exception(info: Mapping[str, Any]) -> str:
    """Why Great Expectations could not judge; empty where it could."""
    infos = [info] if "raised_exception" in info else list(info.values())
    raised = [str(i.get("exception_message") or "unknown error") for i in infos if i.get("raised_exception", True)]
    return raised[0] if raised else ""


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


def samples(rows: Iterable[Mapping[str, Any]], *, whole: bool) -> tuple[str, ...]:
    """A few different values, or rows, that failed, as text.

    Args:
        rows: column -> value.
        whole: whether every row is shown with its columns' names, even where it is one value.
    """
    texts = []
    for row in rows:
        values = list(row.values())
        if whole or len(values) > 1:
            texts.append(_text(row))
        elif values[0] is not None:
            texts.append(_text(values[0]))
    return tuple(dict.fromkeys(texts))[:MOST_SAMPLES]


def places(found: Iterable[str]) -> tuple[str, ...]:
    """A few of the rows that failed, by where they are."""
    return tuple(_text(where) for where in dict.fromkeys(found) if where)[:MOST_SAMPLES]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}={_text(part)}" for name, part in value.items())
    elif isinstance(value, list | tuple | set):
        text = ", ".join(map(_text, value))
    elif isinstance(value, float):
        text = f"{value:.12g}"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
