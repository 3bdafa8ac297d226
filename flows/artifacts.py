"""What people see of a run in Prefect's UI: the plan, the gates, and where the page is."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.context import FlowRunContext

from flows.summary import RunSummary


def publish(summary: RunSummary) -> None:
    """Put a run's artifacts on its flow run; outside a flow run there is nothing to put them on.

    Args:
        summary: the run; personal data is masked in it.
    """
    if FlowRunContext.get() is None:
        return
    if summary.syncs:
        create_table_artifact(
            key="plan",
            description=f"What run {summary.run_id} changes in the CRM",
            table=[
                {
                    "sync": sync.name,
                    "object": sync.object,
                    "creates": sync.creates,
                    "updates": sync.updates,
                    "archives": sync.archives,
                    "fields": ", ".join(f"{name} {count}" for name, count in sync.fields.items()),
                    "applied": sync.applied,
                    "rejected": sync.rejected,
                    "mismatched": sync.mismatched,
                }
                for sync in summary.syncs
            ],
        )
    if summary.gates:
        create_table_artifact(
            key="gates",
            description=f"What run {summary.run_id} expected of its tables",
            table=[
                {
                    "table": f"{gate.stage}.{gate.table}" if "." not in gate.table else gate.table,
                    "expectation": gate.expectation,
                    "column": gate.column or "",
                    "severity": gate.severity,
                    "passed": gate.passed,
                    "unexpected rows": gate.unexpected_rows,
                    "observed": gate.observed or "",
                }
                for gate in summary.gates
            ],
        )
    if summary.page:
        create_link_artifact(
            key="morning-page", link=Path(summary.page).as_uri(), description=f"The morning page of {summary.run_id}"
        )
