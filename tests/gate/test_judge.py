"""What a suite's results say, what they hide, and what stops a run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flows import gate
from flows.errors import ConfigError, GateFailed
from flows.warehouse import Warehouse

Judge = Callable[..., gate.GateReport]
Load = Callable[..., gate.Suite]

NOT_NULL = "- expect_column_values_to_not_be_null: {column: kind}\n"


def one(report: gate.GateReport) -> gate.ExpectationResult:
    (result,) = report.results
    return result


def test_a_row_that_fails_is_counted_and_shown_and_stops_nothing(judge: Judge) -> None:
    result = one(judge("- expect_column_values_to_be_between: {column: Price, min_value: 0}\n  description: No gifts."))
    assert (result.passed, result.row_level, result.severity) == (False, True, "critical")
    assert (result.evaluated_rows, result.unexpected_rows, result.observed) == (1000, 2, "2 of 1,000 rows")
    assert result.samples == ("-3.0000", "-1.5000")
    assert (result.column, result.expected, result.detail) == ("Price", "min_value=0", "No gifts.")
    assert not result.stops


@pytest.mark.parametrize(("severity", "stops"), [("critical", True), ("warning", False), ("info", False)])
def test_a_table_that_fails_stops_the_run_when_it_is_critical(judge: Judge, severity: str, stops: bool) -> None:
    report = judge(f"- expect_table_row_count_to_equal: {{value: 5}}\n  severity: {severity}\n  description: Five.")
    assert one(report).stops is stops
    if not stops:
        gate.verdict([report])
        return
    with pytest.raises(GateFailed) as raised:
        gate.verdict([report])
    assert "raw.lines: expect_table_row_count_to_equal [value=5]: 1000: Five." in raised.value.what
    assert "Nothing was transformed" in raised.value.safe
    assert raised.value.todo


def test_the_verdict_lists_all_that_stops_and_nothing_else(judge: Judge) -> None:
    report = judge(
        """
        - expect_table_row_count_to_equal: {value: 5}
        - expect_column_to_exist: {column: colour}
        - expect_column_values_to_not_be_null: {column: kind}
        - expect_column_to_exist: {column: flavour}
          severity: warning
        """
    )
    with pytest.raises(GateFailed) as raised:
        gate.verdict([report, report])
    assert raised.value.what.startswith("4 critical expectations failed:")
    assert "flavour" not in raised.value.what
    assert "not_be_null" not in raised.value.what
    assert pickle.loads(pickle.dumps(raised.value)).what == raised.value.what
    gate.verdict([])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("expect_column_values_to_not_be_null: {column: kid}", "raw.lines has no column kid; did you mean kind?"),
        ("expect_column_values_to_not_be_null: {column: price}", "has no column price; did you mean Price?"),
        ("expect_column_pair_values_to_be_equal: {column_A: kind, column_B: xyzzy}", "has no column xyzzy"),
        ("expect_compound_columns_to_be_unique: {column_list: [kind, xyzzy]}", "has no column xyzzy"),
        ("expect_column_sum_to_be_between: {column: kind, min_value: 0}", "No function matches"),
        ("expect_column_values_to_match_regex: {column: kind, regex: '('}", "missing )"),
        ("expect_column_values_to_be_null: {column: kind}\n  row_condition: hue = 3", "hue"),
        ("expect_column_values_to_be_null: {column: kind}\n  row_condition: kind is (", "syntax error"),
        ("unexpected_rows_expectation: {unexpected_rows_query: 'select hue from {batch}'}", "hue"),
        ("unexpected_rows_expectation: {unexpected_rows_query: 'select * from {batch}, raw.gone'}", "gone"),
    ],
)
def test_what_cannot_be_judged_is_a_result_and_stops_when_critical(judge: Judge, item: str, said: str) -> None:
    result, other = judge(f"- {item}\n" + NOT_NULL).results
    assert (result.passed, result.evaluated, result.observed, result.samples) == (False, False, None, ())
    assert said in result.detail
    assert "Traceback" not in result.detail
    assert "\n" not in result.detail
    assert (result.stops, replace(result, severity="warning", on_fail="report").stops) == (True, False)
    assert (other.evaluated, other.unexpected_rows) == (True, 100), "the rest of the suite is judged all the same"


def test_a_table_that_is_not_there(suite: Load, warehouse: Warehouse) -> None:
    report = gate.check(suite(NOT_NULL), warehouse, run_id="r", stage="raw")
    assert one(report).detail == "could not be judged: there is no table raw.lines in the warehouse"
    with pytest.raises(GateFailed, match=r"no table raw\.lines"):
        gate.verdict([report])


def test_arguments_that_only_great_expectations_can_refuse(judge: Judge, lines: Warehouse) -> None:
    with pytest.raises(ConfigError, match=r"raw__lines\.yml:4: expect_column_values_to_be_between: .*min_value"):
        judge("\n- expect_column_values_to_be_between: {column: sold_at, min_value: 2020-W01-1}")
    assert lines.scalar("select count(*) from quality.results") == 0


def test_a_row_condition_is_sql(judge: Judge, lines: Warehouse) -> None:
    conditions = ['"Price" > 100', "email like '%@%' -- people", "sold_at::date = date '2020-01-02'", "kind is null"]
    items = "".join(
        f"- expect_column_values_to_not_be_null: {{column: kind}}\n  row_condition: {c!r}\n" for c in conditions
    )
    report = judge(items + NOT_NULL)
    for condition, result in zip([*conditions, "true"], report.results, strict=True):
        rows = lines.execute(
            f"select count(*), count(*) filter (where kind is null) from raw.lines where {condition}\n"
        )
        assert [(result.evaluated_rows, result.unexpected_rows)] == rows, condition
    assert report.results[0].expected == 'where "Price" > 100'


@pytest.mark.parametrize(
    "condition",
    ["note like '%:done'", "note like '%:and:%'", r"note like '%\:done'", "note = '%(x)s'", "note = '{batch} $1 ?'"],
)
def test_sql_is_judged_as_it_is_written(suite: Load, lines: Warehouse, condition: str) -> None:
    """None of it is a parameter, or a format, to a program between: as one it would choose no row, and say nothing."""
    notes = ["a:done", "a:and:b", r"a\:done", "%(x)s", "{batch} $1 ?"]
    lines.execute("create table raw.notes as select note as id, note from (select unnest(?) as note)", (notes,))
    doubled = condition.replace("{", "{{").replace("}", "}}")
    query = "- unexpected_rows_expectation: {unexpected_rows_query: %s}\n  on_fail: quarantine\n"
    loaded = suite(
        f"- expect_column_values_to_be_null: {{column: note}}\n  row_condition: {json.dumps(condition)}\n"
        + query % json.dumps(f"select id, note from {{batch}} where {doubled}")
        + query % json.dumps("select id from {batch}")
        + f"  row_condition: {json.dumps(condition)}\n",
        head="table: raw.notes",
    )
    [keyed] = gate.with_keys([loaded], {"raw.notes": "id"})
    report = gate.check(keyed, lines, run_id="tuesday", stage="crm")
    wanted = lines.execute(f"select id from raw.notes where {condition} order by id")
    assert 0 < len(wanted) < len(notes)
    for result in report.results:
        assert (result.evaluated, result.unexpected_rows) == (True, len(wanted)), result
        held = "select key from quality.quarantine where expectation_id = ? order by key"
        assert lines.execute(held, (result.id,)) == wanted


def test_new_rows_are_those_that_no_finished_run_has_carried(judge: Judge, lines: Warehouse) -> None:
    items = """
    - expect_column_values_to_be_null: {column: kind}
      rows: new
    - expect_table_row_count_to_be_between: {min_value: 500}
      rows: new
    - expect_column_values_to_not_be_null: {column: kind}
      rows: new
      row_condition: position % 2 = 0
    """

    def state(run: str, ended: str) -> None:
        lines.execute(
            "insert or replace into ops.runs values (?, 't', null, now(), null, ?, null, null, null)", (run, ended)
        )

    state("monday", "failed")
    state("tuesday", "running")
    first, count, even = judge(items).results
    assert (first.evaluated_rows, count.passed, even.evaluated_rows) == (1000, True, 500), (
        "a stopped run's rows are new"
    )
    state("monday", "done")
    first, count, even = judge(items).results
    assert (first.evaluated_rows, first.unexpected_rows, even.evaluated_rows) == (100, 90, 50)
    assert (count.passed, count.observed, count.expected) == (False, "100", "min_value=500, new rows only")
    state("tuesday", "done")
    report = judge(items)
    assert [(r.passed, r.observed) for r in report.results] == [(True, "no new rows")] * 3
    assert [r.evaluated_rows for r in report.results] == [0, None, 0]


def test_new_rows_are_known_of_extracted_tables_only(suite: Load, warehouse: Warehouse) -> None:
    warehouse.execute("create table raw.lines as select 1 as kind")
    report = gate.check(suite(NOT_NULL + "  rows: new"), warehouse, run_id="r", stage="raw")
    assert "rows: new needs the column _run_id" in one(report).detail


def test_an_empty_table(judge: Judge, lines: Warehouse) -> None:
    lines.execute("delete from raw.lines")
    rows, count, total = judge(
        NOT_NULL
        + "- expect_table_row_count_to_be_between: {min_value: 1}\n"
        + "- expect_column_sum_to_be_between: {column: Price, min_value: 1}"
    ).results
    assert (rows.passed, rows.evaluated_rows, rows.unexpected_rows) == (True, 0, 0)
    assert (count.passed, count.observed, count.stops) == (False, "0", True)
    assert not total.passed


@pytest.mark.parametrize("hidden", [[], ["kind", "Price"]])
@pytest.mark.parametrize("emptied", ["delete from raw.lines", 'update raw.lines set kind = null, "Price" = null'])
def test_nothing_has_no_divergence(judge: Judge, lines: Warehouse, hidden: list[str], emptied: str) -> None:
    lines.execute(emptied)
    judged = "- expect_column_kl_divergence_to_be_less_than: {column: %s, threshold: 1, partition_object: %s}\n"
    of_values, of_bins = "{values: [k0, k1], weights: [0.5, 0.5]}", "{bins: [0, 1], weights: [1]}"
    report = judge(judged % ("kind", of_values) + judged % ("Price", of_bins), pii={"raw.lines": hidden})
    assert [(r.passed, r.evaluated, r.observed) for r in report.results] == [(False, True, "nothing")] * 2


PRIVATE = """
- expect_column_values_to_match_regex: {column: email, regex: '@'}
- expect_column_pair_values_to_be_equal: {column_A: kind, column_B: email}
- expect_column_max_to_be_between: {column: email, max_value: 2020-01-01}
- expect_column_most_common_value_to_be_in_set: {column: email, value_set: [a]}
- expect_column_unique_value_count_to_be_between: {column: email, max_value: 1}
- unexpected_rows_expectation: {unexpected_rows_query: 'select email from {batch}'}
- unexpected_rows_expectation: {unexpected_rows_query: 'select email::int from {batch}'}
- expect_column_values_to_be_in_set: {column: kind, value_set: [k0]}
"""


@pytest.mark.parametrize("name", ["email", "Email"])
@pytest.mark.parametrize("told_by", ["suite", "caller"])
def test_personal_data_is_not_shown(judge: Judge, lines: Warehouse, told_by: str, name: str) -> None:
    head = "table: raw.lines" + (f"\npii: [{name}]" if told_by == "suite" else "")
    report = judge(PRIVATE, head=head, **({"pii": {"raw.lines": [name]}} if told_by == "caller" else {}))
    regex, pair, longest, _, unique, query, cast, kind = report.results
    assert (regex.unexpected_rows, pair.unexpected_rows, unique.observed) == (20, 1000, "1000")
    assert query.observed == "1,000 rows"
    assert cast.detail.startswith("could not be judged: Conversion Error in the column email (its text is left out")
    assert longest.detail.startswith("could not be judged: an error (its text is left out")
    assert set(kind.samples) == {"k1", "k2"}, "other columns are shown"
    stored = lines.execute("select * from quality.results")
    for text in (repr(report), repr(stored)):
        assert "example.com" not in text
        assert "'p0'" not in text


def test_a_misspelt_column_of_personal_data_hides_everything(judge: Judge) -> None:
    report = judge(PRIVATE, head="table: raw.lines\npii: [e_mail]")
    assert [result.samples for result in report.results] == [()] * 8
    assert "p0" not in repr(report)


def test_without_personal_data_it_would_be_shown(judge: Judge) -> None:
    """The test above sees something: the same suite without `pii` shows it."""
    report = judge(PRIVATE)
    assert all("example.com" in repr(report.results[i]) for i in (1, 2, 3, 5))
    assert all("p0" in repr(report.results[i]) for i in (0, 6))


def test_samples_are_few_different_and_short(judge: Judge) -> None:
    kinds, rows, nulls = judge(
        """
        - expect_column_values_to_be_in_set: {column: kind, value_set: [k0]}
        - unexpected_rows_expectation:
            unexpected_rows_query: select position, repeat('x', 200) as long from {batch} order by position desc
        - expect_column_values_to_not_be_null: {column: kind}
        """
    ).results
    assert kinds.samples == ("k1", "k2")
    assert len(rows.samples) == 5
    assert rows.samples[0].startswith("position=999, long=xxx")
    assert all(len(sample) <= 80 for sample in rows.samples)
    assert nulls.samples == ()


def test_results_are_stored_once_for_a_run(judge: Judge, lines: Warehouse) -> None:
    for _ in range(2):
        report = judge(
            NOT_NULL + "  severity: info\n  description: Why.\n- expect_table_row_count_to_equal: {value: 5}"
        )
    stored = lines.rows("select * exclude (checked_at) from quality.results order by row_level desc")
    assert stored == [
        {
            "run_id": "tuesday",
            "stage": "raw",
            "table_name": "raw.lines",
            "expectation": "expect_column_values_to_not_be_null",
            "column_name": "kind",
            "severity": "info",
            "passed": False,
            "row_level": True,
            "observed": "100 of 1,000 rows",
            "evaluated_rows": 1000,
            "unexpected_rows": 100,
            "detail": "Why.",
            "expectation_id": report.results[0].id,
            "expected": "",
            "owner": "",
            "on_fail": "report",
            "quarantined_rows": None,
            "samples": [],
        },
        {
            "run_id": "tuesday",
            "stage": "raw",
            "table_name": "raw.lines",
            "expectation": "expect_table_row_count_to_equal",
            "column_name": None,
            "severity": "critical",
            "passed": False,
            "row_level": False,
            "observed": "1000",
            "evaluated_rows": None,
            "unexpected_rows": None,
            "detail": "",
            "expectation_id": report.results[1].id,
            "expected": "value=5",
            "owner": "",
            "on_fail": "stop",
            "quarantined_rows": None,
            "samples": [],
        },
    ]
    assert lines.scalar("select max(checked_at) from quality.results") == report.checked_at
    assert 0 < report.seconds < 60


def test_another_run_and_another_stage_keep_their_results(suite: Load, lines: Warehouse) -> None:
    for run, stage in (("a", "raw"), ("b", "raw"), ("a", "crm")):
        gate.check(suite(NOT_NULL), lines, run_id=run, stage=stage)  # type: ignore[arg-type]
    assert lines.scalar("select count(*) from quality.results") == 3


def test_suites_are_judged_from_several_threads(suite: Load, lines: Warehouse) -> None:
    loaded = suite(NOT_NULL)

    def judged(number: int) -> int | None:
        with lines.cursor() as cursor:
            return one(gate.check(loaded, cursor, run_id=f"r{number}", stage="raw")).unexpected_rows

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(judged, range(8))) == [100] * 8
    assert lines.scalar("select count(*) from quality.results") == 8


def test_the_warehouse_is_let_go_afterwards(suite: Load, tmp_path: Path) -> None:
    path = tmp_path / "own.duckdb"
    with Warehouse.open(path) as own:
        own.execute("create table raw.lines as select 1 as kind")
        gate.check(suite(NOT_NULL), own, run_id="r", stage="raw")
    # A connection that was left open would hold the file with its lock in this process; a new configuration shows it.
    with Warehouse.open(path) as again:
        assert again.scalar("select count(*) from quality.results") == 1


RULES = """
- expect_column_values_to_be_between: {column: Price, min_value: 0}
- expect_column_values_to_match_regex: {column: email, regex: "@", mostly: 0.99}
- expect_column_values_to_not_be_null: {column: kind}
- expect_compound_columns_to_be_unique: {column_list: [kind, day]}
- expect_column_values_to_be_unique: {column: kind}
- expect_column_pair_values_to_be_equal: {column_A: number, column_B: kind}
- expect_select_column_values_to_be_unique_within_record: {column_list: [kind, kind]}
- expect_column_values_to_be_between: {column: Price, max_value: 0}
  row_condition: number = '999'
"""


def test_rows_that_fail_are_told_by_file_and_place(judge: Judge, lines: Warehouse) -> None:
    lines.execute("alter table raw.lines add column _file varchar default '2010-12-01.csv.gz'")
    lines.execute("alter table raw.lines add column _row bigint")
    lines.execute("update raw.lines set _row = position + 1")

    price, email, kind, *others, last = judge(RULES, head="table: raw.lines\npii: [email]").results

    assert price.failing_rows == ("2010-12-01.csv.gz, row 1", "2010-12-01.csv.gz, row 2")
    assert (email.samples, email.unexpected_rows, len(email.failing_rows)) == ((), 20, 5)
    assert {int(row.rpartition(" ")[2].replace(",", "")) % 50 for row in email.failing_rows} == {1}
    assert kind.samples == (), "what is not there cannot be shown"
    assert {int(row.rpartition(" ")[2]) % 10 for row in kind.failing_rows} == {1}
    assert last.failing_rows == ("2010-12-01.csv.gz, row 1,000",)
    assert all(result.evaluated and result.unexpected_rows and len(result.failing_rows) == 5 for result in others)


def test_rows_that_fail_are_told_by_key_where_there_is_one(suite: Load, lines: Warehouse) -> None:
    [keyed] = gate.with_keys([suite(RULES, "table: raw.lines\npii: [email]")], {"RAW.lines": "Number"})
    price, email, *others, last = gate.check(keyed, lines, run_id="tuesday", stage="crm").results
    assert (price.samples, price.failing_rows) == (("-3.0000", "-1.5000"), ("0", "1"))
    assert (email.samples, len(email.failing_rows)) == ((), 5)
    assert {int(row) % 50 for row in email.failing_rows} == {0}
    assert all(len(result.failing_rows) == 5 for result in others)
    assert last.failing_rows == ("999",)


@pytest.mark.parametrize("hidden", ["number", "no_such_column"])
def test_a_key_that_is_hidden_tells_of_no_row(suite: Load, lines: Warehouse, hidden: str) -> None:
    [keyed] = gate.with_keys([suite(RULES, f"table: raw.lines\npii: [{hidden}]")], {"raw.lines": "number"})
    report = gate.check(keyed, lines, run_id="tuesday", stage="crm")
    assert [result.failing_rows for result in report.results] == [()] * 8
