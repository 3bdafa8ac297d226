"""The transform stage: dbt in this process, through prefect-dbt.

Where people watch runs in Prefect (`NODE_RUNS`), every node is a task run of its own. Elsewhere it is not: a task run
costs about 0.1 s of this process's time, which for the sample project's 33 nodes was more than dbt itself took.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from typing import Any, TypeVar

from flows.errors import ConfigError, TransformFailed
from flows.settings import Settings
from flows.summary import ModelSummary
from flows.warehouse import without_values

R = TypeVar("R")

NODE_RUNS = "NIGHTSHIFT_DBT_NODE_RUNS"
"""The environment variable that makes every dbt node a task run; ``prefect.yaml`` sets it for the deployment."""

NODE_END_SECONDS = 30.0
"""How long a node's task run may take to end after dbt is done with the node."""

_VALUELESS = re.compile(r"no message$|Got [\d,]+ results?, configured to |Compilation Error in ")
"""What dbt says of a test that found rows, and of a model that does not compile or breaks its contract."""

BAD = frozenset({"error", "fail", "runtime error"})


def warm_up() -> None:
    """Import dbt, which takes a second or two; after Prefect, else dbt's handler prints all that Prefect logs."""
    import prefect_dbt  # noqa: F401


def let_go() -> None:
    """Close the warehouse for dbt too, which keeps it open for this process's next command."""
    adapter = sys.modules.get("dbt.adapters.duckdb.connections")
    if adapter is not None:
        adapter.DuckDBConnectionManager.close_all_connections()


def environment(settings: Settings) -> dict[str, str]:
    """What dbt must find in the environment, so that it writes nothing into the source tree and sends nothing."""
    return {
        "NIGHTSHIFT_WAREHOUSE": str(settings.warehouse),
        "DBT_LOG_PATH": str(settings.home / "dbt" / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_NO_VERSION_CHECK": "true",
        "DBT_USE_COLORS": "false",
    }


def parse(settings: Settings) -> Mapping[str, Any]:
    """Parse the dbt project; it runs no node, so it needs no Prefect.

    Returns:
        dbt's manifest, as in ``manifest.json``.

    Raises:
        ConfigError: the project does not parse; the message is dbt's, which names file and line.
    """
    from dbt.cli.main import dbtRunner

    os.environ.update(environment(settings))
    places = ["--project-dir", settings.dbt_project, "--profiles-dir", settings.profiles]
    places += ["--target-path", settings.dbt_target, "--target", settings.target]
    result = _aside(lambda: dbtRunner().invoke(["--quiet", "--log-level", "none", "parse", *map(str, places)]))
    if not result.success:
        if isinstance(full := result.exception, OSError):
            # A full disk is no fault of the project; dbt's own error does not say where it was writing.
            raise OSError(full.errno, full.strerror, str(settings.dbt_target)) from full
        raise ConfigError(
            f"The dbt project does not parse: {_first_lines(str(result.exception))}",
            safe="Nothing ran.",
            todo="Correct the file that dbt names.",
        )
    manifest: dict[str, Any] = json.loads((settings.dbt_target / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def freshness(settings: Settings) -> dict[str, tuple[str, datetime | None]]:
    """Ask dbt how fresh the sources are.

    Returns:
        ``<source>.<table>`` -> pass, warn or error, and when the newest row was extracted (UTC).
    """
    _invoke(settings, ["source", "freshness"])
    path = settings.dbt_target / "sources.json"
    if not path.exists():
        return {}
    found: dict[str, tuple[str, datetime | None]] = {}
    for result in json.loads(path.read_text(encoding="utf-8"))["results"]:
        newest = result.get("max_loaded_at")
        name = ".".join(result["unique_id"].split(".")[-2:])
        found[name] = (result["status"], datetime.fromisoformat(newest) if newest else None)
    return found


def build(settings: Settings, *, private: bool = False) -> tuple[ModelSummary, ...]:
    """Build and test the models; unit tests are for development and are left out.

    Args:
        settings: the target.
        private: whether a value that dbt's message quotes may be personal; its log has the whole message.

    Returns:
        One summary for each seed and model, and for each test that did not pass (those that only warn), in the order
        dbt ended them.

    Raises:
        TransformFailed: names every node that failed, with dbt's message.
    """
    results = settings.dbt_target / "run_results.json"
    results.unlink(missing_ok=True)
    watched = os.environ.get(NODE_RUNS, "").lower() in ("1", "true", "yes")
    _invoke(settings, ["build", "--exclude-resource-type", "unit_test"], node_runs=watched, private=private)
    if not results.exists():
        raise _failed(settings, "dbt ended without results")
    rows = json.loads(results.read_text(encoding="utf-8"))["results"]
    failed = [f"{_name(row)}: {_told(row['message'], private)}" for row in rows if row["status"] in BAD]
    if failed:
        raise _failed(settings, "\n".join(f"  - {line}" for line in failed))
    return tuple(
        ModelSummary(
            name=_name(row),
            status=row["status"],
            seconds=row["execution_time"],
            rows=_rows(row),
        )
        for row in rows
        if not row["unique_id"].startswith("exposure.")
        and not (row["unique_id"].startswith("test.") and row["status"] == "pass")
    )


def _name(row: Mapping[str, Any]) -> str:
    kind, name = row["unique_id"].split(".")[0], row["unique_id"].split(".")[2]
    return f"test {name}" if kind == "test" else str(name)


def _rows(row: Mapping[str, Any]) -> int | None:
    affected = (row.get("adapter_response") or {}).get("rows_affected")
    return int(affected) if affected is not None and int(affected) >= 0 else None


def _told(message: str | None, private: bool) -> str:
    """What dbt said of a node; where that may quote a value, only its kind."""
    text = _first_lines(message)
    return text if not private or _VALUELESS.match(text) else without_values(text)


def _first_lines(message: str | None) -> str:
    return " ".join((message or "no message").split())[:600]


def _failed(settings: Settings, what: str) -> TransformFailed:
    return TransformFailed(
        f"dbt failed:\n{what}",
        safe="Nothing was sent to the CRM. Models built before the failure stay; the next run goes on from there.",
        todo=f"Read {settings.home / 'dbt' / 'logs' / 'dbt.log'}, correct the model, then run again.",
    )


def _aside(work: Callable[[], R]) -> R:
    """Run in a thread of its own: dbt keeps whatever is raised in it, also the signal that is to end the run."""
    pool = ThreadPoolExecutor(1, "dbt")
    running = pool.submit(copy_context().run, work)
    pool.shutdown(wait=False)
    return running.result()


def _invoke(settings: Settings, command: list[str], *, node_runs: bool = False, private: bool = False) -> None:
    """Run dbt; the failures of its nodes are read from its results file, not from here."""
    from dbt_common.events.base_types import EventLevel
    from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

    class Runner(PrefectDbtRunner):
        @staticmethod
        def get_dbt_event_msg(event: Any) -> str:
            """What Prefect's logs show of an event, too."""
            said = str(PrefectDbtRunner.get_dbt_event_msg(event)).strip()
            return without_values(said) if private and "Error: " in said else said

    os.environ.update(environment(settings))
    runner = Runner(
        settings=PrefectDbtSettings(
            profiles_dir=settings.profiles,
            project_dir=settings.dbt_project,
            target_path=settings.dbt_target,
            # Said outright: the default follows Prefect's level, whose name "warning" dbt does not know.
            log_level=EventLevel.WARN,
        ),
        raise_on_failure=False,
        disable_assets=True,
        _disable_callbacks=not node_runs,
    )
    before = set(threading.enumerate())
    try:
        _aside(lambda: runner.invoke([*command, "--target", settings.target]))
    except ValueError as failure:
        raise _failed(settings, str(failure).partition("': ")[2] or str(failure)) from failure
    finally:
        # prefect-dbt leaves each node's thread to itself: the flow must not end, nor the process, before they do.
        for thread in set(threading.enumerate()) - before:
            if thread.name.endswith("(run_task)"):
                thread.join(NODE_END_SECONDS)
