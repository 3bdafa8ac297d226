"""The index of all runs: how the last one went, charts over time, and a table that links to each run's page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from flows import journal
from flows.report.charts import Part, stacked
from flows.report.formats import environment
from flows.summary import RunSummary, to_json
from flows.summary.story import attention, counted, duration, headline
from flows.warehouse import Warehouse

INDEX = "index.html"
MOST_RUNS = 400
"""Runs that the table lists."""
CHARTED = 120
"""Nights that the charts show; more columns could not be told apart."""
STAGES = {
    "extract": "extract",
    "gate_raw": "gates",
    "gate_crm": "gates",
    "gate_crm_after": "gates",
    "transform": "transform",
    "push": "push",
    "reconcile": "reconcile",
}
"""Which colour a stage has in the chart of durations; the others are ``other``."""

SEVERITIES = ("critical", "warning", "info")
_OPERATIONS = ("creates", "updates", "archives")


@dataclass(frozen=True, slots=True)
class Night:
    """One run as the index tells it; counts are rows, records or expectations."""

    run_id: str
    kind: str
    state: str
    began: datetime
    as_of: str | None
    seconds: float
    rows: int
    creates: int
    updates: int
    archives: int
    applied: int
    sent: int
    rejected: int
    mismatched: int
    held: int
    failures: Mapping[str, int]
    stages: Mapping[str, float]
    error: str
    page: str | None

    @property
    def operations(self) -> int:
        """What was planned."""
        return self.creates + self.updates + self.archives

    @property
    def failed(self) -> int:
        """The expectations that failed."""
        return sum(self.failures.values())

    @property
    def day(self) -> str:
        """The day it is known by: the one whose inputs it took, else the one it began on."""
        return self.as_of or f"{self.began:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart, with what its colours mean and its numbers in words."""

    id: str
    title: str
    told: str
    drawn: Markup
    parts: tuple[Part, ...]


def render(db: Warehouse, last: RunSummary, folder: Path, page: str) -> str:
    """Render the index.

    Args:
        db: the warehouse.
        last: the run that is being told of; what the warehouse holds of it is older. It need not be the newest.
        folder: where the runs' folders with their pages are.
        page: what a page is called there.
    """
    nights = read(db, last, folder, page)
    if nights[0].run_id != last.run_id:
        last = journal.load(db, nights[0].run_id) or last
    shown = [night for night in reversed(nights[:CHARTED])]
    return (
        environment()
        .get_template("index.html")
        .render(
            nights=nights,
            target=last.target,
            last=last,
            newest=nights[0],
            headline=headline(last),
            attention=attention(last),
            charts=charts(shown) if len(shown) > 1 else (),
            charted=len(shown),
            most=MOST_RUNS,
            total=db.scalar("select count(*) from ops.runs"),
        )
    )


def read(db: Warehouse, last: RunSummary, folder: Path, page: str) -> list[Night]:
    """Read the last runs, newest first.

    The summaries are read as JSON and no further: making four hundred `RunSummary` of them would take seconds.
    """
    rows = db.execute(
        "select run_id, started_at, summary, state, ended_at from ops.runs where run_id <> ? and summary is not null "
        "order by started_at desc limit ?",
        (last.run_id, MOST_RUNS - 1),
    )
    found = [_night(last.run_id, last.started_at, to_json(last), folder, page)]
    for run_id, began, raw, state, ended in rows:
        # Of a run that was killed the row knows more than its summary.
        known = {**json.loads(raw), "state": state, "ended_at": ended and ended.replace(tzinfo=UTC).isoformat()}
        found.append(_night(run_id, began.replace(tzinfo=UTC), known, folder, page))
    return sorted(found, key=lambda night: night.began, reverse=True)


def _night(run_id: str, began: datetime, raw: Mapping[str, Any], folder: Path, page: str) -> Night:
    syncs = raw.get("syncs", {}).values()
    ended, waited = raw.get("ended_at"), (raw.get("plan") or {}).get("waited", 0.0)

    def total(name: str) -> int:
        return sum(sync.get(name, 0) for sync in syncs)

    return Night(
        run_id=run_id,
        kind=raw.get("kind", "night"),
        state=raw["state"],
        began=began,
        as_of=str(date.fromisoformat(raw["as_of"])) if raw.get("as_of") else None,
        seconds=(datetime.fromisoformat(ended) - began).total_seconds() - waited if ended else 0.0,
        rows=sum(source.get("rows_extracted", 0) for source in raw.get("sources", {}).values()),
        creates=total("creates"),
        updates=total("updates"),
        archives=total("archives"),
        applied=total("applied"),
        sent=total("applied") + total("rejected") + total("unknown"),
        rejected=total("rejected"),
        mismatched=total("mismatched"),
        held=sum(table.get("held", 0) for table in raw.get("quarantine", {}).values()),
        failures=Counter(gate["severity"] for gate in raw.get("gates", ()) if not gate.get("passed", True)),
        stages={name: stage.get("seconds", 0.0) for name, stage in raw.get("stages", {}).items()},
        error=_why((raw.get("error") or {}).get("what") or ""),
        page=f"{run_id}/{page}" if (folder / run_id / page).exists() else None,
    )


def _why(what: str) -> str:
    """An error in one line; one that lists things says the first of them."""
    first, *listed = [line.strip().removeprefix("- ") for line in what.splitlines() if line.strip()] or [""]
    if not first.endswith(":") or not listed:
        return first
    return f"{first} {listed[0]}" + (f", and {len(listed) - 1:,} more" if len(listed) > 1 else "")


def charts(nights: Sequence[Night]) -> tuple[Chart, ...]:
    """Draw what changes from night to night.

    Args:
        nights: oldest first; at least two.
    """
    days = [night.day[5:] for night in nights]

    def chart(id: str, title: str, noun: str, parts: Sequence[Part], unit: str = "") -> Chart:
        several = parts if len(parts) > 1 else ()
        sums = [sum(part.values[at] for part in parts) for at in range(len(nights))]
        words = [duration(value) if unit else counted(int(value), noun) for value in sums]
        told = f"{title} of {len(nights)} runs: highest {max(zip(sums, words, strict=True))[1]}, last {words[-1]}"
        each = [
            f"{night.day}: {word}"
            + "".join(
                f"\n{part.name} {part.values[at]:,.4g}{unit}" for part in parts if len(parts) > 1 and part.values[at]
            )
            for at, (night, word) in enumerate(zip(nights, words, strict=True))
        ]
        kept = tuple(part for part in several if part.total)
        return Chart(id, title, told, stacked(told, parts, days, each, unit), kept)

    def of(name: str, kind: str, attribute: str, *, sent: bool = False) -> Part:
        return Part(name, kind, [float(getattr(night, attribute)) if night.sent or not sent else 0 for night in nights])

    spent = {kind: [0.0] * len(nights) for kind in (*dict.fromkeys(STAGES.values()), "other")}
    for at, night in enumerate(nights):
        for stage, seconds in night.stages.items():
            spent[STAGES.get(stage, "other")][at] += seconds
    return (
        chart("rows", "Rows extracted", "row", [of("rows", "plain", "rows")]),
        chart("operations", "Changes sent", "change", [of(name, name, name, sent=True) for name in _OPERATIONS]),
        chart("rejected", "Rejections", "rejection", [of("rejected", "critical", "rejected")]),
        chart("held", "Rows held back", "row", [of("held", "warning", "held")]),
        chart(
            "durations",
            "Duration by stage",
            "",
            [Part(kind, f"stage-{kind}", values) for kind, values in spent.items()],
            " s",
        ),
        chart(
            "failed",
            "Expectations that failed",
            "expectation",
            [Part(kind, kind, [night.failures.get(kind, 0) for night in nights]) for kind in SEVERITIES],
        ),
    )
