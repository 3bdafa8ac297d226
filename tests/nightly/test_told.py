"""A night has its sites beside its page, and a channel that fails is told of and fails nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nightly.world import World


def test_sites_lie_beside_the_page_and_a_deaf_channel_is_on_it(
    make_world: Callable[..., World], real_days: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.variables["NIGHTSHIFT_NOTIFY"] = "json://T0pS3cret@127.0.0.1:9/hook"
    world.arrive(real_days[0])

    nights = [world.run(capfd), world.run(capfd)]

    assert [night.code for night in nights] == [0, 0]
    for night in nights:
        assert [(one["channel"], one["sent"]) for one in night.summary["notified"]] == [("json://***", False)]
        assert night.summary["problems"] == []
        page = Path(night.summary["page"])
        text = page.read_text(encoding="utf-8")
        assert "json://*** could not be told of this run" in text
        assert "T0pS3cret" not in text
        assert "data-docs/index.html" in text
        assert (page.parent / "data-docs" / "index.html").exists()
    # A look by command is answered where it was asked.
    looked = world.command(capfd, "plan", "--output", "json")
    assert looked.summary["notified"] == []
    assert "notify" not in looked.summary["stages"]
    first, second = (Path(night.summary["page"]).parent / "dbt-docs" / "index.html" for night in nights)
    assert first.samefile(second)
