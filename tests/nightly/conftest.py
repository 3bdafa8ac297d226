"""Prefect for a whole session, and worlds for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nightly.world import Crm, World, sandbox


@pytest.fixture(scope="session", autouse=True)
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all nights of this process; what a run starts by itself is tested in its own process."""
    before = dict(os.environ)
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from flows.orchestration import quiet_environment

    os.environ.update(quiet_environment(Path(os.environ["PREFECT_HOME"])))
    from prefect.settings import PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    told: dict[Any, Any] = {PREFECT_HOME: os.environ["PREFECT_HOME"]}
    with temporary_settings(updates=told), prefect_test_harness(server_startup_timeout=120):
        from prefect.settings import PREFECT_API_URL

        os.environ["PREFECT_API_URL"] = PREFECT_API_URL.value()
        yield os.environ["PREFECT_API_URL"]
    os.environ.clear()
    os.environ.update(before)


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
