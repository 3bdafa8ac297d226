"""Everything that a running sandbox is made of, for all dialects."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from flows.sandbox import faults, org
from flows.sandbox.config import SandboxConfig
from flows.sandbox.limits import LongRequests, Quota, Stats
from flows.sandbox.store import Store

CONTEXT = "nightshift.exchange"
"""Where an `Exchange` lies in a request's ASGI scope."""


class Exchange:
    """What is noted about one request while it is under way.

    Attributes:
        route: method and path template, for the counts.
        records: how many records it carried.
        faults: what is to go wrong with its rows or its job.
    """

    __slots__ = ("faults", "records", "route")

    def __init__(self, route: str) -> None:
        self.route = route
        self.records = 0
        self.faults: list[dict[str, object]] = []


class World:
    """The state of a sandbox.

    Args:
        config: how it behaves.

    Raises:
        BadScript: the script of faults cannot be understood.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.faults = faults.load(config.faults)
        self.org = org.load(config.org)
        self.store = Store(config.store, self.org, config.username)
        self.stats = Stats()
        self.requests = Quota(config.daily_requests)
        self.batches = Quota(config.daily_batches)
        self.bulk_records = Quota(config.daily_bulk_records)
        self.query_jobs = Quota(config.daily_query_jobs)
        self.long_requests = LongRequests(config.concurrent_long_requests, config.long_request_seconds)
        self.tokens: set[str] = set()
        self.access_token = self.issue_token()
        self.hubspot_tokens = {config.hubspot_token}
        self._scratch = tempfile.TemporaryDirectory(prefix="sandbox-")
        self.scratch = Path(self._scratch.name)

    def issue_token(self) -> str:
        """Make a new access token, valid until it is expired."""
        token = f"{org.ORGANIZATION[:15]}!{secrets.token_urlsafe(48)}"
        self.tokens.add(token)
        return token

    def close(self) -> None:
        """Close the store and remove what was uploaded and not needed any more."""
        self.store.close()
        self._scratch.cleanup()
