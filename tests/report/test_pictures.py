"""The pictures in the README and in docs show the pages as they are; made anew where the environment asks for it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.report import index
from flows.warehouse import Warehouse
from tests.conftest import PROJECT
from tests.report.looking import Opened
from tests.report.months import fill, written


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    home = tmp_path_factory.mktemp("months")
    with Warehouse.open(home / "w.duckdb") as db:
        page = written(db, home / "reports", fill(db, home / "reports", 60, odd=("Unspecified", "U.K.")))
        yield {"page": page, "index": home / "reports" / index.INDEX}


def pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Width, height and the distinct decompressed chunks of 3 bytes of a PNG: a blank picture has hardly any."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    raw = zlib.decompress(data)
    return width, height, {raw[i : i + 3] for i in range(0, len(raw), 3)}


@pytest.mark.parametrize(
    ("name", "which", "scheme", "section", "height"),
    [
        ("morning-page", "page", "light", "", 1180),
        ("morning-page-dark", "page", "dark", "#expectations", 900),
        ("held-back", "page", "light", "#quarantine", 860),
        ("all-nights", "index", "light", "#charts-title", 1080),
    ],
)
def test_takes_the_pictures_for_the_docs(
    *,
    months: dict[str, Path],
    look_at: Callable[..., Opened],
    tmp_path: Path,
    name: str,
    which: str,
    scheme: str,
    section: str,
    height: int,
) -> None:
    write = os.environ.get("NIGHTSHIFT_WRITE_SCREENSHOTS") == "1"
    path = (PROJECT / "docs" / "images" if write else tmp_path) / f"{name}.png"
    page = look_at(months[which], scheme, {"width": 1280, "height": height}).page
    if section:
        page.locator(section).evaluate("one => window.scrollTo(0, one.getBoundingClientRect().top + scrollY - 24)")

    page.screenshot(path=path)

    width, tall, colours = pixels(path.read_bytes())
    assert (width, tall) == (1280, height)
    assert len(colours) > 500
    assert 20_000 < path.stat().st_size < 600_000
    assert (PROJECT / "docs" / "images" / f"{name}.png").exists()
