"""Figures are taken as SQL would take them, and only what is unusual for the weekday is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.project import Source
from flows.project.declared import Anomalies, FilesExtract
from flows.quality import anomalies
from flows.quality.anomalies import Table
from flows.summary.findings import AnomalySummary
from flows.warehouse import Warehouse
from tests.push.world import ACCOUNTS

MONDAY = date(2011, 1, 3)
SALES = Table("raw", "raw.till__sales", '"raw"."till__sales"', daily=True)
MODEL = Table("crm", "crm.sales", '"crm"."sales"')


def run(db: Warehouse, run_id: str, day: date) -> None:
    db.execute(
        "insert into ops.runs (run_id, target, as_of, started_at, state) values (?, 'test', ?, now(), 'done')",
        (run_id, day),
    )


@pytest.fixture
def db(warehouse: Warehouse) -> Warehouse:
    warehouse.execute(
        'create table raw.till__sales (who varchar, amount decimal(14,2), pieces bigint, "on" timestamp, ok boolean, '
        "tags varchar[], _extracted_at timestamp, _run_id varchar, _row bigint)"
    )
    return warehouse


def sell(
    db: Warehouse, run_id: str, rows: int, *, anonymous: int = 0, amount: str = "10.00", at: datetime | None = None
) -> None:
    """Let so many rows arrive with a run, some of them without a customer."""
    db.execute(
        "insert into raw.till__sales select if(i < ?, null, 'w' || i), ?::decimal(14,2), i % 3, ?, true, ['a'], "
        "now(), ?, i from range(?) as t(i)",
        (anonymous, amount, at, run_id, rows),
    )


def night(db: Warehouse, day: date, rows: int, table: Table = SALES, **what: Any) -> tuple[AnomalySummary, ...]:
    """One run, in which so many rows arrive."""
    run_id = f"{day}-{db.scalar('select count(*) from ops.runs')}"
    run(db, run_id, day)
    sell(db, run_id, rows, **{"at": datetime.combine(day, datetime.min.time()) + timedelta(hours=12), **what})
    return anomalies.look(db, run_id, [table], day)


def weeks(db: Warehouse, counts: Iterable[int], start: date = MONDAY, **what: Any) -> date:
    """Some Mondays; answers the next one."""
    day = start
    for rows in counts:
        night(db, day, rows, **what)
        day += timedelta(days=7)
    return day


def told(found: Sequence[AnomalySummary]) -> list[tuple[str, str | None]]:
    return [(anomaly.metric, anomaly.column) for anomaly in found]


def test_the_figures_of_a_source_are_those_of_the_runs_day(db: Warehouse) -> None:
    night(db, MONDAY - timedelta(days=1), 50)
    run(db, "first", MONDAY)  # it failed, and the next one of the day found nothing more to load
    sell(db, "first", 8, anonymous=2, amount="1.25", at=datetime(2011, 1, 3, 18))  # noqa: DTZ001
    run(db, "again", MONDAY)
    assert anomalies.look(db, "again", [SALES], MONDAY) == ()
    found = db.execute("select metric, column_name, value, day, stage from quality.metrics where run_id = 'again'")
    figures = {(metric, column): value for metric, column, value, _, _ in found}
    assert {(day, stage) for *_, day, stage in found} == {(MONDAY, "raw")}
    assert 0 <= figures.pop(("age", None)) < 0.01
    assert figures == {
        ("rows", None): 8,
        **{("nulls", column): 0 for column in ("amount", "pieces", "on", "ok", "tags")},
        ("nulls", "who"): 0.25,
        ("sum", "amount"): 10,
        ("sum", "pieces"): 7,
        ("age", "on"): 0.25,
    }


def test_the_figures_of_a_model_are_those_of_all_its_rows(db: Warehouse) -> None:
    db.execute("create schema crm; create table crm.sales (id varchar, amount double, day date)")
    db.execute("insert into crm.sales values ('a', 1.5, '2011-01-01'), ('b', null, '2011-01-02'), ('c', 2.5, null)")
    run(db, "one", MONDAY)
    assert anomalies.look(db, "one", [MODEL], MONDAY) == ()
    found = dict(db.execute("select concat_ws(' ', metric, column_name), value from quality.metrics"))
    assert found == {
        **{"rows": 3, "nulls id": 0, "nulls amount": pytest.approx(1 / 3), "nulls day": pytest.approx(1 / 3)},
        **{"sum amount": 4, "age day": 2},
    }
    anomalies.look(db, "one", [MODEL], MONDAY)  # a run that goes on after it was held measures once more
    assert db.scalar("select count(*) from quality.metrics") == len(found)


def test_values_that_have_no_sum_are_left_out(db: Warehouse) -> None:
    db.execute("create schema crm; create table crm.sales (a double, b double, c interval, d hugeint, e decimal(38,2))")
    db.execute("insert into crm.sales select 'inf'::double, 'nan'::double, interval 1 day, (2::hugeint)**120, 9e35")
    run(db, "one", MONDAY)
    for _ in range(3):
        db.execute("insert into crm.sales from crm.sales")
    anomalies.look(db, "one", [MODEL], MONDAY)
    assert dict(db.execute("select column_name, value from quality.metrics where metric = 'sum'")) == {
        "d": pytest.approx(8 * 2**120),
        "e": pytest.approx(8 * 9e35),
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("double[]", "[1]"), ("decimal(9, 2)[]", "[1]"), ("integer[]", "[1]"), ("struct(a double)", "{a: 1}")],
        *[("timestamp[]", "[now()::timestamp]"), ("timestamp with time zone[1]", "[now()]"), ("date[]", "[today()]")],
    ],
)
def test_lists_have_neither_a_sum_nor_an_age(db: Warehouse, kind: str, value: str) -> None:
    db.execute(f"create schema crm; create table crm.sales (a {kind}); insert into crm.sales values ({value})")
    run(db, "one", MONDAY)
    anomalies.look(db, "one", [MODEL], MONDAY)
    assert db.execute("select metric from quality.metrics order by 1") == [("nulls",), ("rows",)]


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        *[("date", odd) for odd in ("infinity", "-infinity", "5877642-06-25 (BC)", "5881580-07-10")],
        *[("timestamp", odd) for odd in ("infinity", "-infinity", "294247-01-10", "290309-12-22 (BC)")],
        *[("timestamptz", "infinity"), ("timestamp_s", "infinity"), ("timestamp_ns", "2262-04-11")],
    ],
)
def test_an_end_of_time_is_no_age_and_hides_none(db: Warehouse, kind: str, odd: str) -> None:
    db.execute(f"create schema crm; create table crm.sales (a {kind})")
    db.execute("insert into crm.sales select ?", (odd,))
    run(db, "one", MONDAY)
    anomalies.look(db, "one", [MODEL], MONDAY)
    db.execute("insert into crm.sales values ('2011-01-03')")
    anomalies.look(db, "one", [MODEL], MONDAY)
    figures = dict(db.execute("select concat_ws(' ', metric, column_name), value from quality.metrics"))
    assert figures.pop("age a") <= 1
    assert figures == {"rows": 2, "nulls a": 0}


def test_what_is_not_there_has_no_figures(db: Warehouse) -> None:
    run(db, "one", MONDAY)
    assert anomalies.look(db, "one", [MODEL], MONDAY) == ()
    assert anomalies.look(db, "one", [SALES], MONDAY) == ()
    assert db.execute("select metric, column_name, value from quality.metrics") == [("rows", None, 0)]


def test_a_constant_history_does_not_cry_at_one_per_cent(db: Warehouse) -> None:
    day = weeks(db, [10_000] * 8)
    assert night(db, day, 10_100, anonymous=100, amount="10.10") == ()
    assert night(db, day + timedelta(days=7), 9_900) == ()


def test_half_of_what_is_usual_is_told_with_the_numbers(db: Warehouse) -> None:
    day = weeks(db, [1000, 1010, 990, 1005])
    (found,) = night(db, day, 500)
    assert found == AnomalySummary("raw", "raw.till__sales", "rows", 500, found.low, found.high, 1002.5, 4)
    # The distances from the median are 2.5, 7.5, 12.5, 2.5: the MAD is 5. Chance alone does more.
    assert (1002.5 - found.low, found.high - 1002.5) == (pytest.approx(4 * 1002.5**0.5), pytest.approx(4 * 1002.5**0.5))


def test_the_band_is_the_spread_of_the_history(db: Warehouse) -> None:
    day = weeks(db, [1000, 1400, 1800, 2200, 2600])
    assert night(db, day, 3800) == ()
    (found,) = night(db, day, 4900)
    assert (found.median, found.high) == (1800, pytest.approx(1800 + 4 * 1.4826 * 1.206 * 400))
    assert found.low == 0  # there are no negative counts


def test_fewer_than_four_days_say_nothing(db: Warehouse) -> None:
    day = weeks(db, [1000] * 3)
    assert night(db, day, 10) == ()
    assert told(night(db, day + timedelta(days=7), 10)) == [("rows", None)]


def test_only_the_same_weekday_counts(db: Warehouse) -> None:
    day = weeks(db, [1000] * 6)
    weeks(db, [10] * 6, MONDAY + timedelta(days=6))
    assert night(db, day, 1000) == ()
    assert told(night(db, day + timedelta(days=6), 1000)) == [("rows", None)]


def test_only_the_last_days_count(db: Warehouse) -> None:
    table = Table("raw", SALES.name, SALES.relation, Anomalies(runs=4), daily=True)
    day = weeks(db, [10] * 8 + [1000] * 4, table=table)
    assert night(db, day, 1000, table) == ()
    assert told(night(db, day + timedelta(days=7), 10, table)) == [("rows", None)]


def test_runs_of_one_day_count_once_and_the_day_itself_does_not(db: Warehouse) -> None:
    day = weeks(db, [1000] * 2)
    for _ in range(2):
        for _ in range(4):
            assert night(db, day, 250) == ()  # 250, 500, 750, 1000 rows that day
        day += timedelta(days=7)
    (found,) = night(db, day, 100)
    assert (found.median, found.days) == (1000, 4)


def test_a_night_that_was_odd_does_not_move_the_band(db: Warehouse) -> None:
    day = weeks(db, [1000, 1020, 20_000, 980, 1000, 0])
    assert night(db, day, 1010) == ()
    assert told(night(db, day, 3000)) == [("rows", None)]


def test_an_empty_delivery_is_one_warning(db: Warehouse) -> None:
    day = weeks(db, [1000] * 5)
    assert told(night(db, day, 0)) == [("rows", None)]


def test_nulls_sums_and_old_values_are_told(db: Warehouse) -> None:
    day = weeks(db, [1000] * 5, anonymous=250)
    assert told(night(db, day, 1000, anonymous=320)) == [("nulls", "who")]
    assert told(night(db, day + timedelta(days=7), 1000, anonymous=180)) == [("nulls", "who")]
    later = day + timedelta(days=14)
    assert told(night(db, later, 1000, anonymous=250, amount="0.10")) == [("sum", "amount")]
    old = datetime.combine(later, datetime.min.time())
    assert told(night(db, later + timedelta(days=7), 1000, anonymous=250, at=old)) == [("age", "on")]
    new = datetime.combine(later + timedelta(days=15), datetime.min.time())
    assert told(night(db, later + timedelta(days=14), 1000, anonymous=250, at=new)) == []


def test_a_source_that_nothing_comes_from_grows_old(db: Warehouse) -> None:
    replaced = Table("raw", SALES.name, SALES.relation)
    day = weeks(db, [0] * 5 + [100], table=replaced)
    for past in range(4):
        night(db, day + timedelta(days=7 * past), 0, replaced)
    db.execute("update raw.till__sales set _extracted_at = _extracted_at - interval 2 days")
    assert ("age", None) in told(night(db, day + timedelta(days=28), 0, replaced))


def test_columns_that_nobody_wants_to_know_of(db: Warehouse) -> None:
    table = Table("raw", SALES.name, SALES.relation, Anomalies(ignore=["who", "amount"]), daily=True)
    day = weeks(db, [1000] * 5, table=table)
    assert night(db, day, 1000, table, anonymous=900, amount="0.00") == ()
    assert db.scalar("select count(*) from quality.metrics where column_name in ('who', 'amount', '_row')") == 0


def test_of_a_personal_column_only_the_share_of_nulls_is_kept(db: Warehouse) -> None:
    day = weeks(db, [100] * 5)
    table = Table(SALES.stage, SALES.name, SALES.relation, daily=True, personal=frozenset({"amount", "on"}))
    found = night(db, day, 100, table, amount="90.00", at=datetime.fromisoformat("1990-01-01"), anonymous=90)
    assert told(found) == [("nulls", "who")]
    kept = dict(db.execute("select column_name, list(metric) from quality.metrics where day = ? group by 1", (day,)))
    assert (kept["amount"], kept["on"], sorted(kept["pieces"])) == (["nulls"], ["nulls"], ["nulls", "sum"])


def test_a_wider_band_is_wider(db: Warehouse) -> None:
    table = Table("raw", SALES.name, SALES.relation, Anomalies(width=40, ignore=["amount", "pieces"]), daily=True)
    day = weeks(db, [1000, 1100, 1000, 900, 1000], table=table)
    assert night(db, day, 100, table) == ()
    assert told(night(db, day + timedelta(days=7), 100)) == [("rows", None)]


def test_names_need_quotes(db: Warehouse) -> None:
    db.execute('create schema "my crm"; create table "my crm"."a ""b""" ("c ""d""" double, "select" date)')
    db.execute('insert into "my crm"."a ""b""" values (1, current_date)')
    run(db, "one", MONDAY)
    table = Table("crm", 'my crm.a "b"', '"my crm"."a ""b"""')
    anomalies.look(db, "one", [table], MONDAY)
    assert db.scalar("select value from quality.metrics where metric = 'sum' and column_name = 'c \"d\"'") == 1


def test_what_is_watched() -> None:
    def source(strategy: Any, watched: Anomalies | None = Anomalies()) -> Source:  # noqa: B008
        extract = FilesExtract(kind="files", path="*", strategy=strategy)
        return Source(f"till.{strategy}", f"till__{strategy}", {}, extract, anomalies=watched)

    found = anomalies.of_sources([source("append"), source("replace"), source("append", None)])
    assert [(table.name, table.daily) for table in found] == [("raw.till__append", True), ("raw.till__replace", False)]
    [personal] = anomalies.of_sources([replace(source("append"), pii=frozenset({"Who"}))])
    assert personal.personal == {"who"}
    (model,) = anomalies.of_models([replace(ACCOUNTS, personal=frozenset({"email"}))])
    assert model.personal == {"email"}
    assert (model.name, model.relation, model.stage) == ("crm.crm_accounts", '"crm"."crm_accounts"', "crm")


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.integers(0, 10**9), min_size=4, max_size=8),
    value=st.integers(0, 10**9),
    scale=st.sampled_from([1, 2, 1000]),
)
def test_the_band_holds_the_median_and_a_value_of_the_middle_is_usual(
    history: list[int], value: int, scale: int
) -> None:
    figures = [anomalies.Figure("rows", float(value * scale))]
    past = {("rows", None): [float(rows * scale) for rows in history]}
    found = anomalies.outside(SALES, figures, past)
    ordered = sorted(rows * scale for rows in history)
    middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if middle[0] <= value * scale <= middle[1]:
        assert found == []
    for anomaly in found:
        assert anomaly.low <= anomaly.median <= anomaly.high
        assert not anomaly.low <= anomaly.value <= anomaly.high
        assert json.dumps([anomaly.low, anomaly.high])
    assert anomalies.outside(SALES, figures, past | {("rows", None): past["rows", None][::-1]}) == found
