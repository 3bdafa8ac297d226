"""Real nights, end to end: what the CRM holds is compared with an independent reading of the raw files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nightly.world import World, wanted


def test_thirty_real_nights_equal_one_run_and_an_independent_computation(
    make_world: Callable[..., World], real_days: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = real_days[0].parent
    nightly, once = make_world("nightly", folder), make_world("once", folder)
    days = [file.name[:10] for file in real_days]
    for day in days:
        night = nightly.run(capfd, day)
        assert (night.code, night.err) == (0, ""), day
        assert night.operations > 0
        assert night.total("applied") == night.operations == night.total("reconciled")
        assert night.total("mismatched") == 0
    assert once.run(capfd, days[-1]).code == 0

    expected = wanted(nightly.crm, real_days, days[-1])
    assert nightly.crm.held() == expected
    assert once.crm.held() == expected
    assert all(expected.values())

    for world in (nightly, once):
        world.crm.reset_stats()
        again = world.run(capfd, days[-1])
        assert (again.code, again.operations, again.total("applied"), again.summary["requests"]) == (0, 0, 0, 0)
        assert world.crm.asked() == {}
