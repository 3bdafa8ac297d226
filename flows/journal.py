"""What a run writes down about itself while it goes: stages with their times, and one row in ``ops.runs``."""

from __future__ import annotations

import errno
import json
import secrets
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from flows.errors import NightshiftError, PlanHeld
from flows.summary import (
    ErrorSummary,
    ProblemSummary,
    RunKind,
    RunState,
    RunSummary,
    StageState,
    StageSummary,
    from_json,
    to_json,
)
from flows.warehouse import Error, Warehouse, without_values

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What the file system says when there is no room for more."""


def new_run_id() -> str:
    """A run's name: its start in UTC and a few random letters; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Journal:
    """Collects one run's summary.

    Attributes:
        summary: what is known so far.
        faults: tracebacks of what went wrong although it should not; they may hold values of records.
    """

    def __init__(self, run_id: str, target: str, as_of: date | None = None, kind: RunKind = "night") -> None:
        self.summary = RunSummary(run_id, target, "running", datetime.now(UTC), as_of=as_of, kind=kind)
        self.faults: list[str] = []
        self._stage = ""

    def resume(self, summary: RunSummary) -> None:
        """Go on with a run that was held; what it waited is no time of its own.

        Args:
            summary: as the run ended.
        """
        plan, ended = summary.plan, summary.ended_at
        if plan and ended:
            waited = (datetime.now(UTC) - ended).total_seconds()
            plan = replace(plan, waited=round(plan.waited + waited, 3))
        self.summary = replace(summary, state="running", ended_at=None, plan=plan, error=None)

    def note(self, **changes: Any) -> None:
        """Set fields of the summary."""
        self.summary = replace(self.summary, **changes)

    def count_requests(self, requests: int) -> None:
        """Add to the requests sent to the CRM."""
        self.note(requests=self.summary.requests + requests)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what it raises passes through, after the stage is written down with its end.

        A stage that a run comes to once more, after it was held, takes the place of what was written of it before.
        """
        started, clock = datetime.now(UTC), time.monotonic()
        state: StageState = "done"
        self.note(problems=tuple(problem for problem in self.summary.problems if problem.stage != name))
        self._stage = name
        try:
            yield
        except BaseException as error:
            state = "held" if isinstance(error, PlanHeld) else "failed"
            raise
        finally:
            taken = StageSummary(name, round(time.monotonic() - clock, 3), state, started)
            others = (stage for stage in self.summary.stages if stage.name != name)
            self.note(stages=(*others, taken))

    @contextmanager
    def spared(self, what: str, todo: str) -> Iterator[None]:
        """Do something beside the run's work: that it fails is told, and fails nothing.

        Args:
            what: what is then to be told; no value of a record.
            todo: what people can do.
        """
        try:
            yield
        except Exception as error:
            self.fault(error)
            self.problem(f"{what}: {_named(error)}", todo)

    def problem(self, what: str, todo: str) -> None:
        """Tell what went wrong in this stage and fails nothing; no value of a record, which an error may quote."""
        self.note(problems=(*self.summary.problems, ProblemSummary(self._stage, what, todo)))

    def fault(self, error: BaseException) -> None:
        """Keep the traceback of what should not have gone wrong; an error of ours says all that there is to say."""
        if not isinstance(error, NightshiftError):
            self.faults.append("".join(traceback.format_exception(error)))

    def end(self, error: BaseException | None) -> None:
        """Set the run's last state from what ended it; None for a run that is done."""
        state: RunState = "done" if error is None else "held" if isinstance(error, PlanHeld) else "failed"
        self.note(state=state, ended_at=datetime.now(UTC), error=None if error is None else told(error))


def _named(error: Exception) -> str:
    """An error in a few words. What other programs say of one may quote a value, so that only its kind is named."""
    if isinstance(error, NightshiftError):
        return error.what
    return f"{type(error).__name__}{f' ({error.strerror})' if isinstance(error, OSError) and error.strerror else ''}"


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
        f"Nightshift itself failed: {type(error).__name__}: {_unquoting(error)}",
        "The ledger moves only on the CRM's own receipts; the next run goes on from them.",
        "Run again; if it stays, report it with the file error.txt from the run's folder.",
    )


def _unquoting(error: BaseException) -> str:
    """An unforeseen error's own words, but for a database's, which may quote personal data; error.txt has them all."""
    return without_values(str(error)) if isinstance(error, Error) else str(error)


def begin(db: Warehouse, summary: RunSummary) -> None:
    """Write the run's row, or open it again for a run that was held; runs that were killed are marked as such.

    One process owns the warehouse, so a run that is still ``running`` in it is dead. One that is held is not.
    """
    db.execute("update ops.runs set state = 'failed', error = 'killed', ended_at = now() where state = 'running'")
    db.execute(
        "insert into ops.runs (run_id, target, as_of, started_at, state, summary) values (?, ?, ?, ?, 'running', ?) "
        "on conflict do update set state = 'running', ended_at = null, error = null, summary = excluded.summary",
        (
            summary.run_id,
            summary.target,
            summary.as_of,
            summary.started_at.replace(tzinfo=None),
            json.dumps(to_json(summary), ensure_ascii=False),
        ),
    )


def write(db: Warehouse, summary: RunSummary) -> None:
    """Write a run's summary into its row."""
    db.execute(
        "update ops.runs set ended_at = ?, state = ?, stage = ?, error = ?, summary = ? where run_id = ?",
        (
            summary.ended_at.replace(tzinfo=None) if summary.ended_at else None,
            summary.state,
            summary.stages[-1].name if summary.stages else None,
            summary.error.what if summary.error else None,
            json.dumps(to_json(summary), ensure_ascii=False),
            summary.run_id,
        ),
    )


KILLED = ErrorSummary(
    "The run was killed.",
    "What the CRM had answered is on disk; the next run takes it into the ledger and goes on from it.",
    "Run again.",
)


def load(db: Warehouse, run_id: str | None = None) -> RunSummary | None:
    """Read a run's summary.

    Args:
        db: the warehouse.
        run_id: the run; the latest that ended by itself where None.
    """
    found = db.execute(
        "select summary, state, ended_at from ops.runs where summary is not null and case when $run is null "
        "then state <> 'running' and error is distinct from 'killed' else run_id = $run end "
        "order by started_at desc limit 1",
        {"run": run_id},
    )
    return _summary(*found[0]) if found else None


def latest(db: Warehouse, limit: int) -> list[RunSummary]:
    """The last runs' summaries, newest first; of a run that was killed, what it had written down at its start."""
    found = db.execute(
        "select summary, state, ended_at from ops.runs where summary is not null order by started_at desc limit ?",
        (limit,),
    )
    return [_summary(*row) for row in found]


def _summary(saved: str, state: RunState, ended_at: datetime | None) -> RunSummary:
    summary = from_json(json.loads(saved))
    if summary.state == state:
        return summary
    return replace(summary, state=state, ended_at=ended_at and ended_at.replace(tzinfo=UTC), error=KILLED)
