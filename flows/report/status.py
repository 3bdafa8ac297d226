"""What ``nightshift status`` prints: the last runs, what the CRM refuses, and the plans that wait."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows import approvals
from flows.report.terminal import print_runs
from flows.status import Status


def print_status(found: Status, console: Console) -> None:
    """Print how things stand.

    Args:
        found: what was found.
        console: where to print; nothing is marked up that came from data.
    """
    print_runs(found.runs, console)
    if found.rejections:
        console.print()
        console.print(_rejections(found))
    for plan in found.plans:
        console.print()
        told = plan.decision if plan.decided_at else f"held since {plan.planned_at:%Y-%m-%d %H:%M} UTC"
        kind = "" if plan.kind == "night" else f" ({plan.kind})"
        console.print(Text(f"Plan {plan.hash[:12]} of run {plan.run_id}{kind}: {told}", "yellow"), soft_wrap=True)
        for reason in plan.held:
            console.print(Text(f"  - {reason}"), soft_wrap=True)
        for command in approvals.commands(plan):
            console.print(Text(f"  {command}", "bold"), soft_wrap=True, highlight=False)


def _rejections(found: Status) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("open rejections of", no_wrap=True)
    table.add_column("code", overflow="fold")
    for name in ("records", "attempts"):
        table.add_column(name, justify="right")
    for name in ("first seen", "last seen (UTC)"):
        table.add_column(name, no_wrap=True)
    for item in found.rejections:
        seen = (f"{moment:%Y-%m-%d %H:%M}" for moment in (item.first_seen_at, item.last_seen_at))
        table.add_row(Text(item.sync), Text(item.code, "red"), f"{item.records:,}", f"{item.attempts:,}", *seen)
    return table
