"""A warehouse with weeks of nights in it, so that there is a history to look at; everything is made up, by rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from flows import journal
from flows.records import MASK
from flows.report import write_page
from flows.summary import GateSummary, PlanSummary, RunSummary
from flows.summary.held import HeldSummary, QuarantineSummary
from flows.warehouse import Warehouse
from tests.report.example import GATES, HOSTILE, START, failed, good, held, troubled

OWNER = "data-quality@example.com"
COUNTRIES, EMAILS = (
    GateSummary(
        *("crm", "crm.crm_accounts", "expect_column_values_to_be_in_set", "critical", False),
        column="country",
        row_level=True,
        evaluated_rows=948,
        detail="The CRM's picklist holds these countries; an account of another would be refused.",
        id="9b0c44e1d2f3",
        expected="value_set: 38 countries",
        owner=OWNER,
        on_fail="quarantine",
    ),
    GateSummary(
        *("crm", "crm.crm_contacts", "expect_column_values_to_match_regex", "critical", False),
        column="email",
        row_level=True,
        evaluated_rows=871,
        detail="An address has one @ and a dot after it; the CRM refuses others.",
        id="41d7a0b3c95e",
        expected="regex: one @, then a dot",
        owner=OWNER,
        on_fail="quarantine",
    ),
)


def night(place: int, nights: int) -> RunSummary:
    """One of so many nights: the last of them is the night of `START`."""
    back = nights - 1 - place
    began = START - timedelta(days=back)
    busy = 1 + 0.4 * math.sin(place / 3) + (0.5 if place % 7 == 4 else 0)
    base = failed() if back == 9 else held() if back == 17 else troubled() if back % 11 == 5 else good()
    run_id = f"{began:%Y%m%dT%H%M%SZ}-{place:04x}"

    def scaled(count: int) -> int:
        return round(count * busy)

    return replace(
        base,
        run_id=run_id,
        started_at=began,
        ended_at=began + timedelta(seconds=sum(stage.seconds for stage in base.stages) * busy),
        as_of=(began - timedelta(days=1)).date(),
        page=f"var/reports/{run_id}/morning-page.html",
        plan=base.plan or PlanSummary(f"{place:064x}", "pushed") if base.syncs else None,
        stages=tuple(
            replace(stage, seconds=round(stage.seconds * busy, 3), started_at=began + (stage.started_at - START) * busy)
            for stage in base.stages
            if stage.started_at
        ),
        sources=tuple(replace(source, rows=scaled(source.rows)) for source in base.sources),
        gates=tuple(_judged(gate, place, busy) for gate in base.gates),
        syncs=tuple(
            replace(sync, creates=sync.creates + extra, applied=sync.applied and sync.applied + extra)
            for sync in base.syncs
            for extra in [scaled(sync.creates) - sync.creates]
        ),
    )


def _judged(gate: GateSummary, place: int, busy: float) -> GateSummary:
    """A verdict as it was that night, with an id."""
    unexpected = None if gate.unexpected_rows is None else round(gate.unexpected_rows * busy * (1 + place % 3) / 3)
    named = replace(
        gate, id=f"{GATES.index(gate) if gate in GATES else 99:012x}", owner=OWNER, unexpected_rows=unexpected
    )
    return replace(named, passed=not unexpected) if gate.severity == "warning" else named


def keep(db: Warehouse, run: RunSummary, checked_at: datetime | None = None) -> None:
    """Write a run where a night writes it."""
    naive = run.started_at.replace(tzinfo=None)
    journal.begin(db, run)
    journal.write(db, run)
    for source in run.sources:
        db.execute(
            "insert into ops.extracts values (?, ?, ?, ?, 1, null, null, 1.0, ?)",
            (run.run_id, source.name, source.rows, source.bytes, naive),
        )
    for gate in run.gates:
        db.execute(
            "insert into quality.results values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, [])",
            (
                *(run.run_id, gate.stage, gate.table, gate.expectation, gate.column, gate.severity, gate.passed),
                *(gate.row_level, gate.observed, gate.evaluated_rows, gate.unexpected_rows, gate.detail),
                *(checked_at or naive, gate.id, gate.expected, gate.owner, gate.on_fail, gate.quarantined_rows),
            ),
        )
    if run.plan:
        db.execute(
            "insert into sync.plans (run_id, hash, planned_at, held, state) values (?, ?, ?, ?, ?)",
            (run.run_id, run.plan.hash, naive, _guards(run), run.plan.state),
        )


def _guards(run: RunSummary) -> list[str]:
    told = run.error.what.splitlines()[1:] if run.state == "held" and run.error else []
    return [line.removeprefix("  - ") for line in told]


def hold_back(db: Warehouse, run: RunSummary, counts: dict[str, int], odd: Sequence[str] = HOSTILE) -> RunSummary:
    """Hold so many rows back by each of the two expectations, at the night of a run; the run then tells of it."""
    at = run.started_at.replace(tzinfo=None) + timedelta(seconds=1)
    gates, tables = [], []
    for gate, values in ((COUNTRIES, ("Narnia", "EIRE?", *odd)), (EMAILS, (MASK,))):
        count = counts.get(gate.table, 0)
        if not count:
            continue
        # One in four since tonight, the others night by night before.
        db.execute(
            """
            insert into quality.quarantine
            select $table, (12000 + i)::varchar, $id, $expectation, $column, $values[1 + i % len($values)::int],
                md5(i::varchar), 'critical', $detail, if(i % 4 = 0, $run_id, 'before'),
                if(i % 4 = 0, $at, $at - interval 1 day * (1 + i % 20)), $run_id, null, null, null, null
            from range($count) made(i)
            """,
            {
                **{"table": gate.table, "id": gate.id, "expectation": gate.expectation, "column": gate.column},
                **{"values": list(values), "detail": gate.detail, "run_id": run.run_id, "at": at, "count": count},
            },
        )
        gates.append(replace(gate, unexpected_rows=count, quarantined_rows=count, samples=values[:3]))
        cause = f"{gate.expectation}({gate.column})"
        rows = tuple(
            HeldSummary(str(12000 + i), gate.expectation, gate.column, values[0], gate.detail) for i in range(5)
        )
        tables.append(QuarantineSummary(gate.table, count, (count + 3) // 4, 2, 1, {cause: count}, rows=rows))
    return replace(run, gates=(*run.gates, *gates), quarantine=tuple(tables))


def fill(
    db: Warehouse, reports: Path, nights: int = 60, counts: dict[str, int] | None = None, odd: Sequence[str] = HOSTILE
) -> RunSummary:
    """Let so many nights pass, each with its page; what comes back is the last of them, which has none yet."""
    with db.transaction():
        for place in range(nights - 1):
            run = night(place, nights)
            keep(db, run)
            (reports / run.run_id).mkdir(parents=True)
            (reports / run.run_id / "morning-page.html").write_text("<!doctype html><title>An old page</title>")
        last = hold_back(db, night(nights - 1, nights), counts or {"crm.crm_accounts": 12, "crm.crm_contacts": 7}, odd)
        keep(db, last)
    return last


def written(db: Warehouse, reports: Path, run: RunSummary) -> Path:
    """The page of a run, with the index beside it."""
    return write_page(run, reports / run.run_id, db)
