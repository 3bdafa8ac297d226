"""Suites are compared with the tables that dbt declares and the warehouse has: file, line, and what is wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import gate
from flows.doctor import Finding, examine
from flows.quality import stated, suite_check
from flows.quality.suite_check import Checked
from tests.gate.conftest import SHIPPED
from tests.quality.conftest import Home

Check = Callable[..., Checked]
BUILT = {"staging.country_spellings": {"spelling": "VARCHAR", "country": "VARCHAR"}, "sync.own": {"a": "INTEGER"}}


@pytest.fixture
def check(tmp_path: Path, tables: dict[str, stated.Table]) -> Check:
    """Check the items of one suite, whose third line is the first item."""

    def run(items: str, table: str = "crm.crm_accounts", built: dict[str, dict[str, str]] | None = None) -> Checked:
        path = tmp_path / "suite.yml"
        path.write_text(f"table: {table}\nexpectations:\n{items}", encoding="utf-8")
        return suite_check.check([gate.load_suite(path)], tables, BUILT if built is None else built)

    return run


def test_the_shipped_suites_fit_before_and_after_anything_is_built(tables: dict[str, stated.Table]) -> None:
    suites = [suite for stage in ("raw", "crm") for suite in gate.suites(SHIPPED / stage)]
    assert suite_check.check(suites, tables, {}) == Checked((), ())
    assert suite_check.check(suites, tables, BUILT) == Checked((), ())


NULL = "expect_column_values_to_not_be_null"
QUERY = "unexpected_rows_expectation"


@pytest.mark.parametrize(
    ("table", "item", "said"),
    [
        ("crm.crm_acounts", f"{NULL}: {{column: a}}", "1: there is no table crm.crm_acounts: no source or model"),
        ("crm.crm_acounts", f"{NULL}: {{column: a}}", "did you mean crm.crm_accounts?"),
        (
            "crm.crm_accounts",
            f"{NULL}: {{column: segmnt}}",
            f"3: {NULL}: crm.crm_accounts has no column segmnt; did you mean segment?",
        ),
        ("crm.crm_accounts", f"{NULL}: {{column: Segment}}", "has no column Segment; did you mean segment?"),
        (
            "crm.crm_accounts",
            "expect_compound_columns_to_be_unique: {column_list: [name, nome]}",
            "has no column nome; did you mean name?",
        ),
        ("raw.shop__customers", f"{NULL}: {{column: _file}}", "has no column _file"),
        ("crm.crm_accounts", f"{NULL}: {{column: name}}\n    rows: new", "needs the column _run_id"),
        (
            "crm.crm_accounts",
            f"{NULL}: {{column: name}}\n    row_condition: nome is null",
            '3: row_condition: Binder Error: Referenced column "nome" not found',
        ),
        ("crm.crm_accounts", f"{NULL}: {{column: name}}\n    row_condition: name is is null", "Parser Error"),
        (
            "crm.crm_accounts",
            f"{QUERY}:\n      unexpected_rows_query: select nome from {{batch}}",
            'Referenced column "nome" not found',
        ),
        (
            "crm.crm_accounts",
            f"{QUERY}:\n      unexpected_rows_query: select 1 from {{batch}} join crm.crm_contact using (account_id)",
            'Table with name crm_contact does not exist! Did you mean "crm_contacts"?',
        ),
        (
            "crm.crm_accounts",
            "expect_column_values_to_match_regex: {column: name, regex: '(?=a)b'}",
            "found '(?=a)b', expected a regular expression of RE2: Invalid Input Error: invalid perl operator",
        ),
        (
            "staging.stg_shop__customers",
            "expect_column_values_to_not_match_regex_list: {column: name, regex_list: [a, 'b(']}",
            "regex_list: found 'b(', expected a regular expression of RE2",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(check: Check, table: str, item: str, said: str) -> None:
    [problem] = check(f"  - {item}\n", table).problems
    assert ".yml:" in problem
    assert said in problem.split("suite.yml:", 1)[1]
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("table", "item"),
    [
        ("CRM.crm_accounts", f"{NULL}: {{column: name}}\n    row_condition: NAME <> 'x' -- why"),
        ("raw.shop__customers", f"{NULL}: {{column: person}}\n    rows: new"),
        ("raw.retail__invoice_lines", f"{NULL}: {{column: _file}}"),
        ("crm.crm_accounts", "expect_column_to_exist: {column: colour}"),
        ("sync.own", f"{NULL}: {{column: a}}"),
        # Nobody can tell the columns of a model that is neither contracted nor built.
        ("staging.stg_shop__customers", f"{NULL}: {{column: anything}}"),
        (
            "crm.crm_accounts",
            f"{QUERY}:\n      unexpected_rows_query: from {{batch}} join staging.stg_shop__customers using (x)",
        ),
        (
            "crm.crm_accounts",
            f"{QUERY}:\n      unexpected_rows_query: select 1 from {{batch}}, sync.ledger__crm_accounts -- here",
        ),
    ],
)
def test_what_may_well_fit_is_left_alone(check: Check, table: str, item: str) -> None:
    assert check(f"  - {item}\n", table).problems == ()


def judged_over(check: Check, item: str) -> list[str]:
    """What is wrong in one expectation over a table that has a column of each type, called as its type."""
    types = ("VARCHAR", "BIGINT", "DECIMAL(18,2)", "DOUBLE", "DATE", "TIMESTAMP", "BOOLEAN", "VARCHAR[]", "UUID")
    built = {"other.kinds": {kind.partition("(")[0].lower().replace("[]", "s"): kind for kind in types}}
    return list(check(f"  - {item}\n", "other.kinds", built).problems)


LIKE = "expect_column_values_to_match_like_pattern"
BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (f"{BETWEEN}: {{column: varchar, min_value: 5}}", f"{BETWEEN}: varchar is VARCHAR, expected a number"),
        (f"{BETWEEN}: {{column: bigint, min_value: 2020-01-01}}", "bigint is BIGINT, expected a date or a time"),
        ("expect_column_max_to_be_between: {column: date, max_value: 5}", "date is DATE, expected a number"),
        ("expect_column_mean_to_be_between: {column: varchar, min_value: 1}", "varchar is VARCHAR, expected a number"),
        ("expect_column_sum_to_be_between: {column: timestamp, min_value: 1}", "timestamp is TIMESTAMP, expected a n"),
        (
            "expect_column_median_to_be_between: {column: varchar, min_value: 1}",
            "varchar is VARCHAR, expected a number",
        ),
        ("expect_column_stdev_to_be_between: {column: boolean, min_value: 1}", "boolean is BOOLEAN, expected a number"),
        (
            "expect_column_values_to_not_be_outliers: {column: varchar, method: std, multiplier: 3}",
            "expect_column_values_to_not_be_outliers: varchar is VARCHAR, expected a number",
        ),
        (
            "expect_column_value_z_scores_to_be_less_than: {column: date, threshold: 3, double_sided: true}",
            "date is DATE, expected a number",
        ),
        (
            "expect_column_quantile_values_to_be_between: "
            "{column: date, quantile_ranges: {quantiles: [0.5], value_ranges: [[1, 2]]}}",
            "date is DATE, expected a number",
        ),
        (
            "expect_column_kl_divergence_to_be_less_than: "
            "{column: varchar, threshold: 1, partition_object: {bins: [0, 1], weights: [1]}}",
            "varchar is VARCHAR, expected a number",
        ),
        ("expect_multicolumn_sum_to_equal: {column_list: [bigint, varchar], sum_total: 1}", "varchar is VARCHAR"),
        (f"{LIKE}: {{column: bigint, like_pattern: a}}", f"{LIKE}: bigint is BIGINT, expected a text"),
        ("expect_column_values_to_match_regex: {column: date, regex: a}", "date is DATE, expected a text"),
        ("expect_column_values_to_match_regex: {column: varchars, regex: a}", "varchars is VARCHAR[], expected a text"),
        (
            "expect_column_value_lengths_to_equal: {column: decimal, value: 1}",
            "decimal is DECIMAL(18,2), expected a text",
        ),
        (f"{IN_SET}: {{column: varchar, value_set: [1, 2]}}", "varchar is VARCHAR, which 1 is none of"),
        (f"{IN_SET}: {{column: bigint, value_set: ['7', b]}}", "bigint is BIGINT, which 'b' is none of"),
        (f"{IN_SET}: {{column: date, value_set: [7]}}", "date is DATE, which 7 is none of"),
        (f"{IN_SET}: {{column: date, value_set: [2020-01-01, 2020-02-30]}}", "which '2020-02-30' is none of"),
        (
            "expect_column_distinct_values_to_contain_set: {column: boolean, value_set: [a]}",
            "boolean is BOOLEAN, which 'a' is none of",
        ),
        (
            "expect_column_pair_values_a_to_be_greater_than_b: {column_A: date, column_B: varchar}",
            "date is DATE and varchar is VARCHAR, which cannot be compared",
        ),
        (
            "expect_multicolumn_values_to_be_equal: {column_list: [bigint, double, varchar]}",
            "bigint is BIGINT and varch",
        ),
    ],
)
def test_a_column_of_another_type_is_named_with_its_line(check: Check, item: str, said: str) -> None:
    [problem] = judged_over(check, item)
    assert "suite.yml:3: expect_" in problem
    assert said in problem


@pytest.mark.parametrize(
    "item",
    [
        *(f"{BETWEEN}: {{column: {name}, min_value: 5}}" for name in ("bigint", "decimal", "double")),
        *(f"{BETWEEN}: {{column: {name}, min_value: 2020-01-01}}" for name in ("date", "timestamp")),
        *(f"{NULL}: {{column: {name}}}" for name in ("varchar", "varchars", "boolean", "uuid")),
        "expect_column_sum_to_be_between: {column: boolean, min_value: 1}",
        "expect_column_value_lengths_to_equal: {column: varchars, value: 1}",
        "expect_column_values_to_match_regex: {column: varchar, regex: a}",
        f"{IN_SET}: {{column: bigint, value_set: [1, 2]}}",
        f"{IN_SET}: {{column: bigint, value_set: ['1', '2']}}",
        f"{IN_SET}: {{column: boolean, value_set: [1, 0]}}",
        f"{IN_SET}: {{column: date, value_set: [2020-01-01]}}",
        "expect_column_pair_values_a_to_be_greater_than_b: {column_A: date, column_B: timestamp}",
        "expect_column_pair_values_to_be_equal: {column_A: bigint, column_B: double}",
        "expect_column_kl_divergence_to_be_less_than: "
        "{column: varchar, threshold: 1, partition_object: {values: [a], weights: [1]}}",
    ],
)
def test_a_type_that_fits_is_left_alone(check: Check, item: str) -> None:
    assert judged_over(check, item) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select name from {batch}", True),
        ("select Account_Id, name from {batch}", False),
        ("select x from {batch} join staging.stg_shop__customers using (x)", False),
    ],
)
def test_rows_are_held_by_a_key_that_the_query_selects(
    tmp_path: Path, tables: dict[str, stated.Table], query: str, found: bool
) -> None:
    path = tmp_path / "suite.yml"
    item = f"  - {QUERY}: {{unexpected_rows_query: '{query}'}}\n    on_fail: quarantine\n"
    path.write_text(f"table: crm.crm_accounts\nexpectations:\n{item}", encoding="utf-8")
    suites = gate.with_keys([gate.load_suite(path)], {"crm.crm_accounts": "account_id"})
    problems = suite_check.check(suites, tables, {}).problems
    said = f"{path}:3: on_fail: quarantine holds rows by account_id, which the query does not select"
    assert problems == ((said,) if found else ())


def test_what_is_built_counts_where_dbt_declares_no_columns(check: Check) -> None:
    item = f"  - {NULL}: {{column: contry}}\n"
    assert check(item, "staging.country_spellings", {}).problems == ()
    assert "did you mean country?" in check(item, "staging.country_spellings").problems[0]
    built = {"staging.stg_shop__customers": {"customer_id": "VARCHAR", "mood": "ENUM('a')"}}
    [problem] = check(
        "  - expect_column_values_to_be_unique: {column: nood}\n", "staging.stg_shop__customers", built
    ).problems
    assert "did you mean mood?" in problem
    # A column that the contract no longer has is gone, though the last night's table still has it.
    stale = {"crm.crm_accounts": {"account_id": "VARCHAR", "colour": "VARCHAR"}}
    assert "has no column colour" in check(f"  - {NULL}: {{column: colour}}\n", built=stale).problems[0]


def test_a_misspelt_personal_column_is_found(tmp_path: Path, tables: dict[str, stated.Table]) -> None:
    path = tmp_path / "suite.yml"
    path.write_text(f"table: crm.crm_accounts\npii: [NAME, nam]\nexpectations:\n  - {NULL}: {{column: name}}\n")
    [problem] = suite_check.check([gate.load_suite(path)], tables, {}).problems
    assert problem == f"{path}:2: pii: crm.crm_accounts has no column nam; did you mean name?"


@pytest.mark.parametrize(
    ("item", "rule"),
    [
        ("expect_column_values_to_be_unique: {column: account_id}", "unique, dbt test"),
        (f"{NULL}: {{column: account_id}}", "not_null, dbt test"),
        (f"{NULL}: {{column: name}}", "not_null, contract"),
        (
            "expect_column_values_to_be_in_set: {column: segment, value_set: "
            "[Champions, Loyal, Promising, New, At Risk, Hibernating, Lost, More]}",
            "accepted_values, dbt test",
        ),
        (f"{NULL}: {{column: country}}", ""),
        (f"{NULL}: {{column: name, mostly: 0.9}}", ""),
        (f"{NULL}: {{column: name}}\n    row_condition: order_count > 1", ""),
        ("expect_column_values_to_be_in_set: {column: segment, value_set: [Champions]}", ""),
    ],
)
def test_what_dbt_states_already_is_a_hint(check: Check, item: str, rule: str) -> None:
    found = check(f"  - {item}\n")
    assert found.problems == ()
    assert [f"({rule})" in hint and "suite.yml:3:" in hint for hint in found.hints] == ([True] if rule else [])


def test_the_doctor_tells_problems_and_hints(home: Home, project: Path) -> None:
    suite = project / "expectations" / "crm" / "crm_accounts.yml"
    kept = suite.read_text(encoding="utf-8")
    suite.write_text(f"{kept}  - expect_column_values_to_be_unique: {{column: account_id}}\n", encoding="utf-8")
    os.environ.setdefault("SANDBOX_URL", "http://127.0.0.1:9")
    findings = {}
    for finding in examine(home.settings):
        findings[finding.check] = finding
        if finding.check.startswith("source"):
            break
    line = kept.count("\n") + 1
    assert findings["expectations"].ok
    assert f"{suite}:{line}: expect_column_values_to_be_unique of account_id" in findings["said twice"].found
    assert (findings["said twice"].ok, findings["said twice"].hint) == (True, True)
    lines = project / "expectations" / "raw" / "retail__invoice_lines.yml"
    lines.write_text(lines.read_text().replace("column: Country}", "column: Contry}", 1))
    found = [finding for finding, _ in zip(examine(home.settings), range(2), strict=False)][1]
    assert (found.check, found.ok) == ("expectations", False)
    assert "retail__invoice_lines.yml:" in found.found
    assert "has no column Contry; did you mean Country?" in found.found


def test_the_doctor_tells_max_requests_that_let_nothing_go(home: Home, project: Path) -> None:
    os.environ.setdefault("SANDBOX_URL", "http://127.0.0.1:9")
    connections = project / "profiles" / "connections.yml"
    kept = connections.read_text(encoding="utf-8")
    connections.write_text(kept.replace("auth: client_", "max_requests: 1\n        auth: client_", 1), encoding="utf-8")
    found = next(examine(home.settings))
    connections.write_text(kept, encoding="utf-8")
    assert (found.check, found.ok) == ("configuration", False)
    assert "main: max_requests is 1, and one record of crm_accounts takes 2, read back" in found.found


def test_suites_on_what_the_crm_gave_back_are_compared_with_what_is_kept_of_it(home: Home, project: Path) -> None:
    os.environ.setdefault("SANDBOX_URL", "http://127.0.0.1:9")
    suite = project / "expectations" / "crm_after" / "crm_accounts.yml"

    def found() -> Finding:
        return [finding for finding, _ in zip(examine(home.settings), range(2), strict=False)][1]

    assert (found().check, found().ok) == ("expectations", True), found().found
    suite.write_text(
        f"table: crm_after.crm_accounts\npii: [nosuch]\nexpectations:\n  - {NULL}: {{column: nome}}\n"
        f"  - {NULL}: {{column: changed_at}}\n  - {NULL}: {{column: _unfit}}\n  - {NULL}: {{column: account_id}}\n"
        "  - expect_column_values_to_match_regex: {column: name, regex: 'b('}\n"
        f"  - {QUERY}: {{unexpected_rows_query: 'select nope from {{batch}}'}}\n"
        f"  - {QUERY}: {{unexpected_rows_query: 'select was.mood from {{batch}}, sync.ledger__crm_accounts was'}}\n"
        f"  - {QUERY}: {{unexpected_rows_query: 'select was.email from {{batch}}, sync.ledger__crm_contacts was'}}\n",
        encoding="utf-8",
    )
    said = found()
    assert not said.ok
    told = [line.rpartition("crm_accounts.yml:")[2] for line in said.found.splitlines() if ".yml:" in line]
    assert [line.partition(": ")[0] for line in told] == ["2", "4", "5", "8", "9", "10"], said.found
    assert told[0].endswith("crm_after.crm_accounts has no column nosuch")
    assert told[1].endswith("has no column nome; did you mean name?")
    assert "has no column changed_at" in told[2], "it is not sent, and so not read back"


def test_the_manifest_is_parsed_anew_only_when_the_project_changed(home: Home, project: Path) -> None:
    made = home.settings.dbt_target / "manifest.json"
    before = made.stat().st_mtime_ns
    stated.manifest(home.settings)
    assert made.stat().st_mtime_ns == before
    model = project / "dbt_project" / "models" / "crm" / "_crm__models.yml"
    text = model.read_text().replace("crm_field: {salesforce: Name, hubspot: name}}", "crm_field: Name, pii: true}", 1)
    assert text != model.read_text()
    model.write_text(text)
    later = time.time() + 1
    os.utime(model, (later, later))
    assert "name" in stated.tables(stated.manifest(home.settings))["crm.crm_accounts"].personal
    assert made.stat().st_mtime_ns > before


def test_a_test_of_some_rows_states_nothing_of_the_others(manifest: Path) -> None:
    parsed = json.loads(manifest.read_text(encoding="utf-8"))
    [test] = [n for u, n in parsed["nodes"].items() if u.startswith("test.nightshift.unique_crm_accounts")]
    assert stated.tables(parsed)["crm.crm_accounts"].said("account_id", "unique")
    test["config"]["where"] = "order_count > 1"
    # The contract's primary key says it all the same.
    assert stated.tables(parsed)["crm.crm_accounts"].said("account_id", "unique") == stated.Rule("unique", "contract")
    parsed["nodes"]["model.nightshift.crm_accounts"]["config"]["contract"]["enforced"] = False
    assert stated.tables(parsed)["crm.crm_accounts"].said("account_id", "unique") is None


def test_what_dbt_states_is_read_whole(tables: dict[str, stated.Table]) -> None:
    contacts = tables["crm.crm_contacts"]
    assert (contacts.key, contacts.parents) == ("contact_id", {"account_id": "crm_accounts"})
    assert contacts.owner == "revenue-operations@example.com"
    assert contacts.said("ACCOUNT_ID", "relationships") == stated.Rule("relationships", "dbt test")
    assert contacts.said("contact_id", "unique") == stated.Rule("unique", "dbt test")
    assert contacts.said("last_name", "not_null") == stated.Rule("not_null", "contract")
    assert "email" in tables["staging.stg_shop__customers"].personal, "what is personal in a model is so before it"
    lines = tables["raw.retail__invoice_lines"]
    assert (lines.node, lines.complete, lines.loaded_at) == ("retail.invoice_lines", True, "_extracted_at")
    assert {"_file", "_row", "_run_id", "_extracted_at"} <= lines.types.keys()
    assert "_page" in tables["raw.shop__customers"].types
    assert not tables["staging.stg_shop__customers"].complete
