"""What is around every run: the warehouse opened and let go, the journal kept, people told, and Prefect's last word."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import approvals, artifacts, docs_sites, journal, notify, project, report, staging, tasks, transform
from flows.errors import NightshiftError, PlanHeld
from flows.journal import Journal
from flows.settings import Settings
from flows.summary import to_json
from flows.warehouse import Warehouse


class NightFailed(Exception):
    """What a failed night's state holds: its message for people, and the run's summary.

    Prefect raises what a failed state holds; of anything that is no exception it only says that it cannot.
    """

    def __init__(self, message: str, summary: dict[str, Any]) -> None:
        super().__init__(message, summary)
        self.message, self.summary = message, summary

    def __str__(self) -> str:
        return self.message


def carry(
    settings: Settings,
    run: Journal,
    body: Callable[[Warehouse], None],
    before: Callable[[Warehouse], None] = lambda db: None,
    *,
    tells: bool = True,
) -> BaseException | None:
    """Carry a run from its first line in the journal to its last, whatever happens in between.

    Args:
        settings: the target.
        run: the run's journal; it is complete afterwards.
        body: the stages; what it raises ends the run.
        before: looks whether there is anything to run; what it raises leaves no trace in the warehouse.
        tells: whether the channels hear of it. Of a look that somebody takes by command they need not: it is answered.

    Returns:
        What ended the run; None for a run that is done.
    """
    error: BaseException | None = None
    try:
        with staging.sandbox(settings.home, settings.target), Warehouse.open(settings.warehouse) as db:
            before(db)
            journal.begin(db, run.summary)
            try:
                body(db)
            except PlanHeld as raised:
                error = _held(db, run, raised)
            except Exception as raised:
                error = raised
            _settle(db, run)
            _morning(settings, db, run, error, tells=tells or tasks.in_deployment())
    except Exception as raised:
        # The warehouse itself failed: there is nowhere to write it down but here.
        error = error or raised
        run.end(error)
    # Whoever decides or looks by command opens the warehouse while this process may still be ending.
    transform.let_go()
    if error is not None:
        run.fault(error)
    if run.faults:
        folder = settings.run_folder(run.summary.run_id)
        with suppress(OSError):  # on a full disk there is no room for it either
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text("\n".join(run.faults), encoding="utf-8")
    return error


def _held(db: Warehouse, run: Journal, error: PlanHeld) -> PlanHeld:
    """Hold the run's plan, and name the commands that decide about it."""
    approvals.mark(db, run.summary.run_id, "held")
    held = approvals.of_run(db, run.summary.run_id)
    ways = approvals.commands(held) if held else []
    return PlanHeld(error.what, safe=error.safe, todo="\n".join((error.todo, *ways)))


def _settle(db: Warehouse, run: Journal) -> None:
    """Let the summary say how the run's plan stands."""
    stands = approvals.of_run(db, run.summary.run_id)
    if stands:
        waited = run.summary.plan.waited if run.summary.plan else 0.0
        run.note(plan=replace(stands.summary, waited=waited))


def last_word(run: Journal, error: BaseException | None, retries: int = 0) -> State[dict[str, Any]]:
    """Say to Prefect how a run ended.

    Args:
        run: the run's journal.
        error: what ended it.
        retries: how often Prefect tries again.

    Raises:
        NightFailed: the run failed, and Prefect is to try it again.
    """
    data = to_json(run.summary)
    if run.summary.state == "failed":
        failed = NightFailed(str(error), data)
        if flow_run.run_count <= retries:
            raise failed  # a state that is returned is the last word: Prefect tries again only after what is raised
        return Failed(message=str(error), data=failed)
    if run.summary.state == "held":
        return Completed(name="Held", message=str(error), data=data)
    return Completed(message=f"{run.summary.total('applied')} records applied", data=data)


def _morning(settings: Settings, db: Warehouse, run: Journal, error: BaseException | None, *, tells: bool) -> None:
    """Tell people, whatever happened: the page, artifacts, notifications and the run's row.

    Each is spared the others' failures, and the run is spared all of them: what cannot be told one way is told another.
    """
    run.end(error)
    run.note(flow_run=tasks.address(), page=None)
    with run.stage("report"):
        for lacking in docs_sites.build(settings, run.summary, db).problems:
            tasks.log(lacking)
            run.problem(": ".join(lacking.split(": ")[:2]), "The page is whole without it; the run's log says more.")
        _page(settings, db, run)
        with run.spared("Prefect's artifacts could not be made", "See whether Prefect's server is up and has room."):
            artifacts.publish(run.summary)
    on_page = run.summary.problems
    if tells:
        with run.stage("notify"), run.spared("Nobody was notified", "The run's error.txt says why."):
            _notify(settings, run)
    run.end(error)
    if run.summary.page and not (run.summary.problems == on_page and all(told.sent for told in run.summary.notified)):
        _page(settings, db, run)
    journal.write(db, run.summary)
    for problem in run.summary.problems:
        tasks.log(f"{problem.what}. {problem.todo}")


def _page(settings: Settings, db: Warehouse, run: Journal) -> None:
    """Write the morning page."""
    todo = "Look at the folder `reports/`; once that is mended, `nightshift report` writes it anew."
    with run.spared("The morning page could not be written", todo):
        run.note(page=str(report.write_page(run.summary, settings.reports / run.summary.run_id, db)))


def _notify(settings: Settings, run: Journal) -> None:
    """Tell every channel; one that fails, or cannot be looked up, never fails the run."""
    try:
        channels = project.load_connections(settings.profiles / "connections.yml", settings.target).notify
    except NightshiftError as error:
        tasks.log(f"nobody was notified: {error.what}")
        return
    told = notify.notify(run.summary, channels, page_url=run.summary.page)
    run.note(notified=tuple(told))
    for result in told:
        how = "was told" if result.sent else f"could not be told: {result.detail}"
        tasks.log(f"{result.channel} {how}")
