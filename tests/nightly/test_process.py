"""Whole processes, as people start them: nothing is written outside the home, nothing goes out to the network."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT
from tests.nightly.world import COMMAND, Night, World, _night, wanted

WATCH = """
import os, sys

def watch(event, args):
    if event != "socket.connect" or not isinstance(args[1], tuple):
        return
    host = str(args[1][0])
    if not host.startswith("127.") and host not in ("::1", "localhost"):
        with open(os.environ["WATCH_FILE"], "a") as file:
            file.write(f"{sys.argv} {args[1]}\\n")

sys.addaudithook(watch)
"""


def listing() -> set[str]:
    """The files of the checkout, but for what Python and other tools cache."""
    shown = subprocess.run(
        ["git", "status", "--porcelain", "--ignored"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    caches = ("__pycache__/", ".hypothesis/", ".pytest_cache/", ".ruff_cache/", ".mypy_cache/")
    return {line for line in shown.stdout.splitlines() if not line.endswith(caches)}


def alone(tmp_path: Path, *words: str) -> Night:
    """Run a command with nothing but its home: an empty HOME, an empty current folder, a temp folder of its own."""
    for name in ("watch", "home", "cwd", "tmp"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    environment = {
        **kept,
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "NIGHTSHIFT_HOME": str(tmp_path / "var"),
        "PYTHONPATH": f"{tmp_path / 'watch'}{os.pathsep}{PROJECT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "WATCH_FILE": str(tmp_path / "outside.txt"),
    }
    done = subprocess.run(
        [*COMMAND, *words], cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, timeout=300
    )
    return _night(done.returncode, done.stdout, done.stderr)


def test_two_nights_on_the_sandbox_of_their_own(tmp_path: Path) -> None:
    before = listing()
    first = alone(tmp_path, "run")
    assert (first.code, first.err) == (0, "")
    assert str(tmp_path / "var" / "reports") in first.out
    second = alone(tmp_path, "run", "--output", "json")
    assert (second.code, second.err, second.out.count("\n")) == (0, "", 1)
    assert second.operations == 0
    assert second.summary["requests"] == 0

    assert list((tmp_path / "home").iterdir()) == []
    assert list((tmp_path / "cwd").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert listing() == before
    assert not (tmp_path / "outside.txt").exists(), (tmp_path / "outside.txt").read_text()
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout if shutil.which("ps") else ""
    assert str(tmp_path) not in left, "a process was left behind"


def test_the_watch_would_see_a_connection_to_the_outside(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    program = "import socket; s = socket.socket(); s.settimeout(0.01); s.connect_ex(('192.0.2.1', 9))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "WATCH_FILE": str(tmp_path / "outside.txt")}
    subprocess.run([COMMAND[0], "-c", program], env=environment, check=True)
    assert "192.0.2.1" in (tmp_path / "outside.txt").read_text()


@pytest.mark.parametrize("kilobytes", [256, 1500])
def test_a_full_disk(
    make_world: Callable[..., World], tmp_path: Path, kilobytes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file may grow beyond a limit, as if the disk were full; then there is room again."""
    days = generate(tmp_path / "store", days=20)
    world = make_world(files=tmp_path / "store")
    environment = {**os.environ, **world.environment()}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    done = subprocess.run(
        [*COMMAND, "run", "--output", "json"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=limit,
    )
    night = _night(done.returncode, done.stdout, done.stderr)
    assert night.code == 1, night
    assert "Traceback" not in night.out + night.err
    assert night.out.count("\n") == 1
    assert night.summary["state"] == "failed"
    assert "File too large" in night.error
    assert str(world.home) in night.error
    assert "Nightshift itself failed" not in night.error
    assert "Free disk space" in night.summary["error"]["todo"]
    assert night.summary["error"]["safe"]
    good = world.run(capfd)
    assert (good.code, good.error, good.err) == (0, "", "")
    assert world.crm.held() == wanted(world.crm, days, "2012-12-31")
