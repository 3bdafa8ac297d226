"""A proposed suite loads, passes on the very table, repeats nothing of dbt's, and shows nothing personal."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from _pytest.capture import CaptureFixture
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import gate
from flows.quality import stated, suggest
from flows.quality.profile import profile
from flows.warehouse import Warehouse
from tests.quality.conftest import Home

DIRT = """
    create table raw.dirt as
    select
        i as id, -i as below, (i * 1.5)::decimal(18, 4) as money,
        case i when 3 then 'nan'::double when 4 then 'infinity'::double else i / 7 end as odd,
        sin(i) as wave, 1e300 * i as huge, i::hugeint * 100000000000000000000 as vast, i::utinyint % 7 as tiny,
        case when i % 4 > 0 then 'kind ' || i % 3 end as kind, 'a' || i as code, repeat('x', 5 + i % 40) as words,
        case when i % 100 = 0 then 'x' else lpad(i::varchar, 5, '0') end as digits, null::varchar as nothing,
        case when i % 2 = 0 then '' else 'filled' end as empties, i % 2 = 0 as flag, [i, i] as list, uuid() as u,
        '2020-01-0' || (1 + i % 9) as day_text, date '2019-05-05' + i::int as day,
        timestamp '2019-05-05 10:00:00' + to_minutes(i::int) as moment,
        case when i % 5 = 0 then 'infinity'::timestamp else timestamp '1999-12-31 23:59:59' end as forever,
        now() - to_minutes(i::int) as fresh, 'yes' as "no", 'q' || i % 2 as "it""s {odd} %(x)s: -",
        'person' || i || '@secret.example' as hidden_mail, '+44 1234 56' || i as hidden_phone,
        case when i % 3 = 0 then 'Secret Person' else 'Hidden Human' end as person
    from range(200) as numbers (i)
"""

SYNCED = {"crm_accounts": "account_id", "crm_contacts": "contact_id", "crm_opportunities": "opportunity_id"}


def proposed(home: Home, capfd: CaptureFixture[str], table: str, folder: Path) -> tuple[gate.Suite, str]:
    """The suite that the command proposes, loaded from what it prints."""
    told = home.command(capfd, "suggest", table)
    assert (told.code, told.err) == (0, "")
    path = folder / "suggested.yml"
    path.write_text(told.out, encoding="utf-8")
    return gate.load_suite(path), told.out


def names(suite: gate.Suite, column: str) -> set[str]:
    return {expectation.kind.name for expectation in suite.expectations if column in expectation.columns}


def passes(home: Home, suite: gate.Suite) -> None:
    with Warehouse.open(home.settings.warehouse) as db:
        report = gate.check(suite, db, run_id="r", stage="raw")
    assert [str(result) for result in report.results if not (result.passed and result.evaluated)] == []


@pytest.mark.parametrize("table", ["crm_accounts", "crm.crm_contacts", "CRM_OPPORTUNITIES"])
def test_a_model_passes_what_is_proposed_of_it(
    home: Home, capfd: CaptureFixture[str], tmp_path: Path, table: str
) -> None:
    suite, _ = proposed(home, capfd, table, tmp_path)
    assert suite.owner == "revenue-operations@example.com"
    passes(home, suite)


def test_every_kind_of_column_passes_what_is_proposed_of_it(
    home: Home, capfd: CaptureFixture[str], tmp_path: Path
) -> None:
    home.ask(DIRT)
    suite, text = proposed(home, capfd, "raw.dirt", tmp_path)
    passes(home, suite)
    between, not_null = "expect_column_values_to_be_between", "expect_column_values_to_not_be_null"
    lengths, regex = "expect_column_value_lengths_to_be_between", "expect_column_values_to_match_regex"
    assert names(suite, "id") == {not_null, "expect_column_values_to_be_unique"}
    assert names(suite, "tiny") == {not_null, between}
    assert names(suite, "odd") == {not_null}, "a number that is none has no range"
    assert names(suite, "kind") == {
        *("expect_column_proportion_of_non_null_values_to_be_between", "expect_column_values_to_be_in_set"),
    }
    assert names(suite, "words") == {not_null, lengths}
    assert names(suite, "digits") == {not_null, regex, lengths}
    assert names(suite, "day_text") == {not_null, "expect_column_values_to_be_in_set"}
    assert names(suite, "nothing") == set()
    assert names(suite, "list") == {not_null}
    assert names(suite, "moment") == names(suite, "forever") == {not_null, between}
    [digits] = [e for e in suite.expectations if e.kind.name == regex and "digits" in e.columns]
    assert digits.arguments == {"column": "digits", "regex": "^[0-9]+$", "mostly": 0.99}
    [query] = [e for e in suite.expectations if e.is_query]
    assert '"fresh"' in query.arguments["unexpected_rows_query"]
    assert "# kind: varchar, 50 null (25.0%), 3 different, 6 characters" in text
    assert "interval '3 days'" in query.arguments["unexpected_rows_query"]


def test_a_stale_table_fails_what_was_proposed_of_its_freshness(
    home: Home, capfd: CaptureFixture[str], tmp_path: Path
) -> None:
    home.ask("create table raw.fresh as select i as id, now()::timestamp as made_at from range(30) as numbers (i)")
    suite, _ = proposed(home, capfd, "raw.fresh", tmp_path)
    passes(home, suite)
    home.ask("update raw.fresh set made_at = made_at - interval 10 days")
    with Warehouse.open(home.settings.warehouse) as db:
        report = gate.check(suite, db, run_id="r", stage="raw")
    assert [r.expectation for r in report.results if not r.passed] == ["unexpected_rows_expectation"]


def test_nothing_personal_is_shown(
    home: Home, capfd: CaptureFixture[str], tmp_path: Path, tables: dict[str, stated.Table]
) -> None:
    assert tables["crm.crm_contacts"].personal >= {"first_name", "last_name", "email", "phone"}
    suite, text = proposed(home, capfd, "crm_contacts", tmp_path)
    assert suite.pii == {"first_name", "last_name", "email", "phone"}
    allowed = {
        *("expect_column_values_to_not_be_null", "expect_column_value_lengths_to_be_between"),
        "expect_column_proportion_of_non_null_values_to_be_between",
    }
    assert all(names(suite, column) <= allowed for column in suite.pii)
    assert not re.search("Ann|Secretperson|secret.example|1234", text)
    home.ask(DIRT)
    # Nobody says so of these two; of the third, nothing but its suite does.
    _, text = proposed(home, capfd, "raw.dirt", tmp_path)
    assert "The values look like e-mail addresses" in text
    assert "The values look like telephone numbers" in text
    assert not re.search("secret.example|1234 56", text)
    assert "Secret Person" in text
    expectations = tmp_path / "expectations"
    (expectations / "raw").mkdir(parents=True)
    told = "table: raw.dirt\npii: [PERSON]\nexpectations:\n  - expect_column_values_to_be_unique: {column: id}\n"
    (expectations / "raw" / "any.yml").write_text(told)
    with Warehouse.open(home.settings.warehouse) as db:
        found = suggest.for_table(db, tables, expectations, "dirt")
    assert "Secret Person" not in found.as_yaml()
    assert "Hidden Human" not in str(found.suite())


def test_what_dbt_states_is_named_and_not_repeated(home: Home, capfd: CaptureFixture[str], tmp_path: Path) -> None:
    home.ask("insert into crm.crm_accounts select (20000 + i)::varchar, 'n', 'France', date '2010-12-01', date "
             "'2010-12-01', 1, 0, 5, 'New', timestamp '2026-01-02' from range(40) as numbers (i)")  # fmt: skip
    suite, text = proposed(home, capfd, "crm_accounts", tmp_path)
    assert names(suite, "account_id") == {"expect_column_values_to_match_regex"}
    assert "expect_column_values_to_not_be_null" not in names(suite, "name")
    assert names(suite, "segment") == {"expect_column_values_to_not_be_null"}
    assert "# dbt sees to: data_type varchar, unique (dbt test), not_null (dbt test)" in text
    assert "# dbt sees to: data_type varchar, not_null (contract)" in text
    assert "# dbt sees to: data_type varchar, accepted_values (dbt test)" in text
    suite, text = proposed(home, capfd, "crm_opportunities", tmp_path)
    assert names(suite, "account_id") == set()
    assert "# dbt sees to: data_type varchar, relationships (dbt test), not_null (contract)" in text


def test_it_is_written_once_and_never_over_a_file(home: Home, capfd: CaptureFixture[str], project: Path) -> None:
    for table in ("raw.dirt", "raw.shop__customers"):
        home.ask(DIRT.replace("raw.dirt", table))
    path = project / "expectations" / "raw" / "dirt.yml"
    told = home.command(capfd, "suggest", "dirt", "--write", "--output", "json").json
    assert (told["table"], told["rows"], told["written"]) == ("raw.dirt", 200, str(path))
    assert {e.kind.name for e in gate.load_suite(path).expectations} == {
        key for item in told["suite"]["expectations"] for key in item if key.startswith(("expect_", "unexpected_"))
    }
    assert path.read_text().startswith("# yaml-language-server: $schema=../suite.schema.json\n")
    before = path.read_bytes()
    again = home.command(capfd, "suggest", "dirt", "--write")
    assert again.code == 2
    assert "has a suite already" in again.err
    assert path.read_bytes() == before
    # A suite under another name, and a file that is no suite of this table.
    renamed = path.rename(path.with_name("other.yml"))
    assert str(renamed.name) in "".join(home.command(capfd, "suggest", "dirt", "--write").err.split())
    assert not path.exists()
    renamed.unlink()
    path.write_text("table: raw.else\nexpectations:\n  - expect_table_row_count_to_equal: {value: 1}\n")
    assert home.command(capfd, "suggest", "dirt", "--write").code == 2
    assert "raw.else" in path.read_text()
    path.unlink()
    home.ask("create schema staging; create view staging.odd as select * from raw.dirt")
    written = home.command(capfd, "suggest", "staging.odd", "--write")
    assert written.out.startswith(str(project / "expectations" / "crm" / "odd.yml"))


def test_what_the_crm_gave_back_is_judged_after_the_push_and_as_personal_as_its_model(
    home: Home, capfd: CaptureFixture[str], project: Path
) -> None:
    home.ask(
        "create schema if not exists crm_after; create table crm_after.crm_contacts as "
        "select * exclude (changed_at), '003' as _crm_id, 'r1' as _run_id, now()::timestamp as _read_at, "
        '\'{"Email": "not@secret.example"}\' as _unfit from crm.crm_contacts, range(3)'
    )
    path = project / "expectations" / "crm_after" / "crm_contacts.yml"
    shipped = path.read_bytes()

    refused = home.command(capfd, "suggest", "crm_after.crm_contacts", "--write")
    assert (refused.code, path.read_bytes()) == (2, shipped)
    assert "has a suite already" in refused.err
    path.unlink()
    told = home.command(capfd, "suggest", "crm_after.crm_contacts", "--write").out
    assert "table: crm.crm_contacts" in home.command(capfd, "suggest", "crm_contacts").out

    assert told.startswith(f"{path}\n")
    text = path.read_text()
    assert "secret" not in text.lower()
    assert "dbt sees to" not in text, "what is read back is not dbt's"
    assert "row count" not in text
    assert "so that a failure is told, and stops nothing" in " ".join(text.replace("#", "").split())
    [suite] = [s for s in gate.suites_after(path.parent, SYNCED) if s.table == "crm_contacts"]
    assert {"email", "last_name", "_unfit"} <= suite.pii
    # A night judges what it wrote alone: one record, of the many that were profiled.
    home.ask("update crm_after.crm_contacts set _read_at = _read_at + interval 1 day where contact_id = '12347'")
    passes(home, suite)
    whole = ("table_row_count", "proportion", "unexpected_rows")
    assert [e.kind.name for e in suite.expectations if any(word in e.kind.name for word in whole)] == []


def test_what_came_back_of_a_model_without_personal_columns_hides_nothing(
    home: Home, capfd: CaptureFixture[str], project: Path
) -> None:
    home.ask(
        "create schema if not exists crm_after; create table crm_after.crm_accounts as "
        "select * exclude (changed_at), '003' as _crm_id, 'r1' as _run_id, now()::timestamp as _read_at, "
        "null::varchar as _unfit from crm.crm_accounts"
    )
    text = home.command(capfd, "suggest", "crm_after.crm_accounts").out
    assert "\npii:" not in text


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("crm_acounts", "did you mean crm.crm_accounts?"),
        ("nowhere.nothing", "The warehouse has no table nowhere.nothing."),
        ("twice", "twice may be crm.twice or raw.twice."),
        ("raw.empty", "raw.empty holds no rows"),
        ("ops.runs", "kept by Nightshift itself"),
    ],
)
def test_a_table_that_cannot_be_profiled_is_said(home: Home, capfd: CaptureFixture[str], table: str, said: str) -> None:
    home.ask("create table raw.twice (i int); create table crm.twice (i int); create table raw.empty (i int)")
    told = home.command(capfd, "suggest", table)
    assert (told.code, told.out) == (2, "")
    assert said in " ".join(told.err.split())


def test_a_few_rows_prove_little(home: Home, capfd: CaptureFixture[str], tmp_path: Path) -> None:
    home.ask("create table raw.few as select i as id, 'k' as kind, '12345' as code from range(5) as numbers (i)")
    suite, _ = proposed(home, capfd, "raw.few", tmp_path)
    passes(home, suite)
    found = {expectation.kind.name for expectation in suite.expectations}
    assert not found & {"expect_column_values_to_be_unique", "expect_column_values_to_be_in_set"}
    assert "expect_column_values_to_match_regex" not in found


numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=4)


@given(numbers, numbers, st.booleans())
def test_bounds_hold_what_was_seen_and_do_not_cross_zero(one: Decimal, other: Decimal, whole: bool) -> None:
    low, high = sorted((one, other))
    if whole:
        low, high = Decimal(int(low)), Decimal(int(high))
    bounds = suggest.roomy(low, high, whole=whole)
    assert Decimal(str(bounds["min_value"])) <= low
    assert high <= Decimal(str(bounds["max_value"]))
    assert not (low >= 0 > bounds["min_value"])
    assert not (high <= 0 < bounds["max_value"])
    assert not whole or all(isinstance(bound, int) for bound in bounds.values())


texts = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["12", "0012", "a@b.c", "x", "no", "2020-01-01"]))


@settings(deadline=None, max_examples=40)  # each opens a DuckDB
@given(st.lists(texts, min_size=1, max_size=60), st.text(min_size=1, max_size=8).filter(lambda n: "\x00" not in n))
def test_whatever_is_in_a_table_becomes_yaml_that_says_it(values: list[Any], column: str) -> None:
    kept = [None if v is None else v.replace("\x00", "").encode(errors="ignore").decode() for v in values]
    name = column.encode(errors="ignore").decode() or "c"
    with Warehouse.open(Path(":memory:")) as db:
        db.execute("create table raw.texts (c varchar)")
        db.execute("insert into raw.texts select unnest(?::varchar[])", (kept,))
        db.execute(f'alter table raw.texts rename column c to "{name.replace(chr(34), chr(34) * 2)}"')
        found = suggest.suggest(profile(db, "raw", "texts"), None)
    assert yaml.safe_load(found.as_yaml()) == found.suite()
