"""A held night of the deployment: suspended with a form, resumed over the API; pushed exactly, rejected, or void."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import plan as planning
from flows.records import Operation
from flows.sandbox.sources.invoices import generate
from flows.warehouse import Warehouse
from tests.conftest import PROJECT
from tests.nightly.world import FIELDS, Crm
from tests.orchestration.conftest import PATIENCE, Prefect, until

OBJECTS = {"crm_accounts": "Account", "crm_contacts": "Contact", "crm_opportunities": "Opportunity"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own, where no night has run."""
    return tmp_path_factory.mktemp("held") / "home"


@pytest.fixture(scope="module")
def project(home: Path) -> Path:
    """A project that may create nothing without being asked."""
    copy = home.parent / "project"
    for part in ("dbt_project", "profiles", "expectations"):
        shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("target", "logs"))
    models = copy / "dbt_project" / "models" / "crm" / "_crm__models.yml"
    loose = models.read_text(encoding="utf-8")
    assert "max_changes: 50%" in loose
    strict = "max_changes: 50%, first_run: 0, max_creates: 0"
    models.write_text(loose.replace("max_changes: 50%", strict), encoding="utf-8")
    return copy


@pytest.fixture
def hold(deployed: Prefect, home: Path, project: Path) -> Callable[..., tuple[str, str]]:
    """Runs a night until it is suspended; gives the flow run and Nightshift's run."""

    def begin(**env: str) -> tuple[str, str]:
        flow_run = deployed.run(NIGHTSHIFT_PROJECT=str(project), NIGHTSHIFT_HOME=str(home), **env)
        until(lambda: is_suspended(deployed, flow_run), f"run {flow_run} is suspended")
        return flow_run, str(row(home, "flow_run_id", flow_run)["run_id"])

    return begin


def is_suspended(deployed: Prefect, flow_run: str) -> bool:
    found = deployed.call("GET", f"/flow_runs/{flow_run}")
    assert found["state_type"] not in ("COMPLETED", "FAILED", "CRASHED"), found["state"]
    return bool(found["state_name"] == "Suspended")


def row(home: Path, column: str, value: str) -> dict[str, Any]:
    """A plan's row; a suspended night has let the warehouse go."""
    with Warehouse.open(home / "sandbox.duckdb") as db:
        return db.rows(f"select * from sync.plans where {column} = ? order by planned_at desc", (value,))[0]


def resume(deployed: Prefect, flow_run: str, **form: str) -> dict[str, Any]:
    answer: dict[str, Any] = deployed.call("POST", f"/flow_runs/{flow_run}/resume", run_input=form)
    return answer


def held_ids(deployed: Prefect) -> dict[str, set[str]]:
    crm = Crm(deployed.sandbox)
    try:
        return {kind: set(ids) for kind, ids in crm.ids().items()}
    finally:
        crm.leave()


def planned_ids(home: Path, run_id: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {kind: set() for kind in OBJECTS.values()}
    for batch in planning.load(home / "runs" / run_id).batches:
        found[OBJECTS[batch.sync]] |= {record.external_id for record in batch.records()}
    return found


def after(before: dict[str, set[str]], home: Path, run_id: str) -> dict[str, set[str]]:
    """What the CRM holds once a plan is pushed."""
    found = {kind: set(ids) for kind, ids in before.items()}
    for batch in planning.load(home / "runs" / run_id).batches:
        ids = {record.external_id for record in batch.records()}
        found[OBJECTS[batch.sync]] ^= ids if batch.operation is Operation.ARCHIVE else ids - found[OBJECTS[batch.sync]]
    return found


def planned(home: Path, run_id: str) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Model -> external id -> every mapped field of the records that a plan creates, as `Crm.held` gives them."""
    found: dict[str, dict[str, tuple[Any, ...]]] = {model: {} for model in OBJECTS}
    for batch in planning.load(home / "runs" / run_id).batches:
        assert batch.operation is Operation.CREATE
        names = [n.replace("Account.External_Id__c", "AccountId") for n in FIELDS[OBJECTS[batch.sync]]]
        found[batch.sync] |= {r.external_id: tuple(r.values.get(n) for n in names) for r in batch.records()}
    return found


def plans_of(home: Path) -> list[tuple[Any, ...]]:
    with Warehouse.open(home / "sandbox.duckdb") as db:
        return db.execute("select run_id, state from sync.plans order by run_id")


def command(deployed: Prefect, home: Path, project: Path, *words: str) -> dict[str, Any]:
    """What a command prints as JSON, given where the warehouse is."""
    whole = [sys.executable, "-m", "flows.cli", *words, "--output", "json"]
    env = {**deployed.env, "NIGHTSHIFT_HOME": str(home), "NIGHTSHIFT_PROJECT": str(project)}
    done = subprocess.run(whole, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_form_that_is_not_filled_in_is_refused_and_the_rejection_is_kept(
    deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path
) -> None:
    before = held_ids(deployed)
    flow_run, run_id = hold()
    state = deployed.call("GET", f"/flow_runs/{flow_run}")["state"]
    keys = state["state_details"]["run_input_keyset"]
    shown = deployed.call("GET", f"/flow_runs/{flow_run}/input/{keys['description']}")
    assert "crm_accounts" in shown
    assert "against guard first" in shown
    assert "@" not in shown
    assert deployed.call("GET", f"/flow_runs/{flow_run}/input/{keys['schema']}")["required"] == ["decision"]
    told = {artifact["key"]: artifact for artifact in deployed.of("artifacts", flow_run)}
    assert "held for approval; nothing was sent" in told["night"]["data"]
    assert resume(deployed, flow_run)["status"] == "REJECT"
    assert resume(deployed, flow_run, decision="perhaps")["status"] == "REJECT"

    assert resume(deployed, flow_run, decision="reject", reason="not tonight", name="ben")["status"] == "ACCEPT"
    night = deployed.ended(flow_run)
    assert (night["state_type"], night["state_name"]) == ("COMPLETED", "Rejected")
    assert "rejected by ben" in night["state"]["message"]
    stands = row(home, "run_id", run_id)
    assert (stands["state"], stands["decided_by"], stands["reason"]) == ("rejected", "ben", "not tonight")
    assert held_ids(deployed) == before


def test_an_approval_is_void_when_the_model_moved_meanwhile(
    deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path
) -> None:
    before = held_ids(deployed)
    flow_run, run_id = hold()
    with Warehouse.open(home / "sandbox.duckdb") as db:
        db.execute(
            "update crm.crm_accounts set name = 'Other Ltd' where account_id in "
            "(select min(account_id) from crm.crm_accounts)"
        )
    assert resume(deployed, flow_run, decision="approve", name="anna")["status"] == "ACCEPT"
    night = deployed.ended(flow_run)
    assert night["state_type"] == "FAILED"
    assert "its approval is void" in night["state"]["message"]
    assert "crm_accounts: the model moved for 1 record" in night["state"]["message"]
    stands = row(home, "run_id", run_id)
    assert (stands["state"], stands["decided_by"]) == ("void", "anna")
    assert held_ids(deployed) == before


def test_held_resumed_and_pushed_exactly(deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path) -> None:
    before = held_ids(deployed)
    flow_run, run_id = hold()
    wanted, values = planned_ids(home, run_id), planned(home, run_id)
    assert any(wanted.values())
    # More arrives while the plan waits: it is not part of what was approved.
    generate(deployed.files, days=9)
    assert resume(deployed, flow_run, decision="approve", reason="as agreed", name="anna")["status"] == "ACCEPT"
    night = deployed.ended(flow_run)
    assert night["state_type"] == "COMPLETED", night["state"]
    assert held_ids(deployed) == after(before, home, run_id)
    crm = Crm(deployed.sandbox)
    try:
        held = crm.held()
    finally:
        crm.leave()
    assert {model: {key: held[model].get(key) for key in rows} for model, rows in values.items()} == values
    assert night["state"]["message"] == f"{sum(map(len, wanted.values()))} records applied"
    stands = row(home, "run_id", run_id)
    assert (stands["state"], stands["decided_by"], stands["reason"]) == ("pushed", "anna", "as agreed")
    assert stands["planned_at"] < stands["decided_at"] < stands["merged_at"]
    assert stands["flow_run_id"] == flow_run
    with Warehouse.open(home / "sandbox.duckdb") as db:
        assert db.execute("select state from ops.runs where run_id = ?", (run_id,)) == [("done",)]
    newest = max(
        (a for a in deployed.of("artifacts", flow_run) if a["key"] == "night"), key=lambda artifact: artifact["created"]
    )
    assert "are in the CRM" in newest["data"]


def test_of_two_nights_with_one_plan_only_the_later_waits(
    deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path
) -> None:
    """Whoever resumes the earlier one is told that its plan is void; nothing is sent, and no further night begins."""
    generate(deployed.files, days=10)
    (earlier, first), (later, second) = hold(), hold()
    assert row(home, "run_id", first)["hash"] == row(home, "run_id", second)["hash"]
    before = held_ids(deployed)
    assert resume(deployed, earlier, decision="approve", name="anna")["status"] == "ACCEPT"
    night = deployed.ended(earlier)
    assert night["state_type"] == "FAILED"
    assert f"The plan of run {first} is void: run {second} made the same plan" in night["state"]["message"]
    assert row(home, "run_id", second)["state"] == "held"
    assert resume(deployed, later, decision="reject", reason="not now", name="ben")["status"] == "ACCEPT"
    assert deployed.ended(later)["state_name"] == "Rejected"
    assert held_ids(deployed) == before


def test_a_no_in_the_form_takes_back_an_approval_by_command(
    deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path, project: Path
) -> None:
    before = held_ids(deployed)
    flow_run, run_id = hold()
    assert command(deployed, home, project, "approve", run_id, "--by", "anna")["state"] == "approved"
    assert resume(deployed, flow_run, decision="reject", reason="wrong prices", name="ben")["status"] == "ACCEPT"
    assert deployed.ended(flow_run)["state_name"] == "Rejected"
    stands = row(home, "run_id", run_id)
    assert (stands["state"], stands["decided_by"], stands["reason"]) == ("rejected", "ben", "wrong prices")
    assert held_ids(deployed) == before


def test_a_night_that_was_pushed_by_command_is_not_run_once_more(
    deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path, project: Path
) -> None:
    generate(deployed.files, days=11)
    flow_run, run_id = hold()
    assert command(deployed, home, project, "approve", run_id, "--by", "carla", "--push")["run_id"] == run_id
    before, plans = held_ids(deployed), plans_of(home)
    assert resume(deployed, flow_run, decision="reject", reason="too late", name="ben")["status"] == "ACCEPT"
    night = deployed.ended(flow_run)
    assert f"The plan of run {run_id} was pushed already" in night["state"]["message"]
    assert (held_ids(deployed), plans_of(home)) == (before, plans)
    assert row(home, "run_id", run_id)["decided_by"] == "carla"


def test_nobody_answers_and_the_plan_stays_held_for_whoever_comes(
    deployed: Prefect, hold: Callable[..., tuple[str, str]], home: Path, project: Path
) -> None:
    generate(deployed.files, days=12)
    flow_run, run_id = hold(NIGHTSHIFT_APPROVAL_HOURS="0.003")
    night = deployed.ended(flow_run)
    assert night["state_type"] == "FAILED"
    assert "never resumed" in night["state"]["message"]
    assert row(home, "run_id", run_id)["state"] == "held"
    before = held_ids(deployed)
    assert command(deployed, home, project, "approve", run_id, "--by", "carla", "--push")["run_id"] == run_id
    assert held_ids(deployed) == after(before, home, run_id)
