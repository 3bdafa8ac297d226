"""Every expectation of the catalogue runs on DuckDB, and counts what SQL of our own counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from flows import gate
from flows.gate.catalogue import REFUSED, catalogue
from flows.warehouse import Warehouse
from tests.gate.conftest import SHIPPED

# Row-level: arguments -> (SQL: the rows that are judged, SQL: those of them that fail).
ROWS: list[tuple[str, dict[str, Any], str, str]] = [
    ("expect_column_values_to_not_be_null", {"column": "kind"}, "true", "kind is null"),
    ("expect_column_values_to_be_null", {"column": "kind"}, "true", "kind is not null"),
    ("expect_column_values_to_be_unique", {"column": "kind"}, "kind is not null", "true"),
    ("expect_column_values_to_be_unique", {"column": "number"}, "true", "false"),
    (
        "expect_column_values_to_be_in_set",
        {"column": "kind", "value_set": ["k0", "k1"]},
        "kind is not null",
        "kind = 'k2'",
    ),
    (
        "expect_column_values_to_not_be_in_set",
        {"column": "position", "value_set": [1, 2]},
        "true",
        "position in (1, 2)",
    ),
    (
        "expect_column_values_to_be_between",
        {"column": "Price", "min_value": 0, "max_value": 100.5, "strict_min": True},
        "true",
        '"Price" <= 0 or "Price" > 100.5',
    ),
    (
        "expect_column_values_to_be_between",
        {"column": "sold_at", "max_value": "2020-02-01"},
        "true",
        "sold_at > timestamp '2020-02-01'",
    ),
    (
        "expect_column_value_lengths_to_be_between",
        {"column": "number", "min_value": 2, "max_value": 2},
        "true",
        "length(number) <> 2",
    ),
    ("expect_column_value_lengths_to_equal", {"column": "number", "value": 3}, "true", "length(number) <> 3"),
    (
        "expect_column_value_z_scores_to_be_less_than",
        {"column": "position", "threshold": 1, "double_sided": False},
        "true",
        "(position - (select avg(position) from raw.lines)) / (select stddev(position) from raw.lines) >= 1",
    ),
    # Anywhere in the text, as in GX; DuckDB's own ~ would ask for the whole of it.
    ("expect_column_values_to_match_regex", {"column": "number", "regex": "7"}, "true", "not contains(number, '7')"),
    (
        "expect_column_values_to_match_regex",
        {"column": "number", "regex": r"^1\d*$"},
        "true",
        "not starts_with(number, '1')",
    ),
    (
        "expect_column_values_to_not_match_regex",
        {"column": "number", "regex": "^1|9$"},
        "true",
        "starts_with(number, '1') or ends_with(number, '9')",
    ),
    (
        "expect_column_values_to_match_regex_list",
        {"column": "number", "regex_list": ["^1", "9$"]},
        "true",
        "not starts_with(number, '1') and not ends_with(number, '9')",
    ),
    (
        "expect_column_values_to_match_regex_list",
        {"column": "number", "regex_list": ["^1", "9$"], "match_on": "all"},
        "true",
        "not starts_with(number, '1') or not ends_with(number, '9')",
    ),
    (
        "expect_column_values_to_not_match_regex_list",
        {"column": "number", "regex_list": ["^1", "9$"]},
        "true",
        "starts_with(number, '1') or ends_with(number, '9')",
    ),
    (
        "expect_column_values_to_match_like_pattern",
        {"column": "email", "like_pattern": "%@example.com"},
        "true",
        "not contains(email, '@')",
    ),
    (
        "expect_column_values_to_not_match_like_pattern",
        {"column": "number", "like_pattern": "1_"},
        "true",
        "position between 10 and 19",
    ),
    (
        "expect_column_values_to_match_like_pattern_list",
        {"column": "number", "like_pattern_list": ["1%", "2%"]},
        "true",
        "number[1] not in ('1', '2')",
    ),
    (
        "expect_column_values_to_not_match_like_pattern_list",
        {"column": "number", "like_pattern_list": ["1%", "2%"]},
        "true",
        "number[1] in ('1', '2')",
    ),
    (
        "expect_column_values_to_match_strftime_format",
        {"column": "day", "strftime_format": "%d.%m.%Y"},
        "day <> ''",
        "try_strptime(day, '%d.%m.%Y') is null",
    ),
    ("expect_column_values_to_be_dateutil_parseable", {"column": "day"}, "day is not null", "position % 7 = 1"),
    ("expect_column_values_to_be_json_parseable", {"column": "paper"}, "true", "position % 9 = 2"),
    (
        "expect_column_values_to_match_json_schema",
        {"column": "paper", "json_schema": {"type": "object", "required": ["n"], "properties": {"n": {"minimum": 9}}}},
        "true",
        "position % 9 in (2, 3) or position < 9",
    ),
    (
        "expect_column_values_to_not_be_outliers",
        {"column": "Price", "method": "iqr", "multiplier": 0.1},
        "true",
        '"Price" not between (select quantile_cont("Price", 0.25) - 0.1 * (quantile_cont("Price", 0.75) - '
        'quantile_cont("Price", 0.25)) from raw.lines) and (select quantile_cont("Price", 0.75) + 0.1 * '
        '(quantile_cont("Price", 0.75) - quantile_cont("Price", 0.25)) from raw.lines)',
    ),
    (
        "expect_column_values_to_not_be_outliers",
        {"column": "position", "method": "std", "multiplier": 1.5},
        "true",
        "abs(position - (select avg(position) from raw.lines)) >= 1.5 * (select stddev(position) from raw.lines)",
    ),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "Price", "column_B": "position", "or_equal": True},
        "true",
        '"Price" < position',
    ),
    (
        "expect_column_pair_values_to_be_equal",
        {"column_A": "number", "column_B": "kind", "ignore_row_if": "either_value_is_missing"},
        "kind is not null",
        "number <> kind",
    ),
    (
        "expect_column_pair_values_to_be_in_set",
        {
            "column_A": "kind",
            "column_B": "_run_id",
            "value_pairs_set": [["k0", "monday"], ["k1", "monday"]],
            "ignore_row_if": "either_value_is_missing",
        },
        "kind is not null",
        "kind = 'k2' or _run_id <> 'monday'",
    ),
    (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["sold_at", "_run_id"]},
        "true",
        "_run_id = 'monday'",
    ),
    (
        "expect_multicolumn_sum_to_equal",
        {"column_list": ["position", "Price"], "sum_total": 2},
        "true",
        'position + "Price" <> 2',
    ),
    (
        "expect_multicolumn_values_to_be_equal",
        {"column_list": ["position", "Price"]},
        "true",
        'position <> "Price"',
    ),
    (
        "expect_select_column_values_to_be_unique_within_record",
        {"column_list": ["position", "Price"]},
        "true",
        'position = "Price"',
    ),
]

# Table-level: arguments -> (whether it holds, what is observed: SQL, or text where that is easier).
TABLE: list[tuple[str, dict[str, Any], bool, str]] = [
    ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 999}, False, "select 1000"),
    ("expect_table_row_count_to_equal", {"value": 1000}, True, "select count(*) from raw.lines"),
    ("expect_table_column_count_to_be_between", {"max_value": 8}, False, "select 9"),
    ("expect_table_column_count_to_equal", {"value": 9}, True, "select 9"),
    ("expect_table_columns_to_match_set", {"column_set": ["kind"], "exact_match": False}, True, "as expected"),
    (
        "expect_table_columns_to_match_set",
        {"column_set": ["kind", "colour"], "exact_match": False},
        False,
        "missing: colour",
    ),
    (
        "expect_table_columns_to_match_ordered_list",
        {"column_list": ["number", "position", "kind", "Price", "sold_at", "email", "day", "paper", "_run_id"]},
        True,
        "number, position, kind, Price, sold_at, email, day, paper, _run_id",
    ),
    ("expect_column_to_exist", {"column": "kind"}, True, "as expected"),
    ("expect_column_to_exist", {"column": "colour"}, False, "nothing"),
    (
        "expect_column_sum_to_be_between",
        {"column": "Price", "max_value": 5},
        False,
        'select sum("Price") from raw.lines',
    ),
    (
        "expect_column_mean_to_be_between",
        {"column": "Price", "min_value": 5},
        True,
        'select avg("Price") from raw.lines',
    ),
    (
        "expect_column_median_to_be_between",
        {"column": "Price", "max_value": 5},
        False,
        'select median("Price") from raw.lines',
    ),
    (
        "expect_column_max_to_be_between",
        {"column": "Price", "max_value": 5},
        False,
        'select max("Price") from raw.lines',
    ),
    (
        "expect_column_min_to_be_between",
        {"column": "Price", "max_value": 5},
        True,
        'select min("Price") from raw.lines',
    ),
    (
        "expect_column_stdev_to_be_between",
        {"column": "Price", "max_value": 5},
        False,
        'select stddev("Price") from raw.lines',
    ),
    (
        "expect_column_quantile_values_to_be_between",
        {"column": "position", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 10]]}},
        False,
        "quantiles=0.5, values=499",
    ),
    (
        "expect_column_proportion_of_non_null_values_to_be_between",
        {"column": "kind", "min_value": 0.95},
        False,
        "select count(kind) / count(*) from raw.lines",
    ),
    (
        "expect_column_proportion_of_unique_values_to_be_between",
        {"column": "kind", "max_value": 0.1},
        True,
        "select count(distinct kind) / count(kind) from raw.lines",
    ),
    (
        "expect_column_unique_value_count_to_be_between",
        {"column": "kind", "max_value": 2},
        False,
        "select count(distinct kind) from raw.lines",
    ),
    (
        "expect_column_distinct_values_to_be_in_set",
        {"column": "kind", "value_set": ["k0", "k1"]},
        False,
        "unexpected: k2",
    ),
    ("expect_column_distinct_values_to_contain_set", {"column": "kind", "value_set": ["k9"]}, False, "missing: k9"),
    (
        "expect_column_distinct_values_to_equal_set",
        {"column": "kind", "value_set": ["k0", "k1", "k2"]},
        True,
        "as expected",
    ),
    ("expect_column_most_common_value_to_be_in_set", {"column": "_run_id", "value_set": ["tuesday"]}, False, "monday"),
    (
        "expect_column_kl_divergence_to_be_less_than",
        {
            "column": "_run_id",
            "partition_object": {"values": ["monday", "tuesday"], "weights": [0.5, 0.5]},
            "threshold": 0.1,
        },
        False,
        "select 0.9 * ln(0.9 / 0.5) + 0.1 * ln(0.1 / 0.5)",
    ),
    (
        "unexpected_rows_expectation",
        {"unexpected_rows_query": "select position from {batch} where position > 989 -- the newest"},
        False,
        "10 rows",
    ),
]


def test_the_whole_catalogue_is_tried() -> None:
    assert {name for name, *_ in [*ROWS, *TABLE]} == catalogue().keys()
    assert {name for name, *_ in ROWS} == {kind.name for kind in catalogue().values() if kind.row_level}
    assert not REFUSED.keys() & catalogue().keys()


def test_every_core_expectation_may_be_used_or_is_refused_with_a_reason() -> None:
    from great_expectations.expectations import core

    classes = {name for name in vars(core) if name.startswith("Expect") or name == "UnexpectedRowsExpectation"}
    usable = {kind.class_name for kind in catalogue().values()}
    refused = {"".join(word.title() for word in name.split("_")) for name in REFUSED}
    assert usable | refused == classes
    assert not usable & refused


def test_the_readme_lists_the_whole_catalogue() -> None:
    rows, table = (SHIPPED / "README.md").read_text(encoding="utf-8").split("\nOn rows: ")[1].split("\nOn the table: ")
    for text, row_level in ((rows, True), (table, False)):
        names = {kind.name for kind in catalogue().values() if kind.row_level is row_level}
        assert set(re.findall(r"`(\w+)`", text)) == names


def items(cases: list[Any]) -> str:
    return yaml.safe_dump([{case[0]: case[1]} for case in cases])


def test_rows_are_counted_as_sql_counts_them(judge: Callable[..., gate.GateReport], lines: Warehouse) -> None:
    report = judge(items(ROWS))
    for (name, arguments, judged, failing), result in zip(ROWS, report.results, strict=True):
        evaluated, unexpected = lines.execute(
            f"select count(*), count(*) filter (where {failing}) from raw.lines where {judged}"
        )[0]
        assert result.evaluated, result
        assert result.row_level
        assert (result.evaluated_rows, result.unexpected_rows) == (evaluated, unexpected), (name, arguments)
        assert result.passed is (unexpected == 0), (name, arguments)


def test_tables_are_measured_as_sql_measures_them(judge: Callable[..., gate.GateReport], lines: Warehouse) -> None:
    report = judge(items(TABLE))
    for (name, arguments, holds, expected), result in zip(TABLE, report.results, strict=True):
        assert result.evaluated, result
        assert not result.row_level
        assert result.passed is holds, (name, arguments, result.observed)
        assert result.observed is not None
        if expected.startswith("select "):
            assert float(result.observed) == pytest.approx(float(lines.scalar(expected)), rel=1e-9), (name, arguments)
        else:
            assert result.observed == expected, (name, arguments)


@pytest.mark.parametrize("holds", [True, False])
def test_mostly_is_the_share_of_rows_that_must_hold(judge: Callable[..., gate.GateReport], holds: bool) -> None:
    mostly = 0.9 if holds else 0.901
    (result,) = judge(items([("expect_column_values_to_not_be_null", {"column": "kind", "mostly": mostly})])).results
    assert result.passed is holds
    assert result.unexpected_rows == 100
