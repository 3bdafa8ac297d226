"""The night at a glance, as Markdown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flows.artifacts import glance
from flows.summary import RunSummary
from tests.report import example


@pytest.mark.parametrize("night", [example.good, example.quiet, example.held, example.failed, example.troubled])
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
