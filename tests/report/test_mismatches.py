"""What reads back otherwise than it was sent, on the page: which way round, and how much of it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flows.report import write_page
from flows.summary import MAX_DETAILS, MismatchSummary
from tests.report.example import good
from tests.report.looking import Opened


@pytest.fixture
def look(look_at: Callable[..., Opened], tmp_path: Path) -> Callable[..., Opened]:
    """The page of a night whose accounts read back like this."""

    def open_page(records: int, *mismatches: MismatchSummary) -> Opened:
        night = good()
        accounts = replace(night.syncs[0], mismatched=records, mismatches=mismatches)
        return look_at(write_page(replace(night, syncs=(accounts, *night.syncs[1:])), tmp_path))

    return open_page


def test_a_record_is_missing_or_still_there(look: Callable[..., Opened]) -> None:
    opened = look(2, MismatchSummary("A1", None, "archived", "still there"), MismatchSummary("A2", None, "written"))

    assert opened.rows("#mismatches") == [
        ["A1", "Account", "the record was archived and is still there"],
        ["A2", "Account", "the whole record is missing in the CRM"],
    ]
    assert opened.page.locator("#mismatches .lead").count() == 0


def test_what_is_not_shown_is_said(look: Callable[..., Opened]) -> None:
    opened = look(300, *(MismatchSummary(f"A{n // 2}", f"Field{n % 2}", "a", "b") for n in range(300)))

    assert len(opened.rows("#mismatches")) == MAX_DETAILS
    assert opened.text("#mismatches .lead") == (
        f"25 of 300 Account records are shown, at most {MAX_DETAILS} fields of them; all are in sync.mismatches."
    )
