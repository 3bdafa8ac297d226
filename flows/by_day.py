"""What a person asks for by day: push an approved plan, retry rejections, revert a run, adopt a CRM's records."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows import approvals, frame, journal, plan, stages, tasks
from flows.errors import ConfigError
from flows.journal import Journal
from flows.plan.revert import unsynced
from flows.settings import Settings
from flows.summary import collect
from flows.summary.story import counted
from flows.tasks import RUNNER
from flows.warehouse import Warehouse


def _run_name() -> str:
    parameters = flow_run.parameters
    return " ".join(str(parameters[name]) for name in ("target", "run_id", "of") if parameters.get(name))


@flow(name="nightshift push", flow_run_name=_run_name, task_runner=RUNNER)
def push_approved(target: str, run_id: str) -> State[dict[str, Any]]:
    """Push exactly the plan that was approved: the run that was held goes on.

    Args:
        target: the dbt target.
        run_id: the run that made the plan.
    """
    return go_on(Settings.load(target), run_id)


def go_on(settings: Settings, run_id: str, retries: int = 0) -> State[dict[str, Any]]:
    """Go on with a run whose plan was approved: the same run, from the guard on.

    Args:
        settings: the target.
        run_id: the run.
        retries: how often Prefect tries again.
    """
    run = Journal(run_id, settings.target)
    folder = settings.run_folder(run_id)

    def resume(db: Warehouse) -> None:
        approvals.to_push(db, run_id)
        if (ended := journal.load(db, run_id)) is None:
            raise ConfigError(f"No run {run_id} is known.", todo="nightshift status lists the runs.")
        run.resume(ended)

    def body(db: Warehouse) -> None:
        with run.stage("guard"):
            declared, suites = stages.configure(settings, db)
            approved = plan.load(folder)
            stages.see_that_it_stands(db, declared, approved)
        with run.stage("preflight"):
            stages.look_ahead(db, run, declared, approved)
        stages.push_plan(db, run, declared, approved, folder, after=suites["crm_after"], approved=True)

    return frame.last_word(run, frame.carry(settings, run, body, resume), retries)


@flow(name="nightshift retry", flow_run_name=_run_name, task_runner=RUNNER)
def retry(target: str) -> State[dict[str, Any]]:
    """Try the open rejections again: a night from its plan on, of these records alone.

    Args:
        target: the dbt target.
    """
    settings = Settings.load(target)
    run = Journal(journal.new_run_id(), target, kind="retry")

    def body(db: Warehouse) -> None:
        with run.stage("configure"):
            declared, suites = stages.configure(settings, db)
        stages.from_plan_on(
            db, run, declared, settings.run_folder(run.summary.run_id), "retry", after=suites["crm_after"]
        )

    return frame.last_word(run, frame.carry(settings, run, body))


@flow(name="nightshift revert", flow_run_name=_run_name, task_runner=RUNNER)
def revert(target: str, of: str, send: bool = True) -> State[dict[str, Any]]:
    """Take back what a run wrote, with the same guards as a night.

    Args:
        target: the dbt target.
        of: the run to take back.
        send: False ends after the plan: nothing is sent to the CRM.
    """
    settings = Settings.load(target)
    run = Journal(journal.new_run_id(), target, kind="revert")

    def known(db: Warehouse) -> None:
        # What a run that was killed has sent is taken up by the next one, which this one is.
        killed = "select run_id from sync.plans where state = 'pushed' and merged_at is null"
        sent = f"select run_id from sync.changes union all {killed}"
        if not db.scalar(f"select count(*) from ({sent}) where run_id = ?", (of,)):
            raise ConfigError(
                f"Run {of} sent nothing to the CRM, or is not known.",
                safe="Nothing ran.",
                todo="nightshift status lists the runs.",
            )

    def body(db: Warehouse) -> None:
        with run.stage("configure"):
            declared, suites = stages.configure(settings, db)
            for model, records in unsynced(db, declared.syncs, of).items():
                what = f"{counted(records, 'record')} of {model}, which is not synced any more, cannot be taken back"
                run.problem(what, f"Sync {model} again and revert run {of} once more, or mend them in the CRM.")
        folder = settings.run_folder(run.summary.run_id)
        stages.from_plan_on(db, run, declared, folder, "revert", after=suites["crm_after"], reverts=of, send=send)

    return frame.last_word(run, frame.carry(settings, run, body, known, tells=send))


@flow(name="nightshift adopt", flow_run_name=_run_name, task_runner=RUNNER)
def adopt(target: str) -> State[dict[str, Any]]:
    """Read the models' records from the CRM and fill the ledger with them. Nothing is sent but questions.

    Args:
        target: the dbt target.
    """
    settings = Settings.load(target)
    run = Journal(journal.new_run_id(), target, kind="adopt")

    def body(db: Warehouse) -> None:
        with run.stage("configure"):
            declared, _ = stages.configure(settings, db)
        with run.stage("preflight"):
            stages.see_that_it_fits(db, run, declared, declared.syncs)
        with run.stage("adopt"):
            found = tasks.adopt_records(db, run.summary.run_id, declared)
            run.count_requests(sum(adopted.requests for adopted in found.values()))
            run.note(syncs=tuple(collect.adopted(sync, found[sync.name]) for sync in declared.syncs))

    return frame.last_word(run, frame.carry(settings, run, body))
