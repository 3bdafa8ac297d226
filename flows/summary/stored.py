"""A summary as JSON: what ``--output json`` prints and ``ops.runs`` keeps, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date, datetime
from typing import Any, TypeVar

from flows.summary.findings import AnomalySummary, Example, FindingSummary, ForecastSummary
from flows.summary.held import HeldSummary, QuarantineSummary
from flows.summary.runs import (
    ErrorSummary,
    GateSummary,
    ModelSummary,
    NotifiedSummary,
    PlanSummary,
    ProblemSummary,
    RunSummary,
    SourceSummary,
    StageSummary,
)
from flows.summary.syncs import AdoptedSummary, MismatchSummary, RejectionSummary, Sample, SyncSummary

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
        ``requests``, ``page``, ``flow_run``, ``notified`` and ``problems`` as lists, and ``error``.
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
        problems=tuple(_build(ProblemSummary, item) for item in raw.get("problems", ())),
        error=_build(ErrorSummary, raw["error"]) if raw.get("error") else None,
    )
