"""Processes that work on large Bulk uploads together, as Salesforce works on several batches at once.

Each reads and checks batches on its own; they are written one after the other, in the upload's order, by the process
that read them, while the sandbox itself keeps everybody else out of the store. Only a store in a file can be shared so.
What is out of the ordinary in a batch (rows that do not fit the header, a broken quotation) is left to the sandbox
itself, which works on an upload from there on alone.
"""

from __future__ import annotations

import csv
import gc
import io
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple

from flows.sandbox.config import SandboxConfig
from flows.sandbox.salesforce import batches
from flows.sandbox.salesforce.batches import BATCH, BadUpload, Chunk, Layout
from flows.sandbox.salesforce.rows import RowResult, Write, read_ahead
from flows.sandbox.store import Store
from flows.sandbox.world import World

LARGE = 2_000_000
"""From how many bytes on an upload is worked on together: some 20,000 rows."""
MOST = 3


class Extent(NamedTuple):
    """Where a batch lies in an upload, in bytes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Task:
    """An upload that is worked on together.

    Attributes:
        store: what the rows are written to.
        path: the upload.
        layout: what is done with its rows.
        may_write: asked in turn before so many rows are written.
        wrote: told in turn how many rows were written, and how many of them were refused.
        note: given the lines of the successful and of the failed results; from several threads.
    """

    store: Store
    path: Path
    layout: Layout
    may_write: Callable[[int], bool]
    wrote: Callable[[int, int], None]
    note: Callable[[bytes, bytes], None]


class Crew:
    """The processes of one sandbox; they are started when they are first needed.

    Args:
        config: how the sandbox behaves.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._size = min(MOST, (os.cpu_count() or 1) - 1) if config.store is not None else 0
        self._members: list[_Member] = []
        self._free: queue.SimpleQueue[_Member] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max(1, self._size), thread_name_prefix="sandbox-crew")

    def ready(self, size: int) -> bool:
        """Whether an upload is worked on together; what is needed for that is started.

        Args:
            size: the upload's bytes, as far as they are known.
        """
        if not self._size or size < LARGE:
            return False
        with self._lock:
            if not self._members:
                self._members = [_Member(self._config) for _ in range(self._size)]
                for member in self._members:
                    self._free.put(member)
        return True

    def close(self) -> None:
        """End all processes."""
        self._threads.shutdown(cancel_futures=True)
        for member in self._members:
            member.close()

    def work(self, task: Task, first: int) -> int | None:
        """Work on an upload.

        Args:
            task: the upload, and what is done with it.
            first: where its first row begins, in bytes.

        Returns:
            Where the sandbox must go on alone, in bytes; None where nothing is left.
        """
        order = _Order()
        under_way: deque[Future[None]] = deque()
        for number, extent in enumerate(_extents(task.path, first)):
            under_way.append(self._threads.submit(self._batch, task, order, number, extent))
            if len(under_way) > 2 * self._size:
                under_way.popleft().result()
            if order.left is not None:
                break
        for future in under_way:
            future.result()
        return order.left

    def _batch(self, task: Task, order: _Order, number: int, extent: Extent) -> None:
        # Batches are begun in their order, so that whoever waits for its turn waits for one that is under way.
        member = self._free.get()
        try:
            count = member.read(task.layout, task.path, extent) if order.left is None else None
            with order.turn(number, extent.start) as goes_on:
                if not goes_on or count == 0:
                    return
                if count is None or not task.may_write(count):
                    order.left = extent.start
                    return
                with task.store.lent():
                    failed = member.ask("write")
                task.wrote(count, failed)
            task.note(*member.ask("tell"))
        finally:
            self._free.put(member)


class _Order:
    """Whose turn it is to write, and where the work broke off."""

    def __init__(self) -> None:
        self.left: int | None = None
        self._next = 0
        self._turns = threading.Condition()

    @contextmanager
    def turn(self, number: int, start: int) -> Iterator[bool]:
        """Wait until all earlier batches are written; gives whether the work still goes on."""
        with self._turns:
            self._turns.wait_for(lambda: self._next == number)
        try:
            yield self.left is None
        except BaseException:
            self.left = start
            raise
        finally:
            with self._turns:
                self._next = number + 1
                self._turns.notify_all()


class _Member:
    """One process, seen from the sandbox."""

    def __init__(self, config: SandboxConfig) -> None:
        self._ours, theirs = Pipe()
        paths = filter(None, (str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH")))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        # Faults are drawn by lot, which is one for the whole sandbox: batches that they concern are not given out.
        self._ours.send(replace(config, faults=None))

    def ask(self, *question: Any) -> Any:
        """Ask it to do something, and wait for the answer."""
        self._ours.send(question)
        answer = self._ours.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, layout: Layout, path: Path, extent: Extent) -> int | None:
        """Let it read a batch; answers how many rows, None where it cannot or is gone."""
        try:
            count: int | None = self.ask("read", layout, path, extent)
        except (EOFError, OSError):
            return None
        return count

    def close(self) -> None:
        """End it."""
        self._ours.close()
        self._process.wait()


def _extents(path: Path, first: int) -> Iterator[Extent]:
    """Cut an upload behind a row, about so many lines apart. Where quotes are not in pairs, the row goes on."""
    with path.open("rb") as file:
        file.seek(first)
        start = first
        while lines := list(islice(file, BATCH)):
            quotes = sum(line.count(b'"') for line in lines)
            while quotes % 2 and (line := file.readline()):
                quotes += line.count(b'"')
                lines.append(line)
            end = start + sum(map(len, lines))
            yield Extent(start, end)
            start = end


class _Hand:
    """The process's own side: one batch at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._layout: Layout
        self._chunk = Chunk([], None)
        self._columns: Mapping[str, Sequence[str]] = {}
        self._how: Write
        self._done: list[RowResult] = []

    def read(self, layout: Layout, path: Path, extent: Extent) -> int | None:
        """Read and check a batch."""
        with path.open("rb") as file:
            file.seek(extent.start)
            raw = file.read(extent.end - extent.start)
        try:
            text = io.StringIO(raw.decode(), newline="")
            # One more than a batch may have: where there are more, or some are left, the rows were cut wrongly.
            chunk = batches.read(text, layout.delimiter, BATCH + 1) or Chunk([], None)
            if len(chunk.rows) > BATCH or text.read(1):
                return None
            self._columns = batches.by_column(layout, chunk) if chunk.rows else {}
        except (BadUpload, csv.Error, UnicodeDecodeError):
            return None
        self._layout, self._chunk = layout, chunk
        self._how = layout.how(self._world.org)
        self._how = replace(self._how, known=read_ahead(self._how, self._columns))
        return len(chunk.rows)

    def write(self) -> int:
        """Write the batch; answers how many rows were refused."""
        self._done = batches.write(self._world, self._how, self._columns, len(self._chunk.rows))
        return sum(row.error is not None for row in self._done)

    def tell(self) -> tuple[bytes, bytes]:
        """What became of the batch."""
        successful, failed = batches.told(self._layout, self._chunk, self._done)
        return successful.encode(), failed.encode()


def main() -> None:
    """Work until the sandbox is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the sandbox's to say when the work ends
    with Connection(int(sys.argv[1])) as sandbox:
        world = World(sandbox.recv())
        hand = _Hand(world)
        actions: dict[str, Callable[..., Any]] = {"read": hand.read, "write": hand.write, "tell": hand.tell}
        gc.freeze()
        gc.set_threshold(200_000, 50, 100)
        try:
            while True:
                action, *given = sandbox.recv()
                try:
                    sandbox.send(actions[action](*given))
                except Exception as error:
                    sandbox.send(error)
        except (EOFError, OSError):
            world.close()


if __name__ == "__main__":
    main()
