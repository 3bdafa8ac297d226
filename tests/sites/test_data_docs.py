"""Great Expectations' Data Docs of what the gate found, looked at in a real browser, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flows import gate
from flows.docs_sites import build, data_docs
from flows.gate.catalogue import catalogue
from flows.settings import Settings
from flows.summary import GateSummary, RunSummary, collect
from flows.warehouse import Warehouse
from tests.report.example import quiet
from tests.sites.conftest import Opened

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SUITE = r"""
table: crm.crm_people
owner: people@example.com
pii: [email]
expectations:
  - expect_column_values_to_match_regex: {column: email, regex: '^[^@\s]+@[^@\s]+$'}
    description: The CRM refuses what is no address.
  - expect_column_values_to_match_regex: {column: name, regex: '^\w+$'}
    severity: warning
    description: "A name is a word, and not <b>markup</b>."
    row_condition: "name <> 'left out'"
  - expect_column_distinct_values_to_be_in_set: {column: email, value_set: [a]}
    severity: warning
  - expect_column_distinct_values_to_be_in_set: {column: name, value_set: [Anna, "<i>Bert</i>"]}
    severity: info
  - expect_column_values_to_not_be_null: {column: name}
  - expect_table_row_count_to_be_between: {min_value: 1}
  - unexpected_rows_expectation: {unexpected_rows_query: "select person_id, name from {batch} where name like '<%'"}
    severity: warning
  - expect_column_values_to_not_be_null: {column: nickname}
    severity: warning
"""


@pytest.fixture
def expectations(tmp_path: Path) -> Path:
    folder = tmp_path / "expectations"
    (folder / "crm").mkdir(parents=True)
    (folder / "crm" / "crm_people.yml").write_text(SUITE, encoding="utf-8")
    return folder


@pytest.fixture
def judged(warehouse: Warehouse, expectations: Path) -> RunSummary:
    """A run whose gate has judged people, some of them hostile."""
    warehouse.execute("create schema crm")
    warehouse.execute("create table crm.crm_people (person_id varchar, name varchar, email varchar)")
    people = [("1", "Anna", "anna@example.com"), ("2", HOSTILE, "zoe at home"), ("3", "=cmd()|A1", "nobody")]
    for person in [*people, ("4", "left out", "z@example.com")]:
        warehouse.execute("insert into crm.crm_people values (?, ?, ?)", person)
    [suite] = gate.with_keys(gate.suites(expectations / "crm"), {"crm.crm_people": "person_id"})
    report = gate.check(suite, warehouse, run_id="r1", stage="crm")
    return replace(quiet(), gates=tuple(collect.gates(report)))


Look = Callable[[Path], Opened]


ROWS = "tbody tr:has(> td:nth-child(8))"
"""The expectations' rows; the tables of samples in them are narrower."""


def test_a_page_shows_what_the_gate_found(judged: RunSummary, expectations: Path, tmp_path: Path, look: Look) -> None:
    data_docs.build(judged, expectations, tmp_path / "site")

    opened = look(tmp_path / "site" / "crm-crm.crm_people.html")
    rows = opened.rows(ROWS)

    assert len(rows) == len(judged.gates)
    assert {row[7] for row in rows} == {"people@example.com"}
    [email] = [row for row in rows if "regular expression" in row[1] and "The CRM refuses" in row[6]]
    assert email[2:6] == ["2 of 4 rows", "critical", "quarantine, 2 rows held", "all rows"]
    assert "2 unexpected values found. 50% of 4 total rows." in email[1]
    [name] = [row for row in rows if "regular expression" in row[1] and "markup" in row[6]]
    assert name[2:7] == [
        *("2 of 3 rows", "warning", "report", "where name <> 'left out'"),
        "A name is a word, and not <b>markup</b>.",
    ]
    assert HOSTILE[:40] in name[1]
    assert "=cmd()|A1" in name[1]
    unjudged = [row for row in rows if "has no column nickname" in row[6]]
    assert len(unjudged) == 1
    assert opened.console == []
    assert opened.outside == []
    assert opened.page.title() == "crm.crm_people · Data Docs"
    assert opened.page.locator("img, script, b, main i:not(.fas)").count() == 0


@pytest.mark.parametrize("end", ["5239", "0001", "beef", "9999"])
def test_the_site_is_built_whatever_the_runs_id_ends_in(
    judged: RunSummary, expectations: Path, tmp_path: Path, end: str
) -> None:
    """Great Expectations reads a run's name as a time, and raises where what looks like its zone cannot be one."""
    run = replace(judged, run_id=f"20261123T202636Z-{end}")
    data_docs.build(run, expectations, tmp_path / "site")
    assert run.run_id in (tmp_path / "site" / "crm-crm.crm_people.html").read_text(encoding="utf-8")


def test_no_personal_value_is_in_any_file(judged: RunSummary, expectations: Path, tmp_path: Path) -> None:
    data_docs.build(judged, expectations, tmp_path / "site")

    text = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "site").iterdir())
    assert "crm_people" in text
    for value in ("anna@example.com", "zoe at home", "nobody", "z@example.com"):
        assert value not in text


def test_the_index_leads_to_every_page(judged: RunSummary, expectations: Path, tmp_path: Path, look: Look) -> None:
    raw = replace(judged.gates[0], stage="raw", table="raw.shop__people", passed=True, id="of an older suite")
    data_docs.build(replace(judged, gates=(raw, *judged.gates)), expectations, tmp_path / "site")

    opened = look(tmp_path / "site" / "index.html")

    failed = sum(not one.passed for one in judged.gates)
    assert opened.rows("tbody tr") == [
        ["raw", "raw.shop__people", "1", "none"],
        ["crm", "crm.crm_people", str(len(judged.gates)), str(failed)],
    ]
    opened.page.click("text=raw.shop__people")
    assert "raw.shop__people" in opened.text("h1")
    opened.page.click("header >> text=Data Docs")
    assert opened.page.url.endswith("/index.html")
    assert opened.console == []
    assert opened.outside == []


def test_what_is_judged_after_an_approval_joins_the_site(
    judged: RunSummary, expectations: Path, tmp_path: Path, warehouse: Warehouse
) -> None:
    settings = Settings(expectations.parent, tmp_path / "home", "sandbox")
    judged = replace(judged, models=())
    held = build(settings, judged, warehouse)
    assert held.problems == ()
    assert held.data_docs
    made = held.data_docs.stat().st_mtime_ns
    assert build(settings, judged, warehouse) == held
    assert held.data_docs.stat().st_mtime_ns == made, "nothing was judged meanwhile"
    back = GateSummary("crm_after", "crm_after.crm_people", "expect_column_values_to_not_be_null", "warning", False)
    assert build(settings, replace(judged, gates=(*judged.gates, back)), warehouse) == held
    assert "crm_after-crm_after.crm_people.html" in held.data_docs.read_text(encoding="utf-8")
    assert (held.data_docs.parent / "crm_after-crm_after.crm_people.html").exists()


def test_a_column_may_be_called_as_markup_is(tmp_path: Path, look: Look) -> None:
    odd = [HOSTILE, "c<i>d</i>", "a$b ${c}"]
    name = "expect_column_values_to_not_be_null"
    gates = tuple(
        GateSummary("crm", "crm.all", name, "warning", False, column=column, row_level=True) for column in odd
    )
    data_docs.build(replace(quiet(), gates=gates), tmp_path / "none", tmp_path / "site")

    opened = look(tmp_path / "site" / "crm-crm.all.html")

    headings = opened.page.locator("h5").all_inner_texts()
    for column in odd:
        assert any(heading.startswith(column) for heading in headings), headings
    assert opened.page.locator("img, main i:not(.fas)").count() == 0
    assert opened.page.title() == "crm.all · Data Docs"
    assert opened.console == []


def test_every_expectation_of_the_catalogue_has_its_row(tmp_path: Path, look: Look) -> None:
    """Also with a text where a renderer of Great Expectations' wants a list, and without the suite that has it."""
    gates = tuple(
        GateSummary(
            "crm", "crm.all", name, "warning", False, column="c", row_level=kind.row_level, observed="so and so"
        )
        for name, kind in catalogue().items()
    )
    data_docs.build(replace(quiet(), gates=gates), tmp_path / "none", tmp_path / "site")

    opened = look(tmp_path / "site" / "crm-crm.all.html")

    rows = opened.rows(ROWS)
    assert len(rows) == len(catalogue()) > 40
    assert {row[2] for row in rows} == {"so and so"}
    assert opened.console == []
