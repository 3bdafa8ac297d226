"""A reviewer's morning: twelve accounts were held last night; two are released, some are mended, the others stay.

The till has countries that sales has no territory for. Ten of the twelve accounts are new, so that their people and
invoices wait with them; two are known to the CRM, and ordered again.
"""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from flows.sandbox.sources.invoices import HEADER
from tests.conftest import PROJECT
from tests.nightly.world import Night, World
from tests.report.conftest import NAMES, QUIET

FIRST, SECOND, THIRD = "2010-12-01", "2010-12-02", "2010-12-03"
REGULARS = [str(number) for number in range(12001, 12061)]
MISTYPED = ["17001", "17002", "17003", "17004"]
FOREIGN = ["17005", "17006", "17007"]
NEW_MARKET = ["17008", "17009"]
RIDDLES = ["12001", "12002", "17010"]
COUNTRIES = {
    **dict.fromkeys(MISTYPED, "Untied Kingdom"),
    **dict.fromkeys(FOREIGN, "Deutschland"),
    **dict.fromkeys(NEW_MARKET, "Hong Kong"),
    **dict.fromkeys(RIDDLES, "see note"),
}
NEWCOMERS = sorted({*COUNTRIES} - {*REGULARS})

RULE = """
  - expect_column_values_to_be_in_set: {column: country, value_set: [United Kingdom, Germany, France, Ireland]}
    description: Sales has a territory in these countries. An account elsewhere would belong to nobody.
    owner: sales-operations@example.com
"""
WHY = "Sales has a territory in these countries."
REASON = "sales opened Hong Kong on Monday"
STILL_HELD = "select key, since_run_id, since_at from quality.quarantine where ended_at is null order by key"


def delivers(world: World, day: str, countries: dict[str, str], first_invoice: int) -> None:
    """The till's file of a day: one invoice of two lines for each of these customers."""
    world.files.mkdir(parents=True, exist_ok=True)
    with gzip.open(world.files / f"{day}.csv.gz", "wt", newline="") as file:
        written = csv.writer(file)
        written.writerow(HEADER)
        for number, (customer, country) in enumerate(countries.items(), start=first_invoice):
            for code, name, price in (("20001", "OAK TRAY", "12.50"), ("20002", "FELT MUG", "3.25")):
                written.writerow((number, code, name, 12, f"{day} 10:15:00", price, f"{customer}.0", country))


def finished(night: Night) -> Night:
    assert (night.code, night.err, night.summary["state"]) == (0, "", "done")
    return night


@pytest.fixture
def world(make_world: Callable[..., World], capfd: pytest.CaptureFixture[str]) -> World:
    """Sixty regular customers are in the CRM, and their countries are asked for."""
    world = make_world()
    world.copy_project()
    with (world.project / "expectations" / "crm" / "crm_accounts.yml").open("a", encoding="utf-8") as suite:
        suite.write(RULE)
    delivers(world, FIRST, dict.fromkeys(REGULARS, "United Kingdom"), 500001)
    night = finished(world.run(capfd, FIRST))
    assert night.summary["quarantine"]["crm.crm_accounts"]["held"] == 0
    return world


@pytest.fixture(scope="module")
def chromium() -> str:
    """The system's own browser."""
    found = next((command for name in NAMES if (command := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on PATH to look at the page with ({', '.join(NAMES)})")
    return found


@contextmanager
def opened(path: Path, chromium: str) -> Iterator[Page]:
    """The page in a browser that is gone before the next night: it has an event loop of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page()
        page.goto(path.as_uri())
        yield page
        browser.close()


def on_the_page(night: Night, chromium: str) -> tuple[dict[str, str], str]:
    """The held rows that a night's page shows, with their values; and all that it says of them."""
    with opened(Path(night.summary["page"]), chromium) as page:
        section = page.locator("#quarantine")
        script = "rows => rows.map(row => [row.cells[0].textContent.trim(), row.cells[1].textContent.trim()])"
        return dict(section.locator("tbody tr").evaluate_all(script)), section.inner_text()


def to_look_at(night: Night, chromium: str) -> list[str]:
    """What a night's page says wants a person."""
    with opened(Path(night.summary["page"]), chromium) as page:
        return page.locator(".attention a").all_inner_texts()


def takes_pictures(night: Night, chromium: str) -> None:
    """Make the guide's pictures anew, where the environment asks for it."""
    if os.environ.get("NIGHTSHIFT_WRITE_SCREENSHOTS") == "1":
        with opened(Path(night.summary["page"]), chromium) as page:
            page.set_viewport_size({"width": 1000, "height": 700})
            page.screenshot(path=PROJECT / "docs" / "images" / "review-needs-a-person.png")
            page.locator("#quarantine").screenshot(path=PROJECT / "docs" / "images" / "review-held-back.png")


def as_documented() -> list[list[str]]:
    """The same, as the guide quotes the terminal: one list for each of its two nights."""
    blocks = (PROJECT / "docs" / "how-to" / "morning-review.md").read_text(encoding="utf-8").split("```text\n")[1:]
    quoted = ([line[4:] for line in block.split("```")[0].splitlines() if line[:4] == "  ! "] for block in blocks)
    return [lines for lines in quoted if lines]


def children(world: World, kind: str) -> set[str]:
    """The accounts of which the CRM holds a contact or an opportunity."""
    return {row["Account"]["External_Id__c"] for row in world.crm.query(f"SELECT Account.External_Id__c FROM {kind}")}


def accounts(world: World) -> dict[str, tuple[str, int]]:
    found = world.crm.query("SELECT External_Id__c, BillingCountry, Order_Count__c FROM Account")
    return {row["External_Id__c"]: (row["BillingCountry"], int(row["Order_Count__c"])) for row in found}


def consenting(world: World, keys: list[str]) -> set[str]:
    """Those of the customers whose people agreed to be contacted, by the shop's own word."""
    told = world.crm.shop({"limit": "500", "updated_until": f"{THIRD}T23:59:59Z"})["items"]
    return {item["customer_id"] for item in told if item["consent"]} & {*keys}


def test_a_reviewer_finds_why_twelve_were_held_releases_two_and_sees_them_go_out(
    chromium: str, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    # The night: twelve of seventy-two ordered from a country that is none of sales'.
    delivers(world, SECOND, {**COUNTRIES, "12003": "United Kingdom"}, 500101)
    night = finished(world.run(capfd, SECOND))
    first_held = night.summary["run_id"]
    assert set(accounts(world)) == {*REGULARS}, "no newcomer went out"
    assert accounts(world)["12001"] == ("United Kingdom", 1), "a held account is not updated"
    assert accounts(world)["12003"] == ("United Kingdom", 2), "the others are"
    assert not (children(world, "Contact") | children(world, "Opportunity")) & {*NEWCOMERS}
    waiting = {sync["object"]: sync["waiting"] for sync in night.summary["syncs"].values()}
    assert waiting == {"Account": 0, "Contact": len(consenting(world, NEWCOMERS)), "Opportunity": 10}
    assert world.crm.query("SELECT Id FROM Opportunity WHERE External_Id__c = '500108'") == []
    held_account_in_crm = "SELECT Account.External_Id__c FROM Opportunity WHERE External_Id__c IN ('500110', '500111')"
    assert {row["Account"]["External_Id__c"] for row in world.crm.query(held_account_in_crm)} == {"12001", "12002"}, (
        "what hangs on an account that the CRM has does not wait"
    )

    # The morning: the page says which twelve, and why.
    shown, said = on_the_page(night, chromium)
    assert to_look_at(night, chromium) == as_documented()[0]
    takes_pictures(night, chromium)
    assert shown == COUNTRIES
    assert WHY in said
    assert "sales-operations@example.com" in said
    waits = sum(waiting.values())
    assert f"{waits} records wait for a parent" in said

    # The list, and one of them.
    since = {key: (run_id, at) for key, run_id, at in world.ask(STILL_HELD)}
    listed = world.command(capfd, "quarantine", "list", "--output", "json").summary
    assert (listed["rows"], listed["total"]) == (12, 12)
    assert {entry["key"]: entry["value"] for entry in listed["entries"]} == COUNTRIES
    assert {(entry["column"], entry["owner"], entry["since_run"]) for entry in listed["entries"]} == {
        ("country", "sales-operations@example.com", first_held)
    }
    told = world.command(capfd, "quarantine", "show", "17008", "--output", "json").summary
    assert (told["row"]["country"], told["in_crm"]) == ("Hong Kong", False)
    assert [entry["detail"].startswith(WHY) for entry in told["held"]] == [True]
    waits_for_it = {waiting["table"]: waiting["keys"] for waiting in told["children"]}
    assert waits_for_it["crm.crm_opportunities"] == ["500108"]
    child = world.command(capfd, "quarantine", "show", "500108", "--output", "json").summary
    assert child["waits_for"] == [{"table": "crm.crm_accounts", "key": "17008"}]

    # Two are right and the rule is late: they are released, with a reason.
    words = ("quarantine", "release", *NEW_MARKET, "--table", "crm_accounts", "--reason", REASON, "--by", "anna")
    released = world.command(capfd, *words)
    assert (released.code, released.err) == (0, "")
    assert "2 rows released by anna" in released.out
    # Four are corrected at the till; of three the spelling is a name that the models can learn.
    delivers(world, THIRD, dict.fromkeys(MISTYPED, "United Kingdom"), 500201)
    with (world.project / "dbt_project" / "seeds" / "country_spellings.csv").open("a", encoding="utf-8") as spellings:
        spellings.write("Deutschland,Germany\n")

    # The next night: the two go out, and the corrected by themselves, each with who waited for it.
    night = finished(world.run(capfd, THIRD))
    stands = accounts(world)
    assert {key: stands.get(key) for key in COUNTRIES} == {
        **dict.fromkeys(NEW_MARKET, ("Hong Kong", 1)),
        **dict.fromkeys(MISTYPED, ("United Kingdom", 2)),
        **dict.fromkeys(FOREIGN, ("Germany", 1)),
        **dict.fromkeys(["12001", "12002"], ("United Kingdom", 1)),
        "17010": None,
    }
    free = [*NEW_MARKET, *MISTYPED, *FOREIGN]
    assert children(world, "Opportunity") & {*NEWCOMERS} == {*free}
    assert children(world, "Contact") & {*NEWCOMERS} == consenting(world, free) != set()
    creates = {sync["object"]: sync["creates"] for sync in night.summary["syncs"].values()}
    # Of the four that were corrected, the invoice that waited and tonight's.
    assert creates == {"Account": 9, "Contact": len(consenting(world, free)), "Opportunity": 9 + 4}
    table = night.summary["quarantine"]["crm.crm_accounts"]
    assert {name: table[name] for name in ("held", "new", "released", "released_by_hand")} == {
        **{"held": 3, "new": 0, "released": 7, "released_by_hand": 2}
    }

    # Three stay, as old as they are; who released what, and why, is kept.
    assert world.ask(STILL_HELD) == [(key, *since[key]) for key in RIDDLES]
    assert on_the_page(night, chromium)[0] == dict.fromkeys(RIDDLES, "see note")
    assert to_look_at(night, chromium) == as_documented()[1]
    everything = world.command(capfd, "quarantine", "list", "--all", "--output", "json").summary["entries"]
    assert {entry["key"]: (entry["ended_as"], entry["released_by"], entry["reason"]) for entry in everything} == {
        **dict.fromkeys([*MISTYPED, *FOREIGN], ("passed", None, None)),
        **dict.fromkeys(NEW_MARKET, ("released", "anna", REASON)),
        **dict.fromkeys(RIDDLES, (None, None, None)),
    }

    # And the night after there is nothing more to do: the released stay released.
    again = finished(world.run(capfd, THIRD))
    assert again.operations == 0
    assert [key for key, _, _ in world.ask(STILL_HELD)] == RIDDLES
