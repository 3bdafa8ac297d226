"""Progress bars for people at a terminal; silent where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_SHOWN: ContextVar[Progress | None] = ContextVar("bars", default=None)


class Bar:
    """One line of progress; does nothing where no bars are shown."""

    def __init__(self, bars: Progress | None, task: TaskID | None) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int) -> None:
        """Count more as done."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)

    def at(self, done: int, total: int | None) -> None:
        """Say how many are done, of how many (None: unknown)."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total)


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show bars on a console while the body runs, if it is a terminal."""
    if not console.is_terminal:
        yield
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        token = _SHOWN.set(bars)
        try:
            yield
        finally:
            _SHOWN.reset(token)


@contextmanager
def bar(name: str, total: int | None = None) -> Iterator[Bar]:
    """One line of progress while the body runs.

    Args:
        name: what is being done.
        total: how many there are; None: unknown.
    """
    bars = _SHOWN.get()
    yield Bar(bars, bars.add_task(name, total=total) if bars is not None else None)
