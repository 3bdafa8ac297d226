"""Expectations against the types of the columns that they judge: what DuckDB or Great Expectations refuses to compare.

Only what is sure is told. Columns of types that are none of a CRM's, and those whose type nobody knows, are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flows.gate import Expectation
from flows.project.types import family
from flows.warehouse import Error

_TEXT, _NUMBER, _TIME = frozenset(("text",)), frozenset(("whole", "number")), frozenset(("date", "time"))
_NUMBER_OR_FLAG = _NUMBER | {"boolean"}

_WORDS = {"text": "a text", "whole": "a number", "date": "a date or a time"}
_WANTED = {
    **dict.fromkeys(("column_mean_to_be_between", "column_stdev_to_be_between"), _NUMBER),
    **dict.fromkeys(("column_value_z_scores_to_be_less_than", "column_values_to_not_be_outliers"), _NUMBER),
    "multicolumn_sum_to_equal": _NUMBER,
    **dict.fromkeys(("column_sum_to_be_between", "column_median_to_be_between"), _NUMBER_OR_FLAG),
    "column_quantile_values_to_be_between": _NUMBER_OR_FLAG,
    **dict.fromkeys(("column_values_to_match_regex", "column_values_to_not_match_regex"), _TEXT),
    **dict.fromkeys(("column_values_to_match_regex_list", "column_values_to_not_match_regex_list"), _TEXT),
    **dict.fromkeys(("column_values_to_match_like_pattern", "column_values_to_not_match_like_pattern"), _TEXT),
    **dict.fromkeys(
        ("column_values_to_match_like_pattern_list", "column_values_to_not_match_like_pattern_list"), _TEXT
    ),
    **dict.fromkeys(("column_values_to_match_strftime_format", "column_values_to_be_dateutil_parseable"), _TEXT),
    "column_values_to_match_json_schema": _TEXT,
    **dict.fromkeys(("column_value_lengths_to_be_between", "column_value_lengths_to_equal"), _TEXT | {"list"}),
}
"""Expectation -> the families of types (`flows.project.types.family`) that it can judge."""
_BOUNDED = {
    "column_values_to_be_between": _NUMBER,
    **dict.fromkeys(("column_min_to_be_between", "column_max_to_be_between"), _NUMBER_OR_FLAG),
}
"""Expectations whose bounds are numbers, which these families can be compared with; or else dates."""
_SETS = (
    *("column_values_to_be_in_set", "column_values_to_not_be_in_set", "column_distinct_values_to_be_in_set"),
    *("column_distinct_values_to_contain_set", "column_distinct_values_to_equal_set"),
)
_ALIKE = (
    *("column_pair_values_a_to_be_greater_than_b", "column_pair_values_to_be_equal"),
    "multicolumn_values_to_be_equal",
)
"""Expectations that compare columns with each other."""


def problems(connection: Any, expectation: Expectation, types: Mapping[str, str]) -> Iterator[str]:
    """Say which columns an expectation cannot judge.

    Args:
        connection: a DuckDB, for its casts.
        expectation: the expectation; its columns are there.
        types: column -> DuckDB type; empty where nobody knows.
    """
    name = expectation.kind.name.removeprefix("expect_")
    wanted = _wanted(name, expectation.arguments)
    known = {c: types[c].upper() for c in dict.fromkeys(expectation.columns) if family(types.get(c, ""))}
    if wanted:
        for column, kind in known.items():
            if family(kind) not in wanted:
                word = next(word for one, word in _WORDS.items() if one in wanted)
                yield f"{expectation.kind.name}: {column} is {kind}, expected {word}"
    elif name in _SETS:
        for column, kind in known.items():
            values = expectation.arguments["value_set"] if family(kind) != "list" else ()
            if (other := next((value for value in values if not _fits(connection, value, kind)), None)) is not None:
                yield f"{expectation.kind.name}: {column} is {kind}, which {other!r} is none of"
    elif name in _ALIKE:
        yield from _unlike(expectation, known)


def _wanted(name: str, arguments: Mapping[str, Any]) -> frozenset[str]:
    """The families that an expectation can judge; none where it can judge any, or more than that is to be looked at."""
    if name in _BOUNDED:
        dates = isinstance(arguments.get("min_value", arguments.get("max_value")), str)
        return _TIME if dates else _BOUNDED[name]
    if name == "column_kl_divergence_to_be_less_than" and "bins" in arguments["partition_object"]:
        return _NUMBER
    return _WANTED.get(name, frozenset())


def _fits(connection: Any, value: object, kind: str) -> bool:
    """Whether a value can be compared with a column's: DuckDB casts one of them."""
    if family(kind) == "text":
        return isinstance(value, str)
    try:
        return bool(connection.execute(f"select try_cast(? as {kind}) is not null", [value]).fetchone()[0])
    except Error:  # no cast at all, such as of a number to a date
        return False


def _unlike(expectation: Expectation, known: Mapping[str, str]) -> Iterator[str]:
    """The first column that cannot be compared with the first of all."""
    groups = {c: next((g for g in (_TEXT, _NUMBER, _TIME) if family(kind) in g), None) for c, kind in known.items()}
    sure = [column for column, group in groups.items() if group]
    for other in sure[1:]:
        if groups[other] != groups[sure[0]]:
            yield (
                f"{expectation.kind.name}: {sure[0]} is {known[sure[0]]} and {other} is {known[other]}, "
                "which cannot be compared"
            )
            return
