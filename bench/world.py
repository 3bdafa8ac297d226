"""What a night is measured on: the invoice files, a home to run in, and the commands that are compared."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import measure
from bench.measure import Load, Process
from flows import orchestration, staging, transform
from flows.settings import Settings

PROJECT = Path(__file__).resolve().parents[1]
REAL = "data/online-retail/by-day/*.csv.gz"
"""The real invoices, in the folder that the tests take real data from too (CONTRIBUTING.md)."""


@dataclass(slots=True)
class Bench:
    """What every benchmark gets.

    Attributes:
        files: the glob of invoice files.
        data: what they are, in words.
        runs: how often each thing is measured.
        records: how many records to push, where the benchmark leaves the choice; None for its own.
        load: the machine's load, taken down before each run.
        notes: said under the figures.
    """

    files: str
    data: str
    runs: int
    records: int | None = None
    load: Load = field(default_factory=Load)
    notes: list[str] = field(default_factory=list)

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of one run: its home, its invoices, and nothing of the caller's own set-up."""
        own = ("SANDBOX_URL", "SHOP_URL", "PREFECT_API_URL", "NIGHTSHIFT_NOTIFY", "NIGHTSHIFT_TARGET")
        return {**dict.fromkeys(own, ""), "NIGHTSHIFT_HOME": str(home), "RETAIL_FILES": self.files}

    def night(self, home: Path) -> tuple[Process, dict[str, Any]]:
        """`nightshift run` as a process; its JSON beside it."""
        self.load.look()
        command = [sys.executable, "-m", "flows.cli", "run", "--output", "json"]
        done = measure.run(command, self.environment(home))
        summary: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return done, summary

    def dbt_build(self, home: Path) -> Process:
        """`dbt build` as a process: same project, warehouse, profile and threads as the night's."""
        settings = Settings(PROJECT, home, "sandbox")
        env = {**self.environment(home), **transform.environment(settings), "SHOP_URL": "http://127.0.0.1/shop"}
        places = ["--project-dir", str(settings.dbt_project), "--profiles-dir", str(settings.profiles)]
        # A target of its own, so that neither spoils what the other's parser remembers.
        places += ["--target-path", str(home / "dbt" / "bench"), "--target", settings.target]
        command = [
            str(Path(sys.executable).with_name("dbt")),
            "--quiet",
            "build",
            "--exclude-resource-type",
            "unit_test",
        ]
        return measure.run([*command, *places], env)

    def imports(self, home: Path, *modules: str) -> Process:
        """A process that does nothing but import."""
        env = orchestration.quiet_environment(home)
        return measure.run([sys.executable, "-c", f"import {', '.join(modules)}"], {**self.environment(home), **env})


def choose(files: str | None, runs: int) -> Bench:
    """Take the files that were asked for, else the real ones, else the sandbox's sample."""
    if files is not None:
        found = len(glob.glob(files, recursive=True))
        if not found:
            raise SystemExit(f"{files} matches no file.")
        return Bench(str(Path(files).absolute()), f"{found} files of {files}", runs)
    real = str(Path(os.environ.get("NIGHTSHIFT_SHARED", PROJECT.parent / "shared")) / REAL)
    if found := len(glob.glob(real)):
        return Bench(real, f"{found} real days (UCI Online Retail)", runs)
    sample = staging.generated_invoices(PROJECT / "var" / "bench")
    return Bench(sample, "the sandbox's generated sample (there are no real files)", runs)


@contextmanager
def home() -> Iterator[Path]:
    """An empty home, gone afterwards."""
    var = PROJECT / "var"
    var.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=var, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def sandbox(store: Path, *options: str) -> Iterator[dict[str, str]]:
    """An empty sandbox in a process of its own, unthrottled if not told otherwise; gives what it tells when ready."""
    command = [sys.executable, "-m", "flows.cli", "sandbox", "--store", str(store), "--output", "json", *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or not (line := process.stdout.readline()):
            raise SystemExit("The sandbox did not start.")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait()


def seconds(summary: dict[str, Any]) -> dict[str, float]:
    """Stage -> seconds of a run's JSON."""
    return {name: stage["seconds"] for name, stage in summary["stages"].items()}


def around(done: Process, summary: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a run's process before the flow's body began and after it ended."""
    began, ended = (datetime.fromisoformat(summary[name]).timestamp() for name in ("started_at", "ended_at"))
    return began - done.began, done.ended - ended
