"""The morning page: one HTML file that needs nothing beside itself.

It holds no script and, by its own content policy, may ask nothing of the network; every value is escaped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from flows.report import history, index
from flows.report.charts import sparkline
from flows.report.formats import environment
from flows.report.history import HeldRow, History, Trend
from flows.summary import GateSummary, RejectionSummary, RunSummary, Sample, StageSummary, SyncSummary
from flows.summary.advice import ADVICE, GONE
from flows.summary.findings import AnomalySummary
from flows.summary.story import attention, decision, figure, headline, remarks, was_sent, weekday
from flows.warehouse import Warehouse

PAGE = "morning-page.html"
BESIDE = {"Data Docs": "data-docs/index.html", "dbt docs": "dbt-docs/index.html"}
"""What may lie in the run's folder beside its page, by what the link to it says."""
SHOWN_HELD = 50
"""Held rows that are seen at once; more of them are folded away, so many at a time."""
FOLDED_HELD = 500


@dataclass(frozen=True, slots=True)
class StageBar:
    """Where a stage's bar lies on the timeline, both in percent of the whole."""

    stage: StageSummary
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class SampledRecord:
    """The sampled fields of one record's change."""

    external_id: str
    operation: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class RefusedFor:
    """Rejections that have one cause.

    Attributes:
        cause: the CRM's code; None for records that somebody deleted there.
        count: how many there are.
        advice: what to do; empty where only the CRM's words can say it.
        shown: those that are kept, with their CRM object.
    """

    cause: str | None
    count: int
    advice: str
    shown: tuple[tuple[str, RejectionSummary], ...]


def write_page(summary: RunSummary, folder: Path, db: Warehouse | None = None) -> Path:
    """Write a run's morning page, and beside its folder the index of all runs anew.

    Args:
        summary: the run.
        folder: where the page goes; it is made if absent. A page that is there is replaced as a whole.
        db: the warehouse, for what the page tells beside the run itself; without it there is no index either.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = history.read(db, summary) if db is not None else History()
    path = folder / PAGE
    publish(path, render(summary, told, links(summary, folder, told, indexed=db is not None)))
    if db is not None:
        publish(folder.parent / index.INDEX, index.render(db, summary, folder.parent, PAGE))
    return path


def publish(path: Path, html: str) -> None:
    """Put a page where people find it, whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(html, encoding="utf-8", errors="replace")  # half a surrogate must not cost the page
    os.replace(draft, path)


def links(run: RunSummary, folder: Path, told: History, *, indexed: bool) -> dict[str, str]:
    """What a page links to: only what is there; relative but for Prefect's UI, so that the folder may move."""
    found = {"All nights": f"../{index.INDEX}"} if indexed else {}
    if told.previous and (folder.parent / told.previous / PAGE).exists():
        found["The run before"] = f"../{told.previous}/{PAGE}"
    found |= {name: place for name, place in BESIDE.items() if (folder / place).exists()}
    if run.flow_run:
        found["Prefect run"] = run.flow_run
    return found


def render(summary: RunSummary, told: History | None = None, linked: dict[str, str] | None = None) -> str:
    """Render a run's morning page as HTML.

    Args:
        summary: the run.
        told: what the warehouse tells beside it.
        linked: what the page links to, by what the link says.
    """
    told = told or History()
    held = history.of_summary(summary) if told.held is None else told.held
    failed, passed = _split(summary.gates)
    return (
        environment()
        .get_template("page.html")
        .render(
            run=summary,
            links=linked or {},
            told=told,
            trends={gate.id: _spark(told.trends.get(gate.id)) for gate in summary.gates if gate.id in told.trends},
            loads={name: _spark(trend) for name, trend in told.loads.items()},
            held=[(group, _folded(group.rows)) for group in held],
            held_rows=sum(table.held for table in summary.quarantine),
            ended=summary.ended_at or summary.started_at,
            waiting=sum(sync.waiting for sync in summary.syncs),
            headline=headline(summary),
            decision=decision(summary),
            attention=attention(summary),
            sent=was_sent(summary),
            timeline=_timeline(summary.stages, waited=bool(summary.plan and summary.plan.waited)),
            values=[finding for finding in summary.findings if finding.kind == "value"],
            attached=[finding for finding in summary.findings if finding.kind == "attached"],
            differences=[finding for finding in summary.findings if finding.kind == "schema"],
            unusual=[_unusual(found) for found in summary.anomalies],
            weekday=weekday(summary),
            checked=summary.total("operations")
            and any(stage.name == "preflight" and stage.state == "done" for stage in summary.stages),
            remarks={sync.name: remarks(sync) for sync in summary.syncs},
            records={sync.name: _sampled(sync.samples) for sync in summary.syncs},
            widest=max((sync.operations for sync in summary.syncs), default=0),
            slowest_model=max((model.seconds for model in summary.models), default=0.0),
            failed_gates=failed,
            passed_gates=passed,
            refused=_refused(summary.syncs),
        )
    )


def _unusual(found: AnomalySummary) -> tuple[AnomalySummary, str, str, str]:
    """An anomaly, and in words: the figure, what is usual, and the median."""
    low, high = figure(found, found.low), figure(found, found.high)
    usual = f"at most {high}" if found.metric == "age" else f"{low} to {high}"
    return found, figure(found, found.value), usual, figure(found, found.median)


def _spark(trend: Trend | None) -> tuple[Trend, str] | None:
    """A trend and its line; none where there is nothing to compare with."""
    if trend is None or sum(point.value is not None for point in trend.points) < 2:
        return None
    return trend, sparkline(trend.points, trend.told)


def _folded(rows: tuple[HeldRow, ...]) -> list[tuple[int, tuple[HeldRow, ...]]]:
    """Rows as they are shown: some at once, then so many at a time; each part with the place of its first row."""
    starts = [0, *range(SHOWN_HELD, len(rows), FOLDED_HELD)]
    return [(start + 1, rows[start : end or len(rows)]) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _timeline(stages: tuple[StageSummary, ...], *, waited: bool) -> tuple[StageBar, ...]:
    """Lay stages on one axis; one whose start is not known begins where the one before it ended.

    So does each stage of a run that waited for a person: hours of waiting would leave no room for the stages.
    """
    starts: list[float] = []
    first = None if waited else next((stage.started_at for stage in stages if stage.started_at), None)
    at = 0.0
    for stage in stages:
        if stage.started_at and first:
            at = max(0.0, (stage.started_at - first).total_seconds())
        starts.append(at)
        at += stage.seconds
    whole = max((start + stage.seconds for start, stage in zip(starts, stages, strict=True)), default=0.0) or 1.0
    return tuple(
        StageBar(stage, 100 * start / whole, 100 * stage.seconds / whole)
        for start, stage in zip(starts, stages, strict=True)
    )


def _sampled(samples: Iterable[Sample]) -> tuple[SampledRecord, ...]:
    """Group samples by record, updates first: their before and after tell the most."""
    samples = sorted(samples, key=lambda sample: sample.operation != "update")
    grouped = groupby(samples, key=lambda sample: (sample.external_id, sample.operation))
    return tuple(SampledRecord(*key, tuple(group)) for key, group in grouped)


def _split(gates: tuple[GateSummary, ...]) -> tuple[tuple[GateSummary, ...], tuple[GateSummary, ...]]:
    """Part the failed from the passed, the most severe first."""
    order = ("critical", "warning", "info")
    gates = tuple(sorted(gates, key=lambda gate: order.index(gate.severity)))
    return tuple(gate for gate in gates if not gate.passed), tuple(gate for gate in gates if gate.passed)


def _refused(syncs: tuple[SyncSummary, ...]) -> tuple[RefusedFor, ...]:
    """Group rejections by cause: the most frequent code first, and last what was deleted, by what the syncs do then."""
    counts: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    shown: dict[tuple[bool, str], list[tuple[str, RejectionSummary]]] = {}
    for sync in syncs:
        counts.update(sync.rejection_codes)
        gone.update({sync.deleted: sync.gone} if sync.gone else {})
        for one in sync.rejections:
            shown.setdefault((one.gone, sync.deleted if one.gone else one.code), []).append((sync.object, one))
    return (
        *(
            RefusedFor(code, count, ADVICE.get(code, ""), tuple(shown.get((False, code), ())))
            for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ),
        *(
            RefusedFor(None, count, GONE[policy], tuple(shown.get((True, policy), ())))
            for policy, count in sorted(gone.items())
        ),
    )
