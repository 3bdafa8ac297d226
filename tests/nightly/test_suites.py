"""Suites in whole nights: what is wrong in them, and rows that are held back while everything else goes to the CRM.

All tests share one home, in which night follows night.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.sandbox.sources.invoices import generate
from tests.nightly.test_bad_input import MODELS, House
from tests.nightly.world import World, sandbox, wanted

ACCOUNTS = "expectations/crm/crm_accounts.yml"
LINES = "expectations/raw/retail__invoice_lines.yml"
FIRST = "  - expect_table_row_count_to_be_between: {min_value: 1}\n"
HELD = FIRST + "  - expect_column_values_to_not_match_regex: {column: account_id, regex: '7$'}\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    store = generate(folder / "store", days=12)
    crm = sandbox(folder / "store")
    made = House(World(folder / "home", crm, folder / "in"), store)
    made.world.copy_project()
    for _ in range(8):
        made.new_day()
    yield made
    crm.close()


@pytest.fixture(autouse=True)
def mended(house: House) -> Iterator[None]:
    yield
    house.mend()


def at(house: House, path: str, text: str) -> str:
    """Where a text stands for the last time in a file of the project, as errors name it."""
    lines = (house.world.project / path).read_text().splitlines()
    return f"{path}:{max(number for number, line in enumerate(lines, start=1) if text in line)}: "


def test_what_is_wrong_in_a_suite_is_told_before_anything_runs(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(LINES, FIRST, f"{FIRST}  - expect_column_value_to_be_nul: {{column: Quantity}}\n{FIRST}")
    twice = "expect_table_row_count_to_be_between stands already in line"
    unknown = "unknown expectation 'expect_column_value_to_be_nul'; did you mean expect_column_values_to_be_null?"
    wrong = at(house, LINES, FIRST.strip()) + twice, at(house, LINES, "to_be_nul:") + unknown
    house.bad(capfd, 2, *wrong)
    house.mend()
    house.edit(
        LINES, FIRST, f"  - expect_column_values_to_be_null: {{column: Country}}\n    on_fail: quarantine\n{FIRST}"
    )
    raw = "on_fail: quarantine: raw.retail__invoice_lines is no synced model"
    house.bad(capfd, 2, at(house, LINES, "to_be_null: {column: Country}") + raw)


def test_a_table_has_one_suite_in_the_folder_of_its_gate(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    folder = house.world.project / "expectations"
    files = {
        "raw/zz.yml": ("crm.crm_opportunities", "is built by the transform"),
        "crm/lines.yml": ("raw.retail__invoice_lines", "has a suite already, raw/retail__invoice_lines.yml"),
        "crm/back.yml": ("crm_after.crm_accounts", "is what the CRM gave back: put the suite into crm_after/"),
        "crm_after/twice.yml": ("crm_after.CRM_accounts", "has a suite already, crm_after/crm_accounts.yml"),
        "crm_aftr/typo.yml": ("crm_after.crm_accounts", "is not read"),
    }
    for name, (table, said) in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"table: {table}\nexpectations:\n{FIRST}")
        try:
            night = house.bad(capfd, 2, f"{name}:", said)
            assert list(night.summary["stages"]) == ["configure", "report", "notify"]
            doctor = house.world.command(capfd, "doctor")
            assert doctor.code == 2
            assert said in " ".join(doctor.out.split())
        finally:
            path.unlink()


def test_a_table_may_be_written_in_any_case(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    held = HELD.replace("7$", "^1")
    house.edit(ACCOUNTS, "table: crm.crm_accounts\n", "table: CRM.CRM_accounts\nmax_quarantined: 100%\n")
    house.edit(ACCOUNTS, FIRST, held)
    night = house.world.command(capfd, "plan", "--output", "json", "--as-of", house.today)
    assert (night.code, night.err) == (0, "")
    assert house.world.ask("select distinct table_name from quality.quarantine where ended_at is null") == [
        ("crm.crm_accounts",)
    ]
    names = {name for (name,) in house.world.ask("select distinct table_name from quality.results")}
    assert "CRM.CRM_accounts" not in names


def test_what_cannot_be_judged_stops_the_night(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    missing = "  - expect_column_values_to_not_be_null: {column: colour}\n"
    regex = "  - expect_column_values_to_match_regex: {column: Country, regex: '('}\n"
    house.edit(LINES, FIRST, FIRST + missing + regex)
    other = house.world.project / "expectations" / "raw" / "others.yml"
    other.write_text(f"table: raw.others\nexpectations:\n{FIRST}")
    night = house.bad(
        capfd,
        1,
        "3 critical expectations failed",
        "raw.retail__invoice_lines has no column colour",
        "missing )",
        "there is no table raw.others in the warehouse",
        "Nothing was transformed",
    )
    assert "transform" not in night.summary["stages"]
    other.unlink()


def test_a_suite_may_ask_the_ledger_before_there_was_a_push(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    asked = "select account_id from {batch} join sync.ledger__crm_accounts on _external_id = account_id"
    house.edit(ACCOUNTS, FIRST, f'{FIRST}  - unexpected_rows_expectation: {{unexpected_rows_query: "{asked}"}}\n')
    night = house.world.command(capfd, "plan", "--output", "json", "--as-of", house.today)
    assert (night.code, night.err) == (0, "")


def test_a_type_that_is_none_is_told_before_anything_runs(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(MODELS, "later.\n        data_type: bigint\n", "later.\n        data_type: bigintt\n")
    night = house.bad(capfd, 2, "_crm__models.yml: crm_accounts.order_count: ", "the type bigintt")
    assert list(night.summary["stages"]) == ["configure", "report", "notify"]
    house.edit(MODELS, "data_type: bigintt\n", "data_type: decimal(99,2)\n")
    night = house.bad(capfd, 2, "_crm__models.yml: crm_accounts: ", "type width must be between 1 and 38")
    assert list(night.summary["stages"]) == ["configure", "report", "notify"]


def test_too_many_rows_stop_the_night_before_the_push(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(ACCOUNTS, FIRST, HELD)
    house.edit(ACCOUNTS, "table: crm.crm_accounts\n", "table: crm.crm_accounts\nmax_quarantined: 2\n")
    night = house.bad(capfd, 1, "too many rows would be held back", "crm.crm_accounts:", "max_quarantined is 2")
    told = night.summary["quarantine"]["crm.crm_accounts"]
    assert (told["held"], told["rows"]) == (0, [])
    assert told["refused"] > 2


def test_rows_are_held_back_with_their_children_until_they_pass(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    house.edit(ACCOUNTS, FIRST, HELD)
    house.edit(ACCOUNTS, "table: crm.crm_accounts\n", "table: crm.crm_accounts\nmax_quarantined: 50%\n")
    night = house.world.run(capfd, house.today)
    assert (night.code, night.error, night.err) == (0, "", "")
    fit = wanted(house.world.crm, house.arrived, house.today)
    bad = {key for key in fit["crm_accounts"] if key.endswith("7")}
    known = house.world.crm.held()
    assert bad
    assert known["crm_accounts"].keys() == fit["crm_accounts"].keys() - bad
    for child in ("crm_contacts", "crm_opportunities"):
        assert known[child] == {key: row for key, row in fit[child].items() if row[-1] not in bad}
        assert night.summary["syncs"][child]["waiting"] == len(fit[child]) - len(known[child]) > 0
    assert night.summary["syncs"]["crm_accounts"]["quarantined"] == len(bad)
    told = night.summary["quarantine"]["crm.crm_accounts"]
    assert (told["held"], told["new"], told["refused"]) == (len(bad), len(bad), None)
    assert told["causes"] == {"expect_column_values_to_not_match_regex(account_id)": len(bad)}
    assert {row["key"] for row in told["rows"]} == {row["value"] for row in told["rows"]} <= bad
    [gate] = [g for g in night.summary["gates"] if g["on_fail"] == "quarantine" and not g["passed"]]
    assert (gate["quarantined_rows"], gate["unexpected_rows"]) == (len(bad), len(bad))

    house.new_day()
    night = house.good(capfd)
    told = night.summary["quarantine"]["crm.crm_accounts"]
    assert (told["held"], told["released"]) == (0, len(bad))


def test_no_suite_needs_to_repeat_what_dbt_calls_personal(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """In the raw gate, in that of the models, and in that of what the CRM gave back."""
    told = "  - expect_column_values_to_match_regex: {column: %s, regex: '^no value'}\n    on_fail: report\n"
    query = "  - unexpected_rows_expectation: {unexpected_rows_query: 'select %s as told from {batch}'}\n"
    query += "    on_fail: report\n"
    for path, columns in (
        ("raw/shop__customers.yml", ("person", "email")),
        ("crm/crm_contacts.yml", ("last_name", "email")),
        ("crm_after/crm_contacts.yml", ("last_name", "email")),
    ):
        suite = house.world.project / "expectations" / path
        pii = next(line for line in suite.read_text().splitlines(keepends=True) if line.startswith("pii: "))
        house.edit(f"expectations/{path}", f"{pii}expectations:\n", "expectations:\n")
        failing = "".join(told % column for column in columns) + query % columns[0]
        house.edit(f"expectations/{path}", "expectations:\n", f"expectations:\n{failing}")
    # What has no personal column of its own may read a table that has some: a model, a ledger, what came back.
    joined = (
        "  - unexpected_rows_expectation: {unexpected_rows_query: 'select a.account_id, c.%s as who from {batch} a "
    )
    joined += "join %s c using (account_id)'}\n    severity: info\n    on_fail: report\n"
    ledger = '(select _external_id as account_id, "Phone" from sync.ledger__crm_contacts)'
    for column, table in (
        ("phone", "crm.crm_contacts"),
        ("phone", "crm_after.crm_contacts"),
        ('"Phone"', ledger),
    ):
        house.edit(ACCOUNTS, "expectations:\n", "expectations:\n" + joined % (column, table))
    house.new_day()
    night = house.world.run(capfd, house.today)
    failed = {(gate["stage"], gate["table"]) for gate in night.summary["gates"] if gate["on_fail"] == "report"}
    assert {stage for stage, table in failed if "customers" in table or "contacts" in table} == {
        "raw",
        "crm",
        "crm_after",
    }
    people = house.world.ask("select person, email, phone from raw.shop__customers")
    seen = night.out + repr(house.world.ask("select * from quality.results"))
    assert [value for row in people for value in row if value and len(value) > 4 and value in seen] == []
