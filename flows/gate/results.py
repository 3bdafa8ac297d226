"""What the gate found, and what it means for the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from flows.errors import GateFailed
from flows.gate.declared import OnFail, Severity
from flows.summary.held import HeldSummary
from flows.warehouse import Warehouse

Stage = Literal["raw", "crm", "crm_after"]


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation's verdict on one table.

    Attributes:
        expectation: its name, as in Great Expectations.
        column: the column or columns it judges; None for a table.
        severity: critical, warning or info.
        passed: whether it held; for a row-level one, whether enough rows did (``mostly``).
        row_level: whether it judges rows one by one.
        evaluated: whether it could be judged at all; not over a column that is not there, or with SQL that fails.
        expected: its arguments, as text.
        observed: what was found, as text; empty for personal data.
        evaluated_rows: rows judged, None for a table-level one.
        unexpected_rows: rows that failed, None for a table-level one that does not count rows.
        samples: a few different values (or rows) that failed, as text; none of personal data.
        failing_rows: a few of the rows that failed, each by its key, or by its file and its place there.
        detail: why the expectation is there, or why it could not be judged.
        owner: whom to ask.
        id: the same from run to run, for the same question about the same rows.
        on_fail: stop, quarantine or report: what follows when it fails.
        quarantined_rows: rows that it holds back now; None where it holds back none by its nature.
    """

    expectation: str
    severity: Severity
    passed: bool
    row_level: bool
    evaluated: bool = True
    column: str | None = None
    expected: str = ""
    observed: str | None = None
    evaluated_rows: int | None = None
    unexpected_rows: int | None = None
    samples: tuple[str, ...] = ()
    failing_rows: tuple[str, ...] = ()
    detail: str = ""
    owner: str = ""
    id: str = ""
    on_fail: OnFail = "report"
    quarantined_rows: int | None = None

    @property
    def stops(self) -> bool:
        """Whether the run must not go on: it says so, or it is critical and could not be judged."""
        unknown = self.severity == "critical" and not self.evaluated
        return not self.passed and (self.on_fail == "stop" or unknown)

    def __str__(self) -> str:
        """One line for logs and errors."""
        judged = f"{self.expectation}({self.column})" if self.column else self.expectation
        expected = f" [{self.expected}]" if self.expected else ""
        found = f": {self.observed}" if self.evaluated and self.observed else ""
        return f"{judged}{expected}{found}{f': {self.detail}' if self.detail else ''}"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What is held back of one table; counts are rows, each once.

    Attributes:
        table: ``<schema>.<table>``.
        rows: rows of the table.
        most: how many may be held, as people write it: ``5%`` or a count.
        held: held back now.
        new: of those, not held before.
        released: no longer held: they pass, have left the model, or nothing asks for them any more.
        released_by_hand: released by people since the last run.
        held_by: expectation's id -> rows that it holds back.
        shown: some of them.
        refused: rows that would have to be held, where these are too many; nothing was changed then.
    """

    table: str
    rows: int
    most: str
    held: int = 0
    new: int = 0
    released: int = 0
    released_by_hand: int = 0
    held_by: Mapping[str, int] = field(default_factory=dict)
    shown: tuple[HeldSummary, ...] = ()
    refused: int | None = None

    def __str__(self) -> str:
        """One line for errors: why the run stops."""
        return (
            f"{self.table}: {self.refused or self.held:,} of {self.rows:,} rows would be held back, "
            f"and max_quarantined is {self.most}"
        )


@dataclass(frozen=True, slots=True)
class GateReport:
    """What one suite found in one run.

    Attributes:
        run_id: the run.
        stage: raw (before the transform), crm (before the push) or crm_after (what the CRM gave back).
        table: ``<schema>.<table>``.
        results: in the suite's order.
        seconds: wall time.
        checked_at: when it ended, UTC without a time zone.
        quarantine: what is held back of the table; None for one whose rows cannot be.
    """

    run_id: str
    stage: Stage
    table: str
    results: tuple[ExpectationResult, ...]
    seconds: float
    checked_at: datetime
    quarantine: Quarantine | None = None

    @property
    def stops(self) -> tuple[ExpectationResult, ...]:
        """The results for which the run must not go on."""
        return tuple(result for result in self.results if result.stops)


def verdict(reports: Iterable[GateReport]) -> None:
    """Let the run go on, or stop it.

    Args:
        reports: of one stage.

    Raises:
        GateFailed: lists every failure that stops the run, and every table too many rows of which would be held back.
    """
    reports = list(reports)
    failed = [f"{report.table}: {result}" for report in reports for result in report.stops]
    crowded = [str(r.quarantine) for r in reports if r.quarantine and r.quarantine.refused is not None]
    if not failed and not crowded:
        return
    listed = "\n".join(f"  - {line}" for line in [*failed, *crowded])
    before = "transformed" if any(report.stage == "raw" for report in reports if report.stops) else "sent to the CRM"
    critical = "critical " if all(result.severity == "critical" for r in reports for result in r.stops) else ""
    reasons = [f"{len(failed)} {critical}expectation{'s' if len(failed) > 1 else ''} failed"] if failed else []
    reasons += ["too many rows would be held back"] if crowded else []
    raise GateFailed(
        f"{' and '.join(reasons)}:\n{listed}",
        safe=f"Nothing was {before}; what was extracted stays and is judged again by the next run.",
        todo="Correct the source, or the suite in expectations/ if it asks too much, then run again.",
    )


_COLUMNS = (
    *("run_id", "stage", "table_name", "expectation", "column_name", "severity", "passed", "row_level", "observed"),
    *("evaluated_rows", "unexpected_rows", "detail", "checked_at", "expectation_id", "expected", "owner", "on_fail"),
    *("quarantined_rows", "samples"),
)


def store(report: GateReport, warehouse: Warehouse) -> None:
    """Write a report to ``quality.results``, in place of an earlier one of the same run, stage and table."""
    with warehouse.transaction():
        warehouse.execute(
            "delete from quality.results where run_id = ? and stage = ? and table_name = ?",
            (report.run_id, report.stage, report.table),
        )
        for r in report.results:
            warehouse.execute(
                f"insert into quality.results ({', '.join(_COLUMNS)}) values ({', '.join('?' * len(_COLUMNS))})",
                (
                    *(report.run_id, report.stage, report.table, r.expectation, r.column, r.severity, r.passed),
                    *(r.row_level, r.observed, r.evaluated_rows, r.unexpected_rows, r.detail, report.checked_at),
                    *(r.id, r.expected, r.owner, r.on_fail, r.quarantined_rows, list(r.samples)),
                ),
            )
