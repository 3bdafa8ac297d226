"""Small things that every connector needs."""

from __future__ import annotations

import asyncio
import difflib
import math
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache

import httpx

from flows.errors import ConfigError, PushError

SAFE = "Every record without a receipt stays as it was in the ledger; the next run sends it again."
"""What holds of a push, whatever breaks it off."""


def refused(url: str, what: str, error: Exception, todo: str) -> PushError:
    """A refusal of a whole request, told to a person.

    Args:
        url: the connection's.
        what: what was asked.
        error: how it was refused.
        todo: what to do about it.
    """
    return PushError(f"{url}: {what}: {error}", safe=SAFE, todo=todo)


def checked_url(text: str, wrong: Callable[[str], ConfigError]) -> httpx.URL:
    """Read a connection's URL.

    Args:
        text: the URL.
        wrong: makes the error of what is wrong with it.

    Raises:
        ConfigError: it is none, or not one of the web.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise wrong(f"this is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise wrong("the URL must begin with https://")
    return url


@asynccontextmanager
async def held(lock: threading.Lock) -> AsyncIterator[None]:
    """Hold a thread's lock in a coroutine. It is asked for again and again, since to wait in it would stop the loop."""
    while not lock.acquire(blocking=False):
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        lock.release()


@cache
def trust() -> ssl.SSLContext:
    """The certificates to trust: loading them takes 50 ms, which is much for each batch."""
    return httpx.create_ssl_context()


def even_share(count: int, most: int) -> int:
    """Cut records into as few batches as hold them, all of about one size.

    Args:
        count: records.
        most: records that one batch may hold.

    Returns:
        Records of one batch.
    """
    return math.ceil(count / math.ceil(count / most)) if count else most


def first(counts: Sequence[int], most: int) -> list[int]:
    """Of records that are counted in groups, how many of each group are among the first ``most``."""
    taken: list[int] = []
    for count in counts:
        taken.append(min(count, most - sum(taken)))
    return taken


def near(name: str, known: Sequence[str]) -> str:
    """Words that name what may have been meant, empty where nothing is alike."""
    folded = {entry.lower(): entry for entry in known}
    found = difflib.get_close_matches(name.lower(), list(folded), n=3)
    return f"; did you mean {' or '.join(folded[entry] for entry in found)}?" if found else ""
