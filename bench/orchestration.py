"""Prefect's share: the same nights in one process, under Prefect as shipped and by plain calls, in turn.

Plain means: the flow's own function without its flow run, every task's own function, a thread pool of the same size
where tasks are mapped, and dbt's own runner in place of prefect-dbt's. Nothing else differs. Watched means: under
Prefect, with a task run for each of dbt's nodes, which is off as shipped.

Where others are at work on the machine, two equal nights differ by more than Prefect could take. So there is a
reckoning beside it that needs no two equal nights: task runs times what an empty one takes, and what is around the
body. It leaves out prefect-dbt's runner, artifacts and logs, and so is the least that Prefect takes.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from bench.measure import Figure, stopwatch
from bench.world import Bench, home
from flows import orchestration as prefect_api
from flows import staging, transform
from flows.cli.common import silence
from flows.settings import Settings

TASKS = ("extract_source", "build_models", "check_suite", "make_plan", "push_batch", "read_back_batch")
WAYS = ("prefect", "plain", "watched")
AIM = 10.0
"""Percent of a night that Prefect may take."""
QUIET = 3
"""Quiet nights after each first night: they are short, so that one alone would say little."""


@dataclass(frozen=True, slots=True)
class _Night:
    """Seconds of wall time of the flow's body and of the whole call, of this process's CPU, and calls of tasks.

    Tasks are counted where they are called plainly, by the same lines of the flow.
    """

    body: float
    call: float
    cpu: float
    tasks: int


Nights = Mapping[tuple[str, str], Sequence[_Night]]


def figures(bench: Bench) -> list[Figure]:
    """Measure a first night and quiet ones each way, turn by turn; the first turn warms up and is dropped."""
    silence()
    nights: dict[tuple[str, str], list[_Night]] = defaultdict(list)
    with home() as place, patch.dict(os.environ, bench.environment(place)):
        del os.environ["PREFECT_API_URL"]
        with stopwatch() as first:
            _server_starts(place)
        again, ends = zip(*(_server_starts(place) for _ in range(bench.runs)), strict=True)
        with prefect_api.api(place) as server, server.ready():
            empty = [_empty_task_run() for _ in range(bench.runs + 1)][1:]
            for turn in range(bench.runs + 1):
                for way in WAYS if turn % 2 else reversed(WAYS):
                    bench.load.look()
                    for night, taken in _nights(place / f"{way}-{turn}", way):
                        if turn:
                            nights[way, night].append(taken)
    return [
        *_told("first", nights, empty, bench.notes),
        *_told("quiet", nights, empty, bench.notes),
        Figure("an empty task run", [1000 * taken for taken in empty], "ms"),
        Figure("quiet: body with a task run for each dbt node", [n.body for n in nights["watched", "quiet"]]),
        Figure("server: start and end, new home", first),
        Figure("server: start, home that ran before", again),
        Figure("server: end", ends),
    ]


def _told(night: str, nights: Nights, empty: Sequence[float], notes: list[str]) -> list[Figure]:
    shipped, plain = nights["prefect", night], nights["plain", night]
    tasks = plain[0].tasks
    reckoned = [100 * (tasks * median(empty) + n.call - n.body) / n.call for n in shipped]
    noise = [abs(share) for share in _shares(plain[1:], plain[:-1], "body")]
    quiet_enough = bool(noise) and median(noise) < AIM
    if not quiet_enough:
        notes.append(f"{night} nights: equal nights differ by {AIM} % and more here, so that no share can be told.")
    aim = AIM if quiet_enough else None
    return [
        Figure(f"{night}: body under Prefect", [n.body for n in shipped]),
        Figure(f"{night}: body by plain calls", [n.body for n in plain], kind="floor"),
        Figure(f"{night}: around the body under Prefect", [n.call - n.body for n in shipped]),
        Figure(f"{night}: Prefect's share of the body", _shares(shipped, plain, "body"), "%", at_most=aim),
        Figure(f"{night}: the same, fastest night of each way", _fastest(shipped, plain, "body"), "%", at_most=aim),
        Figure(f"{night}: Prefect's share of the whole call", _shares(shipped, plain, "call"), "%"),
        Figure(f"{night}: Prefect's share of this process's CPU", _shares(shipped, plain, "cpu"), "%"),
        Figure(f"{night}: least share, {tasks} task runs and around", reckoned, "%", "floor"),
        *([Figure(f"{night}: noise, one plain night to the next", noise, "%", "floor")] if noise else []),
    ]


def _fastest(shipped: Sequence[_Night], plain: Sequence[_Night], what: str) -> list[float]:
    """The share between the fastest of each way: what others do on the machine can only add to a night."""
    key = attrgetter(what)
    return _shares([min(shipped, key=key)], [min(plain, key=key)], what)


def _shares(shipped: Sequence[_Night], plain: Sequence[_Night], what: str) -> list[float]:
    pairs = zip(map(attrgetter(what), shipped), map(attrgetter(what), plain), strict=True)
    return [100 * (a - b) / a for a, b in pairs]


def _server_starts(place: Path) -> tuple[float, float]:
    """Seconds until a private server answers, and until it is gone."""
    with ExitStack() as stack:
        with stopwatch() as start:
            stack.enter_context(prefect_api.api(place)).wait()
        with stopwatch() as end:
            stack.close()
    return start[0], end[0]


def _nights(place: Path, way: str) -> Iterator[tuple[str, _Night]]:
    """A first night and quiet ones in an empty home."""
    from flows import nightly

    os.environ["NIGHTSHIFT_HOME"] = str(place)
    os.environ[transform.NODE_RUNS] = "true" if way == "watched" else ""
    place.mkdir()
    with staging.sandbox(place, "sandbox"):
        for night in ("first", *("quiet",) * QUIET):
            cpu, before = time.process_time(), _Plain.calls
            with stopwatch() as call:
                summary = _without(nightly) if way == "plain" else _with_prefect(nightly)
            cpu = time.process_time() - cpu
            if summary["state"] != "done" or bool(summary["requests"]) != (night == "first"):
                raise SystemExit(f"The {night} night ({way}) ended as {summary['state']}: {summary['error']}")
            began, ended = (datetime.fromisoformat(summary[key]) for key in ("started_at", "ended_at"))
            yield night, _Night((ended - began).total_seconds(), call[0], cpu, _Plain.calls - before)


def _empty_task_run() -> float:
    """Seconds of one task run that does nothing, of fifty in a row in a flow run."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    @task(cache_policy=NO_CACHE)
    def nothing() -> None:
        pass

    @flow
    def fifty() -> float:
        with stopwatch() as taken:
            for _ in range(50):
                nothing()
        return taken[0] / 50

    return fifty()


def _with_prefect(nightly: Any) -> Any:
    return nightly.nightly("sandbox", return_state=True).result(raise_on_failure=False)


def _without(nightly: Any) -> Any:
    with _plain():
        return nightly.nightly.fn("sandbox").data


class _Plain:
    """A task's function, called as the flow calls the task, in threads where the flow maps."""

    calls = 0

    def __init__(self, task: Any, pool: ThreadPoolExecutor) -> None:
        self._function, self._pool = task.fn, pool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _Plain.calls += 1
        return self._function(*args, **kwargs)

    def map(self, *args: Any, **kwargs: Any) -> list[Future[Any]]:
        """As Prefect maps: lists and tuples go item by item, all else is given to every call."""
        count = next(len(value) for value in args if isinstance(value, (list, tuple)))
        _Plain.calls += count
        return [
            self._pool.submit(
                self._function,
                *(_item(value, at) for value in args),
                **{name: _item(value, at) for name, value in kwargs.items()},
            )
            for at in range(count)
        ]


def _item(value: Any, at: int) -> Any:
    from prefect import unmapped

    if isinstance(value, unmapped):
        return value.value
    return value[at] if isinstance(value, (list, tuple)) else value


@contextmanager
def _plain() -> Iterator[None]:
    """Take Prefect out of the flow's tasks for the body."""
    from flows import tasks

    with ThreadPoolExecutor(tasks.PUSHES) as pool, ExitStack() as stack:
        for name in TASKS:
            stack.enter_context(patch.object(tasks, name, _Plain(getattr(tasks, name), pool)))
        stack.enter_context(patch.object(tasks, "results", _results))
        stack.enter_context(patch.object(tasks, "log", lambda message: None))
        stack.enter_context(patch.object(transform, "_invoke", _dbt))
        yield


def _results(futures: list[Future[Any]]) -> list[Any]:
    wait(futures)
    return [future.result() for future in futures]


def _dbt(settings: Settings, command: list[str], **_: Any) -> None:
    """dbt as `flows.transform` runs it, without prefect-dbt around it."""
    from dbt.cli.main import dbtRunner

    os.environ.update(transform.environment(settings))
    places = ["--project-dir", settings.dbt_project, "--profiles-dir", settings.profiles]
    places += ["--target-path", settings.dbt_target, "--target", settings.target]
    dbtRunner().invoke(["--log-level", "none", "--log-level-file", "warn", *command, *map(str, places)])
