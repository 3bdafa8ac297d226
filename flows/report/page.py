"""The morning page: one HTML file that needs nothing beside itself.

It holds no script and, by its own content policy, may ask nothing of the network; every value is escaped.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from flows.advice import ADVICE, GONE
from flows.story import attention, budgeted, counted, decision, duration, headline, remarks, was_sent
from flows.summary import GateSummary, RejectionSummary, RunSummary, Sample, StageSummary, SyncSummary

PAGE = "morning-page.html"
LONGEST_VALUE = 240
"""Characters of a value that are shown; a page of long texts is not read."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


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


def write_page(summary: RunSummary, folder: Path) -> Path:
    """Write a run's morning page.

    Args:
        summary: the run.
        folder: where the page goes; it is made if absent. A page that is there is replaced as a whole.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    draft = path.with_suffix(".tmp")
    draft.write_text(render(summary), encoding="utf-8", errors="replace")  # half a surrogate must not cost the page
    os.replace(draft, path)
    return path


def render(summary: RunSummary) -> str:
    """Render a run's morning page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number,
        size=_size,
        duration=duration,
        clock=_clock,
        moment=_moment,
        day=_day,
        share=_share,
        shown=_shown,
        prose=_prose,
        budgeted=budgeted,
    )
    environment.globals.update(counted=counted)
    failed, passed = _split(summary.gates)
    return environment.get_template("page.html").render(
        run=summary,
        headline=headline(summary),
        decision=decision(summary),
        attention=attention(summary),
        sent=was_sent(summary),
        timeline=_timeline(summary.stages, waited=bool(summary.plan and summary.plan.waited)),
        values=[finding for finding in summary.findings if finding.kind == "value"],
        differences=[finding for finding in summary.findings if finding.kind == "schema"],
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


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _clock(value: datetime | None) -> str:
    return "" if value is None else f"{value:%H:%M:%S}"


def _moment(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def _day(value: datetime) -> str:
    return f"{value:%Y-%m-%d}"


def _share(part: int | None, whole: int | None) -> str:
    """A part in percent, never rounded to none or to all when it is neither."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    return "100 %" if part == whole else f"{min(percent, 99.9):.1f} %"


def _shown(value: str) -> str:
    """A value as a person may look at it: not endless, and no character that turns or hides the others."""
    clipped = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}… ({len(value):,} characters)"
    return _UNSEEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", clipped)


def _prose(text: str) -> Markup:
    """Our own sentences: escaped, with what stands in backticks, or is a line with a command, set as code."""
    marked = re.sub(r"^nightshift .+$", r"`\g<0>`", text, flags=re.MULTILINE)
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(marked))))  # noqa: S704 - escaped just here
