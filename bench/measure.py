"""Processes with their wall time, CPU and memory; figures with their spread; a table of them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

SHOWN = ("prefect", "prefect-dbt", "dbt-core", "dbt-duckdb", "duckdb", "great-expectations", "simple-salesforce")
MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Process:
    """One process that ended well.

    Attributes:
        wall: seconds from its start until it was gone.
        cpu: seconds of CPU of it and of every process it started and waited for.
        peak_mb: its own largest resident memory; 0 where there is no /proc.
        tree_mb: the largest sum over it and all its descendants at one look, shared pages counted in shares (PSS).
        began: when it was started, seconds since the epoch.
        ended: when it was gone.
        out: what it wrote to standard output.
    """

    wall: float
    cpu: float
    peak_mb: float
    tree_mb: float
    began: float
    ended: float
    out: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity, once a run.

    Attributes:
        name: what it is.
        values: one a run.
        unit: s, MB, rows/s and so on.
        kind: ours, peer (other software doing the same) or floor (the least that it could be).
        at_most: the aim, where it is to be small.
        at_least: the aim, where it is to be large.
    """

    name: str
    values: Sequence[float]
    unit: str = "s"
    kind: str = "ours"
    at_most: float | None = None
    at_least: float | None = None

    @property
    def aim(self) -> str:
        """The aim, and whether the median reaches it."""
        if self.at_most is None and self.at_least is None:
            return ""
        bound = f"≤ {number(self.at_most)}" if self.at_most is not None else f"≥ {number(self.at_least or 0)}"
        if self._reaches(median(self.values)):
            missed = sum(not self._reaches(value) for value in self.values)
            return f"{bound}: reached" + (f", not in {missed} of {len(self.values)}" if missed else "")
        return f"{bound}: NOT reached"

    def _reaches(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {
            "unit": self.unit,
            "kind": self.kind,
            "median": round(median(self.values), 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "runs": len(self.values),
            "aim": self.aim,
        }


@dataclass(slots=True)
class Load:
    """The machine's load average (1 minute) before each run: others may be at work on it."""

    seen: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Take it down."""
        self.seen.append(os.getloadavg()[0])


def run(command: Sequence[str | Path], env: Mapping[str, str]) -> Process:
    """Run a command to its end.

    Args:
        command: its arguments.
        env: set on top of this process's environment.
    """
    began, clock = time.time(), time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env={**os.environ, **env},
        )
        watch = _Watch(child.pid)
        # wait4 also gives the CPU of descendants that were waited for; Popen.wait does not.
        _, status, usage = os.wait4(child.pid, 0)
        wall, ended = time.perf_counter() - clock, time.time()
        child.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        out.seek(0)
        errors.seek(0)
        text = out.read().decode()
        if child.returncode:
            told = (text + errors.read().decode())[-3000:]
            raise SystemExit(f"{' '.join(map(str, command))} ended with {child.returncode}:\n{told}")
    return Process(wall, usage.ru_utime + usage.ru_stime, watch.peak, watch.tree, began, ended, text)


class _Watch:
    """Looks at the memory of a process and its descendants four times a second, through /proc."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak, self.tree = pid, 0.0, 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        if Path("/proc/self/stat").exists():
            self._thread.start()

    def stop(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.25):
            # The kernel keeps the high-water mark of each process, so that looking seldom misses nothing of it.
            self.peak = max(self.peak, _kilobytes(self.pid, "status", "VmHWM:") / 1024)
            tree = sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in _descendants(self.pid))
            self.tree = max(self.tree, tree / 1024)


def _kilobytes(pid: int, file: str, key: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    except OSError:  # it is gone
        pass
    return 0


def _descendants(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it is gone
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Give a list that holds the body's seconds of wall time once the body is over."""
    taken: list[float] = []
    clock = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - clock)


def machine() -> dict[str, Any]:
    """The machine and what is installed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": cores,
        "memory_gb": round(memory / MB / 1024, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in SHOWN}},
    }


def number(value: float) -> str:
    """Write a number with as many digits as tell something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(title: str, figures: Sequence[Figure], load: Load, console: Console | None = None) -> None:
    """Print figures as a table: median, least to most, and what was aimed at."""
    console = console or Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name, justify in (("", "left"), ("", "left"), ("median", "right"), ("min-max", "right"), ("", "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("aim", no_wrap=True)
    for one in figures:
        spread = f"{number(min(one.values))}-{number(max(one.values))}" if len(one.values) > 1 else ""
        table.add_row(one.name, one.kind, number(median(one.values)), spread, one.unit, one.aim)
    console.print(table)
    seen = load.seen
    console.print(f"load average before the runs: {min(seen):.1f} to {max(seen):.1f}\n", style="dim")
