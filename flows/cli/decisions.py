"""``nightshift approve``, ``reject`` and ``push``: what becomes of a held plan."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli.common import Output, OutputOption, TargetOption, answer, app, carried, warehouse
from flows.errors import ConfigError
from flows.settings import Settings

if TYPE_CHECKING:
    from flows.approvals import Standing

PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="A run's id, or the beginning of a plan's hash.")]
ByOption = Annotated[str | None, typer.Option(help="Who decides; else the login name.")]


@app.command(epilog="Example: nightshift approve 20261123T131645Z-8a92 --reason 'new segments' --push")
def approve(
    plan: PlanArgument,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the plan.")] = None,
    by: ByOption = None,
    push: Annotated[bool, typer.Option("--push", help="Push it at once.")] = False,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Approve a held plan: exactly this one may be pushed, while model and ledger stay as they are."""
    made = _decide(plan, "approved", by, reason, target)
    if push:
        answer(_push(target, made.run_id), output)
    _say(made, output)


@app.command(epilog="Example: nightshift reject 20261123T131645Z-8a92 --reason 'segments are wrong'")
def reject(
    plan: PlanArgument,
    reason: Annotated[str, typer.Option(help="Why; kept with the plan.")],
    by: ByOption = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Reject a held plan: it is never pushed; the next night plans anew."""
    _say(_decide(plan, "rejected", by, reason, target), output)


@app.command(epilog="Example: nightshift push --plan 20261123T131645Z-8a92")
def push(
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="A run's id, or the beginning of a plan's hash.")
    ] = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Push an approved plan: the run that was held goes on. Without --plan, the one that is approved."""
    from flows import approvals

    with warehouse(Settings.load(target)) as db:
        run_id = approvals.to_push(db, plan).run_id
    answer(_push(target, run_id), output)


def _push(target: str | None, run_id: str) -> Any:
    def flow(name: str) -> Any:
        from flows.by_day import push_approved

        return push_approved(name, run_id, return_state=True)

    return carried(target, flow)


def _decide(
    words: str, state: Literal["approved", "rejected"], by: str | None, reason: str | None, target: str | None
) -> Standing:
    from flows import approvals

    settings = Settings.load(target)
    who, why = (_login_name() if by is None else by).strip(), (reason or "").strip()
    if not who or (state == "rejected" and not why):
        raise ConfigError(
            f"A decision needs {'a reason' if who else 'the name of who decides'}: it is kept with the plan.",
            safe="Nothing was decided, nothing was sent.",
            todo=f"Say it with {'--reason' if who else '--by'}.",
        )
    with warehouse(settings) as db:
        return approvals.decide(db, settings, approvals.find(db, words), state, by=who, reason=why)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigError(
            "This login has no name.", safe="Nothing was decided.", todo="Say who decides with --by."
        ) from error


def _say(plan: Standing, output: Output) -> None:
    from flows import approvals
    from flows.summary.writing import printable

    if output is Output.json:
        keys = ("run_id", "hash", "state", "decided_by", "decided_at", "reason")
        told = asdict(plan)
        told["decided_at"] = plan.decided_at and f"{plan.decided_at.isoformat()}+00:00"
        sys.stdout.write(json.dumps({key: told[key] for key in keys}, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(f"The plan of run {plan.run_id} is {printable(plan.decision)}.\n")
    if plan.state == "approved":
        sys.stdout.write(f"To push it: {approvals.commands(plan)[0]}\n")
    else:
        sys.stdout.write("It is never pushed; the next night plans anew.\n")
