"""What ``nightshift status`` prints: the last runs, what the CRM refuses, and the plans that wait."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from flows import approvals
from flows.report.terminal import print_runs
from flows.status import OpenRejections, Status
from flows.summary.story import counted
from flows.summary.writing import printable


def print_status(found: Status, console: Console) -> None:
    """Print how things stand.

    Args:
        found: what was found.
        console: where to print; nothing is marked up that came from data.
    """
    print_runs(found.runs, console)
    if found.rejections:
        console.print()
    for item in found.rejections:
        console.print(_refused(item), soft_wrap=True, highlight=False)
    for plan in found.plans:
        console.print()
        told = plan.decision if plan.decided_at else f"held since {plan.planned_at:%Y-%m-%d %H:%M} UTC"
        kind = "" if plan.kind == "night" else f" ({plan.kind})"
        console.print(
            Text(f"Plan {plan.hash[:12]} of run {plan.run_id}{kind}: {printable(told)}", "yellow"), soft_wrap=True
        )
        for reason in plan.held:
            console.print(Text(printable(f"  - {reason}")), soft_wrap=True)
        for command in approvals.commands(plan):
            console.print(Text(f"  {command}", "bold"), soft_wrap=True, highlight=False)


def _refused(item: OpenRejections) -> Text:
    records, attempts = counted(item.records, "record"), counted(item.attempts, "attempt")
    first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in (item.first_seen_at, item.last_seen_at))
    told = f": {records}, {attempts}, first seen {first}, last seen {last} UTC"
    return Text.assemble("Rejected ", (f"{item.sync} ", "bold"), (printable(item.code), "red"), told)
