"""What a run writes down about itself while it goes: stages with their times, and one row in ``ops.runs``."""

from __future__ import annotations

import errno
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from flows.errors import NightshiftError, PlanHeld
from flows.summary import ErrorSummary, RunState, RunSummary, StageState, StageSummary, from_json, to_json
from flows.warehouse import Warehouse

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What the file system says when there is no room for more."""


def new_run_id() -> str:
    """A run's name: its start in UTC and a few random letters; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Journal:
    """Collects one run's summary.

    Attributes:
        summary: what is known so far.
    """

    def __init__(self, run_id: str, target: str, as_of: date | None) -> None:
        self.summary = RunSummary(run_id, target, "running", datetime.now(UTC), as_of=as_of)

    def note(self, **changes: Any) -> None:
        """Set fields of the summary."""
        self.summary = replace(self.summary, **changes)

    def count_requests(self, requests: int) -> None:
        """Add to the requests sent to the CRM."""
        self.note(requests=self.summary.requests + requests)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what it raises passes through, after the stage is written down with its end."""
        started, clock = datetime.now(UTC), time.monotonic()
        state: StageState = "done"
        try:
            yield
        except BaseException as error:
            state = "held" if isinstance(error, PlanHeld) else "failed"
            raise
        finally:
            taken = StageSummary(name, round(time.monotonic() - clock, 3), state, started)
            self.note(stages=(*self.summary.stages, taken))

    def end(self, error: BaseException | None) -> None:
        """Set the run's last state from what ended it; None for a run that is done."""
        state: RunState = "done" if error is None else "held" if isinstance(error, PlanHeld) else "failed"
        self.note(state=state, ended_at=datetime.now(UTC), error=None if error is None else told(error))

    @property
    def last_stage(self) -> str | None:
        """The stage that the run ended in."""
        return self.summary.stages[-1].name if self.summary.stages else None


def told(error: BaseException) -> ErrorSummary:
    """An error in people's words; one that is not ours is a fault of Nightshift and says so."""
    if isinstance(error, NightshiftError):
        return ErrorSummary(error.what, error.safe, error.todo, error.exit_code)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return ErrorSummary(
            f"{error.filename or 'A file of this run'} cannot be written: {error.strerror}.",
            "The ledger moves only on the CRM's own receipts; the next run goes on from them.",
            "Free disk space where NIGHTSHIFT_HOME lies, then run again.",
        )
    return ErrorSummary(
        f"Nightshift itself failed: {type(error).__name__}: {error}",
        "The ledger moves only on the CRM's own receipts; the next run goes on from them.",
        "Run again; if it stays, report it with the file error.txt from the run's folder.",
    )


def begin(db: Warehouse, summary: RunSummary) -> None:
    """Write the run's row; runs that were killed are marked as such.

    One process owns the warehouse, so a run that is still ``running`` in it is dead.
    """
    db.execute("update ops.runs set state = 'failed', error = 'killed', ended_at = now() where state = 'running'")
    db.execute(
        "insert into ops.runs (run_id, target, as_of, started_at, state) values (?, ?, ?, ?, 'running')",
        (summary.run_id, summary.target, summary.as_of, summary.started_at.replace(tzinfo=None)),
    )


def save(db: Warehouse, journal: Journal) -> None:
    """Write the run's summary into its row."""
    summary = journal.summary
    db.execute(
        "update ops.runs set ended_at = ?, state = ?, stage = ?, error = ?, summary = ? where run_id = ?",
        (
            summary.ended_at.replace(tzinfo=None) if summary.ended_at else None,
            summary.state,
            journal.last_stage,
            summary.error.what if summary.error else None,
            json.dumps(to_json(summary), ensure_ascii=False),
            summary.run_id,
        ),
    )


def load(db: Warehouse, run_id: str | None = None) -> RunSummary | None:
    """Read a run's summary.

    Args:
        db: the warehouse.
        run_id: the run; the latest that has a summary where None.
    """
    found = db.scalar(
        "select summary from ops.runs where summary is not null and ($run is null or run_id = $run) "
        "order by started_at desc limit 1",
        {"run": run_id},
    )
    return None if found is None else from_json(json.loads(found))


def latest(db: Warehouse, limit: int) -> list[RunSummary]:
    """The last runs' summaries, newest first; a run that was killed has none."""
    found = db.execute(
        "select summary from ops.runs where summary is not null order by started_at desc limit ?", (limit,)
    )
    return [from_json(json.loads(row[0])) for row in found]
