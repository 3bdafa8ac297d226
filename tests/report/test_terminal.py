"""The few lines at the end of a run."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from flows.report import print_summary
from flows.report.plan import plan_markdown
from flows.report.terminal import print_runs
from flows.summary import RunSummary, SourceSummary, StageSummary, SyncSummary
from tests.report.example import NIGHTS, START, crossed, failed, good, held, quiet, troubled


def printed(summary: RunSummary, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_good_night_in_a_few_lines() -> None:
    lines = printed(good()).splitlines()

    assert lines[0] == "504 changes are in the CRM  (sandbox as of 2010-12-09)"
    assert "  retail.invoice_lines  2,641 rows" in lines
    assert lines[3].split() == ["creates", "updates", "archives", "applied", "rejected", "reconciled"]
    assert lines[4].split() == ["crm_accounts", "74", "212", "0", "286", "0", "286"]
    assert lines[-2].startswith("  Took 14.2 s (extract 1.1, gate_raw 2.3")
    assert lines[-1] == "  Page var/runs/20101210-020004-7f3a/morning-page.html"


@pytest.mark.parametrize("night", NIGHTS)
@pytest.mark.parametrize("width", [80, 120])
def test_stays_short(night: str, width: int) -> None:
    assert len(printed(NIGHTS[night](), width).splitlines()) <= 20


def test_nothing_to_do_shows_no_table_of_zeros() -> None:
    output = printed(quiet())

    assert output.startswith("Nothing to do: the CRM is up to date")
    assert "creates" not in output


def test_troubles_are_named() -> None:
    output = printed(troubled())

    assert output.startswith("493 of 504 changes are in the CRM")
    header = next(line for line in output.splitlines() if "creates" in line)
    assert header.split()[-4:] == ["rejected", "unknown", "reconciled", "mismatched"]
    assert ["crm_contacts", "68", "5", "2", "64", "9", "2", "61", "3"] in [line.split() for line in output.splitlines()]
    assert "! 9 Contact records were rejected: INVALID_EMAIL_ADDRESS (7)" in output
    assert "and 5 more on the page" in output


def test_no_number_is_cut_on_a_narrow_terminal() -> None:
    output = printed(troubled(), 80)

    assert ["crm_contacts", "68", "5", "2", "64", "9", "61"] in [line.split() for line in output.splitlines()]
    assert "…" not in output
    assert "! 2 Contact records have no answer from the CRM" in output


def test_an_error_says_what_is_safe_and_what_is_next() -> None:
    output = printed(failed())

    assert output.startswith("The night failed in gate raw; nothing reached the CRM")
    assert "  What  raw.retail__invoice_lines is not fit to go on" in output
    assert "  Safe  Nothing was sent to the CRM." in output
    assert "  Next  Ask the owner of retail.invoice_lines" in output


def test_a_held_night_shows_the_plan_and_how_to_approve() -> None:
    output = printed(held())

    assert output.startswith("1,313 changes held for approval; nothing was sent")
    assert "nightshift approve 20101210-020004-7f3a --push" in output
    assert "411" in output


def test_the_forecast_and_what_was_found_before_the_push() -> None:
    assert "  Forecast main: 17 requests of 99,981 left today, about 4.2 s at the allowed rate\n" in printed(good())
    assert "  Forecast main: 23 requests\n" in printed(held())
    output = printed(replace(good(), findings=troubled().findings))
    assert "! crm_contacts holds values that the CRM does not take as they are: Email (1), Title (1)\n" in output
    assert "! Account is not in the CRM as it was at the last run: Segment__c (picklist)\n" in output
    assert "Color__c" not in output, "what no sync maps is on the page alone"


def test_a_plan_for_a_pull_request_says_what_the_crm_will_not_take() -> None:
    text = plan_markdown(troubled())
    assert "Forecast for main: 17 requests of 99,981 left today" in text
    assert (
        "- crm_accounts.segment to Account.Segment__c: not in the picklist: Stars (1,204 rows, such as 10000, "
        "10001, 10002, 10003, 10004)\n" in text
    )
    assert "- Contact: may be deleted (was yes, is no)\n" in text
    assert "<script>" not in text


def test_a_plan_that_was_not_made_says_why() -> None:
    text = plan_markdown(replace(failed(), syncs=()))
    assert text.startswith("No plan was made.\n\n> **Failed.** raw.retail")
    assert "**Next:** Ask the owner of retail.invoice" in text


def test_what_people_keep_is_told_where_there_is_room() -> None:
    kept = "  crm_accounts: people's values stay in Name (14), BillingCountry (3)\n"
    quieter = replace(crossed(), syncs=(replace(crossed().syncs[0], rejected=0, gone=0, rejection_codes={}),), gates=())

    assert kept not in printed(crossed())
    assert kept in printed(quieter)


def test_a_plan_for_a_pull_request_says_what_people_keep_and_what_waits() -> None:
    text = plan_markdown(replace(held(), syncs=crossed().syncs))

    assert (
        "**Next:** Look at the plan, then decide; or change the model or its guard, and run again. "
        "`nightshift approve 20101210-020004-7f3a --push` or `nightshift reject 20101210-020004-7f3a --reason TEXT`\n"
    ) in text
    assert "- crm_accounts: people's values stay in Name (14), BillingCountry (3).\n" in text
    assert "- 12 Contact records have left crm_contacts and may not be archived yet.\n" in text
    assert "- 1,240 Opportunity records wait for the next run" in text


def test_data_is_not_read_as_markup_and_a_long_path_is_not_broken() -> None:
    path = "/srv/" + "deep/" * 30 + "morning-page.html"
    summary = replace(
        good(),
        sources=(SourceSummary("[bold red]evil[/]", 1),),
        syncs=(SyncSummary("[link=http://x]m[/link]", "Account", creates=1, applied=1),),
        page=path,
    )

    output = printed(summary, 80)

    assert "[bold red]evil[/]  1 row\n" in output
    assert "[link=http://x]m[/link]" in output
    assert f"  Page {path}\n" in output


def test_nothing_in_an_error_a_name_or_a_cause_steers_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x9b2J\r[b]x"
    night = failed()
    assert night.error is not None
    syncs = tuple(
        replace(s, name=evil + s.name, rejected=1, rejection_codes={evil: 1}, notes=(evil,)) for s in troubled().syncs
    )
    error = replace(night.error, what=f"first\n{evil}", todo=evil)
    night = replace(night, error=error, syncs=syncs, sources=(SourceSummary(evil, 1),))
    listed = io.StringIO()
    print_runs([night], Console(file=listed, width=120))
    told = printed(night) + listed.getvalue()
    assert told.count("\\x1b]0;owned") > 4
    assert re.search(r"What  first *\n", told), "an error keeps its lines"
    assert not set("\x1b\x07\x9b\r") & set(told)


def test_a_run_that_hardly_began() -> None:
    summary = RunSummary("r", "sandbox", "running", START, stages=(StageSummary("extract", 0.0, "running"),))

    assert printed(summary).splitlines() == [
        "The night is still running  (sandbox)",
        "  Took still running (extract 0.0)",
    ]
