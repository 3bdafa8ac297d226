"""A warehouse of its own for each test, built by the shipped dbt project in this process."""

# ruff: noqa: DTZ001 -- DuckDB's TIMESTAMP has no zone

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.deprecations import reset_deprecations
from dbt_common.events.base_types import EventMsg

from tests.conftest import PROJECT
from tests.dbt import raw

MODELS = ("crm_accounts", "crm_contacts", "crm_opportunities")
Held = dict[str, dict[str, tuple[Any, ...]]]
"""Model -> key -> the other columns, in the contract's order."""


class Built:
    """A warehouse and the dbt project that builds it.

    Args:
        home: a folder for everything that is written.
        project: the dbt project; the shipped one, unless a test edits a copy.
    """

    def __init__(self, home: Path, project: Path) -> None:
        self.home = home
        self.project = project
        self.connection = duckdb.connect(str(home / "nightshift.duckdb"))
        raw.create(self.connection)
        self.connection.execute((PROJECT / "flows" / "schema.sql").read_text(encoding="utf-8"))

    def dbt(self, *command: str) -> list[tuple[str, str]]:
        """Run dbt; fails the test, with dbt's own words, on an error and on anything that dbt warns of.

        Returns:
            (resource type, status) of every node that was run.
        """
        result, problems = self._invoke(command)
        assert result.success, result.exception or problems
        assert problems == []
        return [(str(run.node.resource_type), str(run.status)) for run in getattr(result.result, "results", ())]

    def refused(self, *command: str) -> str:
        """Run dbt where it must fail; returns what it says."""
        result, problems = self._invoke(command)
        assert not result.success
        return "\n".join(problems)

    def _invoke(self, command: tuple[str, ...]) -> tuple[dbtRunnerResult, list[str]]:
        problems: list[str] = []
        # dbt counts deprecations for the life of the process: what another test's project did is not ours.
        reset_deprecations()

        def listen(event: EventMsg) -> None:
            if event.info.level in ("warn", "error"):
                problems.append(f"{event.info.name}: {event.info.msg}")

        options = {
            "--log-level-file": "none",
            "--project-dir": self.project,
            "--profiles-dir": PROJECT / "profiles",
            "--target-path": self.home / "target",
            "--log-path": self.home / "logs",
        }
        flags = [str(word) for option in options.items() for word in option]
        return dbtRunner(callbacks=[listen]).invoke([*command, "--quiet", *flags]), problems

    def build(self, *options: str) -> None:
        """Build the models, without the tests that dbt would run on them."""
        self.dbt("build", "--resource-type", "model", "--resource-type", "seed", *options)

    def load(self, number: int, files: list[Path], people: list[raw.Person]) -> None:
        """Load what arrived on a night."""
        at = datetime(2011, 12, number, 2)
        for file in files:
            raw.load_file(self.connection, file, at)
        raw.load_people(self.connection, people, at)

    def night(self, number: int, files: list[Path], people: list[raw.Person]) -> None:
        """Load what arrived, then build."""
        self.load(number, files, people)
        self.build()

    def held(self) -> Held:
        """What the CRM models hold, without changed_at."""
        return {
            model: {row[0]: row[1:] for row in self.sql(f"select * exclude (changed_at) from crm.{model}")}
            for model in MODELS
        }

    def changed_at(self) -> dict[str, dict[str, datetime]]:
        """When each row was last changed."""
        return {model: dict(self.sql(f"select #1, changed_at from crm.{model}")) for model in MODELS}

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        return self.connection.execute(query).fetchall()


@pytest.fixture
def make_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Built]]:
    """Make a warehouse; with ``copy=True`` its dbt project is a copy that the test may edit."""
    made: list[Built] = []

    def make(*, copy: bool = False) -> Built:
        project = PROJECT / "dbt_project"
        if copy:
            project = Path(shutil.copytree(project, tmp_path / "dbt_project"))
        monkeypatch.setenv("NIGHTSHIFT_WAREHOUSE", str(tmp_path / "nightshift.duckdb"))
        made.append(Built(tmp_path, project))
        return made[-1]

    yield make
    for built in made:
        built.connection.close()
    DuckDBConnectionManager.close_all_connections()


@pytest.fixture
def built(make_built: Callable[..., Built]) -> Built:
    """A warehouse with empty raw tables, for the dbt project as it is shipped."""
    return make_built()
