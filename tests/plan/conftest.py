"""One warehouse for all tests of plan and ledger, emptied for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.warehouse import Warehouse
from tests.plan.world import World


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("plans")
    with Warehouse.open(folder / "nightshift.duckdb", threads=2) as db:
        yield World(db, folder / "runs")


@pytest.fixture
def world(shared_world: World) -> World:
    """An empty model, no ledger."""
    shared_world.reset()
    return shared_world
