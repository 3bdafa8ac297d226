"""Other people's clients from npm: installed once, and run so that they reach nothing but this machine.

What is installed is in ``clients/<name>/package.json``, in exact versions. It goes to ``var/npm`` in the checkout and
is used again by later runs; ``make clean`` forgets it. Where it cannot be installed the tests are skipped and say why.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import IO, Any

import pytest

from tests.conftest import PROJECT

CLIENTS = Path(__file__).with_name("clients")
CACHE = PROJECT / "var" / "npm"
OLDEST_NODE = 20
INSTALL_SECONDS = 180
RUN_SECONDS = 120
# Scripts of the packages are not run; a registry that is not there is given up after seconds, not after minutes.
OPTIONS = (
    *("--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier", "--ignore-scripts", "--prefer-offline"),
    *("--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"),
)
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
"""The same in all test processes of one run."""


def install(client: str) -> Path:
    """Install a client, unless it is there; skip the test where that cannot be done.

    Args:
        client: the folder in ``clients`` whose ``package.json`` says what is installed.

    Returns:
        The folder that holds its ``node_modules``.
    """
    if why := _without_node():
        pytest.skip(why)
    wanted = (CLIENTS / client / "package.json").read_bytes()
    home = CACHE / f"{client}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    failed = CACHE / f"{client}.failed"
    with (CACHE / f"{client}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test process installs, the others wait; it is tried once in a run
        if not home.exists():
            run, _, why = failed.read_text(encoding="utf-8").partition("\n") if failed.exists() else ("", "", "")
            if run != RUN:
                why = _install(client, wanted, home)
                failed.write_text(f"{RUN}\n{why}", encoding="utf-8")
            if why:
                pytest.skip(why)
    return home


@cache
def _without_node() -> str:
    """Why nothing can be installed; nothing where it can."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "Node.js and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=30).stdout.strip()
    old = int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE
    return f"the clients need Node.js {OLDEST_NODE} or newer; this is {version}" if old else ""


def _install(client: str, wanted: bytes, home: Path) -> str:
    """Answers why it could not be installed; nothing where it was."""
    part = home.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    (part / "package.json").write_bytes(wanted)
    command = ["npm", "install", *OPTIONS, "--cache", str(CACHE / "cache"), "--prefix", str(part)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, cwd=part)
    except subprocess.TimeoutExpired:
        return f"npm did not install {client} within {INSTALL_SECONDS} s"
    if done.returncode:
        said = [line.removeprefix("npm error ") for line in done.stderr.splitlines() if line.startswith("npm error")]
        return f"npm could not install {client}: {'; '.join(said[:4])}"
    part.rename(home)
    return ""


class Client:
    """An installed client, and a home of its own for all that it writes.

    Args:
        name: the folder in ``clients``.
        home: the folder that becomes its ``HOME``.
        env: its environment, besides that.
    """

    def __init__(self, name: str, home: Path, **env: str) -> None:
        self.name = name
        self.installed = install(name)
        self.home = home
        self._notes = home / "not-loopback.txt"
        self.env = {
            "PATH": f"{self.installed / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(home),
            "NODE_OPTIONS": f"--require {json.dumps(str(CLIENTS / 'loopback.cjs'))}",
            "LOOPBACK_NOTES": str(self._notes),
            **env,
        }

    def start(self, *command: str, stdout: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command that runs until it is told to stop; what it says goes to a file."""
        return subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT, env=self.env)

    def run(self, *command: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end; it must not have looked beyond this machine."""
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=cwd, env=self.env, timeout=RUN_SECONDS
        )
        self.stayed()
        return done

    def stayed(self) -> None:
        """Fail where it tried to reach anything but this machine."""
        assert not self._notes.exists(), f"{self.name} wanted to reach {self._notes.read_text()}"

    def script(self, name: str, **given: Any) -> Any:
        """Run one of the client's scripts; answers what it printed.

        Args:
            name: the script beside its ``package.json``.
            given: what the script gets, as JSON.
        """
        # Read from stdin, a script finds its imports where it is run: the checkout needs no node_modules.
        text = (CLIENTS / self.name / name).read_text(encoding="utf-8")
        done = self.run("node", "--input-type=module", "-", json.dumps(given), cwd=self.installed, stdin=text)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
