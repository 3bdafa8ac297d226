"""The night at a glance, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from flows.artifacts import glance
from flows.summary import RunSummary
from tests.report import example


@pytest.mark.parametrize(
    "night", [example.good, example.quiet, example.held, example.failed, example.troubled, example.crossed]
)
def test_every_table_is_whole(night: Callable[[], RunSummary]) -> None:
    cells = 0
    for line in glance(night()).splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        bars = line.replace("\\|", "").count("|")
        assert bars == (cells or bars)
        cells = bars


def test_what_to_look_at_comes_first() -> None:
    text = glance(example.troubled())
    assert text.startswith("# 493 of 504 changes are in the CRM\n")
    assert text.index("9 Contact records were rejected") < text.index("| Object |")
    assert "| Account | 74 | 212 | 0 | 286 | 0 | 286 | 0 |" in text


def test_values_stay_text() -> None:
    text = glance(example.troubled())
    assert "<script" not in text


def test_data_is_not_read_as_markdown_wherever_it_stands() -> None:
    evil = "![x](http://evil/p.png) [click](http://evil) *a* `b` <b>|\x1b[2J"
    night = example.failed()
    assert night.error is not None
    syncs = tuple(replace(sync, name=f"{evil} {sync.name}", object=evil) for sync in example.troubled().syncs)
    source = replace(example.troubled().sources[0], name=evil)
    told = glance(replace(night, error=replace(night.error, what=evil, todo=evil), syncs=syncs, sources=(source,)))
    assert told.count("evil/p.png") > 5
    assert not re.search(r"(?<!\\)[\[\]*]+(?:x|click|a)", told.replace("**", ""))
    assert "\x1b" not in told


def test_a_held_plan_says_which_guards_and_how_to_decide() -> None:
    text = glance(example.held())
    assert "crm_contacts: 411 records against guard max_archives of 5% of 871" in text
    assert (
        "run again. `nightshift approve 20101210-020004-7f3a --push` or "
        "`nightshift reject 20101210-020004-7f3a --reason TEXT`\n"
    ) in text


def test_an_approval_and_what_people_keep_are_told() -> None:
    text = glance(example.crossed())
    assert "\nApproved by anna at 2010-12-10 07:00 UTC: The new segments are meant; Sales knows.\n" in text
    assert "- crm_accounts: people's values stay in Name (14), BillingCountry (3).\n" in text
