"""One rate for all tasks of a process, whatever threads and event loops they run in: nothing here waits itself.

`Limiter` spaces requests evenly (so many a second); `Window` keeps to so many in any stretch of time.
"""

from __future__ import annotations

import threading
import time
from collections import deque

CROWDED_SECONDS = 0.02
"""When to ask again where every slot belongs to a request that is still under way."""


class Limiter:
    """Hands out time slots. Threads and event loops may share it, since it never waits itself.

    Args:
        per_second: slots a second; 0 for no ceiling.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next slot.

        Returns:
            Seconds to sleep until then.
        """
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._next)
            self._next = slot + self._interval
            return slot - now

    def pause(self, seconds: float) -> None:
        """Hand out no slot for a while, because the CRM asked for it."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Window:
    """At most so many requests in any stretch of time, as the server counts them.

    The server counts a request when it arrives, which is after it was sent and before it was answered. So a request
    takes its place from the moment it is sent until a whole stretch after its answer: then no stretch of the server's
    time can hold more than ``most``, however long requests are under way. It costs one answer's time a stretch.

    Args:
        most: requests in a stretch; 0 for no ceiling.
        seconds: how long the stretch is.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._under_way = 0
        self._answered: deque[float] = deque()
        self._paused_until = 0.0
        self._lock = threading.Lock()

    @property
    def most(self) -> int:
        """Requests in a stretch, as we or the server allow, whichever is stricter; 0 for no ceiling."""
        return self._most

    def take(self) -> float:
        """Take a place.

        Returns:
            0 where there was one: send, and call `answered` whatever comes of it. Else seconds to sleep before asking
            again.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            if self._most and self._used(now) >= self._most:
                return self._answered[0] + self._seconds - now if self._answered else CROWDED_SECONDS
            self._under_way += 1
            return 0.0

    def answered(self) -> None:
        """Say that a request is answered, or that it will never be."""
        with self._lock:
            self._under_way -= 1
            if self._most:
                self._answered.append(time.monotonic())

    def told(self, most: int, left: int) -> None:
        """Take in what the server says of its own count; it is believed where it is stricter than ours.

        Args:
            most: requests in a stretch.
            left: how many of them are left; where that is fewer than we think, somebody else uses the same limit.
        """
        with self._lock:
            if not self._most:
                return
            now = time.monotonic()
            self._most = min(self._most, max(1, most))
            taken_by_others = self._most - self._used(now) - left
            self._answered.extend([now] * taken_by_others)

    def pause(self, seconds: float) -> None:
        """Hand out no place for a while, because the CRM asked for it."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _used(self, now: float) -> int:
        while self._answered and self._answered[0] <= now - self._seconds:
            self._answered.popleft()
        return self._under_way + len(self._answered)
