"""The night, from top to bottom: extract, gate, transform, gate, plan, push, reconcile, report, notify."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows import by_day, frame, journal, stages, suspension, tasks, transform
from flows.errors import PlanHeld
from flows.journal import Journal
from flows.quality import anomalies
from flows.settings import Settings
from flows.summary import collect
from flows.tasks import RUNNER
from flows.warehouse import Warehouse


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{parameters.get('target')} {parameters.get('as_of') or 'now'}"


@flow(name="nightshift", flow_run_name=_run_name, task_runner=RUNNER)
def nightly(target: str = "sandbox", as_of: date | None = None, send: bool = True) -> State[dict[str, Any]]:
    """One night of one target.

    Args:
        target: the dbt target, and the target in ``profiles/connections.yml``.
        as_of: take only what had arrived by the end of this day (UTC).
        send: False ends after the plan: nothing is sent to the CRM.

    Returns:
        A state whose data is the run's summary, as ``nightshift run --output json`` prints it: Completed when the
        night is done, Completed and named Held when the plan waits for a person; else Failed, with `NightFailed`.
        A held night of a deployment is suspended; it begins anew when a person resumes it, and does as was decided.

    Raises:
        NightFailed: the night failed, and Prefect is to try it again.
    """
    settings = Settings.load(target)
    retries = nightly.retries or 0
    made = suspension.decided(settings)
    if made and made.state == "approved":
        return by_day.go_on(settings, made.run_id, retries)
    if made:
        return suspension.last_word(made)
    run = Journal(journal.new_run_id(), target, as_of)
    folder = settings.run_folder(run.summary.run_id)
    error = frame.carry(settings, run, lambda db: _night(settings, db, run, folder, send=send), tells=send)
    if isinstance(error, PlanHeld) and send and tasks.in_deployment():
        suspension.wait(run.summary)
    return frame.last_word(run, error, retries)


def _night(settings: Settings, db: Warehouse, run: Journal, folder: Path, *, send: bool) -> None:
    with run.stage("configure"):
        declared, suites = stages.configure(settings, db)
    with run.stage("extract"):
        stages.extract_all(settings, db, run, declared.sources)
    # Great Expectations is imported here: beside the extraction it took from that as much time as it saved.
    with run.stage("gate_raw"):
        run.note(sources=collect.with_freshness(run.summary.sources, transform.freshness(settings)))
        stages.look_for_anomalies(db, run, anomalies.of_sources(declared.sources))
        stages.judge(db, run, "raw", suites["raw"], declared.personal)
    with run.stage("transform"):
        run.note(models=tasks.build_models(settings, private=any(declared.personal.values())))
    with run.stage("gate_crm"):
        stages.look_for_anomalies(db, run, anomalies.of_models(declared.syncs))
        stages.judge(db, run, "crm", suites["crm"], declared.personal)
    # plan, preflight, guard, budget, push, reconcile, gate what came back
    stages.from_plan_on(db, run, declared, folder, after=suites["crm_after"], send=send)
