"""A page in a real browser, and what is looked at there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
Scheme = Literal["light", "dark"]


@dataclass
class Opened:
    """A page in the browser, with everything it said and asked for."""

    page: Page
    path: Path
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def rows(self, selector: str) -> list[list[str]]:
        """A table's body, cell by cell, open or folded."""
        script = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim().replace(/\\s+/g, ' ')))"
        cells: list[list[str]] = self.page.locator(f"{selector} tbody tr").evaluate_all(script)
        return cells

    def labels(self, selector: str) -> list[str]:
        """What drawings say to those who do not see them."""
        found: list[str] = self.page.locator(selector).evaluate_all("all => all.map(one => one.ariaLabel)")
        return found

    def outside(self) -> list[str]:
        """What was asked for beside the page itself."""
        return [url for url in self.requests if not url.startswith("data:") and url != self.path.as_uri()]
