"""What the gate found, and what it means for the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flows.errors import GateFailed
from flows.gate.suites import Severity
from flows.warehouse import Warehouse

Stage = Literal["raw", "crm"]


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
        detail: why the expectation is there, or why it could not be judged.
        owner: whom to ask.
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
    detail: str = ""
    owner: str = ""

    @property
    def stops(self) -> bool:
        """Whether the run must not go on: critical, and it concerns the whole table or could not be judged.

        A row that fails a row-level expectation goes on; here is where it will be held back alone.
        """
        return self.severity == "critical" and not self.passed and not (self.row_level and self.evaluated)

    def __str__(self) -> str:
        """One line for logs and errors."""
        judged = f"{self.expectation}({self.column})" if self.column else self.expectation
        expected = f" [{self.expected}]" if self.expected else ""
        found = f": {self.observed}" if self.evaluated and self.observed else ""
        return f"{judged}{expected}{found}{f': {self.detail}' if self.detail else ''}"


@dataclass(frozen=True, slots=True)
class GateReport:
    """What one suite found in one run.

    Attributes:
        run_id: the run.
        stage: raw (before the transform) or crm (before the push).
        table: ``<schema>.<table>``.
        results: in the suite's order.
        seconds: wall time.
        checked_at: when it ended, UTC without a time zone.
    """

    run_id: str
    stage: Stage
    table: str
    results: tuple[ExpectationResult, ...]
    seconds: float
    checked_at: datetime

    @property
    def stops(self) -> tuple[ExpectationResult, ...]:
        """The results for which the run must not go on."""
        return tuple(result for result in self.results if result.stops)


def verdict(reports: Iterable[GateReport]) -> None:
    """Let the run go on, or stop it.

    Args:
        reports: of one stage.

    Raises:
        GateFailed: lists every critical failure that concerns a whole table or could not be judged.
    """
    reports = list(reports)
    failed = [f"{report.table}: {result}" for report in reports for result in report.stops]
    if not failed:
        return
    listed = "\n".join(f"  - {line}" for line in failed)
    before = "transformed" if any(report.stage == "raw" for report in reports if report.stops) else "sent to the CRM"
    raise GateFailed(
        f"{len(failed)} critical expectation{'s' if len(failed) > 1 else ''} failed:\n{listed}",
        safe=f"Nothing was {before}; what was extracted stays and is judged again by the next run.",
        todo="Correct the source, or the suite in expectations/ if it asks too much, then run again.",
    )


def store(report: GateReport, warehouse: Warehouse) -> None:
    """Write a report to ``quality.results``, in place of an earlier one of the same run, stage and table."""
    columns = (
        "run_id, stage, table_name, expectation, column_name, severity, passed, row_level, observed, "
        "evaluated_rows, unexpected_rows, detail, checked_at"
    )
    with warehouse.transaction():
        warehouse.execute(
            "delete from quality.results where run_id = ? and stage = ? and table_name = ?",
            (report.run_id, report.stage, report.table),
        )
        for r in report.results:
            warehouse.execute(
                f"insert into quality.results ({columns}) values ({', '.join('?' * 13)})",
                (
                    *(report.run_id, report.stage, report.table, r.expectation, r.column, r.severity, r.passed),
                    *(r.row_level, r.observed, r.evaluated_rows, r.unexpected_rows, r.detail, report.checked_at),
                ),
            )
