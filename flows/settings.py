"""Where things are: the project folder, Nightshift's home, and what one run needs to know."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from flows.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Settings:
    """One target's places. Everything that a run writes lies under ``home``.

    Attributes:
        project: the checkout: holds ``dbt_project/``, ``profiles/`` and ``expectations/``.
        home: what ``NIGHTSHIFT_HOME`` says, by default ``var/`` in the project.
        target: the dbt target, which is also the target in ``profiles/connections.yml``.
    """

    project: Path
    home: Path
    target: str

    @classmethod
    def load(cls, target: str | None = None) -> Settings:
        """Read the environment.

        Args:
            target: the ``--target`` that was asked for; else ``NIGHTSHIFT_TARGET``, else ``sandbox``.

        Raises:
            ConfigError: the project folder holds no dbt project.
        """
        project = Path(os.environ.get("NIGHTSHIFT_PROJECT", Path(__file__).resolve().parents[1])).resolve()
        if not (project / "dbt_project" / "dbt_project.yml").exists():
            raise ConfigError(
                f"{project} holds no dbt_project/dbt_project.yml.",
                safe="Nothing ran.",
                todo="Run nightshift from its checkout, or set NIGHTSHIFT_PROJECT to the checkout's folder.",
            )
        home = Path(os.environ.get("NIGHTSHIFT_HOME") or project / "var").resolve()
        return cls(project, home, target or os.environ.get("NIGHTSHIFT_TARGET") or "sandbox")

    @property
    def warehouse(self) -> Path:
        """The DuckDB file of this target."""
        return self.home / f"{self.target}.duckdb"

    @property
    def runs(self) -> Path:
        """The folder that holds one folder a run."""
        return self.home / "runs"

    @property
    def reports(self) -> Path:
        """The folder of morning pages."""
        return self.home / "reports"

    @property
    def dbt_project(self) -> Path:
        """The dbt project's folder."""
        return self.project / "dbt_project"

    @property
    def dbt_target(self) -> Path:
        """Where dbt writes its artifacts."""
        return self.home / "dbt" / self.target

    @property
    def profiles(self) -> Path:
        """The folder of ``profiles.yml`` and ``connections.yml``."""
        return self.project / "profiles"

    @property
    def expectations(self) -> Path:
        """The folder of suites."""
        return self.project / "expectations"

    def run_folder(self, run_id: str) -> Path:
        """The folder of one run: its plan, receipts and what was read back."""
        return self.runs / run_id
