"""What Prefect sees of a run: its tasks, how they are mapped and waited for, and its log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFutureList, wait
from prefect.runtime import deployment, flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows import extract, gate, orchestration, plan, progress, push, reconcile, transform
from flows.approvals import Kind
from flows.errors import NightshiftError
from flows.gate.results import Stage
from flows.project import Connection, Project, Source, Sync
from flows.records import Batch
from flows.settings import Settings
from flows.summary import ModelSummary
from flows.warehouse import Warehouse

R = TypeVar("R")

PUSHES = 8
"""Batches under way at once; the connectors' shared limiter keeps them together under the CRM's rate."""

RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=PUSHES)
"""Threads, because one process owns the warehouse."""


def in_deployment() -> bool:
    """Whether this flow run is one of a deployment: a worker starts it again, and its server outlives it."""
    return deployment.id is not None


def address() -> str | None:
    """Where this flow run is in Prefect's UI; a private server has none, and ends with the run."""
    return None if orchestration.is_private() else flow_run.ui_url


def log(message: str) -> None:
    """Write a line into the flow run's log."""
    get_run_logger().info(message)


def results(futures: PrefectFutureList[R]) -> list[R]:
    """Wait for all tasks, then raise: what is under way is not left alone, and no failure hides another."""
    wait(futures)
    done: list[R] = []
    failures: list[NightshiftError] = []
    for future in futures:
        try:
            done.append(future.result())
        except NightshiftError as error:
            if error.what not in {other.what for other in failures}:
                failures.append(error)
    if not failures:
        return done
    what, safe, todo = (
        "\n".join(dict.fromkeys(getattr(e, part) for e in failures)) for part in ("what", "safe", "todo")
    )
    raise type(failures[0])(what, safe=safe, todo=todo) from failures[0]


@task(task_run_name="extract {source.name}", cache_policy=NO_CACHE)
def extract_source(
    source: Source, db: Warehouse, *, run_id: str, as_of: date | None, project_dir: Path
) -> extract.Extracted:
    """Extract one source."""
    with db.cursor() as cursor, progress.bar(f"extract {source.name}") as bar:
        return extract.extract(source, cursor, run_id=run_id, as_of=as_of, project_dir=project_dir, progress=bar.at)


@task(task_run_name="dbt build {settings.target}", cache_policy=NO_CACHE)
def build_models(settings: Settings, *, private: bool) -> tuple[ModelSummary, ...]:
    """Build the dbt project."""
    return transform.build(settings, private=private)


@task(task_run_name="gate {suite.schema}.{suite.table}", cache_policy=NO_CACHE)
def check_suite(
    suite: gate.Suite, db: Warehouse, run_id: str, stage: Stage, pii: Mapping[str, Set[str]]
) -> gate.GateReport:
    """Judge one suite."""
    with db.cursor() as cursor:
        return gate.check(suite, cursor, run_id=run_id, stage=stage, pii=pii)


@task(task_run_name="plan {run_id}", cache_policy=NO_CACHE)
def make_plan(
    db: Warehouse, run_id: str, declared: Project, folder: Path, kind: Kind, reverts: str | None
) -> plan.Plan:
    """Compare the models with the ledger, or the ledger with what it said before another run."""
    crm = plan.crm_of(declared.connections)
    if reverts:
        return plan.revert(db, run_id, declared.syncs, folder, crm, of=reverts)
    only: plan.Only | None = "rejections" if kind == "retry" else None
    return plan.make(db, run_id, declared.syncs, folder, crm, sources=declared.sources, only=only)


@task(task_run_name="adopt", cache_policy=NO_CACHE)
def adopt_records(db: Warehouse, run_id: str, declared: Project) -> Mapping[str, plan.Adopted]:
    """Fill the ledgers with what the CRMs hold of the models' records."""
    return plan.adopt(db, run_id, declared.syncs, plan.crm_of(declared.connections))


@task(task_run_name="push {batch.name}", cache_policy=NO_CACHE)
def push_batch(
    connection: Connection, sync: Sync, batch: Batch, receipts: Path, advance: Callable[[int], None]
) -> push.Pushed:
    """Send one batch."""
    return push.push_batch(connection, sync, batch, receipts, advance)


@task(task_run_name="read back {batch.name}", cache_policy=NO_CACHE)
def read_back_batch(
    connection: Connection, sync: Sync, batch: Batch, receipts: Path, folder: Path, advance: Callable[[int], None]
) -> reconcile.ReadBack:
    """Read one batch back."""
    done = reconcile.read_back(connection, sync, batch, receipts, folder)
    advance(batch.count)
    return done
