"""What people see of a run in Prefect's UI: the night at a glance, the plan, the gates, and where the page is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from flows.notify import link
from flows.summary import GateSummary, RunSummary, SyncSummary
from flows.summary.held import QuarantineSummary
from flows.summary.story import attention, counted, decision, duration, headline, remarks
from flows.summary.writing import cell, prose

Row = dict[str, str | int]


def publish(summary: RunSummary) -> None:
    """Put a run's artifacts on its flow run; outside a flow run there is nothing to put them on.

    Their keys stay the same from night to night, so that Prefect shows each one's history.

    Args:
        summary: the run; personal data is masked in it.
    """
    if FlowRunContext.get() is None:
        return
    create_markdown_artifact(key="night", markdown=glance(summary), description=f"Run {summary.run_id} at a glance")
    if summary.syncs:
        planned = counted(summary.total("operations"), "change")
        create_table_artifact(
            key="plan",
            description=f"{planned} to the CRM in run {summary.run_id}",
            table=[_plan_row(sync) for sync in summary.syncs],
        )
    if summary.gates:
        failed = sum(not gate.passed for gate in summary.gates)
        create_table_artifact(
            key="gates",
            description=f"{counted(len(summary.gates), 'expectation')}, {failed or 'none'} of them failed",
            table=[_gate_row(gate) for gate in sorted(summary.gates, key=lambda gate: gate.passed)],
        )
    if any(table.held for table in summary.quarantine):
        held = sum(table.held for table in summary.quarantine)
        create_table_artifact(
            key="quarantine",
            description=f"{counted(held, 'row is', 'rows are')} held back after run {summary.run_id}",
            table=[row for table in summary.quarantine for row in _held_rows(table)],
        )
    if summary.page:
        address = link(summary, summary.page)
        create_link_artifact(
            key="morning-page",
            link=address if "://" in address else Path(address).absolute().as_uri(),
            link_text="Morning page",
            description=f"The morning page of run {summary.run_id}: {summary.page}",
        )


def glance(summary: RunSummary) -> str:
    """Say in Markdown how the night went: what to look at, what was sent, and how long each stage took.

    Args:
        summary: the run.
    """
    as_of = f", as of {summary.as_of}" if summary.as_of else ""
    lines = [f"# {cell(headline(summary))}", "", f"Run `{summary.run_id}` on target `{summary.target}`{as_of}.", ""]
    if decided := decision(summary):
        lines += [cell(decided), ""]
    things = attention(summary)
    if things:
        lines += ["## To look at", ""]
        lines += [f"- **{cell(thing.text)}.** {prose(thing.todo)}" for thing in things]
        lines.append("")
    if summary.syncs:
        rows = [list(_plan_row(sync).values())[:8] for sync in summary.syncs]
        lines += _table(list(_plan_row(summary.syncs[0]))[:8], rows)
    if told := [remark for sync in summary.syncs for remark in remarks(sync)]:
        lines += [*(f"- {cell(remark)}." for remark in told), ""]
    if any(table.held or table.new or table.released for table in summary.quarantine):
        counts = [(t.name, t.held, t.new, t.released, t.released_by_hand) for t in summary.quarantine]
        lines += _table(["Held back of", "Rows", "Since tonight", "Released", "Released by hand"], counts)
    if summary.sources:
        extracted = [(source.name, source.rows, source.freshness or "") for source in summary.sources]
        lines += _table(["Source", "New rows", "Freshness"], extracted)
    stages = [[stage.name.replace("_", " "), duration(stage.seconds), stage.state] for stage in summary.stages]
    lines += _table(["Stage", "Took", "Ended as"], stages)
    if summary.page:
        lines += [f"Morning page: `{summary.page}`", ""]
    return "\n".join(lines)


def _plan_row(sync: SyncSummary) -> Row:
    return {
        "Object": sync.object,
        "Creates": sync.creates,
        "Updates": sync.updates,
        "Archives": sync.archives,
        "Applied": sync.applied,
        "Rejected": sync.rejected,
        "Reconciled": sync.reconciled,
        "Mismatched": sync.mismatched,
        "Model": sync.name,
        "Fields that updates change": ", ".join(f"{name} ({count:,})" for name, count in sync.fields.items()),
    }


def _gate_row(gate: GateSummary) -> Row:
    return {
        "Result": "passed" if gate.passed else "FAILED",
        "Severity": gate.severity,
        "Table": gate.table if "." in gate.table else f"{gate.stage}.{gate.table}",
        "Column": gate.column or "",
        "Expectation": gate.expectation.replace("_", " ").removeprefix("expect "),
        "Rows that fail": "" if gate.unexpected_rows is None else gate.unexpected_rows,
        "Some of the rows": "; ".join(gate.failing_rows),
        "Held back": gate.quarantined_rows or "",
        "Observed": gate.observed or "",
    }


def _held_rows(table: QuarantineSummary) -> list[Row]:
    """Some of a table's held rows, one for each reason."""
    return [
        {
            "Table": table.name,
            "Key": held.key,
            "Expectation": held.expectation.replace("_", " ").removeprefix("expect "),
            "Column": held.column or "",
            "Value": held.value or "",
            "Since": f"{held.since:%Y-%m-%d}" if held.since else "",
        }
        for held in table.rows
    ]


def _table(head: list[str], rows: Sequence[Sequence[str | int]]) -> list[str]:
    numbers = [all(isinstance(row[at], int) for row in rows) for at in range(len(head))]
    rule = "|".join("--:" if number else "---" for number in numbers)
    told = ["| " + " | ".join(f"{c:,}" if isinstance(c, int) else cell(c) for c in row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", f"|{rule}|", *told, ""]
