"""Several requests in flight at once, and no more than so many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_flight(work: Iterable[Callable[[], Coroutine[Any, Any, T]]], most: int) -> AsyncIterator[T]:
    """Run pieces of work, a few at a time.

    Args:
        work: makes one coroutine each; taken only when there is room.
        most: how many may be under way.

    Yields:
        Results as they come. When a piece fails, those under way are still waited for and yielded, since what they
        wrote is written; no further one is begun; then the first failure is raised.
    """
    waiting = iter(work)
    running: set[asyncio.Task[T]] = set()
    failure: BaseException | None = None
    try:
        while True:
            while failure is None and len(running) < most and (piece := next(waiting, None)) is not None:
                running.add(asyncio.create_task(piece()))
            if not running:
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None:
                    failure = failure or error
                else:
                    yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failure is not None:
        raise failure
