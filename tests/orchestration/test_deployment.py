"""The nightly deployment on a real Prefect server, run by a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT
from tests.orchestration.conftest import PATIENCE, RETRY_SECONDS, Prefect, until

SHOP_IS_DOWN = {"path": "/shop/", "status": 403}


@pytest.fixture(scope="module")
def nights(deployed: Prefect) -> tuple[str, str]:
    """Two runs on an empty CRM, the second asked for while the first is under way."""
    first = deployed.run(node_runs=True)
    until(lambda: deployed.call("GET", f"/flow_runs/{first}")["state_type"] != "SCHEDULED", "the first run begins")
    return first, deployed.run()


def test_what_is_deployed(deployed: Prefect) -> None:
    found = deployed.deployment
    (schedule,) = found["schedules"]
    assert schedule["active"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "UTC")
    assert found["global_concurrency_limit"]["limit"] == 1
    assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert found["work_pool_name"] == "nightshift"
    assert found["parameters"] == {"target": "sandbox"}
    assert found["tags"] == ["nightshift"]
    assert found["description"].startswith("Extracts the sources")
    assert found["version"] == tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert found["job_variables"]["env"]["PREFECT_FLOWS_DEFAULT_RETRIES"] == "2"
    # Workers run the flow from the checkout that it was deployed from; nothing is cloned.
    assert found["pull_steps"] == [{"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT)}}]
    assert str(PROJECT) not in (PROJECT / "prefect.yaml").read_text()


def test_the_schedule_makes_runs(deployed: Prefect) -> None:
    coming = until(
        lambda: deployed.call("POST", "/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}}),
        "the scheduler plans the coming nights",
    )
    assert all("T02:00:00" in run["expected_start_time"] for run in coming if run["auto_scheduled"])
    assert any(run["auto_scheduled"] for run in coming)


def test_a_night_completes_and_says_what_it_did(deployed: Prefect, nights: tuple[str, str]) -> None:
    night = deployed.ended(nights[0])
    assert (night["state_type"], night["name"], night["run_count"]) == ("COMPLETED", "sandbox now", 1)
    applied, words = night["state"]["message"].split(" ", 1)
    assert (int(applied) > 100, words) == (True, "records applied")

    wanted = {
        *("extract retail.invoice_lines", "extract shop.customers", "dbt build sandbox"),
        *("gate raw.retail__invoice_lines", "gate crm.crm_accounts"),
        *("model crm_accounts", "test unique_crm_accounts_account_id"),
        *("push 0-crm_accounts-create-00000", "read back 0-crm_accounts-create-00000"),
    }

    def told() -> list[dict[str, Any]] | None:
        # Task runs are told by events, which the server takes in a moment after the flow run's own state.
        found = deployed.of("task_runs", nights[0])
        return found if wanted <= {run["name"] for run in found if run["state_type"] == "COMPLETED"} else None

    assert {run["state_type"] for run in until(told, "all task runs are told")} <= {"COMPLETED", "RUNNING"}


def test_artifacts_of_a_night(deployed: Prefect, nights: tuple[str, str]) -> None:
    deployed.ended(nights[0])
    found = {artifact["key"]: artifact for artifact in deployed.of("artifacts", nights[0])}
    assert set(found) == {"night", "plan", "gates", "morning-page"}
    assert found["plan"]["type"] == "table"
    assert found["gates"]["type"] == "table"
    for key in ("plan", "gates"):
        assert isinstance(found[key]["data"], str)
    assert '"Object": "Account"' in found["plan"]["data"]
    assert '"Table": "crm.crm_accounts"' in found["gates"]["data"]
    assert "are in the CRM" in found["night"]["data"]
    page = found["morning-page"]["data"].partition("(file://")[2].rstrip(")")
    assert Path(page).read_text(encoding="utf-8").lower().startswith("<!doctype html>")
    people = " ".join(str(artifact["data"]) + str(artifact["description"]) for artifact in found.values())
    assert "@" not in people.replace("@media", "")


def test_a_second_run_waits_and_has_nothing_to_do(deployed: Prefect, nights: tuple[str, str]) -> None:
    early, late = (deployed.ended(run) for run in nights)
    assert late["start_time"] >= early["end_time"]
    waited = deployed.call("GET", f"/flow_run_states/?flow_run_id={late['id']}")
    assert "AwaitingConcurrencySlot" in {state["name"] for state in waited}
    assert late["state"]["message"] == "0 records applied"


def test_a_night_that_failed_is_tried_again(deployed: Prefect, nights: tuple[str, str]) -> None:
    for run in nights:
        deployed.ended(run)
    deployed.faults({**SHOP_IS_DOWN, "times": 1})
    generate(deployed.files, days=len(list(deployed.files.iterdir())) + 1)
    night = deployed.ended(deployed.run(retries=2))
    deployed.faults()
    assert (night["state_type"], night["run_count"]) == ("COMPLETED", 2)
    assert night["total_run_time"] > 0
    names = [state["name"] for state in deployed.call("GET", f"/flow_run_states/?flow_run_id={night['id']}")]
    assert "AwaitingRetry" in names
    assert int(night["state"]["message"].split()[0]) > 0
    assert int(deployed.deployment["job_variables"]["env"]["PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"]) > RETRY_SECONDS


def test_a_night_that_stays_failed_says_why(deployed: Prefect, nights: tuple[str, str]) -> None:
    for run in nights:
        deployed.ended(run)
    deployed.faults(SHOP_IS_DOWN)
    night = deployed.ended(deployed.run())
    deployed.faults()
    assert night["state_type"] == "FAILED"
    what = night["state"]["message"]
    assert "shop.customers" in what
    assert "403" in what
    assert "Safe: " in what
    assert "Traceback" not in what

    def logged() -> str | None:
        text = "\n".join(log["message"] for log in deployed.of("logs", night["id"]))
        return text if "NightFailed: " in text else None

    # What Prefect itself could not understand of our state would stand here.
    text = until(logged, "the run's end is logged")
    assert f"NightFailed: {what}" in text
    assert "prefect.exceptions" not in text
    assert "TypeError" not in text
    assert {artifact["key"] for artifact in deployed.of("artifacts", night["id"])} == {"night", "morning-page"}


def test_a_run_from_the_command_line_links_to_the_server_that_it_was_given(deployed: Prefect, tmp_path: Path) -> None:
    base = "https://nights.example/reports"
    ours = {"NIGHTSHIFT_HOME": str(tmp_path), "NIGHTSHIFT_REPORTS_URL": base}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "--output", "json"],
        env={**deployed.env, **ours},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    run = json.loads(done.stdout)
    place, _, flow_run = run["flow_run"].rpartition("/")
    assert place.startswith(deployed.url.removesuffix("/api"))
    assert deployed.call("GET", f"/flow_runs/{flow_run}")["id"] == flow_run
    assert run["flow_run"] in Path(run["page"]).read_text(encoding="utf-8")
    [link] = [artifact["data"] for artifact in deployed.of("artifacts", flow_run) if artifact["key"] == "morning-page"]
    assert f"({base}/{run['run_id']}/morning-page.html)" in link
