"""A sandbox for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nightly.world import sandbox
from tests.push.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    crm = sandbox(tmp_path / "none")
    yield World(crm, tmp_path / "run")
    crm.close()
