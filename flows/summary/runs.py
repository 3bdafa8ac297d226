"""One run: its stages, what it read, built and judged, its plan, and how it ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from flows.summary.findings import AnomalySummary, FindingSummary, ForecastSummary
from flows.summary.held import QuarantineSummary
from flows.summary.redaction import redact
from flows.summary.syncs import MAX_SAMPLES, SyncSummary

RunState = Literal["running", "done", "failed", "held"]
RunKind = Literal["night", "retry", "revert", "adopt"]
PlanState = Literal["planned", "held", "approved", "rejected", "void", "pushed"]
StageState = Literal["done", "failed", "held"]
Severity = Literal["critical", "warning", "info"]

MAX_FINDINGS = 100
"""Most findings kept of one run."""
MAX_ANOMALIES = 50
"""Most anomalies kept of one run."""
MAX_PROBLEMS = 20
"""Most problems kept of one run."""


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage of the flow; seconds of wall time, start in UTC."""

    name: str
    seconds: float
    state: StageState = "done"
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """One source table.

    Attributes:
        name: ``<source>.<table>``.
        rows: rows that this run loaded.
        bytes: bytes that this run read.
        files_or_pages: files of a folder or pages of an API that this run read.
        warnings: what was odd but no error.
        newest: when the newest row in the warehouse was extracted, UTC.
        freshness: dbt's verdict: pass, warn or error; None where it was not asked.
    """

    name: str
    rows: int
    bytes: int = 0
    files_or_pages: int = 0
    warnings: tuple[str, ...] = ()
    newest: datetime | None = None
    freshness: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(map(redact, self.warnings)))


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One dbt node that was built; rows are None where dbt did not count them."""

    name: str
    status: str
    seconds: float
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class GateSummary:
    """One expectation on one table.

    Attributes:
        stage: raw or crm.
        table: the table.
        expectation: its name, as in Great Expectations.
        column: the column it judges, None for a table.
        severity: critical, warning or info.
        passed: whether it held.
        row_level: whether it judges rows one by one.
        observed: what was found, as text.
        evaluated_rows: rows looked at, None where it does not count rows.
        unexpected_rows: rows that failed, None where it does not count rows.
        samples: a few values that failed; empty for personal data.
        failing_rows: a few of the rows that failed, each by its key, or by its file and its place there.
        detail: why the expectation is there, or why it could not be evaluated.
        id: the same from run to run, for the same question about the same rows.
        expected: its arguments, as text.
        owner: whom to ask.
        on_fail: what follows when it fails: stop, quarantine or report.
        quarantined_rows: rows that it holds back now; None where it holds back none by its nature.
    """

    stage: str
    table: str
    expectation: str
    severity: Severity
    passed: bool
    column: str | None = None
    row_level: bool = False
    observed: str | None = None
    evaluated_rows: int | None = None
    unexpected_rows: int | None = None
    samples: tuple[str, ...] = ()
    failing_rows: tuple[str, ...] = ()
    detail: str = ""
    id: str = ""
    expected: str = ""
    owner: str = ""
    on_fail: str = "report"
    quarantined_rows: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", tuple(redact(sample) for sample in self.samples[:MAX_SAMPLES]))
        object.__setattr__(self, "failing_rows", tuple(redact(row) for row in self.failing_rows[:MAX_SAMPLES]))
        object.__setattr__(self, "detail", redact(self.detail))


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """What ended the run: what happened, what is safe, what to do next, and the command's exit code."""

    what: str
    safe: str = ""
    todo: str = ""
    exit_code: int = 1

    def __post_init__(self) -> None:
        for name in ("what", "safe", "todo"):
            object.__setattr__(self, name, redact(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class ProblemSummary:
    """What went wrong beside the run's work, and failed nothing.

    Attributes:
        stage: in which stage.
        what: what, and with which error; no value of a record.
        todo: what to do about it.
    """

    stage: str
    what: str
    todo: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", redact(self.what))


@dataclass(frozen=True, slots=True)
class NotifiedSummary:
    """What became of one message.

    Attributes:
        channel: the URL's scheme, such as ``slack://***``, and which of several it is; the rest is secret.
        sent: whether the channel took the message.
        detail: why not; empty when it was sent.
    """

    channel: str
    sent: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A run's plan, and what a person decided about it.

    Attributes:
        hash: over all that it sends.
        state: planned, held, approved, rejected, void or pushed.
        decided_by: who approved or rejected it; None where nobody had to.
        decided_at: when, UTC.
        reason: why.
        waited: seconds from the end of the run that was held to the beginning of its push.
    """

    hash: str
    state: PlanState
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run of one target.

    Attributes:
        run_id: the run.
        target: the target it worked for.
        state: running, done, failed or held.
        started_at: UTC.
        ended_at: UTC, None while it runs.
        as_of: the day whose inputs were taken, None for all.
        kind: night, or what a person asked for by day: retry, revert, adopt.
        plan: what it planned; None before that.
        stages: in the order they ran, each name once.
        sources: each name once.
        models: dbt's nodes in the order they were built.
        gates: the expectations of both gates.
        quarantine: what is held back of each synced model that has a suite, each name once.
        syncs: parents before children, each name once.
        anomalies: figures of tables that are unusual for the weekday, at most `MAX_ANOMALIES`.
        findings: what the pre-flight found, at most `MAX_FINDINGS`.
        forecast: what pushing the plan will ask of each CRM, each name once.
        requests: HTTP requests sent to the CRM.
        page: the morning page's path.
        flow_run: the address of the run in Prefect's UI; None where there is none.
        notified: the channels that were told, or could not be.
        problems: what went wrong and failed nothing, such as a page that could not be written; at most `MAX_PROBLEMS`.
        error: what ended it, None for a run that is done.
    """

    run_id: str
    target: str
    state: RunState
    started_at: datetime
    ended_at: datetime | None = None
    as_of: date | None = None
    kind: RunKind = "night"
    plan: PlanSummary | None = None
    stages: tuple[StageSummary, ...] = ()
    sources: tuple[SourceSummary, ...] = ()
    models: tuple[ModelSummary, ...] = ()
    gates: tuple[GateSummary, ...] = ()
    quarantine: tuple[QuarantineSummary, ...] = ()
    syncs: tuple[SyncSummary, ...] = ()
    anomalies: tuple[AnomalySummary, ...] = ()
    findings: tuple[FindingSummary, ...] = ()
    forecast: tuple[ForecastSummary, ...] = ()
    requests: int = 0
    page: str | None = None
    flow_run: str | None = None
    notified: tuple[NotifiedSummary, ...] = ()
    problems: tuple[ProblemSummary, ...] = ()
    error: ErrorSummary | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "anomalies", self.anomalies[:MAX_ANOMALIES])
        object.__setattr__(self, "findings", self.findings[:MAX_FINDINGS])
        object.__setattr__(self, "problems", self.problems[:MAX_PROBLEMS])
        for named in (self.stages, self.sources, self.quarantine, self.syncs, self.forecast):
            twice = [name for name, times in Counter(item.name for item in named).items() if times > 1]
            if twice:
                raise ValueError(f"{type(named[0]).__name__}: more than one is named {', '.join(twice)}")

    @property
    def seconds(self) -> float | None:
        """Wall time from start to end, without what a person took to decide; None while it runs."""
        waited = self.plan.waited if self.plan else 0.0
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds() - waited

    def total(self, count: str) -> int:
        """Sum a count (such as ``creates`` or ``operations``) over all syncs."""
        return sum(getattr(sync, count) for sync in self.syncs)
