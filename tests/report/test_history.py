"""What the page tells beside the run itself equals what the warehouse holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flows.records import MASK
from flows.report import history
from flows.report.history import MOST_HELD, MOST_HELD_TEXT, TREND
from flows.report.page import PAGE, write_page
from flows.summary import RunSummary
from flows.warehouse import Warehouse
from tests.report.example import HOSTILE
from tests.report.looking import Opened
from tests.report.months import COUNTRIES, EMAILS, fill, hold_back, keep, night, written

NIGHTS = 40
HELD = {"crm.crm_accounts": 212, "crm.crm_contacts": 31}


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warehouse, Path, RunSummary]]:
    home = tmp_path_factory.mktemp("months")
    with Warehouse.open(home / "w.duckdb") as db:
        yield db, home / "reports", fill(db, home / "reports", NIGHTS, HELD)


@pytest.fixture
def opened(months: tuple[Warehouse, Path, RunSummary], look_at: Callable[..., Opened]) -> Opened:
    return look_at(written(*months))


def test_every_held_row_is_on_the_page_with_its_value_and_its_age(
    months: tuple[Warehouse, Path, RunSummary], opened: Opened
) -> None:
    db, _, run = months
    groups = opened.page.locator("#quarantine article").count()
    shown = [row for at in range(groups) for row in opened.rows(f"#quarantine article:nth-of-type({at + 1})")]

    held = db.execute(
        "select key, value, since_at::date::varchar, date_diff('day', since_at::date, ?::date) from quality.quarantine "
        "where ended_at is null order by table_name, since_at, key",
        (run.started_at,),
    )
    ages = ["tonight" if not days else f"{days} day{'s' if days != 1 else ''}" for *_, days in held]
    assert [(key, f"{day}, {age}") for (key, _, day, _), age in zip(held, ages, strict=True)] == [
        (key, since) for key, _, since in shown
    ]
    assert {value for _, value, _ in shown} >= {"Narnia", MASK, HOSTILE[0]}
    assert len(shown) == sum(HELD.values())


def test_reasons_counts_and_ages_of_held_rows_equal_the_warehouse(
    months: tuple[Warehouse, Path, RunSummary], opened: Opened
) -> None:
    db, _, run = months
    for gate in (COUNTRIES, EMAILS):
        [(count, new, week)] = db.execute(
            "select count(*), count(*) filter (since_run_id = $run), count(*) filter (since_run_id <> $run and "
            "since_at > $ended::timestamp - interval 7 day) from quality.quarantine where expectation_id = $id",
            {"run": run.run_id, "id": gate.id, "ended": run.ended_at},
        )
        article = opened.page.locator(
            "#quarantine article", has=opened.page.locator(f"code:text('{gate.expectation}')")
        )
        told = article.inner_text()
        assert f"{count} rows" in told
        assert f"{new} since tonight, {week} for less than a week, {count - new - week} for longer" in told
        assert gate.detail in told
        assert f"Ask {gate.owner}" in told
    assert opened.text("nav a[href='#quarantine'] .tally") == str(sum(HELD.values()))


def test_a_trend_says_what_the_last_runs_found(months: tuple[Warehouse, Path, RunSummary], opened: Opened) -> None:
    db, _, run = months
    judged = [gate for gate in run.gates if gate.severity == "warning"]
    for gate in judged:
        [(runs, least, most, failed)] = db.execute(
            "select count(*), min(unexpected_rows / evaluated_rows), max(unexpected_rows / evaluated_rows), "
            "count(*) filter (not passed) from (select * from quality.results join (select run_id from ops.runs "
            "order by started_at desc limit ?) using (run_id)) where expectation_id = ?",
            (TREND, gate.id),
        )
        told = f"{runs} runs: lowest {100 * least:.3g} %, highest {100 * most:.3g} %"
        assert any(
            label.startswith(told) and label.endswith(f"failed in {failed}")
            for label in opened.labels(".verdicts .spark")
        )
    assert len(judged) == 2
    assert "of the last" not in opened.text("#expectations")


def test_a_trend_is_drawn_as_high_as_its_values(months: tuple[Warehouse, Path, RunSummary], opened: Opened) -> None:
    db, _, run = months
    drawn = opened.page.locator("#sources .spark").first.locator("path").get_attribute("d")
    heights = [float(part) for part in (drawn or "").replace("M", "").replace("L", "").split()[1::2]]

    loads = [
        rows
        for (rows,) in db.execute(
            "select rows_loaded from ops.extracts join ops.runs using (run_id) where source = ? "
            "order by started_at desc limit ?",
            (run.sources[0].name, TREND),
        )
    ][::-1]
    assert len(heights) == len(loads) == TREND
    ground, scale = heights[loads.index(min(loads))], max(loads) - min(loads)
    top = heights[loads.index(max(loads))]
    for height, rows in zip(heights, loads, strict=True):
        assert (ground - height) / (ground - top) == pytest.approx((rows - min(loads)) / scale, abs=0.02)


def test_a_page_tells_of_its_own_night(months: tuple[Warehouse, Path, RunSummary]) -> None:
    db, _, run = months
    earlier = night(NIGHTS - 4, NIGHTS)
    then = history.read(db, earlier)

    assert sum(group.count for group in then.held or ()) == db.scalar(
        "select count(*) from quality.quarantine where since_at <= ?", (earlier.ended_at,)
    )
    assert all(len(trend.points) == TREND for trend in then.trends.values())
    assert then.previous == night(NIGHTS - 5, NIGHTS).run_id
    assert {group.count for group in history.read(db, run).held or ()} == set(HELD.values())


def test_what_was_let_go_is_held_no_more(warehouse: Warehouse) -> None:
    run = hold_back(warehouse, night(0, 1), {"crm.crm_accounts": 4})
    assert run.ended_at
    for key, at in (("12001", run.ended_at - timedelta(seconds=1)), ("12002", run.ended_at + timedelta(hours=6))):
        warehouse.execute(
            "update quality.quarantine set ended_at = ?, ended_as = 'released' where key = ?",
            (at.replace(tzinfo=None), key),
        )

    [group] = history.read(warehouse, run).held or ()

    assert sorted(row.key for row in group.rows) == ["12000", "12002", "12003"], "one was released after the night"


def test_guards_are_told_of_a_held_plan(
    months: tuple[Warehouse, Path, RunSummary], look_at: Callable[..., Opened]
) -> None:
    db, reports, _ = months
    held = night(NIGHTS - 18, NIGHTS)
    guards = db.scalar("select held from sync.plans where run_id = ?", (held.run_id,))
    opened = look_at(write_page(held, reports / held.run_id, db))

    assert opened.page.locator("#plan li").all_inner_texts() == guards
    assert len(guards) == 2
    assert opened.text("#plan .pill") == "held"


def test_ten_thousand_held_rows_make_a_page_that_opens(
    warehouse: Warehouse, tmp_path: Path, look_at: Callable[..., Opened]
) -> None:
    run = hold_back(warehouse, night(0, 1), {"crm.crm_accounts": 7_000, "crm.crm_contacts": 5_000})
    keep(warehouse, run)
    began = time.perf_counter()
    path = write_page(run, tmp_path / "reports" / run.run_id, warehouse)
    took = time.perf_counter() - began

    assert path.stat().st_size < 2_000_000
    assert took < 3
    opened = look_at(path)
    assert opened.page.locator("#quarantine tbody tr").count() == MOST_HELD
    assert "7,000 rows" in opened.text("#quarantine article:nth-of-type(1)")
    assert opened.text("#quarantine article:nth-of-type(1) > .calm") == (
        "5,000 of 7,000 are here; nightshift quarantine list has all."
    )
    assert opened.page.locator("#quarantine article:nth-of-type(2) > .calm").count() == 0
    folded = opened.page.locator("#quarantine details").first
    assert folded.locator("summary").text_content() == "Rows 51 to 550"
    assert not folded.locator("tr").nth(1).is_visible()
    folded.locator("summary").click()
    assert folded.locator("tr").nth(1).is_visible()
    assert opened.console == []


def test_long_values_do_not_make_a_long_page(warehouse: Warehouse, tmp_path: Path) -> None:
    run = hold_back(warehouse, night(0, 1), {"crm.crm_accounts": 9_000})
    warehouse.execute("update quality.quarantine set value = repeat('<', 200), key = repeat('\"', 60) || key")

    path = write_page(run, tmp_path / run.run_id, warehouse)

    [group] = history.read(warehouse, run).held or ()
    assert sum(len(row.key) + len(row.value or "") for row in group.rows) <= MOST_HELD_TEXT
    assert 1_000 < len(group.rows) < group.count == 9_000
    assert path.stat().st_size < 4_000_000


def test_what_lies_beside_the_page_is_linked(
    months: tuple[Warehouse, Path, RunSummary], look_at: Callable[..., Opened]
) -> None:
    db, reports, run = months
    for place in ("data-docs/index.html", "dbt-docs/index.html"):
        (reports / run.run_id / place).parent.mkdir(parents=True, exist_ok=True)
        (reports / run.run_id / place).write_text("<!doctype html><title>docs</title>")
    opened = look_at(write_page(run, reports / run.run_id, db))

    links = {link.inner_text(): link.get_attribute("href") for link in opened.page.locator(".links a").all()}

    assert list(links) == ["All nights", "The run before", "Data Docs", "dbt docs", "Prefect run"]
    assert links.pop("Prefect run") == run.flow_run
    for place in links.values():
        assert (reports / run.run_id / (place or "")).resolve().is_file()
    alone = look_at(write_page(replace(run, run_id="alone", flow_run=None), reports / "alone"))
    assert alone.page.locator(".links").count() == 0
    assert (reports / "alone" / PAGE).exists()
