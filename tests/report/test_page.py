"""The morning page, looked at in a real browser, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flows.records import MASK
from flows.report.formats import LONGEST_VALUE
from flows.report.page import PAGE, render, write_page
from flows.summary import (
    GateSummary,
    MismatchSummary,
    ModelSummary,
    PlanSummary,
    RejectionSummary,
    RunSummary,
    Sample,
    StageSummary,
    SyncSummary,
)
from flows.summary.advice import ADVICE
from tests.report.example import (
    ACCOUNTS,
    CONTACTS,
    GATES,
    HOSTILE,
    NIGHTS,
    START,
    attached,
    crossed,
    failed,
    good,
    held,
    odd,
    quiet,
    troubled,
)
from tests.report.looking import DESKTOP, PHONE, Opened, Scheme


@pytest.fixture
def look(look_at: Callable[..., Opened], tmp_path: Path) -> Callable[..., Opened]:
    def open_page(summary: RunSummary, scheme: Scheme = "light", viewport: Any = DESKTOP) -> Opened:
        return look_at(write_page(summary, tmp_path / summary.run_id), scheme, viewport)

    return open_page


def steps(opened: Opened, sync: str) -> list[int]:
    numbers = opened.page.locator(f"#sync-{sync} .steps dd").all_inner_texts()
    return [int(number.replace(",", "")) for number in numbers]


@pytest.mark.parametrize("night", NIGHTS)
@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)])
def test_opens_quietly_from_disk(look: Callable[..., Opened], night: str, scheme: Scheme, viewport: Any) -> None:
    opened = look(NIGHTS[night](), scheme, viewport)

    assert opened.console == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.path.as_uri()]
    sideways = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert sideways == 0


def test_numbers_equal_the_summary(look: Callable[..., Opened]) -> None:
    summary = good()
    opened = look(summary)

    assert opened.text("h1") == "504 changes are in the CRM"
    assert [opened.text(f"#{key}") for key in ("creates", "updates", "archives")] == ["273", "226", "5"]
    assert (opened.text("#requests"), opened.text("#took")) == ("19", "14.2 s")
    for sync in summary.syncs:
        assert steps(opened, sync.name) == [
            sync.creates,
            sync.updates,
            sync.archives,
            sync.applied,
            sync.rejected,
            sync.unknown,
            sync.reconciled,
            sync.mismatched,
        ]
        shown = {name: int(count) for name, _, count in opened.rows(f"#sync-{sync.name} .fields")}
        assert shown == sync.fields
    assert [row[:4] for row in opened.rows("#sources")] == [
        ["retail.invoice_lines", "2,641", "118.2 kB", "1"],
        ["shop.customers", "112", "31.9 kB", "1"],
    ]
    assert [(row[0], row[2], row[4]) for row in opened.rows("#models")][4] == ("crm_accounts", "948", "0.91 s")
    assert len(opened.rows("#models")) == len(summary.models)
    assert "5 of 7 passed." in opened.text("#expectations")
    assert "658 of 2,641 (24.9 %)" in opened.text("#expectations")
    assert len(opened.rows("#expectations")) == 5
    assert ["Segment__c", "Loyal", "Champions"] in opened.rows("#sync-crm_accounts .samples")
    assert ["16098 archive"] in opened.rows("#sync-crm_contacts .samples")
    assert opened.rows("#sync-crm_contacts .samples")[0] == ["14688 update"]


def test_stage_bars_are_as_long_as_the_stages(look: Callable[..., Opened]) -> None:
    summary = good()
    opened = look(summary)

    script = """bars => bars.map(bar => {
        const [track, part] = [...bar.querySelectorAll('rect')].map(rect => rect.getBoundingClientRect());
        return [(part.left - track.left) / track.width, part.width / track.width];
    })"""
    drawn = opened.page.locator("#stages .bar").evaluate_all(script)

    whole, at = sum(stage.seconds for stage in summary.stages), 0.0
    for (left, width), stage in zip(drawn, summary.stages, strict=True):
        assert left == pytest.approx(at / whole, abs=0.01)
        assert width == pytest.approx(stage.seconds / whole, abs=0.01)
        at += stage.seconds


def test_bars_of_objects_are_in_proportion_and_even_a_few_archives_are_seen(look: Callable[..., Opened]) -> None:
    few = replace(good().syncs[0], creates=9_000, updates=3_000, archives=3)
    opened = look(replace(good(), syncs=(few, good().syncs[1])))

    script = """bars => bars.map(bar => Object.fromEntries([...bar.querySelectorAll('rect')].map(
        rect => [rect.className.baseVal, rect.getBoundingClientRect().width / bar.getBoundingClientRect().width])))"""
    accounts, contacts = opened.page.locator(".bars .bar").evaluate_all(script)

    assert accounts["creates"] / accounts["updates"] == pytest.approx(3, rel=0.02)
    assert accounts["creates"] + accounts["updates"] + accounts["archives"] == pytest.approx(0.97, abs=0.01)
    assert accounts["archives"] == pytest.approx(0.013, abs=0.002)
    assert contacts["creates"] < 0.02


def test_stages_without_a_start_follow_each_other() -> None:
    stages = (StageSummary("extract", 3.0), StageSummary("push", 1.0), StageSummary("report", 0.0))

    html = render(replace(quiet(), stages=stages))

    assert 'x="0.00%" width="75.00%"' in html
    assert 'x="75.00%" width="25.00%"' in html


def test_troubles_are_counted_grouped_and_explained(look: Callable[..., Opened]) -> None:
    opened = look(troubled())

    assert opened.text("h1") == "493 of 504 changes are in the CRM"
    assert "a person is needed" in opened.text(".hero .state").lower()
    assert "493 applied, 9 rejected, 2 without an answer" in opened.text("main")
    assert steps(opened, "crm_contacts") == [68, 5, 2, 64, 9, 2, 61, 3]
    assert opened.page.locator("#rejections h3").all_inner_texts() == [
        "INVALID_EMAIL_ADDRESS 7 records",
        "REQUIRED_FIELD_MISSING 1 record",
        "STRING_TOO_LONG 1 record",
    ]
    assert len(opened.rows("#rejections")) == 9
    assert opened.rows("#mismatches") == [
        ["14688", "Contact", "FirstName", "Zoë", "ZOE"],
        ["14689", "Contact", "Phone", MASK, "none"],
        ["14701", "Contact", "the whole record is missing in the CRM"],
    ]
    assert "warn" in opened.rows("#sources")[0]


def test_a_refused_record_shows_what_was_sent_how_often_and_what_to_do(look: Callable[..., Opened]) -> None:
    opened = look(troubled())

    assert opened.page.locator("#rejections .advice").all_inner_texts()[1] == ADVICE["REQUIRED_FIELD_MISSING"]
    rows = opened.rows("#rejections")
    assert rows[0] == [
        "12301 Contact",
        f"Email {MASK} 3 more fields FirstName Zoë LastName Number2301 Phone none",
        *("Email: invalid email address: [e-mail]", "1 time"),
    ]
    assert rows[6][3] == "7 times since 2010-12-04"
    assert rows[7][1] == "LastName none"
    details = opened.page.locator("#rejections details").first
    assert not details.locator(".pair-of").first.is_visible()
    details.locator("summary").click()
    assert details.locator(".pair-of").all_inner_texts() == ["FirstName Zoë", "LastName Number2301", "Phone none"]


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("held", "Why it waits"),
        ("planned", "Why it waits"),
        ("rejected", "Why it was held"),
        ("void", "Why it was held"),
    ],
)
def test_a_plan_that_somebody_rejected_waits_no_more(look: Callable[..., Opened], state: str, title: str) -> None:
    opened = look(replace(held(), plan=PlanSummary("5c0e91af" * 8, state)))
    assert opened.text("#error h2") == title


def test_a_long_list_of_what_needs_a_person_leaves_no_empty_card_beside_it(look: Callable[..., Opened]) -> None:
    script = "cards => cards.map(card => [card.offsetWidth, card.offsetHeight])"
    changed, person = look(troubled()).page.locator(".glance > .card").evaluate_all(script)[:2]
    assert person[0] > 1.2 * changed[0]
    assert person[1] > changed[1]
    phone = look(troubled(), viewport=PHONE).page.locator(".glance > .card").evaluate_all(script)
    assert phone[0][0] == phone[1][0]
    assert len({tuple(card) for card in look(quiet()).page.locator(".glance > .card").evaluate_all(script)[:2]}) == 1


def test_many_refused_records_of_one_cause_are_folded_away_after_the_first(look: Callable[..., Opened]) -> None:
    refused = tuple(RejectionSummary(f"{n:05}", "ODD", "No.") for n in range(25))
    contacts = replace(CONTACTS, applied=50, rejected=25, rejections=refused)
    opened = look(replace(good(), syncs=(contacts,)))

    assert [row[0] for row in opened.rows("#rejections")] == [f"{n:05} Contact" for n in range(25)]
    assert opened.page.locator("#rejections tbody tr:visible").count() == 10
    assert opened.page.locator("#rejections summary").all_inner_texts() == ["Records 11 to 25"]
    opened.page.locator("#rejections summary").click()
    assert opened.page.locator("#rejections tbody tr:visible").count() == 25


def test_which_rows_fail_is_told_where_no_value_may_be_shown(look: Callable[..., Opened]) -> None:
    private, many = (replace(gate, samples=(), failing_rows=("15311", HOSTILE[0])) for gate in GATES[:2])
    held = replace(many, quarantined_rows=2)
    opened = look(replace(good(), gates=(replace(private, unexpected_rows=2), many, held)))

    first, second, third = opened.page.locator(".verdicts li").all_inner_texts()
    assert f"\nRows\n15311; {HOSTILE[0]}" in first
    assert f"\nSome of the rows\n15311; {HOSTILE[0]}" in second
    assert "15311" not in third, "they stand below, each with its value"


def test_what_is_only_for_information_is_no_alarm(look: Callable[..., Opened]) -> None:
    told = tuple(replace(gate, severity="info", passed=False) for gate in GATES[:2])
    opened = look(replace(good(), gates=told))

    assert opened.page.locator(".verdicts li").count() == 2
    assert opened.page.locator("nav a[href='#expectations'] .tally").count() == 0


def test_records_take_the_whole_width_where_no_field_stands_beside_them(look: Callable[..., Opened]) -> None:
    sample = Sample("12583", "create", "First_Order_Date__c", None, "x")
    opened = look(replace(good(), syncs=(replace(ACCOUNTS, updates=0, fields={}, samples=(sample,)),)))

    table, beside = (opened.page.locator(which).bounding_box() for which in ("#changes .samples", "#changes .pair"))
    assert table is not None
    assert beside is not None
    assert table["width"] > 0.7 * beside["width"]


def test_people_in_the_way_are_told(look: Callable[..., Opened]) -> None:
    opened = look(crossed())

    assert opened.page.locator("#rejections h3").all_inner_texts() == [
        "DUPLICATES_DETECTED 2 records",
        "Deleted in the CRM by somebody 3 records",
    ]
    assert opened.rows("#rejections")[0] == [
        "12583 Account",
        "Name Brontë & Daughters BillingCountry France Segment__c New",
        "Use one of these records? There already: 001Qy00000B12583IAQ",
        "1 time",
    ]
    assert "The next run creates them again" in opened.text("#rejections")
    assert opened.text("#sync-crm_accounts .remarks") == (
        "crm_accounts: people's values stay in Name (14), BillingCountry (3)."
    )
    assert "shrank from 1,180 to 871 rows" in opened.text("#sync-crm_contacts .remarks")
    assert "12 Contact records have left crm_contacts" in opened.text("#person-title + ul")
    idle = replace(crossed().syncs[2], creates=0, updates=0, archives=0, samples=(), fields={})
    assert "7 rows have no record" in look(replace(crossed(), syncs=(idle,))).text("#sync-crm_opportunities")


def test_more_rejections_than_are_kept_are_still_counted(look: Callable[..., Opened]) -> None:
    contacts = replace(troubled().syncs[1], rejected=4_000, rejection_codes={"INVALID_EMAIL_ADDRESS": 4_000})
    opened = look(replace(troubled(), syncs=(contacts,)))

    assert "INVALID_EMAIL_ADDRESS 4,000 records, 7 of them here" in opened.text("#rejections")


def test_what_is_unlike_other_days_of_the_weekday(look: Callable[..., Opened]) -> None:
    opened = look(odd())

    assert opened.text("#anomalies h2") == "Unlike other Thursdays"  # of the day whose inputs were taken
    table = "raw.retail__invoice_lines"
    assert opened.rows("#anomalies") == [
        [table, "rows", "1,204", "2,105 to 3,893", "2,999", "8 Thursdays"],
        [table, "empty of CustomerID", "47.1%", "0.0% to 22.1%", "14.8%", "8 Thursdays"],
        [table, "age of the newest of InvoiceDate", "0.6 days", "at most 0.4 days", "0.3 days", "8 Thursdays"],
        ["crm.crm_accounts", "sum of lifetime_value", "0.5", "900,000 to 1,100,000", "1,000,000", "5 Thursdays"],
    ]
    assert opened.page.locator("a[href='#anomalies']").count() == 3
    assert look(good()).page.locator("#anomalies").count() == 0


def test_findings_before_the_push(look: Callable[..., Opened]) -> None:
    opened = look(troubled())

    rows = opened.rows("#findings")
    assert rows[0][:4] == ["crm_accounts.segment", "Account.Segment__c", "not in the picklist: Stars", "1,204"]
    assert rows[0][4].startswith("10000: Stars")
    assert rows[1][3:] == ["1", f"{HOSTILE[0]}: {MASK}"]
    assert rows[3] == ["Account.Segment__c", "picklist", "Stars", HOSTILE[2], "crm_accounts.segment"]
    assert rows[4] == ["Contact", "may be deleted", "yes", "no", ""]
    assert "main: 17 requests of 99,981 left today, about 4.2 s at the allowed rate" in opened.text("#findings")
    assert "The CRM fits the models." in look(good()).text("#findings")
    assert "Nothing was looked at." in look(failed()).text("#findings")


def test_records_that_stay_for_what_would_go_with_them(look: Callable[..., Opened]) -> None:
    opened = look(attached())

    [row] = opened.rows("#findings")
    assert row[:2] == ["crm_accounts", "Account"]
    assert row[2].startswith("not archived, since the CRM would also delete what the plan does not archive")
    assert row[3:] == ["402", f"12349{HOSTILE[0]}"]
    assert "402 Account records are not archived, since the CRM" in opened.text(".attention")


def test_a_query_that_failed_counts_rows_and_no_share_and_a_rule_is_shown_as_it_is_written(
    look: Callable[..., Opened],
) -> None:
    query = GateSummary("crm", "crm.a", "unexpected_rows_query", "critical", passed=False, unexpected_rows=60)
    rule = r"regex='^[^@\s]+@[^@\s]+$'"
    pattern = replace(query, expectation="expect_column_values_to_match_regex", evaluated_rows=80, expected=rule)
    section = look(replace(quiet(), gates=(query, pattern))).page.locator("#expectations")

    assert section.locator("dt:has-text('Unexpected rows') + dd").all_inner_texts() == ["60", "60 of 80 (75.0 %)"]
    assert section.locator("li:first-child .bar").count() == 0
    assert rule in section.inner_text()


def test_a_failed_night_leads_with_what_is_safe_and_what_to_do(look: Callable[..., Opened]) -> None:
    opened = look(failed())

    assert opened.page.locator("main > section").first.get_attribute("id") == "error"
    error = opened.text("#error")
    assert "found 0 rows, expected at least 1" in error
    assert "Nothing was sent to the CRM." in error
    assert opened.page.locator("#error .todo code").all_inner_texts() == ["nightshift run"]
    assert [row[1] for row in opened.rows("#stages")] == ["done", "failed"]
    assert "critical" in opened.text("#expectations .verdicts li h3")
    assert opened.text("#changes").endswith("No plan was made.")


def test_a_held_night_says_what_would_change(look: Callable[..., Opened]) -> None:
    opened = look(held())

    assert opened.text("#error h2") == "Why it waits"
    assert opened.text("#changed-title") == "What would change in the CRM"
    assert [opened.text(f"#{key}") for key in ("creates", "updates", "archives")] == ["0", "902", "411"]
    assert opened.page.locator("#person-title + ul a").first.inner_text() == (
        "Look at the plan, then decide; or change the model or its guard, and run again."
    )
    assert "crm_contacts: 411 records against guard max_archives of 5% of 871" in opened.text("#error")
    assert opened.page.locator("#error .todo code").all_inner_texts() == [
        "nightshift approve 20101210-020004-7f3a --push",
        "nightshift reject 20101210-020004-7f3a --reason TEXT",
    ]


def test_who_approved_a_plan_when_and_why_is_told(look: Callable[..., Opened]) -> None:
    opened = look(crossed())

    assert opened.text("#decision") == (
        "Approved by anna at 2010-12-10 07:00 UTC: The new segments are meant; Sales knows."
    )
    assert opened.text("#took") == "14.2 s", "the time that it waited is not counted"
    assert look(good()).page.locator("#decision").count() == 0


def test_a_plan_that_is_only_looked_at_does_not_say_that_it_was_sent(look: Callable[..., Opened]) -> None:
    syncs = tuple(replace(sync, applied=0, reconciled=0) for sync in good().syncs)
    opened = look(replace(good(), stages=good().stages[:5], syncs=syncs))

    assert opened.text("h1") == "504 changes planned; nothing was sent"
    assert opened.text("#changed-title") == "What would change in the CRM"
    assert "Of these" not in opened.text("main")


def test_a_night_with_nothing_to_do_lets_people_drink_their_coffee(look: Callable[..., Opened]) -> None:
    opened = look(quiet())

    assert opened.text("h1") == "Nothing to do: the CRM is up to date"
    assert opened.text("#person-title + p") == "Nothing. Enjoy your coffee."
    assert opened.page.locator(".tally").count() == 0


def test_a_run_of_which_nothing_is_known_yet_is_shown(look: Callable[..., Opened]) -> None:
    opened = look(RunSummary("r-1", "sandbox", "running", START))

    assert opened.text("h1") == "The night is still running"
    assert opened.text("#took") == "still running"
    assert opened.console == []


def test_a_broken_model_is_not_folded_away(look: Callable[..., Opened]) -> None:
    models = (ModelSummary("crm_accounts", "error", 0.2), ModelSummary("crm_contacts", "skipped", 0.0))
    opened = look(replace(failed(), models=models))

    assert opened.page.locator("#models table").is_visible()
    assert "1 model could not be built: crm_accounts" in opened.text("#person-title + ul")


def test_values_that_try_to_be_markup_stay_text(look: Callable[..., Opened]) -> None:
    everywhere = tuple(
        SyncSummary(
            f"sync_{n}",
            value,
            crm=value,
            creates=1,
            applied=1,
            mismatched=1,
            fields={value: 1},
            samples=(Sample(value, "create", value, None, value),),
            mismatches=(MismatchSummary(value, value, value, value),),
        )
        for n, value in enumerate(HOSTILE)
    )
    gates = tuple(
        GateSummary("raw", v, v, "critical", passed, v, True, v, 1, 1, (v,), v)
        for v in HOSTILE
        for passed in (True, False)
    )
    night = replace(troubled(), syncs=(*everywhere, troubled().syncs[1]), gates=gates, target=HOSTILE[1])
    opened = look(replace(night, error=replace(failed().error, what=HOSTILE[0], todo=f"`{HOSTILE[1]}`")))

    assert opened.console == []
    assert len([url for url in opened.requests if not url.startswith("data:")]) == 1
    assert opened.page.title() != "owned"
    assert opened.page.locator("script, img, iframe, object, embed, form, [onerror], [style*=url]").count() == 0
    samples = [row for n in range(len(HOSTILE)) for row in opened.rows(f"#sync-sync_{n} .samples")]
    assert [row[2] for row in samples if len(row) == 3][:4] == list(HOSTILE[:4])
    assert opened.text("#error .todo code") == HOSTILE[1]
    outward = opened.page.locator("a[href]:not([href^='#'])")
    assert [link.get_attribute("href") for link in outward.all()] == [night.flow_run]


def test_characters_that_turn_or_hide_others_are_named(look: Callable[..., Opened]) -> None:
    samples = opened_rows = look(troubled()).rows("#sync-crm_contacts .samples")

    assert any(row[-1].startswith("[U+202E]gnp.exe[U+202C]") for row in samples)
    assert ["FirstName", "empty text", "none"] in opened_rows
    assert any(f"{'x' * LONGEST_VALUE}… (900 characters)" in row for row in samples)


def test_half_a_surrogate_does_not_cost_the_page(tmp_path: Path) -> None:
    path = write_page(replace(failed(), error=replace(failed().error, what="broken \ud83d text")), tmp_path)

    assert "broken ? text" in path.read_text(encoding="utf-8")


def test_a_page_is_replaced_as_a_whole(tmp_path: Path) -> None:
    first = write_page(failed(), tmp_path / "runs" / "r")
    second = write_page(good(), tmp_path / "runs" / "r")

    assert first == second == tmp_path / "runs" / "r" / PAGE
    assert "504 changes are in the CRM" in second.read_text(encoding="utf-8")
    assert [path.name for path in second.parent.iterdir()] == [PAGE]


def test_can_be_read_without_eyes_or_a_mouse(look: Callable[..., Opened]) -> None:
    opened = look(troubled())
    page = opened.page

    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert page.locator(landmark).count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(heading => +heading.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    tables = page.locator("table")
    assert tables.count() > 8
    assert page.locator("table > caption").count() == tables.count()
    assert page.locator("table th:not([scope])").count() == 0
    assert page.locator("svg:not([aria-hidden=true]):not([role=img][aria-label])").count() == 0
    assert page.locator(".bars svg").first.get_attribute("aria-label") == "74 creates, 212 updates, 0 archives"
    ids = page.locator("[id]").evaluate_all("all => all.map(item => item.id)")
    assert len(ids) == len(set(ids))
    named = page.locator("[aria-labelledby]").evaluate_all("all => all.map(i => i.getAttribute('aria-labelledby'))")
    linked = page.locator("a[href^='#']").evaluate_all("all => all.map(item => item.getAttribute('href').slice(1))")
    assert set(named) | set(linked) <= set(ids)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length && colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim()) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${node.className} ${walker.currentNode.textContent.trim()}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("night", NIGHTS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(look: Callable[..., Opened], night: str, scheme: Scheme) -> None:
    assert look(NIGHTS[night](), scheme).page.evaluate(CONTRAST) == []


def test_dark_and_light_follow_the_reader(look: Callable[..., Opened]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"

    assert look(quiet(), "light").page.evaluate(ground) == "rgb(246, 244, 239)"
    assert look(quiet(), "dark").page.evaluate(ground) == "rgb(16, 19, 27)"


def test_prints_light_and_unfolded(look: Callable[..., Opened]) -> None:
    page = look(good(), "dark").page
    assert not page.locator("#models table").is_visible()

    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#models table").bounding_box()["height"] > 100  # type: ignore[index]
    assert not page.locator("nav").is_visible()
