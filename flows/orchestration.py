"""A Prefect API for runs from the command line: the one that ``PREFECT_API_URL`` names, else a private one.

The private server is a process of its own on loopback, so that it starts while this process still imports, and its
output goes to a log file. It keeps its history in ``NIGHTSHIFT_HOME/prefect``. Services that only a deployment needs
(schedules, late runs, automations) are off in it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from flows.errors import NightshiftError

START_SECONDS = 90.0
"""How long the private server may take to answer; a cold start on a slow disk took 15 s."""

_IDLE_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "DB_VACUUM",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)


def quiet_environment(home: Path) -> dict[str, str]:
    """Prefect's settings for a run from the command line: its files under ``home``, no telemetry, a silent console."""
    return {
        "PREFECT_HOME": os.environ.get("PREFECT_HOME", str(home / "prefect")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    }


@contextmanager
def api(home: Path) -> Iterator[PrivateServer | None]:
    """Make sure that there is a Prefect API for the body; import Prefect only inside it.

    Args:
        home: Nightshift's home.

    Yields:
        The private server, to be waited for with `PrivateServer.wait`; None where ``PREFECT_API_URL`` names one.
    """
    os.environ.update(quiet_environment(home))
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    server = PrivateServer(home)
    os.environ["PREFECT_API_URL"] = server.url
    try:
        yield server
    finally:
        _send_what_is_queued()
        server.stop()
        del os.environ["PREFECT_API_URL"]


def _send_what_is_queued() -> None:
    """Logs and events go out in the background: the server must not be gone before them, or Prefect complains."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=5)


class PrivateServer:
    """A Prefect server on loopback that lives as long as one command."""

    def __init__(self, home: Path) -> None:
        self.log = home / "prefect" / "server.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _IDLE_SERVICES}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
                    *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **off,
                    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
                    "PREFECT_SERVER_UI_ENABLED": "false",
                    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
                },
                # Ctrl-C is for the run: it ends in order, and then it ends its server.
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            NightshiftError: it ended, or did not answer within `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urlopen(f"{self.url}/health", timeout=2):  # noqa: S310 - our own loopback address
                    return
            except (URLError, OSError):
                time.sleep(0.05)
        raise NightshiftError(
            f"The private Prefect server did not start; see {self.log}.",
            safe="Nothing ran.",
            todo="Run again; or start `prefect server start` yourself and set PREFECT_API_URL.",
        )

    def stop(self) -> None:
        """End it; what it has not written by then is only its own history."""
        self._process.terminate()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
