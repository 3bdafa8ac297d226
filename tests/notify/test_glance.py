"""What Prefect's artifacts tell of rows that are held back, beside what messages do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from flows.artifacts import _gate_row, _held_rows, glance
from flows.records import MASK
from flows.summary import GateSummary
from flows.summary.held import HeldSummary, QuarantineSummary
from tests.report.example import quiet

SINCE = datetime(2010, 12, 8, 2, 0, tzinfo=UTC)
ROW = HeldSummary("12349", "expect_column_values_to_match_regex", "email", MASK, "No address.", SINCE)
HELD = QuarantineSummary(
    "crm.crm_contacts", 12, 3, 2, 1, {"expect_column_values_to_match_regex(email)": 12}, rows=(ROW,)
)


def test_a_glance_counts_what_is_held_back() -> None:
    text = glance(replace(quiet(), quarantine=(HELD,)))

    assert "| Held back of | Rows | Since tonight | Released | Released by hand |" in text
    assert "| crm.crm_contacts | 12 | 3 | 2 | 1 |" in text
    assert "12 rows are held back in crm.crm_contacts, 3 of them since tonight" in text


def test_a_glance_is_silent_where_nothing_is_held() -> None:
    assert "Held back" not in glance(replace(quiet(), quarantine=(QuarantineSummary("crm.crm_contacts"),)))


def test_held_rows_are_listed_masked_with_why_and_since_when() -> None:
    assert _held_rows(HELD) == [
        {
            "Table": "crm.crm_contacts",
            "Key": "12349",
            "Expectation": "column values to match regex",
            "Column": "email",
            "Value": MASK,
            "Since": "2010-12-08",
        }
    ]


def test_an_expectation_says_how_many_rows_it_holds_and_names_some() -> None:
    gate = GateSummary(
        *("crm", "crm.crm_contacts", "expect_column_values_to_match_regex", "critical", False),
        quarantined_rows=12,
        failing_rows=("15311", "15312"),
    )

    assert _gate_row(gate)["Held back"] == 12
    assert _gate_row(gate)["Some of the rows"] == "15311; 15312"
    assert _gate_row(replace(gate, quarantined_rows=None))["Held back"] == ""
