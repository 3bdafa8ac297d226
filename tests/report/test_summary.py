"""A run's summary: exact round trip, bounds, what it hides, and the words for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import summary as s
from flows.notify import occasions
from flows.project.declared import SyncMeta
from flows.report.plan import plan_markdown
from flows.summary.advice import ADVICE, GONE
from flows.summary.findings import AnomalySummary, Example, FindingSummary, ForecastSummary
from flows.summary.held import QuarantineSummary
from flows.summary.redaction import redact
from flows.summary.story import attention, attention_of, counted, duration, headline, remarks
from tests.report.example import NIGHTS, attached, crossed, failed, good, held, odd, quiet, troubled

TEXT = st.text(max_size=20) | st.sampled_from(["write to jane@example.com", "+44 20 7946 0018", "smtp://u:p@h/x"])
TIME = st.datetimes(timezones=st.just(UTC))
SECONDS = st.floats(0, 1e6)
COUNTS = st.dictionaries(TEXT, st.integers(0, 10**12), max_size=3)


def several(kind: type, named: bool = True, **given_fields: Any) -> st.SearchStrategy[Any]:
    """Tuples of a summary's parts; every field that is not given follows its type."""
    unique_by = (lambda item: item.name) if named else None
    return st.lists(st.builds(kind, **given_fields), max_size=3, unique_by=unique_by).map(tuple)


TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SUMMARIES = st.builds(
    s.RunSummary,
    run_id=TEXT,
    started_at=TIME,
    ended_at=st.none() | TIME,
    as_of=st.none() | st.dates(),
    stages=several(s.StageSummary, name=TEXT, seconds=SECONDS, started_at=st.none() | TIME),
    sources=several(s.SourceSummary, name=TEXT, warnings=TEXTS, newest=st.none() | TIME),
    models=several(s.ModelSummary, named=False, seconds=SECONDS, rows=st.none() | st.integers()),
    gates=several(s.GateSummary, named=False, detail=TEXT, samples=TEXTS, column=st.none() | TEXT),
    syncs=several(
        s.SyncSummary,
        name=TEXT,
        fields=COUNTS,
        kept=COUNTS,
        notes=TEXTS,
        rejection_codes=COUNTS,
        samples=several(s.Sample, named=False, field=st.none() | TEXT, before=st.none() | TEXT),
        rejections=several(
            s.RejectionSummary,
            named=False,
            message=TEXT,
            fields=TEXTS,
            sent=st.dictionaries(TEXT, st.none() | TEXT | TEXT.map(lambda text: 9 * text), max_size=10),
            other_id=st.none() | TEXT,
            first_seen_at=st.none() | TIME,
        ),
        mismatches=several(s.MismatchSummary, named=False, field=st.none() | TEXT, found=st.none() | TEXT),
    ),
    findings=several(
        FindingSummary,
        named=False,
        what=TEXT,
        field=st.none() | TEXT,
        examples=several(Example, named=False, external_id=TEXT, value=st.none() | st.text(max_size=200) | TEXT),
    ),
    anomalies=several(
        AnomalySummary,
        named=False,
        table=TEXT,
        column=st.none() | TEXT,
        **dict.fromkeys(("value", "low", "high", "median"), st.floats(allow_nan=False, allow_infinity=False)),
    ),
    forecast=several(ForecastSummary, name=TEXT, seconds=st.none() | SECONDS, left=st.none() | st.integers()),
    page=st.none() | TEXT,
    error=st.none() | st.builds(s.ErrorSummary, what=TEXT, safe=TEXT, todo=TEXT),
)


@given(SUMMARIES)
@settings(max_examples=150, deadline=None)
def test_comes_back_from_json_as_it_was(summary: s.RunSummary) -> None:
    assert s.from_json(json.loads(json.dumps(s.to_json(summary)))) == summary


@pytest.mark.parametrize("night", NIGHTS)
def test_every_example_comes_back_from_json(night: str) -> None:
    summary = NIGHTS[night]()
    assert s.from_json(json.loads(json.dumps(s.to_json(summary)))) == summary


def test_json_has_the_documented_shape() -> None:
    raw = s.to_json(good())

    assert raw["run_id"] == "20101210-020004-7f3a"
    assert (raw["state"], raw["target"], raw["as_of"]) == ("done", "sandbox", "2010-12-09")
    assert raw["started_at"] == "2010-12-10T02:00:04+00:00"
    assert raw["ended_at"] == "2010-12-10T02:00:18.200000+00:00"
    assert {name: stage["seconds"] for name, stage in raw["stages"].items()}["transform"] == 4.6
    assert next(iter(raw["stages"])) == "extract"
    assert raw["sources"]["retail.invoice_lines"]["rows_extracted"] == 2_641
    accounts = raw["syncs"]["crm_accounts"]
    assert [accounts[key] for key in ("creates", "updates", "archives")] == [74, 212, 0]
    assert [accounts[key] for key in ("applied", "rejected", "unknown", "reconciled", "mismatched")] == [
        286,
        0,
        0,
        286,
        0,
    ]
    assert raw["requests"] == 19
    assert raw["page"].endswith(".html")
    assert raw["error"] is None


def test_what_a_newer_version_added_is_left_out_and_what_it_dropped_gets_its_default() -> None:
    raw = s.to_json(good())
    raw["mood"] = "sunny"
    raw["syncs"]["crm_accounts"]["mood"] = "sunny"
    del raw["requests"]
    del raw["syncs"]["crm_contacts"]["samples"]

    summary = s.from_json(raw)

    assert summary.requests == 0
    assert summary.syncs[0] == good().syncs[0]
    assert summary.syncs[1] == replace(good().syncs[1], samples=())


def test_stays_small_and_still_counts_everything() -> None:
    rejections = tuple(s.RejectionSummary(str(n), f"CODE_{n % 2}", "no") for n in range(4_000))
    sync = s.SyncSummary(
        "crm_accounts",
        "Account",
        rejected=4_000,
        rejections=rejections,
        samples=tuple(s.Sample(str(n), "update", "Name", "a", "b") for n in range(4_000)),
        mismatches=tuple(s.MismatchSummary(str(n)) for n in range(4_000)),
    )

    assert len(sync.rejections) == s.MAX_DETAILS
    assert len(sync.samples) == s.MAX_SAMPLES
    assert len(sync.mismatches) == s.MAX_DETAILS
    assert sync.rejection_codes == {"CODE_0": 2_000, "CODE_1": 2_000}


def test_a_rejection_keeps_a_few_short_values_those_that_the_crm_names_first() -> None:
    sent = {f"Field_{n}": "x" * 40 * n for n in range(12)}

    kept = s.RejectionSummary("1", "CODE", "no", ("Field_11", "Field_10"), sent).sent

    assert list(kept) == ["Field_10", "Field_11", *(f"Field_{n}" for n in range(s.MAX_SENT - 2))]
    assert [kept["Field_2"], kept["Field_3"]] == ["x" * 80, "x" * s.LONGEST_SENT + "…"]


def test_what_somebody_deleted_is_counted_apart_from_what_is_refused() -> None:
    accounts = crossed().syncs[0]

    assert accounts.rejection_codes == {"DUPLICATES_DETECTED": 2}
    assert (accounts.rejected, accounts.gone) == (5, 3)


def test_samples_that_are_kept_are_of_every_operation() -> None:
    many = tuple(
        s.Sample(f"{operation} {n // 8}", operation, f"Field_{n % 8}", "a", "b")
        for operation in ("archive", "create", "update")
        for n in range(40 if operation != "archive" else 2)
    )

    kept = s.SyncSummary("m", "Account", samples=many).samples

    assert [sum(k.operation == o for k in kept) for o in ("archive", "create", "update")] == [2, 16, 16]
    assert list(kept) == [sample for sample in many if sample in kept]
    assert {k.external_id for k in kept if k.operation == "create"} == {"create 0", "create 1"}, "whole records"


def test_free_texts_lose_people_and_credentials() -> None:
    text = "bad value jane.o'neil@example.com at https://bob:hunter2@crm.example/x, call +44 (0)20 7946-0018"
    summary = s.RunSummary(
        run_id="r",
        target="t",
        state="failed",
        started_at=good().started_at,
        sources=(s.SourceSummary("a.b", 1, warnings=(text,)),),
        gates=(s.GateSummary("raw", "t", "e", "critical", False, samples=(text,), detail=text),),
        syncs=(s.SyncSummary("m", "Contact", rejections=(s.RejectionSummary("1", "CODE", text),)),),
        error=s.ErrorSummary(text, text, text),
    )

    written = json.dumps(s.to_json(summary), ensure_ascii=False)

    for secret in ("jane", "neil", "example.com", "hunter2", "bob", "7946"):
        assert secret not in written
    assert "bad value" in written
    assert "crm.example/x" in written


@pytest.mark.parametrize(
    "text",
    [
        "retail/2010-12-01.csv.gz, row 50,000: Quantity holds 'six', expected BIGINT",
        "2010-12-10T02:00:04+00:00: 17850 of 371,175",
        "Set RETAIL_FILES, then `nightshift run --as-of 2010-12-01`.",
    ],
)
def test_plain_texts_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_a_name_is_used_once() -> None:
    with pytest.raises(ValueError, match="StageSummary: more than one is named extract"):
        replace(good(), stages=(s.StageSummary("extract", 1.0), s.StageSummary("extract", 2.0)))


def holding(rows: int, waiting: int) -> s.RunSummary:
    """A night that sends nothing, since rows are held back and others wait for them."""
    [first, *others] = quiet().syncs
    held = QuarantineSummary("crm.crm_accounts", rows)
    return replace(quiet(), quarantine=(held,), syncs=(replace(first, waiting=waiting), *others))


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (good(), "504 changes are in the CRM"),
        (quiet(), "Nothing to do: the CRM is up to date"),
        (holding(98, 215), "Nothing was sent: 98 rows are held back and 215 records wait"),
        (holding(1, 0), "Nothing was sent: 1 row is held back"),
        (holding(0, 0), "Nothing to do: the CRM is up to date"),
        (troubled(), "493 of 504 changes are in the CRM"),
        (failed(), "The night failed in gate raw; nothing reached the CRM"),
        (held(), "1,313 changes held for approval; nothing was sent"),
        (replace(good(), stages=good().stages[:5]), "504 changes planned; nothing was sent"),
        (replace(good(), state="running", ended_at=None), "The night is still running"),
        (replace(good(), state="failed"), "The night failed; 504 changes had been applied"),
    ],
)
def test_headline(summary: s.RunSummary, expected: str) -> None:
    assert headline(summary) == expected


def test_a_good_night_wants_nobody() -> None:
    assert attention(quiet()) == ()


def test_attention_lists_what_is_bad_first_and_names_no_value() -> None:
    found = attention(troubled())

    assert [item.level for item in found] == sorted((item.level for item in found), key=["bad", "warn"].index)
    texts = "\n".join(item.text for item in found)
    assert "9 Contact records were rejected: INVALID_EMAIL_ADDRESS (7), REQUIRED_FIELD_MISSING (1)" in texts
    assert "3 Contact records read back otherwise than sent" in texts
    assert "2 Contact records have no answer from the CRM" in texts
    assert "retail.invoice_lines is not fresh (warn)" in texts
    failing = "CustomerID (658 rows), UnitPrice (4 rows) in raw.retail__invoice_lines"
    assert f"2 expectations of severity warning failed: {failing}" in texts
    assert "ZOE" not in texts
    assert "script" not in texts


def test_findings_are_bounded_and_their_examples_lose_what_is_personal_or_endless() -> None:
    finding = FindingSummary(
        *("value", "main", "Contact", "not in the picklist: jane@example.com"),
        examples=tuple(Example(str(n), f"{'x' * 50} jane@example.com {'y' * 50}") for n in range(9)),
    )
    summary = replace(good(), findings=(finding,) * 200)
    assert len(summary.findings) == s.MAX_FINDINGS
    assert finding.what == "not in the picklist: [e-mail]"
    assert [example.value for example in finding.examples] == [f"{'x' * 50} [e-mail] …"] * 5


def test_attention_names_what_is_unusual_with_its_numbers() -> None:
    found = {item.text: (item.level, item.section) for item in attention(odd())}

    lines = (
        "raw.retail__invoice_lines is unlike other Thursdays: "
        "1,204 rows, usual are 2,105 to 3,893 (8 Thursdays, median 2,999); "
        "47.1% of CustomerID empty, usual are 0.0% to 22.1% (8 Thursdays, median 14.8%); "
        "InvoiceDate is 0.6 days old, usual is at most 0.4 days (8 Thursdays, median 0.3 days)"
    )
    assert found[lines] == ("warn", "anomalies")
    accounts = "lifetime_value adds up to 0.5, usual are 900,000 to 1,100,000 (5 Thursdays, median 1,000,000)"
    assert found[f"crm.crm_accounts is unlike other Thursdays: {accounts}"] == ("warn", "anomalies")
    assert len(replace(odd(), anomalies=odd().anomalies * 20).anomalies) == s.MAX_ANOMALIES


def test_attention_names_what_the_crm_made_of_what_was_sent() -> None:
    found = {item.text: (item.level, item.section) for item in attention(odd())}

    after = "1 expectation on what the CRM gave back failed in crm_after.crm_accounts: a query (12 rows)"
    assert found[after] == ("bad", "expectations")
    assert not [text for text in found if "critical expectation" in text], "it stopped nothing, and is told once"


def test_attention_names_what_people_did_and_what_waits() -> None:
    found = {item.text: (item.level, item.todo) for item in attention(crossed())}

    duplicates = "2 Account records were rejected: DUPLICATES_DETECTED (2)"
    level, todo = found[duplicates]
    assert level == "bad"
    assert todo == f"{ADVICE['DUPLICATES_DETECTED']} Every run tries again until they succeed."
    assert found["3 Account records were deleted in the CRM by somebody"] == ("warn", GONE["recreate"])
    assert "12 Contact records have left crm_contacts and may not be archived yet" in found
    assert "1,240 Opportunity records wait for the next run: this one's requests are used up" in found
    several = replace(crossed().syncs[0], rejected=9, rejection_codes={"DUPLICATES_DETECTED": 2, "ODD": 4})
    assert attention_of(several)[0].todo.startswith("Mend the values at their source. Every run")


def test_attention_names_what_would_be_deleted_with_records() -> None:
    [item] = [item for item in attention(attached()) if item.section == "sync-crm_accounts"]

    assert item.level == "warn"
    assert item.text == (
        "402 Account records are not archived, since the CRM would also delete what the plan does not archive: "
        "Contact (1,204), Opportunity (3), Asset (not readable)"
    )
    assert item.todo.startswith("Move or delete these in the CRM")
    assert "12349" not in item.text, "a message to people tells counts and names alone"
    assert "crm_accounts to Account: not archived" in plan_markdown(attached())
    assert "(402 records, such as 12349, " in plan_markdown(attached())


@pytest.mark.parametrize(("deleted", "level"), [("report", "bad"), ("recreate", "warn"), ("forget", "warn")])
def test_what_becomes_of_deleted_records_is_told_by_the_policy(deleted: str, level: str) -> None:
    [item] = attention_of(s.SyncSummary("m", "Contact", rejected=1, gone=1, deleted=deleted))

    assert (item.level, item.text) == (level, "1 Contact record was deleted in the CRM by somebody")
    assert item.todo == GONE[deleted]


def test_records_that_are_refused_for_several_reasons_are_told_what_to_do_about_each() -> None:
    def todo(*codes: str) -> str:
        sync = s.SyncSummary("m", "Contact", rejected=9, rejection_codes=dict.fromkeys(codes, 1))
        return attention_of(sync)[0].todo.removesuffix(" Every run tries again until they succeed.")

    parent = ADVICE["INVALID_FIELD"]
    assert todo("INVALID_FIELD") == parent, "not the values are wrong, but the parent is not there"
    email = ADVICE["INVALID_EMAIL_ADDRESS"]
    assert todo("INVALID_EMAIL_ADDRESS", "INVALID_FIELD") == f"INVALID_EMAIL_ADDRESS: {email} INVALID_FIELD: {parent}"
    assert todo("INVALID_FIELD", "ODD") == "Mend the values at their source."
    assert todo(*list(ADVICE)[:4]) == "Mend the values at their source."


def test_of_many_that_failed_some_are_named_by_table() -> None:
    gates = [
        s.GateSummary("crm", f"crm.{name}", "expect_column_to_exist", "warning", passed=False, column=column)
        for name, columns in (("a", "xy"), ("b", "z"), ("c", "uvw"))
        for column in columns
    ]
    [item] = attention(replace(quiet(), gates=tuple(gates)))
    assert item.text == "6 expectations of severity warning failed: x, y in crm.a; z in crm.b; u, v in crm.c and 1 more"


def test_every_policy_for_deleted_records_has_its_words() -> None:
    assert GONE.keys() == set(get_args(SyncMeta.model_fields["deleted"].annotation))


def test_what_needs_nobody_is_remarked_and_no_attention() -> None:
    sync = s.SyncSummary("m", "Contact", kept={"Name": 1_400, "Email": 1}, unmatched=1, notes=("m: so it is",))

    assert attention_of(sync) == []
    assert remarks(sync) == (
        "m: people's values stay in Name (1,400), Email (1)",
        "m: 1 row has no record in the CRM, and this sync creates none",
        "m: so it is",
    )
    assert [remarks(one) for one in good().syncs] == [(), (), ()]


@pytest.mark.parametrize(
    ("unexpected", "held", "refused", "is_told"),
    [
        (2, 2, None, False),
        (2, 0, None, False),  # all of them were released by hand, or wait under another expectation's name
        (9, 0, 9, True),  # too many: nothing is held
        (None, 0, None, True),  # it could not be judged
    ],
)
def test_rows_that_are_held_or_were_released_need_no_line_of_their_own(
    unexpected: int | None, held: int, refused: int | None, is_told: bool
) -> None:
    table = "crm.crm_accounts"
    gate = s.GateSummary(
        *("crm", table, "expect_column_values_to_not_be_null", "critical", False, "name"),
        row_level=True,
        unexpected_rows=unexpected,
        on_fail="quarantine",
        quarantined_rows=held,
    )
    night = replace(quiet(), gates=(gate,), quarantine=(QuarantineSummary(table, held=held, refused=refused),))
    text = "1 critical expectation failed: name" + (f" ({unexpected} rows)" if unexpected else "") + f" in {table}"
    assert [item.text for item in attention(night) if item.section == "expectations"] == ([text] if is_told else [])
    assert ("quality" in occasions(night)) == is_told


def test_attention_names_a_failed_gate_and_the_error() -> None:
    found = attention(failed())

    assert found[0].section == "error"
    assert found[0].todo.startswith("Ask the owner")
    text = "1 critical expectation failed: table_row_count_to_be_between in raw.retail__invoice_lines"
    assert text in [item.text for item in found]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185.2, "3 min 05 s"),
        (3599.8, "1 h 00 min"),
        (3725.0, "1 h 02 min"),
        (None, "still running"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_counts() -> None:
    assert [counted(n, "record") for n in (0, 1, 2_144)] == ["0 records", "1 record", "2,144 records"]
