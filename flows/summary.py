"""What a run has to say about itself: one frozen value for the page, the terminal, notifications and ``ops.runs``.

It is read by people and kept for long, so it is bounded (`MAX_SAMPLES`, `MAX_DETAILS` a sync) and its free texts
lose e-mail addresses, phone numbers and credentials the moment they enter it (`redact`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime
from typing import Any, Literal, TypeVar

from flows.findings import AnomalySummary, Example, FindingSummary, ForecastSummary
from flows.held import HeldSummary, QuarantineSummary
from flows.redaction import clipped, redact

RunState = Literal["running", "done", "failed", "held"]
RunKind = Literal["night", "retry", "revert", "adopt"]
PlanState = Literal["planned", "held", "approved", "rejected", "void", "pushed"]
StageState = Literal["running", "done", "failed", "held", "skipped"]
Severity = Literal["critical", "warning", "info"]

MAX_SAMPLES = 20
"""Most before/after samples kept of one sync."""
MAX_DETAILS = 50
"""Most rejections, and most mismatches, kept of one sync; the counts beside them stay whole."""
MAX_FINDINGS = 100
"""Most findings kept of one run."""
MAX_ANOMALIES = 50
"""Most anomalies kept of one run."""
MAX_SENT = 8
"""Most sent values kept of one rejection, those of the fields that it names first."""
LONGEST_SENT = 80
"""Characters of a sent value that a rejection keeps."""


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
    detail: str = ""
    id: str = ""
    expected: str = ""
    owner: str = ""
    on_fail: str = "report"
    quarantined_rows: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", tuple(redact(sample) for sample in self.samples[:MAX_SAMPLES]))
        object.__setattr__(self, "detail", redact(self.detail))
        object.__setattr__(self, "expected", redact(self.expected))


@dataclass(frozen=True, slots=True)
class Sample:
    """One field of one planned change, as text; personal data is masked by whoever makes it.

    A create's ``before`` and an archive's ``after`` are None; without a field it speaks of the whole record.
    """

    external_id: str
    operation: str
    field: str | None = None
    before: str | None = None
    after: str | None = None


def _some_of_each(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Bound the samples so that a create's many fields do not crowd out the updates; their order stays."""
    if len(samples) <= MAX_SAMPLES:
        return samples
    turns: Counter[str] = Counter()
    ranked: list[tuple[int, int]] = []
    for at, sample in enumerate(samples):
        ranked.append((turns[sample.operation], at))
        turns[sample.operation] += 1
    kept = sorted(at for _, at in sorted(ranked)[:MAX_SAMPLES])
    return tuple(samples[at] for at in kept)


@dataclass(frozen=True, slots=True)
class RejectionSummary:
    """A record that the CRM refused, with the CRM's own code and words.

    Attributes:
        external_id: our key of the record.
        code: the CRM's code.
        message: its words.
        fields: the CRM fields that it names.
        sent: CRM field -> what was sent, masked where it is personal; at most `MAX_SENT`.
        other_id: of a duplicate, the CRM's id of the record that is there already.
        attempts: runs that have tried.
        first_seen_at: when it was first refused, UTC.
        gone: whether it was refused because somebody deleted it in the CRM.
    """

    external_id: str
    code: str
    message: str
    fields: tuple[str, ...] = ()
    sent: Mapping[str, str | None] = field(default_factory=dict)
    other_id: str | None = None
    attempts: int = 1
    first_seen_at: datetime | None = None
    gone: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", redact(self.message))
        named_first = sorted(self.sent.items(), key=lambda item: item[0] not in self.fields)[:MAX_SENT]
        sent = {name: value if value is None else clipped(value, LONGEST_SENT) for name, value in named_first}
        object.__setattr__(self, "sent", sent)


@dataclass(frozen=True, slots=True)
class MismatchSummary:
    """A field that reads back otherwise than it was sent; no field: the whole record is missing."""

    external_id: str
    field: str | None = None
    sent: str | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True)
class AdoptedSummary:
    """What ``nightshift adopt`` found of a model's records: rows, those known before, and those found in the CRM."""

    wanted: int
    known: int
    found: int


@dataclass(frozen=True, slots=True)
class SyncSummary:
    """One model's way into one CRM object; counts are records.

    Attributes:
        name: the dbt model.
        object: the CRM object.
        crm: the connection's name.
        creates: planned creates.
        updates: planned updates.
        archives: planned archives.
        applied: records that the CRM acknowledged.
        rejected: records that the CRM refused, those that are gone included.
        gone: records that somebody deleted in the CRM.
        deleted: what the sync does about those: report, recreate or forget.
        unknown: records without an answer.
        reconciled: records that read back as they were sent.
        mismatched: records that do not.
        fields: CRM field -> updates that change it.
        kept: CRM field -> records in which a person's value stays, by the field's policy.
        quarantined: records held back by the gate, for which there was something to do.
        waiting: records that wait for a new parent which is held back.
        unmatched: rows that the CRM holds no record for, in a sync that never creates.
        withheld: records that left the model and are not archived, since a source shrank.
        left: records that wait for the next night, since the requests of this one are used up.
        notes: what else people should know of the plan, in words.
        samples: planned changes, at most `MAX_SAMPLES`.
        rejections: refused records, at most `MAX_DETAILS`.
        rejection_codes: code -> refused records, all but those that are gone; counted from ``rejections`` where not
            given.
        mismatches: what reads back otherwise, at most `MAX_DETAILS`.
        adopted: what was found in the CRM; None but for ``nightshift adopt``.
    """

    name: str
    object: str
    crm: str = "main"
    creates: int = 0
    updates: int = 0
    archives: int = 0
    applied: int = 0
    rejected: int = 0
    gone: int = 0
    deleted: str = "report"
    unknown: int = 0
    reconciled: int = 0
    mismatched: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    quarantined: int = 0
    waiting: int = 0
    unmatched: int = 0
    withheld: int = 0
    left: int = 0
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    rejections: tuple[RejectionSummary, ...] = ()
    rejection_codes: Mapping[str, int] = field(default_factory=dict)
    mismatches: tuple[MismatchSummary, ...] = ()
    adopted: AdoptedSummary | None = None

    def __post_init__(self) -> None:
        if not self.rejection_codes:
            counted = Counter(rejection.code for rejection in self.rejections if not rejection.gone)
            object.__setattr__(self, "rejection_codes", dict(counted.most_common()))
        object.__setattr__(self, "samples", _some_of_each(self.samples))
        object.__setattr__(self, "rejections", self.rejections[:MAX_DETAILS])
        object.__setattr__(self, "mismatches", self.mismatches[:MAX_DETAILS])

    @property
    def operations(self) -> int:
        """Planned creates, updates and archives."""
        return self.creates + self.updates + self.archives


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
class NotifiedSummary:
    """What became of one message.

    Attributes:
        channel: the URL's scheme, such as ``slack://***``; the rest is secret.
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
    error: ErrorSummary | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "anomalies", self.anomalies[:MAX_ANOMALIES])
        object.__setattr__(self, "findings", self.findings[:MAX_FINDINGS])
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


_BY_NAME = ("stages", "sources", "quarantine", "syncs", "forecast")
_TIMES = frozenset({"started_at", "ended_at", "newest", "first_seen_at", "since", "decided_at"})


def _plain(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def to_json(summary: RunSummary) -> dict[str, Any]:
    """Turn a summary into what ``nightshift run --output json`` ends with.

    Returns:
        ``run_id``, ``target``, ``state``, ``started_at``, ``ended_at``, ``as_of`` (ISO 8601), ``kind``, ``plan``,
        ``stages``, ``sources``, ``quarantine``, ``syncs`` and ``forecast`` as objects by name in their order (a
        source's ``rows`` is called ``rows_extracted``), ``models``, ``gates``, ``anomalies`` and ``findings`` as lists,
        ``requests``, ``page``, ``flow_run``, ``notified`` as a list, and ``error``.
    """
    raw: dict[str, Any] = _plain(asdict(summary))
    for key in _BY_NAME:
        raw[key] = {item.pop("name"): item for item in raw[key]}
    raw["sources"] = {name: {"rows_extracted": item.pop("rows"), **item} for name, item in raw["sources"].items()}
    return raw


T = TypeVar("T")


def _build(kind: type[T], raw: Mapping[str, Any], **nested: Any) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items() if key in known}
    for key in _TIMES & values.keys():
        values[key] = values[key] and datetime.fromisoformat(str(values[key]))
    return kind(**{**values, **nested})


def _sync(name: str, raw: Mapping[str, Any]) -> SyncSummary:
    return _build(
        SyncSummary,
        raw,
        name=name,
        samples=tuple(_build(Sample, item) for item in raw.get("samples", ())),
        rejections=tuple(_build(RejectionSummary, item) for item in raw.get("rejections", ())),
        mismatches=tuple(_build(MismatchSummary, item) for item in raw.get("mismatches", ())),
        adopted=_build(AdoptedSummary, raw["adopted"]) if raw.get("adopted") else None,
    )


def from_json(raw: Mapping[str, Any]) -> RunSummary:
    """Read a summary back; the exact inverse of `to_json`.

    Keys that this version does not know are left out, so that a newer version's runs can still be looked at.
    """
    return _build(
        RunSummary,
        raw,
        as_of=date.fromisoformat(raw["as_of"]) if raw.get("as_of") else None,
        plan=_build(PlanSummary, raw["plan"]) if raw.get("plan") else None,
        stages=tuple(_build(StageSummary, item, name=name) for name, item in raw.get("stages", {}).items()),
        sources=tuple(
            _build(SourceSummary, item, name=name, rows=item["rows_extracted"])
            for name, item in raw.get("sources", {}).items()
        ),
        models=tuple(_build(ModelSummary, item) for item in raw.get("models", ())),
        gates=tuple(_build(GateSummary, item) for item in raw.get("gates", ())),
        quarantine=tuple(
            _build(QuarantineSummary, item, name=name, rows=tuple(_build(HeldSummary, row) for row in item["rows"]))
            for name, item in raw.get("quarantine", {}).items()
        ),
        syncs=tuple(_sync(name, item) for name, item in raw.get("syncs", {}).items()),
        anomalies=tuple(_build(AnomalySummary, item) for item in raw.get("anomalies", ())),
        findings=tuple(
            _build(FindingSummary, item, examples=tuple(_build(Example, one) for one in item.get("examples", ())))
            for item in raw.get("findings", ())
        ),
        forecast=tuple(_build(ForecastSummary, item, name=name) for name, item in raw.get("forecast", {}).items()),
        notified=tuple(_build(NotifiedSummary, item) for item in raw.get("notified", ())),
        error=_build(ErrorSummary, raw["error"]) if raw.get("error") else None,
    )
