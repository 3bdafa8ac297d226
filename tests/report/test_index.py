"""The index of all runs, looked at in a real browser, opened from disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flows import journal
from flows.report import index
from flows.report.page import PAGE
from flows.summary import ErrorSummary, RunSummary, StageSummary
from flows.warehouse import Warehouse
from tests.report.example import GATES, HOSTILE, START, failed, quiet, troubled
from tests.report.looking import DESKTOP, PHONE, Opened, Scheme
from tests.report.months import fill, keep, night, written

NIGHTS = 40


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warehouse, Path, RunSummary]]:
    home = tmp_path_factory.mktemp("months")
    with Warehouse.open(home / "w.duckdb") as db:
        last = fill(db, home / "reports", NIGHTS)
        written(db, home / "reports", last)
        yield db, home / "reports", last


@pytest.fixture
def opened(months: tuple[Warehouse, Path, RunSummary], look_at: Callable[..., Opened]) -> Opened:
    return look_at(months[1] / index.INDEX)


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)])
def test_opens_quietly_from_disk(
    months: tuple[Warehouse, Path, RunSummary], look_at: Callable[..., Opened], scheme: Scheme, viewport: dict[str, int]
) -> None:
    opened = look_at(months[1] / index.INDEX, scheme, viewport)

    assert opened.console == []
    assert opened.outside() == []
    sideways = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert sideways == 0


def test_the_table_equals_the_warehouse(months: tuple[Warehouse, Path, RunSummary], opened: Opened) -> None:
    db = months[0]
    sums = ", ".join(
        f"coalesce(list_sum((summary->'$.{where}')::bigint[]), 0)"
        for where in (
            *("sources.*.rows_extracted", "syncs.*.creates", "syncs.*.updates", "syncs.*.archives"),
            *("syncs.*.applied", "syncs.*.rejected", "quarantine.*.held"),
        )
    )
    held = db.execute(
        f"select as_of::varchar, state, {sums}, (select count(*) filter (not passed) from quality.results r "
        "where r.run_id = runs.run_id) from ops.runs order by started_at desc"
    )

    shown = opened.rows("#runs")

    assert len(shown) == len(held) == NIGHTS
    for cells, (as_of, state, *counts) in zip(shown, held, strict=True):
        assert cells[0].startswith(as_of)
        assert cells[1].lower().startswith(state)
        # The two expectations that hold rows back are in the last run's summary alone.
        assert [int(cell.replace(",", "")) for cell in cells[2:10]] == [int(count) for count in counts]


def test_charts_equal_the_warehouse(months: tuple[Warehouse, Path, RunSummary], opened: Opened) -> None:
    db = months[0]
    loaded = db.execute(
        "select as_of::varchar as day, sum(rows_loaded)::bigint from ops.extracts join ops.runs using (run_id) "
        "group by day order by day"
    )

    titles = opened.page.locator("#rows .hover title").evaluate_all("all => all.map(one => one.textContent)")
    assert titles == [f"{day}: {rows:,} rows" for day, rows in loaded]
    planned = opened.page.locator("#operations .hover title").evaluate_all("all => all.map(one => one.textContent)")
    held = night(NIGHTS - 18, NIGHTS)
    assert held.total("operations") > 1_000
    assert f"{held.as_of}: 0 changes" in planned, "what was held was not sent"
    assert opened.labels("#rejected .chart") == [
        f"Rejections of {NIGHTS} runs: highest 9 rejections, last 0 rejections"
    ]
    assert opened.page.locator("#durations .legend > span").all_inner_texts() == [
        *("extract", "gates", "transform", "push", "reconcile", "other")
    ]


def test_columns_are_as_high_as_their_values(opened: Opened) -> None:
    drawn = opened.page.locator("#rows .columns path").get_attribute("d") or ""
    tall = [float(part.split("V")[1].split("h")[0]) for part in drawn.split("M")[1:]]
    ground = float(drawn.split("M")[1].split(" ")[1].split("h")[0])
    rows = [sum(source.rows for source in night(place, NIGHTS).sources) for place in range(NIGHTS)]

    most = rows.index(max(rows))
    for top, count in zip(tall, rows, strict=True):
        assert (ground - top) / (ground - tall[most]) == pytest.approx(count / rows[most], abs=0.02)


def test_stacked_columns_are_as_high_as_their_sum(opened: Opened) -> None:
    tops: dict[str, float] = {}
    for kind in ("creates", "updates", "archives"):
        drawn = opened.page.locator(f"#operations .columns .{kind}").get_attribute("d") or ""
        for part in drawn.split("M")[1:]:
            left, high = part.split(" ")[0], float(part.split("V")[1].split("h")[0])
            tops[left] = min(high, tops.get(left, high))
    runs = [night(place, NIGHTS) for place in range(NIGHTS)]
    sent = [run.total("operations") for run in runs if run.total("applied")]

    heights = [top for _, top in sorted(tops.items(), key=lambda item: float(item[0]))]
    ticks = """all => all.map(one => [Number(one.querySelector('text').textContent),
        one.querySelector('line').y1.baseVal.value])"""
    (nothing, ground), *_, (most, top) = sorted(opened.page.locator("#operations .left .tick").evaluate_all(ticks))
    assert nothing == 0
    for height, count in zip(heights, sent, strict=True):
        assert (ground - height) / (ground - top) * most == pytest.approx(count, abs=most / 100)


def test_leads_to_the_last_night_and_to_every_other(months: tuple[Warehouse, Path, RunSummary], opened: Opened) -> None:
    _, reports, last = months
    links = [link.get_attribute("href") for link in opened.page.locator("#runs a").all()]

    assert links == [f"{night(place, NIGHTS).run_id}/{PAGE}" for place in reversed(range(NIGHTS))]
    assert all((reports / (link or "")).is_file() for link in links)
    opened.page.get_by_role("link", name="Read the page of 2010-12-09").click()
    assert opened.page.url == (reports / last.run_id / PAGE).as_uri()
    opened.page.get_by_role("link", name="The run before").click()
    assert opened.page.title() == "An old page", "the pages of earlier runs stay as they were"
    opened.page.go_back()
    opened.page.get_by_role("link", name="All nights").click()
    assert opened.page.url == opened.path.as_uri()


def test_what_needs_a_person_leads_into_the_page(opened: Opened) -> None:
    assert "12 rows are held back in crm.crm_accounts" in opened.text(".attention")
    opened.page.get_by_role("link", name="12 rows are held back").click()
    assert opened.page.url.endswith(f"{PAGE}#quarantine")
    assert opened.page.locator("#quarantine").is_visible()


def test_prints_light_with_two_charts_side_by_side(
    months: tuple[Warehouse, Path, RunSummary], look_at: Callable[..., Opened]
) -> None:
    page = look_at(months[1] / index.INDEX, "dark", {"width": 720, "height": 1000}).page

    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".read").is_visible()
    left, right = (page.locator("figure").nth(at).bounding_box() for at in (0, 1))
    assert left
    assert right
    assert left["x"] + left["width"] < right["x"] + 1


def test_the_first_night_has_an_index_too(warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened]) -> None:
    run = replace(quiet(), run_id="first")
    journal.begin(warehouse, run)
    written(warehouse, tmp_path, run)

    opened = look_at(tmp_path / index.INDEX)

    assert opened.text("h1") == "Nothing to do: the CRM is up to date"
    assert opened.page.locator(".charts").count() == 0
    assert [row[0] for row in opened.rows("#runs")] == ["2010-12-09"]


def test_a_run_that_was_killed_and_one_that_tries_to_be_markup(
    warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened]
) -> None:
    killed = replace(quiet(), run_id="killed", state="running", ended_at=None, target=HOSTILE[0])
    journal.begin(warehouse, killed)
    warehouse.execute("update ops.runs set state = 'failed', ended_at = started_at + interval 1 minute")
    odd = replace(night(0, 1), target=HOSTILE[1], stages=(StageSummary(HOSTILE[0], 1.0),))
    keep(warehouse, replace(odd, started_at=odd.started_at + timedelta(days=1)))
    written(warehouse, tmp_path, odd)

    opened = look_at(tmp_path / index.INDEX)

    assert [row[1] for row in opened.rows("#runs")] == ["Done", "Failed"]
    assert opened.rows("#runs")[1][-1] == "1 min 00 s"
    assert opened.page.title() != "owned"
    assert opened.console == []
    assert opened.outside() == []
    assert opened.page.locator("script, img, iframe, [onerror]").count() == 0


def test_a_failed_night_says_what_was_the_first_of_what_failed(
    warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened]
) -> None:
    one = failed()
    whats = (
        "2 expectations failed:\n  - crm.a: not fit\n  - crm.b: not fit\n",
        "The plan:\n  - one",
        "Gone.\nIt is.",
        "",
    )
    for at, what in enumerate(whats):
        run = replace(one, run_id=str(at), started_at=one.started_at + timedelta(days=at), error=ErrorSummary(what))
        keep(warehouse, run)
        written(warehouse, tmp_path, run)

    shown = [row[1].removeprefix("Failed") for row in look_at(tmp_path / index.INDEX).rows("#runs")]
    assert shown == ["", "Gone.", "The plan: one", "2 expectations failed: crm.a: not fit, and 1 more"]


@pytest.mark.parametrize(("last", "icon"), [(quiet, "done"), (troubled, "warn"), (failed, "failed")])
def test_the_last_night_is_marked_as_its_page_marks_it(
    warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened], last: Callable[[], RunSummary], icon: str
) -> None:
    keep(warehouse, last())
    written(warehouse, tmp_path, last())
    for path in (tmp_path / index.INDEX, tmp_path / last().run_id / PAGE):
        assert look_at(path).page.locator(".hero .state .icon").get_attribute("class") == f"icon {icon}"


def test_what_failed_is_drawn_and_marked_by_how_bad_it_is(
    warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened]
) -> None:
    severities = (("info",), ("warning", "info"), ("critical", "info", "info"))
    for at, kinds in enumerate(severities):
        gates = tuple(replace(GATES[0], severity=kind, passed=False) for kind in kinds)
        run = replace(quiet(), run_id=str(at), started_at=START + timedelta(days=at), gates=gates)
        keep(warehouse, run)
        written(warehouse, tmp_path, run)

    page = look_at(tmp_path / index.INDEX).page
    assert page.locator("#failed .legend > span").all_inner_texts() == ["critical", "warning", "info"]
    assert page.locator("#failed path").evaluate_all("all => all.map(one => one.className.baseVal)") == [
        *("critical", "warning", "info")
    ]
    cells = page.locator("#runs tbody td:nth-last-child(2)")
    assert cells.evaluate_all("all => all.map(one => [one.textContent, one.className])") == [
        *(["3", "num bad"], ["2", "num warn"], ["1", "num"])
    ]


def test_an_old_page_that_is_made_anew_leaves_the_newest_night_at_the_top(
    warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened]
) -> None:
    old = replace(failed(), run_id="old")
    new = replace(quiet(), run_id="new", started_at=old.started_at + timedelta(days=1), ended_at=None)
    for run in (old, replace(new, ended_at=new.started_at + timedelta(seconds=9))):
        keep(warehouse, run)
        written(warehouse, tmp_path, run)
    written(warehouse, tmp_path, old)

    opened = look_at(tmp_path / index.INDEX)

    assert opened.text("h1") == "Nothing to do: the CRM is up to date"
    assert opened.page.locator(".attention").count() == 0
    assert opened.page.locator(".read a").get_attribute("href") == f"new/{PAGE}"
    assert [row[1][:4] for row in opened.rows("#runs")] == ["Done", "Fail"]


def test_four_hundred_runs_take_less_than_a_second(warehouse: Warehouse, tmp_path: Path) -> None:
    kept = night(0, 1)
    keep(warehouse, kept)
    warehouse.execute(
        "insert into ops.runs select run_id || i, target, as_of - i::int, started_at - interval 1 day * i, ended_at, "
        "state, stage, error, summary from ops.runs, range(1, 500) made(i)"
    )
    began = time.perf_counter()
    html = index.render(warehouse, kept, tmp_path, PAGE)
    took = time.perf_counter() - began

    assert html.count("<tr>") == index.MOST_RUNS + 1
    assert "500 are in the warehouse" in html
    assert html.count('class="hover"') == 6 * index.CHARTED
    assert took < 2, "the aim is one second, on a machine that does nothing else"
    assert len(html) < 1_000_000
