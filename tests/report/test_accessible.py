"""Everybody can read the pages: axe-core finds nothing serious, and a keyboard reaches all there is to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.report import index, write_page
from flows.summary import RunSummary
from flows.warehouse import Warehouse
from tests.report.example import NIGHTS
from tests.report.looking import DESKTOP, PHONE, Opened, Scheme
from tests.report.months import fill, written

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is in the development lock alone")
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    home = tmp_path_factory.mktemp("months")
    with Warehouse.open(home / "w.duckdb") as db:
        last: RunSummary = fill(db, home / "reports", 12, {"crm.crm_accounts": 80, "crm.crm_contacts": 3})
        yield written(db, home / "reports", last), home / "reports" / index.INDEX


def judged(opened: Opened) -> list[str]:
    """What axe-core finds, everything unfolded, with the first place of each."""
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = axe.Axe().run(opened.page, options={"runOnly": list(RULES)}).response
    assert len(found["passes"]) > 20, "axe-core looked at the page"
    return [
        f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:120]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", [0, 1], ids=["page", "index"])
def test_axe_finds_nothing_serious(
    months: tuple[Path, Path], look_at: Callable[..., Opened], which: int, scheme: Scheme
) -> None:
    assert judged(look_at(months[which], scheme, PHONE if scheme == "dark" else DESKTOP)) == []


@pytest.mark.parametrize("night", [night for night in NIGHTS if night not in ("good", "quiet")])
def test_axe_finds_nothing_serious_in_a_bad_night(look_at: Callable[..., Opened], tmp_path: Path, night: str) -> None:
    assert judged(look_at(write_page(NIGHTS[night](), tmp_path))) == []


def test_axe_would_find_something(look_at: Callable[..., Opened], tmp_path: Path) -> None:
    path = write_page(NIGHTS["good"](), tmp_path)
    path.write_text(path.read_text().replace('<html lang="en">', "<html>").replace("--muted: #5b6276", "--muted: #ccc"))

    assert {line.split(":")[0] for line in judged(look_at(path))} >= {"serious html-has-lang", "serious color-contrast"}


@pytest.mark.parametrize("which", [0, 1], ids=["page", "index"])
def test_a_keyboard_reaches_everything_in_order(
    months: tuple[Path, Path], look_at: Callable[..., Opened], which: int
) -> None:
    page = look_at(months[which]).page
    reach = """() => [...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
        .filter(one => one.checkVisibility({contentVisibilityAuto: false})).length"""
    wanted = page.evaluate(reach)

    seen = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("""() => {
            const here = document.activeElement, box = here.getBoundingClientRect(), style = getComputedStyle(here);
            window.marked = (window.marked || new Set()).add(here);
            return [here.tagName, style.outlineStyle, window.marked.size, box.bottom > 0 && box.top < innerHeight];
        }""")
        )

    assert seen[-1][2] == wanted > 15
    assert all(outline == "solid" for _, outline, *_ in seen), "what has the focus is seen to have it"
    assert all(in_sight for *_, in_sight in seen)
