"""A held night of a deployment waits in Prefect: suspended, with a form that shows the plan and takes the decision."""

from __future__ import annotations

import os
from typing import Any, Literal, NoReturn

from prefect.client.schemas.objects import State
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, read_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from flows import approvals, journal, tasks
from flows.approvals import Standing
from flows.errors import ConfigError
from flows.report.plan import plan_markdown
from flows.settings import Settings
from flows.summary import RunSummary
from flows.warehouse import Warehouse

HOURS = "NIGHTSHIFT_APPROVAL_HOURS"
"""The environment variable that says how many hours a held night waits; a day where it is not set."""


class Decision(RunInput):
    """The form: what Prefect's UI shows when a person resumes a held night, and what its API takes."""

    decision: Literal["approve", "reject"] = Field(title="Decision")
    reason: str = Field(default="", title="Reason", description="Kept with the plan.")
    name: str = Field(default="", title="Your name", description="Kept with the plan.")


def decided(settings: Settings) -> Standing | None:
    """Take up the decision that this flow run was suspended for; where there is none yet, wait for it once more.

    Args:
        settings: the target.

    Returns:
        How the plan stands that this flow run made before, which ends or goes on with that; None where a night begins:
        the flow run made no plan yet, or failed after it and is tried again.
    """
    if not tasks.in_deployment() or not settings.warehouse.exists():
        return None
    with Warehouse.open(settings.warehouse) as db:
        made = approvals.of_flow_run(db, str(flow_run.id))
        if made is None:
            return None
        answer: Any = read_flow_run_input(keyset_from_base_key(f"suspended-{made.hash}")["response"])
        form = Decision(**answer) if answer else None
        made = _take_up(db, settings, made, form)
        run = journal.load(db, made.run_id)
    if made.state == "held" and run is not None:
        wait(run)
    if made.state in ("approved", "rejected"):
        return made
    # Somebody was faster: another night, or a command. Who says no, or sees all done, does not want a night for it.
    is_over = form is not None and (form.decision == "reject" or (run is not None and run.state in ("held", "done")))
    return made if is_over else None


def _take_up(db: Warehouse, settings: Settings, made: Standing, form: Decision | None) -> Standing:
    """Note what a person said in the form; a no takes back an approval that was given by command."""
    if form is None or made.state not in ("held", "approved"):
        return made
    state: Literal["approved", "rejected"] = "approved" if form.decision == "approve" else "rejected"
    by = form.name.strip() or "somebody in Prefect"
    return approvals.decide(db, settings, made, state, by=by, reason=form.reason)


def last_word(made: Standing) -> State[Any]:
    """Say to Prefect what became of a plan that is not pushed by this flow run.

    Args:
        made: how it stands: rejected, void or pushed.
    """
    told = str(approvals.not_approved(made))
    if made.state == "void":
        return Failed(message=told)
    return Completed(name="Rejected" if made.state == "rejected" else None, message=told)


def wait(summary: RunSummary) -> NoReturn:
    """Suspend this flow run until a person decides; it begins from its top then, and finds the decision.

    Args:
        summary: the run that is held.

    Raises:
        ConfigError: `HOURS` is no number.
    """
    if summary.plan is None:
        raise ValueError("a run that is held has a plan")
    form = Decision.with_initial_data(description=plan_markdown(summary))
    suspend_flow_run(wait_for_input=form, timeout=_seconds(), key=summary.plan.hash)
    raise RuntimeError("Prefect went on with a suspended flow run")


def _seconds() -> int:
    hours = os.environ.get(HOURS) or "24"
    try:
        return int(float(hours) * 3600)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{HOURS} is {hours!r}, which is no number of hours.",
            safe="The plan is held; nothing was sent.",
            todo="Correct it where the worker gets its environment; nightshift approve works all the same.",
        ) from error
