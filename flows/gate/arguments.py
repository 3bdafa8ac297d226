"""What an expectation's arguments must be together; what each may be by itself is its schema's (`catalogue`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from math import isclose
from typing import Any

from jsonschema import Draft7Validator, SchemaError  # type: ignore[import-untyped]  # see `catalogue`

from flows.gate.catalogue import Kind

_TWO = (
    "expect_compound_columns_to_be_unique",
    "expect_multicolumn_sum_to_equal",
    "expect_multicolumn_values_to_be_equal",
    "expect_select_column_values_to_be_unique_within_record",
)
"""Expectations that Great Expectations refuses over one column."""


def problems(kind: Kind, arguments: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    """Say what of arguments can never hold, or is refused by Great Expectations at night.

    Args:
        kind: the expectation.
        arguments: argument -> value, each as its schema has it.

    Yields:
        The argument that it lies in, None where one is missing; and what is wrong.
    """
    bounds = {"min_value", "max_value"}
    if kind.name.endswith("_to_be_between") and bounds <= kind.arguments.keys() and not bounds & arguments.keys():
        yield None, f"{kind.name} needs min_value or max_value"
    strict = arguments.get("strict_min") or arguments.get("strict_max")
    if why := _bounds(arguments.get("min_value"), arguments.get("max_value"), strict=bool(strict)):
        yield "min_value", f"{kind.name}: {why}"
    if kind.name in _TWO and len(arguments.get("column_list", _TWO)) < 2:
        yield "column_list", f"{kind.name}.column_list: found one column, expected two or more"
    for bound in sorted(bounds & arguments.keys()) if kind.name.startswith("expect_table_") else ():
        if isinstance(arguments[bound], str):
            yield bound, f"{kind.name}.{bound}: found {arguments[bound]!r}, expected a number"
    for argument, wrong in _WRONG.items():
        if argument in arguments and (why := wrong(arguments[argument])):
            yield argument, f"{kind.name}.{argument}: {why}"


def _bounds(low: Any, high: Any, *, strict: bool = False) -> str:
    """Why no value can lie between two numbers or dates; empty where one can, or where one of them is not there."""
    if low is None or high is None:
        return ""
    try:
        first, last = (datetime.fromisoformat(each) if isinstance(each, str) else each for each in (low, high))
        if first < last or (first == last and not strict):
            return ""
    except (TypeError, ValueError):
        return f"{low} and {high} cannot be compared: give two numbers, or two dates"
    return f"no value lies between {low} and {high}" + (", since strict leaves them out" if first == last else "")


def _quantiles(told: Mapping[str, Any]) -> str:
    quantiles, ranges = told.get("quantiles", ()), told.get("value_ranges", ())
    if not all(isinstance(each, int | float) and 0 <= each <= 1 for each in quantiles):
        return f"found the quantiles {list(quantiles)}, expected numbers from 0 to 1"
    if len(quantiles) != len(ranges) or not all(isinstance(each, list) and len(each) == 2 for each in ranges):
        return f"found {len(ranges)} value_ranges, expected [lowest, highest] for each of {len(quantiles)} quantiles"
    return next((why for low, high in ranges if (why := _bounds(low, high))), "")


def _partition(told: Mapping[str, Any]) -> str:
    weights, values, bins = told.get("weights"), told.get("values"), told.get("bins")
    if not isinstance(weights, list) or not (isinstance(values, list) or isinstance(bins, list)):
        return f"found {', '.join(map(str, told)) or 'nothing'}, expected weights, and values or bins"
    if not all(isinstance(each, int | float) for each in weights) or not isclose(sum(weights), 1, abs_tol=1e-6):
        return f"found the weights {weights}, expected numbers that add up to 1"
    if isinstance(values, list):
        return "" if len(values) == len(weights) else f"found {len(values)} values and {len(weights)} weights"
    bins = bins or []
    if len(bins) != len(weights) + 1:
        return f"found {len(bins)} bins, expected the ends of {len(weights)}, which is one more"
    return "" if all(not _bounds(*pair, strict=True) for pair in pairwise(bins)) else "the bins do not ascend"


def _date_format(told: str) -> str:
    try:
        datetime.strptime(datetime.now(UTC).strftime(told), told)  # noqa: DTZ007  # as Great Expectations tries it
    except ValueError as error:
        return f"found {told!r}, expected a date format that both Python and DuckDB know: {error}"
    return ""


def _json_schema(told: Mapping[str, Any]) -> str:
    try:
        Draft7Validator.check_schema(told)
    except SchemaError as error:
        return f"found {told!r}, expected a JSON schema: {error.message}"
    return ""


_WRONG: Mapping[str, Callable[[Any], str]] = {
    "quantile_ranges": _quantiles,
    "partition_object": _partition,
    "strftime_format": _date_format,
    "json_schema": _json_schema,
}
"""Argument -> what says why a value of it can never be used."""
