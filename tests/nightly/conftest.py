"""Prefect for a whole session, and worlds for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nightly.world import Crm, World, sandbox


@pytest.fixture(scope="session", autouse=True)
def _with_prefect(prefect_api: str) -> None:
    """Each night runs on the one Prefect server of this process."""


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make worlds, and end their sandboxes."""
    made: list[Crm] = []

    def make(name: str = "a", files: Path | None = None, **config: Any) -> World:
        folder = files or tmp_path / name / "in"
        made.append(sandbox(folder, **config))
        return World(tmp_path / name / "home", made[-1], folder)

    yield make
    for crm in made:
        crm.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world where nothing has arrived yet."""
    return make_world()


@pytest.fixture(scope="session")
def real_days(shared_data: Path) -> list[Path]:
    """The first thirty real days."""
    return sorted((shared_data / "data" / "online-retail" / "by-day").glob("*.csv.gz"))[:30]
