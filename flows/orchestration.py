"""A Prefect API for runs from the command line: the one that ``PREFECT_API_URL`` names, else a private one.

The private server is a process of its own on loopback, so that it starts while this process still imports, and its
output goes to a log file. It keeps its history in ``NIGHTSHIFT_HOME/prefect``. What only a deployment or a person at
Prefect's UI needs is off in it; docs/decisions/0002-private-prefect-server.md says what that saves.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn
from urllib.request import ProxyHandler, build_opener

from flows.errors import NightshiftError

START_SECONDS = 90.0
"""How long the private server may take to answer; a cold start on a slow disk took 15 s."""

STOP_SECONDS = 5.0
"""How long a run that is told to stop may take to end in order, before its process ends as it is."""

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

_SERVER = {
    **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _IDLE_SERVICES},
    # No block is stored in it; and only without the memo are the collections (dbt among them) not imported: 1.5 s.
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
}

_DIRECT = build_opener(ProxyHandler({}))


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


_PRIVATE: set[str] = set()
"""The APIs of the private servers that this process has started."""


def is_private() -> bool:
    """Whether the Prefect API in use is that of a private server, which nobody can look at after the run."""
    return os.environ.get("PREFECT_API_URL") in _PRIVATE


@contextmanager
def api(home: Path) -> Iterator[PrivateServer | NamedServer]:
    """Make sure that there is a Prefect API for the body; import Prefect only inside it.

    Args:
        home: Nightshift's home.

    Yields:
        The server; import what the run needs, then have it `ready`.
    """
    os.environ.update(quiet_environment(home))
    named = os.environ.get("PREFECT_API_URL")
    if named:
        yield NamedServer(named)
        return
    server = PrivateServer(home)
    os.environ["PREFECT_API_URL"] = server.url
    _PRIVATE.add(server.url)
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


class NamedServer:
    """The server that ``PREFECT_API_URL`` names.

    Attributes:
        url: its API.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def wait(self) -> None:
        """See that it answers.

        Raises:
            NightshiftError: it does not.
        """
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            failed = client.api_healthcheck()
        if failed is not None:
            raise NightshiftError(
                f"The Prefect server at {self.url} does not answer: {failed}",
                safe="Nothing ran.",
                todo="Start it (prefect server start), or unset PREFECT_API_URL: the run then starts a private one.",
            )

    @contextmanager
    def ready(self) -> Iterator[None]:
        """See that it answers, then let the body run."""
        self.wait()
        yield


class PrivateServer:
    """A Prefect server that lives as long as one command.

    Attributes:
        url: its API, on loopback.
        log: the file that holds its output.
    """

    def __init__(self, home: Path) -> None:
        self.log = home / "prefect" / "server.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.orchestration", str(port)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **_SERVER},
                # Ctrl-C is for the run: it ends in order, and then it ends its server.
                start_new_session=True,
            )
        # Its first answer takes it half a second more, which passes while this process imports.
        self._answers = threading.Thread(target=self._first_answer, name="first-answer", daemon=True)
        self._answers.start()

    def _first_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with _DIRECT.open(f"{self.url}/admin/version", timeout=START_SECONDS):
                    return
            except OSError:
                time.sleep(0.05)

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            NightshiftError: it ended, or did not answer within `START_SECONDS`.
        """
        self._answers.join(START_SECONDS)
        if self._answers.is_alive() or self._process.poll() is not None:
            raise NightshiftError(
                f"The private Prefect server did not start; see {self.log}.",
                safe="Nothing ran.",
                todo="Run again; or start `prefect server start` yourself and set PREFECT_API_URL.",
            )

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Wait until it answers, then let the body run, with Prefect's settings for a short life."""
        self.wait()
        from prefect.settings import temporary_settings

        # Nobody looks for lost heartbeats here, and at its end a run would wait up to a second for their thread.
        with temporary_settings({"flows.heartbeat_frequency": None}):
            yield

    def stop(self) -> None:
        """End it; what it has not written by then is only its own history."""
        self._process.terminate()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def end_with(parent: IO[bytes]) -> None:
    """Tell this process to end when the other end of a pipe closes, be it that the parent was killed.

    Args:
        parent: the reading end; nothing is ever written into it.
    """

    def watch() -> None:
        os.read(parent.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


class Stopped(KeyboardInterrupt):
    """The run was told to stop: SIGINT (Ctrl-C) or SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT (Ctrl-C) and SIGTERM end the body in order, and the process within `STOP_SECONDS` whatever happens.

    Raises:
        SystemExit: the body was told to stop; the code is 128 and the signal's number, as shells have it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []
    telling = threading.Lock()

    def tell(number: int) -> None:
        with telling:
            if told:
                return
            told.append(number)
            sys.stderr.write(
                f"Stopped by {signal.Signals(number).name}. "
                "What the CRM has answered is kept; the next run goes on from it.\n"
            )
            sys.stderr.flush()

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise Stopped(number)

    def watch() -> None:
        # Prefect puts a handler of its own in the place of ours while a flow runs; the bytes come all the same.
        for (number,) in iter(lambda: ours.recv(1), b""):
            if told and number == signal.SIGINT:
                os._exit(128 + told[0])
            if not told:
                # A thread that waits for the CRM cannot be interrupted. To end without it is harmless: receipts are
                # on the disk as soon as they come, and what this process has started ends with it (`end_with`).
                hard = threading.Timer(STOP_SECONDS, os._exit, (128 + number,))
                hard.daemon = True
                hard.start()
                tell(number)

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    threading.Thread(target=watch, name="stop", daemon=True).start()
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    woken = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield
    except BaseException as raised:
        if isinstance(raised, Stopped):
            tell(raised.args[0])
        if told:
            raise SystemExit(128 + told[0]) from None
        raise
    else:
        if told:
            raise SystemExit(128 + told[0])
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if not told:
            theirs.close()


def _serve(port: int) -> None:
    import uvicorn

    end_with(sys.stdin.buffer)
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
