"""A real Chromium for the page's tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.report.looking import DESKTOP, Opened, Scheme

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's own Chromium, headless; tests that look at the page are skipped where there is none.

    It ends with this folder: while it is there this thread has a running event loop, which other tests must not find.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on PATH to look at the page with ({', '.join(NAMES)})")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield launched
        launched.close()


@pytest.fixture
def look_at(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens a file in the browser, from disk."""
    contexts = []

    def open_file(path: Path, scheme: Scheme = "light", viewport: Any = DESKTOP) -> Opened:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        opened = Opened(context.new_page(), path)
        opened.page.on("console", lambda message: opened.console.append(message.text))
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        return opened

    yield open_file
    for context in contexts:
        context.close()
