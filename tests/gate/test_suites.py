"""What is wrong in a suite is found when it is read, with file and line, and without Great Expectations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows import gate
from flows.errors import ConfigError
from tests.gate.conftest import SHIPPED

GOOD = "table: raw.lines\nexpectations:\n  - expect_column_values_to_not_be_null: {column: a}\n"


def written(folder: Path, text: str, name: str = "lines.yml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def item(text: str) -> str:
    """A suite whose fifth line is the item's first."""
    return f"table: raw.lines\n\n# why\nexpectations:\n  - {text}\n"


def test_a_suite_says_all_that_it_says(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
table: raw.lines
description: All of it.
owner: a@example.com
pii: [email]
expectations:
  - expect_column_values_to_be_between: {column: sold_at, min_value: 2020-01-01, mostly: 0.999}
    severity: warning
    description: >
      Written over
      two lines.
    row_condition: "kind is not null"
    rows: new
    owner: b@example.com
  - expect_table_row_count_to_equal: {value: 3}
""",
    )
    suite = gate.load_suite(path)
    assert (suite.name, suite.description, suite.owner) == ("raw.lines", "All of it.", "a@example.com")
    assert suite.pii == {"email"}
    between, count = suite.expectations
    # YAML's dates stay texts, as GX takes them, and `mostly` is not bound to whole hundredths.
    assert between.arguments == {"column": "sold_at", "min_value": "2020-01-01", "mostly": 0.999}
    assert (between.severity, between.rows, between.owner, between.line) == ("warning", "new", "b@example.com", 7)
    assert between.description == "Written over two lines."
    assert (between.columns, between.kind.row_level) == (("sold_at",), True)
    assert (count.severity, count.rows, count.owner, count.columns) == ("critical", "all", "a@example.com", ())
    assert not count.kind.row_level


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("table: [raw", 1, "not YAML"),
        ("- a", 1, "a suite is a mapping"),
        ("expectations: []", 1, "table: found None, expected <schema>.<table>"),
        ("\ntable: lines\nexpectations: []", 2, "table: found 'lines'"),
        ("table: a.b.c\n", 1, "table: found 'a.b.c'"),
        ("table: raw.lines\n", 1, "expectations: a suite needs a list of at least one"),
        ("table: raw.lines\nexpectations: {}", 2, "expectations: a suite needs a list of at least one"),
        ("table: raw.lines\nowners: x\n", 2, "unknown key 'owners'; did you mean owner?"),
        ("table: raw.lines\npii: email\n", 2, "pii: found 'email', expected a list of columns"),
        ("table: raw.lines\nowner: [a]\n", 2, "owner: found ['a'], expected a text"),
        ("table: raw.lines\ntable: raw.others\n", 2, "'table' stands here twice"),
        (item("expect_column_values_to_not_be_null"), 5, "expected a mapping"),
        (item("expect_column_to_exist: {column: a}\n  - 4\n  - [b]"), 6, "found 4, expected a mapping"),
        (item("expect_column_to_exist: {column: a}\n  - 4\n  - [b]"), 7, "found ['b'], expected a mapping"),
        (item("severity: info"), 5, "no expectation stands here, only severity"),
        (
            item("expect_column_value_to_not_be_nul: {column: a}"),
            5,
            "unknown expectation 'expect_column_value_to_not_be_nul'; "
            "did you mean expect_column_values_to_not_be_null?",
        ),
        (item("hope: {column: a}"), 5, "unknown expectation 'hope'; known are the core ones"),
        (
            item("expect_column_values_to_be_of_type: {column: a, type_: VARCHAR}"),
            5,
            "expect_column_values_to_be_of_type cannot be used: types are declared in dbt",
        ),
        (
            item("expect_column_values_to_be_null: {column: a}\n    expect_column_to_exist: {column: a}"),
            5,
            "two expectations in one item",
        ),
        (
            item("expect_column_values_to_be_null: {column: a}\n    serverity: info"),
            6,
            "unknown key 'serverity'; did you mean severity?",
        ),
        (
            item("expect_column_values_to_be_null: {column: a}\n    severity: fatal"),
            6,
            "severity: found 'fatal', expected critical or warning or info",
        ),
        (
            item("expect_column_values_to_be_null: {column: a}\n    rows: old"),
            6,
            "rows: found 'old', expected all or new",
        ),
        (
            item("expect_column_values_to_be_null: {column: a}\n    row_condition: 3"),
            6,
            "row_condition: found 3, expected a text",
        ),
        (item("expect_column_values_to_be_null: a"), 5, "found 'a', expected its arguments"),
        (item("expect_column_values_to_be_null:"), 5, "needs the argument 'column'"),
        (
            item("expect_column_values_to_be_null: {colum: a, column: b}"),
            5,
            "unknown argument 'colum'; did you mean column?",
        ),
        (
            item("expect_column_values_to_be_null:\n      column: a\n      mostly: many"),
            7,
            "expect_column_values_to_be_null.mostly: found 'many', expected a number from 0 to 1",
        ),
        (
            item("expect_column_values_to_be_null: {column: a, mostly: 1.5}"),
            5,
            "mostly: found 1.5, expected a number from 0 to 1",
        ),
        (item("expect_column_values_to_be_null: {column: ''}"), 5, "expected a text that is not empty"),
        (
            item("expect_column_values_to_be_between: {column: a, min_value: zzz}"),
            5,
            "min_value: found 'zzz', expected a number or a date",
        ),
        (item("expect_column_values_to_be_between: {column: a}"), 5, "needs min_value or max_value"),
        (
            item("expect_column_values_to_be_in_set: {column: a, value_set: b}"),
            5,
            "value_set: found 'b', expected a list, each a text that is not empty or a list, each a number",
        ),
        (
            item("expect_column_values_to_match_regex_list: {column: a, regex_list: []}"),
            5,
            "regex_list: the list is empty",
        ),
        (
            item("expect_compound_columns_to_be_unique:\n      column_list:"),
            6,
            "expect_compound_columns_to_be_unique.column_list: found None, expected a list, each a text",
        ),
        (
            item("expect_column_values_to_match_regex: {column: a, regex: {b: c}}"),
            5,
            "expected a text",
        ),
        (
            item("expect_column_pair_values_to_be_equal: {column_A: a, column_B: b, ignore_row_if: x}"),
            5,
            "expected both_values_are_missing or either_value_is_missing or neither",
        ),
        (
            item("unexpected_rows_expectation: {unexpected_rows_query: select 1}"),
            5,
            "must read from {batch}",
        ),
        (
            item("unexpected_rows_expectation:\n      unexpected_rows_query: \"select 'x{2}' from {batch}\""),
            6,
            "write a brace of SQL's own twice",
        ),
        (
            item("unexpected_rows_expectation: {unexpected_rows_query: 'select 1 from {batch'}"),
            5,
            "write a brace of SQL's own twice",
        ),
        (
            "table: raw.lines\nexpectations:\n"
            "  - expect_column_values_to_be_null: {column: a}\n    severity: info\n"
            "  - expect_column_values_to_be_null: {column: a}\n",
            5,
            "expect_column_values_to_be_null stands already in line 3",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        gate.load_suite(path)
    found = [problem for problem in raised.value.what.splitlines() if f"{path}:{line}:" in problem]
    assert any(said in problem for problem in found), raised.value.what
    assert raised.value.exit_code == 2


PARTITION = "expect_column_kl_divergence_to_be_less_than: {column: a, threshold: 1, partition_object: %s}"
QUANTILES = "expect_column_quantile_values_to_be_between: {column: a, quantile_ranges: %s}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("expect_table_row_count_to_be_between: {max_value: 5, min_value: 1000}", "no value lies between 1000 and 5"),
        ("expect_column_mean_to_be_between: {column: a, min_value: 2, max_value: 1.5}", "lies between 2 and 1.5"),
        (
            "expect_column_values_to_be_between: {column: a, min_value: 3, max_value: 3, strict_max: true}",
            "no value lies between 3 and 3, since strict leaves them out",
        ),
        (
            "expect_column_max_to_be_between: {column: a, min_value: 2020-02-01, max_value: 2020-01-31}",
            "no value lies between 2020-02-01 and 2020-01-31",
        ),
        (
            "expect_column_values_to_be_between: {column: a, min_value: 1, max_value: 2020-01-31}",
            "1 and 2020-01-31 cannot be compared: give two numbers, or two dates",
        ),
        ("expect_compound_columns_to_be_unique: {column_list: [a]}", "found one column, expected two or more"),
        ("expect_multicolumn_values_to_be_equal: {column_list: [a]}", "found one column, expected two or more"),
        (
            "expect_select_column_values_to_be_unique_within_record: {column_list: [a]}",
            "found one column, expected two or more",
        ),
        (
            "expect_table_row_count_to_be_between: {min_value: 2020-01-01}",
            "min_value: found '2020-01-01', expected a number",
        ),
        *(
            (
                f"expect_column_values_to_match_strftime_format: {{column: a, strftime_format: '{told}'}}",
                f"found '{told}', expected a date format that both Python and DuckDB know: ",
            )
            for told in ("%Q", "%Y-%m-%d %T", "%H:%M:%S.%g")
        ),
        (
            "expect_column_values_to_match_json_schema: {column: a, json_schema: {type: number, minimum: many}}",
            "expected a JSON schema: 'many' is not of type 'number'",
        ),
        (QUANTILES % "{quantiles: [0.5, 5], value_ranges: [[1, 2], [1, 2]]}", "quantiles [0.5, 5], expected numbers"),
        (QUANTILES % "{quantiles: [0.5, 0.6], value_ranges: [[1, 2]]}", "found 1 value_ranges, expected [lowest, high"),
        (QUANTILES % "{quantiles: [0.5], value_ranges: [[1]]}", "expected [lowest, highest] for each of 1 quantiles"),
        (QUANTILES % "{quantiles: [0.5], value_ranges: [[2, 1]]}", "no value lies between 2 and 1"),
        (PARTITION % "{hello: 1}", "partition_object: found hello, expected weights, and values or bins"),
        (PARTITION % "{values: [a], weights: [5]}", "found the weights [5], expected numbers that add up to 1"),
        (PARTITION % "{values: [a, b], weights: [1]}", "found 2 values and 1 weights"),
        (PARTITION % "{bins: [0, 1, 2], weights: [1]}", "found 3 bins, expected the ends of 1, which is one more"),
        (PARTITION % "{bins: [0, 2, 1], weights: [0.5, 0.5]}", "the bins do not ascend"),
    ],
)
def test_arguments_that_do_not_go_together(tmp_path: Path, text: str, said: str) -> None:
    """No JSON schema can say so; Great Expectations would, after the transform, or hold nothing to it ever."""
    path = written(tmp_path, item(text))
    with pytest.raises(ConfigError) as raised:
        gate.load_suite(path)
    assert f"{path}:5: {text.partition(':')[0]}" in raised.value.what
    assert said in raised.value.what


@pytest.mark.parametrize(
    "text",
    [
        "expect_column_values_to_be_between: {column: a, min_value: 2020-01-31, max_value: 2020-02-01T10:00:00}",
        "expect_column_values_to_be_between: {column: a, min_value: 3, max_value: 3.0}",
        "expect_column_mean_to_be_between: {column: a, max_value: 3, strict_max: true}",
        QUANTILES % "{quantiles: [0, 1], value_ranges: [[1, 2], [3, 3]]}",
        PARTITION % "{values: [a, b], weights: [0.3, 0.7]}",
        PARTITION % "{bins: [0, 1.5], weights: [1]}",
        "expect_column_values_to_match_strftime_format: {column: a, strftime_format: '%d.%m.%Y %H:%M:%S.%f %z'}",
        "expect_table_column_count_to_be_between: {min_value: 1}",
    ],
)
def test_arguments_that_go_together(tmp_path: Path, text: str) -> None:
    assert gate.load_suite(written(tmp_path, item(text))).expectations


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        gate.load_suite(tmp_path / "nothing.yml")
    (tmp_path / "bytes.yml").write_bytes(b"table: \xff\xfe")
    with pytest.raises(ConfigError, match="not YAML"):
        gate.load_suite(tmp_path / "bytes.yml")


def test_the_same_expectation_on_other_rows_is_another(tmp_path: Path) -> None:
    text = GOOD + '  - expect_column_values_to_not_be_null: {column: a}\n    row_condition: "b > 0"\n'
    assert len(gate.load_suite(written(tmp_path, text)).expectations) == 2


def test_every_problem_of_every_file_is_listed_at_once(tmp_path: Path) -> None:
    written(tmp_path, item("hope: {}").replace("raw.lines", "raw"), "a.yml")
    written(tmp_path, GOOD, "b.yml")
    written(tmp_path, GOOD, "c.yml")
    with pytest.raises(ConfigError) as raised:
        gate.suites(tmp_path)
    assert raised.value.what.startswith("The suites have 3 problems:")
    for said in (
        "a.yml:1: table",
        "a.yml:5: unknown expectation",
        f"c.yml:1: raw.lines has a suite already, {tmp_path.name}/b.yml",
    ):
        assert said in raised.value.what


def test_a_folder(tmp_path: Path) -> None:
    assert gate.suites(tmp_path) == []
    written(tmp_path, GOOD.replace("raw.lines", "raw.second"), "b.yml")
    written(tmp_path, GOOD, "a.yml")
    assert [suite.name for suite in gate.suites(tmp_path)] == ["raw.lines", "raw.second"]
    with pytest.raises(ConfigError, match="does not exist"):
        gate.suites(tmp_path / "nowhere")


TABLES = {"raw.lines": False, "raw.people": False, "crm.Accounts": True, "staging.people": True}
KEYS = {"crm.Accounts": "account_id"}


def folders(root: Path, **files: str) -> Path:
    """A folder of suites: ``raw__a`` is the file raw/a.yml, and its text the table."""
    for stage in ("raw", "crm"):
        (root / stage).mkdir()
    for name, table in files.items():
        path = root / f"{name.replace('__', '/')}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# why\n" + GOOD.replace("raw.lines", table), encoding="utf-8")
    return root


def test_suites_of_both_gates_are_read_as_dbt_spells_their_tables(tmp_path: Path) -> None:
    folder = folders(tmp_path, raw__a="RAW.Lines", crm__a="crm.ACCOUNTS", crm__b="Staging.people", crm__c="other.Thing")
    raw, crm = gate.suites_before(folder, TABLES, KEYS)
    assert [suite.name for suite in raw] == ["raw.lines"]
    assert [(s.name, s.key) for s in crm] == [
        ("crm.Accounts", "account_id"),
        ("staging.people", None),
        ("other.Thing", None),
    ]
    [same, *_], _ = gate.suites_before(folder, {}, None)
    assert same.id(same.expectations[0]) == raw[0].id(raw[0].expectations[0]), "it is the same table"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"raw__a": "raw.lines", "crm__b": "raw.lines"}, "crm/b.yml:2: raw.lines has a suite already, raw/a.yml"),
        ({"crm__a": "crm.Accounts", "crm__b": "CRM.accounts"}, "crm/b.yml:2: CRM.accounts has a suite already, crm/a"),
        (
            {"raw__zz": "crm.accounts"},
            "raw/zz.yml:2: crm.Accounts is built by the transform, which comes after raw/ is judged: put the suite "
            "into crm/",
        ),
        ({"raw__zz": "staging.people"}, "raw/zz.yml:2: staging.people is built by the transform"),
        (
            {"crm__back": "crm_after.accounts"},
            "crm/back.yml:2: crm_after.accounts is what the CRM gave back: put the suite into crm_after/",
        ),
        ({"raw__back": "CRM_AFTER.accounts"}, "raw/back.yml:2: CRM_AFTER.accounts is what the CRM gave back"),
        ({"stray": "raw.lines"}, "stray.yml: is not read: suites are the files *.yml in raw/, crm/ and crm_after/"),
        ({"crm_aftr__x": "crm_after.accounts"}, "crm_aftr/x.yml: is not read"),
        ({"raw__sub__x": "raw.lines"}, "raw/sub/x.yml: is not read"),
        ({"crm_after__sub__x": "crm_after.accounts"}, "crm_after/sub/x.yml: is not read"),
    ],
)
def test_a_suite_that_would_be_judged_twice_too_early_or_never(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    folder = folders(tmp_path, **files)
    with pytest.raises(ConfigError) as raised:
        gate.suites_before(folder, TABLES, KEYS)
    assert f"The suites have 1 problem:\n  - {folder}/{said}" in raised.value.what
    assert raised.value.exit_code == 2


def test_what_is_no_suite_may_stand_beside_suites(tmp_path: Path) -> None:
    folder = folders(tmp_path, crm_after__x="crm_after.accounts")
    for name in ("README.md", "suite.schema.json", "raw/.gitkeep"):
        (folder / name).write_text("{}")
    assert gate.suites_before(folder, TABLES, KEYS) == ([], [])
    (folder / "raw" / "LINES.YML").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"LINES\.YML: is not read"):
        gate.suites_before(folder, TABLES, KEYS)


def test_reading_suites_does_not_import_great_expectations() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom flows import gate\n"
        f"assert gate.suites(Path({str(SHIPPED / 'raw')!r}))\nprint('great_expectations' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SHIPPED.parent)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("stage", ["raw", "crm"])
def test_every_shipped_expectation_says_why_and_whom_to_ask(stage: str) -> None:
    suites = gate.suites(SHIPPED / stage)
    assert suites
    for suite in suites:
        assert suite.path.stem == suite.table
        assert suite.schema == stage
        assert suite.description
        for expectation in suite.expectations:
            assert expectation.description, f"{suite.path}:{expectation.line}"
            assert "@" in expectation.owner
