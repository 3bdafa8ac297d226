"""What the connectors of all CRMs have in common: opening and closing, counting what is sent, and what they share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, cast

import httpx

from flows.crm.base import ObjectInfo, Usage
from flows.crm.common import trust
from flows.project import Connection

CONNECT_SECONDS = 10.0


class Shared:
    """What all connectors of one connection have in common, over the threads of this process."""

    def __init__(self) -> None:
        self.describing = threading.Lock()
        self.described: dict[str, tuple[float, ObjectInfo]] = {}


C = TypeVar("C", bound=Connection)
S = TypeVar("S", bound=Shared)

_shared: dict[Connection, Shared] = {}
_shared_lock = threading.Lock()


def shared(connection: C, make: Callable[[C], S]) -> S:
    """What is shared by all connectors of this connection; made by the first of them."""
    with _shared_lock:
        if connection not in _shared:
            _shared[connection] = make(connection)
        # A connection is of one kind of CRM, whose client alone asks with it.
        return cast(S, _shared[connection])


class Pool(ABC):
    """The base of a CRM's client: one connection pool for one event loop, and what was sent through it."""

    def __init__(self) -> None:
        self._pool: httpx.AsyncClient | None = None
        self._requests = 0
        self._retries = 0
        self._api_used: int | None = None
        self._api_limit: int | None = None

    @abstractmethod
    async def open(self) -> None:
        """Open the connection pool."""

    def _open(self, *, in_flight: int, read_seconds: float, deadline: float, **settings: Any) -> None:
        """Open the connection pool.

        Args:
            in_flight: requests that are under way at most.
            read_seconds: how long an answer may keep silent, if the deadline is not sooner.
            deadline: seconds in which a request must be answered.
            settings: what httpx is told beside that.
        """
        read = min(read_seconds, deadline)
        self._pool = httpx.AsyncClient(
            timeout=httpx.Timeout(connect=min(CONNECT_SECONDS, read), read=read, write=read, pool=None),
            verify=trust(),
            limits=httpx.Limits(max_connections=2 * in_flight, max_keepalive_connections=2 * in_flight),
            **settings,
        )

    async def close(self) -> None:
        """Close the connection pool."""
        if self._pool is not None:
            await self._pool.aclose()

    @property
    def _http(self) -> httpx.AsyncClient:
        if self._pool is None:
            raise RuntimeError("a connector is used as `async with`")
        return self._pool

    @property
    def usage(self) -> Usage:
        """What was sent so far."""
        return Usage(self._requests, self._retries, self._api_used, self._api_limit)


P = TypeVar("P", bound=Pool)


class Connected(Generic[P]):
    """The base of a connector: its client is open while it is used as ``async with``."""

    def __init__(self, client: P) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        await self._client.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.close()

    @property
    def usage(self) -> Usage:
        """What this connector has sent so far."""
        return self._client.usage
