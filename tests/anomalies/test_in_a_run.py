"""A run looks for anomalies: by the day that it began, and whatever goes wrong, it goes on and says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flows import journal, stages
from flows.journal import Journal
from flows.quality.anomalies import Table
from flows.summary.story import attention
from flows.warehouse import Warehouse

SALES = Table("raw", "raw.till__sales", '"raw"."till__sales"', daily=True)


def began(db: Warehouse, run_id: str, at: datetime, rows: int) -> Journal:
    """A run that began then and has extracted so many rows."""
    run = Journal(run_id, "test")
    run.note(started_at=at)
    journal.begin(db, run.summary)
    db.execute("insert into raw.till__sales select i, now(), ? from range(?) as t(i)", (run_id, rows))
    return run


def test_a_run_over_midnight_is_measured_by_the_day_that_it_began(warehouse: Warehouse) -> None:
    warehouse.execute("create table raw.till__sales (n bigint, _extracted_at timestamp, _run_id varchar)")
    late = datetime.now(UTC).replace(hour=23, minute=59) - timedelta(days=1)
    for week in reversed(range(6)):
        run = began(warehouse, f"week {week}", late - timedelta(days=7 * week), 100)
        with run.stage("gate_raw"):
            stages.look_for_anomalies(warehouse, run, [SALES])
        assert run.summary.anomalies == ()
    told = warehouse.execute("select day, value from quality.metrics where metric = 'rows' order by day desc limit 1")
    assert told == [(late.date(), 100)]


def test_what_cannot_be_measured_is_told_and_the_others_are_measured(warehouse: Warehouse) -> None:
    warehouse.execute("create table raw.till__sales (n bigint, _extracted_at timestamp, _run_id varchar)")
    warehouse.execute("create schema crm; create view crm.broken as select 'Jane Doe'::integer as n")
    run = began(warehouse, "one", datetime.now(UTC), 3)

    with run.stage("gate_crm"):
        stages.look_for_anomalies(warehouse, run, [Table("crm", "crm.broken", '"crm"."broken"'), SALES])

    [stage] = run.summary.stages
    assert stage.state == "done"
    assert warehouse.scalar("select value from quality.metrics where metric = 'rows'") == 3
    [problem] = run.summary.problems
    assert problem.what == "crm.broken could not be compared with its history: ConversionException"
    [fault] = run.faults
    assert "Jane Doe" in fault, "the traceback is for the run's folder alone"
    assert [(told.level, told.text) for told in attention(run.summary)] == [("warn", problem.what)]
