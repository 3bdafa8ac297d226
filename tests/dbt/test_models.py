"""The dbt project, built for real: a rebuild changes nothing, and nights one by one equal a full refresh."""

# ruff: noqa: DTZ001 -- DuckDB's TIMESTAMP has no zone

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.dbt import independent, raw
from tests.dbt.conftest import MODELS, Built


@pytest.fixture
def few(tmp_path: Path) -> list[Path]:
    """Three generated days."""
    return raw.generate(tmp_path, days=3, seed=7)


def test_everything_builds_and_a_second_build_changes_nothing(built: Built, few: list[Path]) -> None:
    built.load(1, few, raw.people_of(few, night=1))
    first = built.dbt("build")
    held, changed_at = built.held(), built.changed_at()
    assert all(held[model] for model in MODELS)

    second = built.dbt("build")
    assert sorted(second) == sorted(first)

    assert built.held() == held
    assert built.changed_at() == changed_at


def test_builds_on_raw_tables_without_rows_and_passes_its_unit_tests(built: Built) -> None:
    ran = built.dbt("build")
    assert ran.count(("unit_test", "pass")) == 12
    assert built.held() == {model: {} for model in MODELS}


def test_parsing_warns_of_nothing(built: Built) -> None:
    built.dbt("parse", "--no-partial-parse", "--show-all-deprecations", "--warn-error")


def test_nothing_is_written_into_the_project(built: Built, few: list[Path]) -> None:
    def listing() -> set[Path]:
        return {path for folder in ("dbt_project", "profiles") for path in (PROJECT / folder).rglob("*")}

    before = listing()
    built.night(1, few, [])
    assert listing() == before


@pytest.fixture(params=["generated", "real"])
def days(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """Seven days: dense generated ones, and the first real ones."""
    if request.param == "generated":
        return raw.generate(tmp_path, days=7, seed=11)
    shared: Path = request.getfixturevalue("shared_data")
    return sorted((shared / "data" / "online-retail" / "by-day").glob("*.csv.gz"))[:7]


def test_nights_one_by_one_equal_a_full_refresh_and_an_independent_computation(built: Built, days: list[Path]) -> None:
    late = days[2]
    arrivals = [[days[0]], [days[1]], [days[3]], [days[4]], [days[5], late], [days[6]]]
    arrived: list[Path] = []
    left = 0
    built.build()  # raw is empty yet
    for number, files in enumerate(arrivals, start=1):
        arrived += files
        people = raw.people_of(arrived, number)
        before, stamped = built.held(), built.changed_at()
        built.night(number, files, people)
        held, stamps = built.held(), built.changed_at()
        assert held == independent.crm(arrived, people), f"night {number}"
        for model in MODELS:
            changed = {key for key, row in held[model].items() if before[model].get(key) != row}
            moved = {key for key, at in stamps[model].items() if stamped[model].get(key) != at}
            assert moved == changed, f"night {number}: {model}"
            left += len(before[model].keys() - held[model].keys())
    assert left > 0, "no row left in any night, so that was not tried"
    one_by_one = built.held()

    built.build("--full-refresh")

    assert built.held() == one_by_one


def test_all_the_real_days_equal_the_independent_computation(built: Built, shared_data: Path) -> None:
    days = sorted((shared_data / "data" / "online-retail" / "by-day").glob("*.csv.gz"))
    people = raw.people_of(days, night=6)
    built.night(1, days, people)
    assert built.held() == independent.crm(days, people)


def _line(number: str, who: str, amount: str = "10", quantity: int = 1, minute: int = 0) -> list[str]:
    return [number, "22423", "ARTICLE", str(quantity), f"2011-01-01 10:{minute:02}:00", amount, f"{who}.0", "EIRE"]


def _person(who: str, consent: bool) -> raw.Person:
    return raw.Person(who, "Mills", "Ann Mills", None, None, consent, datetime(2011, 1, 1))


def test_who_withdraws_and_what_is_netted_away_leaves_and_comes_back(built: Built, tmp_path: Path) -> None:
    first = raw.write_file(tmp_path, date(2011, 1, 1), [_line("1", "101"), _line("2", "102")])
    built.night(1, [first], [_person("101", True), _person("102", True)])
    assert set(built.held()["crm_opportunities"]) == {"1", "2"}
    assert set(built.held()["crm_contacts"]) == {"101", "102"}
    stamped = built.changed_at()

    cancelled = raw.write_file(tmp_path, date(2011, 1, 2), [_line("C3", "101", quantity=-1, minute=5)])
    built.night(2, [cancelled], [_person("101", False)])
    assert set(built.held()["crm_opportunities"]) == {"2"}
    assert set(built.held()["crm_contacts"]) == {"102"}
    assert set(built.held()["crm_accounts"]) == {"101", "102"}
    assert built.changed_at()["crm_opportunities"]["2"] == stamped["crm_opportunities"]["2"]

    # A late file holds a later sale that the cancellation belongs to, so the first invoice stands again.
    late = raw.write_file(tmp_path, date(2011, 1, 3), [_line("4", "101", minute=4)])
    built.night(3, [late], [_person("101", True)])
    assert set(built.held()["crm_opportunities"]) == {"1", "2"}
    assert set(built.held()["crm_contacts"]) == {"101", "102"}


def test_a_segment_moves_as_days_go_by_without_a_line_of_the_customer(built: Built, tmp_path: Path) -> None:
    first = raw.write_file(tmp_path, date(2011, 1, 1), [_line("1", "101")])
    built.night(1, [first], [])
    assert built.held()["crm_accounts"]["101"][-1] == "New"

    later = _line("2", "102")
    later[4] = f"{datetime(2011, 1, 1) + timedelta(days=31)}"
    built.night(2, [raw.write_file(tmp_path, date(2011, 2, 1), [later])], [])
    assert built.held()["crm_accounts"]["101"][-1] == "Promising"


def test_rows_of_a_file_that_was_taken_out_leave(built: Built, tmp_path: Path) -> None:
    """A reload takes a file's rows out, and no row that is left says so."""
    files = [raw.write_file(tmp_path, date(2011, 1, day), [_line(f"{day}", f"10{day}")]) for day in (1, 2)]
    built.night(1, files, [])
    built.sql(f"delete from raw.retail__invoice_lines where _file = '{files[1].name}'")

    built.build()

    assert built.held() == independent.crm(files[:1], [])


def test_a_doubled_key_is_refused_and_leaves_what_is_stored(built: Built, tmp_path: Path) -> None:
    first = raw.write_file(tmp_path, date(2011, 1, 1), [_line("1", "101")])
    built.night(1, [first], [])
    stored = built.held()
    shared = raw.write_file(tmp_path, date(2011, 1, 2), [_line("2", "101"), _line("2", "102")])
    built.load(2, [shared], [])

    said = built.refused("run")
    assert "models/crm/crm_opportunities.sql" in said
    assert 'duplicate key "2"' in said
    assert built.held()["crm_opportunities"] == stored["crm_opportunities"]
    assert "unique_int_invoices_netted_invoice_id" in built.refused("build")

    built.sql("delete from raw.retail__invoice_lines where InvoiceNo = '2' and CustomerID = '102.0'")
    built.build()
    assert set(built.held()["crm_opportunities"]) == {"1", "2"}


def test_an_edited_model_reaches_rows_that_are_already_stored(
    make_built: Callable[..., Built], few: list[Path]
) -> None:
    built = make_built(copy=True)
    built.night(1, few, [])
    before = built.held()["crm_accounts"]
    sql, yml = built.project / "models/crm/crm_accounts.sql", built.project / "models/crm/_crm__models.yml"
    shipped = sql.read_text(), yml.read_text()

    sql.write_text(shipped[0].replace("        segment\n", "        segment,\n        order_count * 2 as doubled\n"))
    column = "      - {name: doubled, data_type: bigint}\n"
    at = shipped[1].index("      - name: changed_at")
    yml.write_text(shipped[1][:at] + column + shipped[1][at:])
    built.build()
    doubled = built.sql("select account_id, doubled from crm.crm_accounts")
    assert dict(doubled) == {key: row[4] * 2 for key, row in before.items()}

    sql.write_text(shipped[0].replace("'Customer '", "'Client '"))
    yml.write_text(shipped[1])
    built.build()
    names = built.sql("select account_id, name from crm.crm_accounts")
    assert dict(names) == {key: f"Client {key}" for key in before}
