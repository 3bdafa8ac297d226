"""What every stage's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from flows.warehouse import Warehouse

PROJECT = Path(__file__).resolve().parents[1]
LONG = ("test_sixty_nights.py", "test_nights.py", "nightly", "orchestration")
"""Files and folders whose tests take minutes: they begin first, so that no worker is left alone with one at the end."""

# Timings are no tests: a busy machine must not turn one red.
settings.register_profile("untimed", settings(deadline=None))
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long ones first; the others stay in their order."""

    def rank(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(LONG) if name in item.path.parts), len(LONG))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder that holds real data (CONTRIBUTING.md); tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("NIGHTSHIFT_SHARED", PROJECT.parent / "shared"))
    if not (folder / "data" / "online-retail" / "by-day").is_dir():
        pytest.skip("the real invoices are not there (CONTRIBUTING.md says where)")
    return folder


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all nights of this process; what a run starts by itself is tested in its own process.

    One alone: Prefect's events keep going to the server that the process met first.
    """
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
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty warehouse with the flow's own tables."""
    with Warehouse.open(tmp_path / "nightshift.duckdb") as opened:
        yield opened
