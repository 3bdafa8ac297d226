"""Real processes: a Prefect server, a worker, and the command; each ends with the tests, whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.sandbox.server import Running, SandboxConfig, start
from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT

PATIENCE = 120.0
"""Seconds that anything may take on a busy machine."""

RETRY_SECONDS = 2


def until(said: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until something is true, and give it back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = said()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"{what}: not within {seconds:.0f} s")


@contextmanager
def process(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this test; it and what it started are gone afterwards."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, cwd=PROJECT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Prefect:
    """A Prefect server with the deployment on it, a worker, and the staging world that its runs meet."""

    url: str
    env: Mapping[str, str]
    files: Path
    sandbox: Running
    said: str

    def call(self, method: str, path: str, **body: Any) -> Any:
        # Its SQLite file takes one writer at a time; like Prefect's own clients, ask again where it is locked.
        request = httpx.Request(method, f"{self.url}{path}", json=body or None)
        with httpx.Client(timeout=30) as client:
            while (answer := client.send(request)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
                time.sleep(0.2)
        return answer.raise_for_status().json() if answer.content else None

    @property
    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "/deployments/name/nightshift/nightly")
        return found

    def run(self, retries: int = 0, node_runs: bool = False, **env: str) -> str:
        """Start a run of the deployment; only the times between attempts differ from what is deployed."""
        wanted = {
            **self.deployment["job_variables"]["env"],
            "PREFECT_FLOWS_DEFAULT_RETRIES": str(retries),
            "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": str(RETRY_SECONDS),
            "NIGHTSHIFT_DBT_NODE_RUNS": str(node_runs).lower(),
            **env,
        }
        made = self.call("POST", f"/deployments/{self.deployment['id']}/create_flow_run", job_variables={"env": wanted})
        return str(made["id"])

    def ended(self, run: str) -> dict[str, Any]:
        """Wait for a run's last state."""

        def last() -> dict[str, Any] | None:
            found: dict[str, Any] = self.call("GET", f"/flow_runs/{run}")
            return found if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        found: dict[str, Any] = until(last, f"run {run} ends")
        return found

    def faults(self, *rules: Mapping[str, Any]) -> None:
        httpx.post(f"{self.sandbox.base_url}/_sandbox/faults", json=list(rules), timeout=30).raise_for_status()

    def of(self, kind: str, run: str) -> list[dict[str, Any]]:
        """Task runs, artifacts, or logs of a run."""
        if kind == "logs":
            body: dict[str, Any] = {"logs": {"flow_run_id": {"any_": [run]}}}
        else:
            body = {"flow_runs": {"id": {"any_": [run]}}}
        found: list[dict[str, Any]] = self.call("POST", f"/{kind}/filter", **body)
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def clean_environment(home: Path) -> dict[str, str]:
    """The environment of a person who has set nothing of Prefect's or Nightshift's."""
    ours = ("PREFECT_", "NIGHTSHIFT_", "SANDBOX_", "SHOP_", "RETAIL_", "DBT_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "NIGHTSHIFT_HOME": str(home),
        "PYTHONPATH": str(PROJECT),
    }


def prefect(*command: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *command]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """What the first lines of prefect.yaml say, done as they say it."""
    folder = tmp_path_factory.mktemp("deployed")
    files = folder / "invoices"
    generate(files, days=3)
    url = f"http://127.0.0.1:{(port := free_port())}/api"
    glob = str(files / "*.csv.gz")
    with start(SandboxConfig(retail_files=glob)) as sandbox:
        env = {
            **clean_environment(folder / "home"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            # The UI's files would be copied into the installed package; and nobody looks at them here.
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "SANDBOX_URL": sandbox.base_url,
            "RETAIL_FILES": glob,
        }
        serve = prefect("server", "start", "--host", "127.0.0.1", "--port", str(port))
        with process(serve, env, folder / "server.log") as server:

            def answers() -> bool:
                assert server.poll() is None, (folder / "server.log").read_text()
                try:
                    return httpx.get(f"{url}/health", timeout=5).is_success
                except httpx.TransportError:
                    return False

            until(answers, "the server answers")
            said = ""
            for command in (("work-pool", "create", "nightshift", "--type", "process"), ("deploy", "--all")):
                done = subprocess.run(
                    prefect(*command),
                    cwd=PROJECT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                )
                assert done.returncode == 0, done.stdout + done.stderr
                said += done.stdout
            work = prefect("worker", "start", "--pool", "nightshift")
            with process(work, env, folder / "worker.log"):
                yield Prefect(url, env, files, sandbox, said)
