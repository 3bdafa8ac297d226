"""``nightshift run`` and ``plan``: a whole night, and a night that ends after its plan."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.cli.common import (
    AsOfOption,
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

if TYPE_CHECKING:
    from flows.summary import RunSummary


@app.command(epilog="Example: nightshift run --as-of 2010-12-01")
def run(target: TargetOption = None, as_of: AsOfOption = None, output: OutputOption = Output.text) -> None:
    """Run the whole night: extract, gate, transform, gate, plan, push, reconcile, report, notify.

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 held for approval.
    """
    answer(_nightly(target, as_of, send=True), output)


@app.command(epilog="Example: nightshift plan --output markdown")
def plan(target: TargetOption = None, as_of: AsOfOption = None, output: PlanOutputOption = PlanOutput.text) -> None:
    """Do everything up to the plan and show what a run would change in the CRM. Nothing is sent."""
    answer_plan(_nightly(target, as_of, send=False), output)


def _nightly(target: str | None, as_of: datetime | None, *, send: bool) -> RunSummary:
    def flow(name: str) -> Any:
        from flows.nightly import nightly

        return nightly(name, as_of.date() if as_of else None, send, return_state=True)

    return carried(target, flow)
