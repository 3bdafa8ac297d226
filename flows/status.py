"""How things stand: the last runs, what the CRM refuses, and what waits for a decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from flows import approvals, journal
from flows.approvals import Standing
from flows.summary import RunSummary
from flows.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class OpenRejections:
    """Records of one sync that the CRM refuses with one code.

    Attributes:
        sync: the sync.
        code: the CRM's error code.
        records: how many there are.
        attempts: how often the one that was tried most often was tried.
        first_seen_at: when the CRM first refused one of them, UTC.
        last_seen_at: when it last did, UTC.
    """

    sync: str
    code: str
    records: int
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """The last runs, newest first; open rejections by sync and code; plans that are held or approved, newest first."""

    runs: tuple[RunSummary, ...]
    rejections: tuple[OpenRejections, ...]
    plans: tuple[Standing, ...]


def status(db: Warehouse, limit: int) -> Status:
    """Look how things stand.

    Args:
        db: the warehouse.
        limit: how many runs.
    """
    refused = db.rows(
        "select sync, code, count(*) as records, max(attempts) as attempts, min(first_seen_at) as first_seen_at, "
        "max(last_seen_at) as last_seen_at from sync.rejections where closed_at is null group by sync, code "
        "order by records desc, sync, code"
    )
    return Status(
        tuple(journal.latest(db, limit)),
        tuple(OpenRejections(**row) for row in refused),
        tuple(approvals.waiting(db)),
    )


def to_json(found: Status) -> dict[str, Any]:
    """Turn a status into what ``nightshift status --output json`` prints."""
    return {
        "runs": [_run(run) for run in found.runs],
        "rejections": [_plain(asdict(item)) for item in found.rejections],
        "plans": [
            {
                "run_id": plan.run_id,
                "hash": plan.hash,
                "kind": plan.kind,
                "state": plan.state,
                "held": list(plan.held),
                "planned_at": _at(plan.planned_at),
                "decided_by": plan.decided_by,
                "decided_at": _at(plan.decided_at),
                "reason": plan.reason,
                "next": approvals.commands(plan),
            }
            for plan in found.plans
        ],
    }


def _run(run: RunSummary) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "state": run.state,
        "plan": run.plan.state if run.plan else None,
        "as_of": run.as_of and run.as_of.isoformat(),
        "started_at": _at(run.started_at),
        "ended_at": _at(run.ended_at),
        **{count: run.total(count) for count in ("operations", "applied", "rejected", "unknown", "mismatched")},
        "error": run.error.what if run.error else None,
    }


def _plain(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: _at(value) if isinstance(value, datetime) else value for key, value in raw.items()}


def _at(moment: datetime | None) -> str | None:
    return None if moment is None else (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
