"""Sites opened from disk in a real browser, with everything that they say and ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.report.conftest import browser

__all__ = ["browser"]


@dataclass
class Opened:
    """A page in the browser."""

    page: Page
    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def text(self, selector: str = "body") -> str:
        return self.page.locator(selector).inner_text()

    def rows(self, selector: str) -> list[list[str]]:
        """The table rows that a selector finds, cell by cell."""
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim().replace(/\\s+/g, ' ')))"
        cells: list[list[str]] = self.page.locator(selector).evaluate_all(script)
        return cells


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[[Path], Opened]]:
    contexts = []

    def open_page(path: Path) -> Opened:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}))
        opened = Opened(contexts[-1].new_page())
        opened.page.on("console", lambda message: opened.console.append(message.text))
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        opened.page.on(
            "request",
            lambda request: opened.outside.append(request.url) if request.url.partition(":")[0] != "file" else None,
        )
        opened.page.goto(path.as_uri())
        return opened

    yield open_page
    for context in contexts:
        context.close()
