"""One rate for all tasks of a process: whoever wants to send reserves the next free slot, then sleeps until it."""

from __future__ import annotations

import threading
import time


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
