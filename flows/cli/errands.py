"""``nightshift retry``, ``revert`` and ``adopt``: small runs that a person asks for by day."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.common import (
    Output,
    OutputOption,
    PlanOutput,
    PlanOutputOption,
    TargetOption,
    answer,
    answer_plan,
    app,
    carried,
)

STILL_WANTED = "What the models still want is sent again by the next night: change them first, or reject its plan."


@app.command(epilog="Example: nightshift retry --target prod")
def retry(target: TargetOption = None, output: OutputOption = Output.text) -> None:
    """Send the records again that the CRM refused, and nothing else: plan, guard, push, reconcile, report, notify."""

    def flow(name: str) -> Any:
        from flows import by_day

        return by_day.retry(name, return_state=True)

    answer(carried(target, flow), output)


@app.command(epilog="Example: nightshift revert 20261123T131645Z-8a92 --dry-run")
def revert(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run to take back.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan; nothing is sent.")] = False,
    target: TargetOption = None,
    output: PlanOutputOption = PlanOutput.text,
) -> None:
    """Take back what a run wrote: send the values from before it, with the same guards.

    The models are not changed by it: what they still want is sent again by the next night.
    """

    def flow(name: str) -> Any:
        from flows import by_day

        return by_day.revert(name, run_id, not dry_run, return_state=True)

    summary = carried(target, flow)
    if dry_run or output is PlanOutput.markdown:
        answer_plan(summary, output)
    if output is PlanOutput.text and summary.total("applied"):
        Console(stderr=True).print(STILL_WANTED, soft_wrap=True, highlight=False)
    answer(summary, Output(output.value))


@app.command(epilog="Example: nightshift adopt --target prod")
def adopt(target: TargetOption = None, output: OutputOption = Output.text) -> None:
    """Fill the ledger from a CRM that already holds the models' records, so that the first plan is a true difference.

    The models must be built: nightshift plan does that. Nothing is written to the CRM.
    """

    def flow(name: str) -> Any:
        from flows import by_day

        return by_day.adopt(name, return_state=True)

    answer(carried(target, flow), output)
