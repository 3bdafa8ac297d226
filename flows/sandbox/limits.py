"""What the sandbox counts, and the limits that it holds."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

DAY = 86_400.0


@dataclass(slots=True)
class Quota:
    """An amount that may be used in a rolling day.

    Attributes:
        limit: how much may be used in any 24 hours.
    """

    limit: int
    used: int = 0
    _spent: deque[tuple[float, int]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, amount: int = 1) -> bool:
        """Use some of it.

        Returns:
            False where that would go over the limit; nothing is used then.
        """
        moment = time.monotonic()
        with self._lock:
            while self._spent and moment - self._spent[0][0] >= DAY:
                self.used -= self._spent.popleft()[1]
            if self.used + amount > self.limit:
                return False
            self.used += amount
            second = self._spent[-1][0] if self._spent else -1.0
            if moment - second < 1.0:  # one entry a second is exact enough, and small
                self._spent[-1] = (second, self._spent[-1][1] + amount)
            else:
                self._spent.append((moment, amount))
            return True

    @property
    def left(self) -> int:
        """What remains."""
        return self.limit - self.used


class Window:
    """A rate: requests in a rolling span of seconds.

    Args:
        limit: how many are allowed in any span.
        seconds: the span.

    Attributes:
        peak: the most that were seen in one span.
        refused: how many were too many.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.peak = 0
        self.refused = 0
        self._taken: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self, *, enforce: bool) -> bool:
        """Count a request.

        Args:
            enforce: whether one too many is refused; a refused one does not count.
        """
        moment = time.monotonic()
        with self._lock:
            self._forget(moment)
            if enforce and len(self._taken) >= self.limit:
                self.refused += 1
                return False
            self._taken.append(moment)
            self.peak = max(self.peak, len(self._taken))
            return True

    @property
    def left(self) -> int:
        """How many more are allowed at this moment."""
        with self._lock:
            self._forget(time.monotonic())
            return max(0, self.limit - len(self._taken))

    def reset(self) -> None:
        """Start the counts anew; what was taken stays taken."""
        with self._lock:
            self.peak = len(self._taken)
            self.refused = 0

    def _forget(self, moment: float) -> None:
        while self._taken and moment - self._taken[0] >= self.seconds:
            self._taken.popleft()


@dataclass(slots=True)
class RouteStats:
    """What was asked of one route."""

    requests: int = 0
    records: int = 0
    max_records: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Stats:
    """What was asked of the sandbox since its start or the last reset."""

    routes: dict[str, RouteStats] = field(default_factory=dict)
    jobs: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, route: str, records: int, status: int | None) -> None:
        """Count one request.

        Args:
            route: method and path template.
            records: how many records it carried.
            status: what it was answered with; None where the connection was dropped.
        """
        with self._lock:
            seen = self.routes.setdefault(route, RouteStats())
            seen.requests += 1
            seen.records += records
            seen.max_records = max(seen.max_records, records)
            seen.statuses[str(status or "dropped")] += 1

    def ended(self, job: str) -> None:
        """Count a job that ended, by kind and state."""
        with self._lock:
            self.jobs[job] += 1

    def reset(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.routes.clear()
            self.jobs.clear()

    def as_dict(self) -> dict[str, Any]:
        """The counts as JSON: requests, and per route requests, records, max_records and statuses; jobs by state."""
        with self._lock:
            routes = {
                name: {
                    "requests": seen.requests,
                    "records": seen.records,
                    "max_records": seen.max_records,
                    "statuses": dict(seen.statuses),
                }
                for name, seen in sorted(self.routes.items())
            }
            requests = sum(seen.requests for seen in self.routes.values())
            return {"requests": requests, "routes": routes, "jobs": dict(self.jobs)}


class LongRequests:
    """The requests under way, to hold a limit on those that take long.

    Args:
        limit: how many may be under way for longer than `seconds`.
        seconds: from when on a request counts as long.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._started: dict[int, float] = {}
        self._lock = threading.Lock()

    def enter(self, key: int) -> bool:
        """Note a request.

        Returns:
            False where too many long ones are under way; it is not noted then.
        """
        moment = time.monotonic()
        with self._lock:
            long = sum(moment - start >= self.seconds for start in self._started.values())
            if long >= self.limit:
                return False
            self._started[key] = moment
            return True

    def leave(self, key: int) -> None:
        """A request is finished."""
        with self._lock:
            self._started.pop(key, None)
