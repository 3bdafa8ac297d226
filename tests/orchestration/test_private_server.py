"""Runs from the command line: quiet, on loopback alone, and gone when they end, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT
from tests.orchestration.conftest import PATIENCE, clean_environment, free_port, until

RUN = [sys.executable, "-m", "flows.cli", "run"]

LISTENER = """
import os, sys, socket

who = os.path.basename(sys.orig_argv[2] if len(sys.orig_argv) > 2 else "")

def say(where):
    with open(os.environ["HEARD"], "a") as heard:
        heard.write(f"{who} {where}\\n")

def look(event, args):
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        return
    if event == "socket.getaddrinfo":
        host = args[0]
    else:
        family, address = args[0].family, args[1]
        host = address[0] if family in (socket.AF_INET, socket.AF_INET6) else "local"
    host = host.decode() if isinstance(host, bytes) else host
    say(host)

say("ears-open")
sys.addaudithook(look)
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A home, a few invoices, and an ear in every process that hears where it connects to."""
    folder = tmp_path_factory.mktemp("private")
    generate(folder / "invoices", days=2)
    ear = folder / "ear"
    ear.mkdir()
    (ear / "sitecustomize.py").write_text(LISTENER)
    return {
        **clean_environment(folder / "home"),
        "RETAIL_FILES": str(folder / "invoices" / "*.csv.gz"),
        "PYTHONPATH": f"{ear}{os.pathsep}{PROJECT}",
        "HEARD": str(folder / "heard"),
    }


def of_home(env: dict[str, str]) -> dict[int, str]:
    """Process id -> command of everything that runs for this home (Linux)."""
    wanted = f"NIGHTSHIFT_HOME={env['NIGHTSHIFT_HOME']}\0".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_stays(env: dict[str, str]) -> Iterator[None]:
    """No process of a run outlives it."""
    yield
    try:
        until(lambda: not of_home(env), "all processes end", 15)
    finally:
        for number in of_home(env):
            os.kill(number, signal.SIGKILL)


def test_a_good_run_is_quiet_and_speaks_to_loopback_alone(env: dict[str, str]) -> None:
    done = subprocess.run(RUN, env=env, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "changes are in the CRM" in done.stdout
    home = Path(env["NIGHTSHIFT_HOME"])
    assert (home / "prefect" / "server.log").read_text() == ""
    assert (home / "sandbox" / "sandbox.log").read_text() == ""
    # A process that was given its program as text has spaces in its name.
    heard = {tuple(line.rsplit(maxsplit=1)) for line in Path(env["HEARD"]).read_text().splitlines()}
    assert {("flows.cli", "127.0.0.1"), ("flows.orchestration", "ears-open")} <= heard
    assert {where for _, where in heard} <= {"ears-open", "127.0.0.1", "localhost", "local", "None"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stage", ["start", "transform"])
def test_a_run_that_is_told_to_stop_ends_soon_and_alone(
    env: dict[str, str], number: signal.Signals, code: int, stage: str
) -> None:
    home = Path(env["NIGHTSHIFT_HOME"])
    sign = home / "sandbox" / "sandbox.log" if stage == "start" else home / "dbt" / "sandbox" / "run_results.json"
    sign.unlink(missing_ok=True)
    running = subprocess.Popen(
        RUN, env=env, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        until(sign.exists, f"the run comes to {stage}")
        asked = time.monotonic()
        running.send_signal(number)
        out, err = running.communicate(timeout=PATIENCE)
        took = time.monotonic() - asked
    finally:
        running.kill()
        running.wait()
    assert running.returncode == code
    assert out == ""
    assert err == f"Stopped by {number.name}. What the CRM has answered is kept; the next run goes on from it.\n"
    assert took < 15  # five seconds, and the noise of a busy machine


def test_what_a_killed_run_had_started_ends_with_it(env: dict[str, str]) -> None:
    built = Path(env["NIGHTSHIFT_HOME"]) / "dbt" / "sandbox" / "run_results.json"
    built.unlink(missing_ok=True)
    running = subprocess.Popen(RUN, env=env, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(built.exists, "the run is in its transform, so that the server and the sandbox have answered")
        assert len(of_home(env)) >= 3
    finally:
        running.kill()
        running.wait()
    until(lambda: not of_home(env), "the server and the sandbox end", 15)


def test_the_next_run_goes_on(env: dict[str, str]) -> None:
    done = subprocess.run(RUN, env=env, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_that_does_not_answer_is_said_at_once(env: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    done = subprocess.run(
        RUN, env={**env, "PREFECT_API_URL": url}, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (1, "")
    told = " ".join(done.stderr.split())
    assert f"The Prefect server at {url} does not answer" in told
    assert "Nothing ran." in told
    assert "unset PREFECT_API_URL" in told
    assert "Traceback" not in told
