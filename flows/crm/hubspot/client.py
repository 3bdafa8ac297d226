"""Requests to HubSpot: the token, retries, the shared rate, and what its refusals mean.

Source: https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from flows.crm import session
from flows.crm.base import Limits
from flows.crm.common import SAFE, checked_url
from flows.crm.limiter import Window
from flows.crm.retry import answered, not_the_crms, retry_after
from flows.errors import ConfigError, MappingUnfit, PushError
from flows.project import HubSpotConnection

IN_FLIGHT = 8
"""Requests that one connector has under way at most."""
READ_SECONDS = 60.0
"""How long an answer may keep silent."""
WINDOW_SECONDS = 10.0
"""The stretch in which HubSpot counts requests."""
LOCK_SECONDS = 2.0
"""How long HubSpot is locked after a 423: https://developers.hubspot.com/docs/api-reference/error-handling"""
_EXISTING = re.compile(r"(?:Existing ID: *|(?=\d+ already has that value))(\d+)")
SECONDLY = "You have reached your secondly limit."


@dataclass(frozen=True, slots=True)
class Problem:
    """What HubSpot says is wrong, with one record or with a whole request.

    Attributes:
        code: the error's category; where it names one property, that property's own code.
        message: its text.
        fields: the properties that it names.
        names: every text in its context: one of them tells which record is meant.
        other_id: of a duplicate, the id of the record that is there already.
    """

    code: str
    message: str
    fields: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    other_id: str | None = None


class Refused(Exception):
    """A request that HubSpot answered with a final error, for the caller to make sense of."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(f"HTTP {status} {problem.code}: {problem.message}")
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True)
class AssociationType:
    """One type of association, from one object type to another.

    Attributes:
        category: who defined it: HUBSPOT_DEFINED, USER_DEFINED, INTEGRATOR_DEFINED or WORK.
        id: its number.
        label: what people read, empty for the type that has no label.
    """

    category: str
    id: int
    label: str


class Shared(session.Shared):
    """What all connectors of one account have in common, over the threads of this process."""

    def __init__(self, connection: HubSpotConnection) -> None:
        super().__init__()
        self.window = Window(connection.requests_per_10_seconds, WINDOW_SECONDS)
        self.labels: dict[tuple[str, str], tuple[float, tuple[AssociationType, ...]]] = {}
        self.scopes: tuple[float, frozenset[str] | None] | None = None


class Client(session.Pool):
    """One connection pool for one event loop.

    Args:
        connection: the account, and the token.
    """

    def __init__(self, connection: HubSpotConnection) -> None:
        super().__init__()
        self.connection = connection
        self.shared = session.shared(connection, Shared)
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def open(self) -> None:
        """Open the connection pool."""
        self._open(
            in_flight=IN_FLIGHT,
            read_seconds=READ_SECONDS,
            deadline=self.connection.deadline_seconds,
            base_url=checked_url(self.connection.url, self._misconfigured),
            headers={"Authorization": f"Bearer {self.connection.token.get_secret_value()}"},
        )

    async def limits(self) -> Limits:
        """Ask what the account has left of its day.

        The answer's headers tell it to the last request; its body, which HubSpot may have kept for a while, where
        there are none.

        Source: https://developers.hubspot.com/docs/api-reference/latest/account/account-information/get-usage-details
        """
        self._api_used = self._api_limit = None
        answer = await self.get(f"/account-info/{self.connection.paths}/api-usage/daily/private-apps")
        for usage in answer.get("results") or ():
            if self._api_limit is None and usage.get("name") == "private-apps-api-calls-daily":
                self._api_used, self._api_limit = usage.get("currentUsage"), usage.get("usageLimit")
        used, most = self._api_used, self._api_limit
        left = None if used is None or most is None else max(0, most - used)
        return Limits(left, most, self.shared.window.most / WINDOW_SECONDS or None)

    def objects(self, kind: str) -> str:
        """The path below which an object type's records are."""
        dated = self.connection.paths != "v3"
        return f"/crm/objects/{self.connection.paths}/{quote(kind)}" if dated else f"/crm/v3/objects/{quote(kind)}"

    def associations(self, from_kind: str, to_kind: str) -> str:
        """The path below which the associations between two object types are."""
        version = "v4/associations" if self.connection.paths == "v3" else f"associations/{self.connection.paths}"
        return f"/crm/{version}/{quote(from_kind)}/{quote(to_kind)}"

    def properties(self, kind: str) -> str:
        """The path that lists an object type's properties."""
        version = "v3/properties" if self.connection.paths == "v3" else f"properties/{self.connection.paths}"
        return f"/crm/{version}/{quote(kind)}"

    async def post(self, path: str, body: str) -> dict[str, Any]:
        """Post a batch.

        Args:
            path: the path.
            body: JSON.

        Returns:
            The answer's JSON; nothing where it has none (204).

        Raises:
            Refused: a final answer that is not 2xx.
            NoAnswer: none came until the connection's deadline, or it was not HubSpot's.
            PushError: the day's requests are used up.
            ConfigError: the token is refused, or lacks a scope.
        """
        return await self._request("POST", path, body.encode())

    async def get(self, path: str) -> dict[str, Any]:
        """Get a resource; see `post`."""
        return await self._request("GET", path, None)

    async def _request(self, method: str, path: str, content: bytes | None) -> dict[str, Any]:
        response = await self._answered(method, path, content)
        if response.status_code == httpx.codes.NO_CONTENT:
            return {}
        if response.is_success:
            if not (answer := _json(response)):
                raise not_the_crms(self._named(method, path), response)
            return answer
        refused = Refused(response.status_code, _problem_of(response))
        if response.status_code == 401:
            raise self._misconfigured(f"it refuses the token: {refused}")
        if response.status_code == 403:
            # The message itself names no scope: those of which one is needed stand in the context.
            wanted = ", ".join(sorted(refused.problem.names))
            why = f"the private app lacks a scope for {path}: {refused}" + (f" ({wanted})" if wanted else "")
            raise self._misconfigured(why, MappingUnfit)
        raise refused

    async def _answered(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        headers = {} if content is None else {"Content-Type": "application/json"}

        async def attempt() -> httpx.Response:
            async with self._room:
                while (seconds := self.shared.window.take()) > 0:
                    await asyncio.sleep(seconds)
                try:
                    response = await self._send(method, path, content, headers)
                finally:
                    self.shared.window.answered()
            self._watch(response)
            if response.status_code == 429 and _policy(response) == "DAILY":
                raise PushError(
                    f"{self.connection.url}: the account's API requests of the day are used up: "
                    f"{_problem_of(response).message}",
                    safe=SAFE,
                    todo="Run again after midnight in the account's time zone, or raise the account's limit.",
                )
            return response

        def on_retry(response: httpx.Response | None, pause: float) -> None:
            self._retries += 1
            if response is not None and response.status_code in (423, 429):
                self.shared.window.pause(pause)

        what = self._named(method, path)
        deadline = self.connection.deadline_seconds
        return await answered(attempt, what=what, deadline=deadline, on_retry=on_retry, asked_pause=asked_pause)

    def _named(self, method: str, path: str) -> str:
        return f"{method} {self.connection.url.rstrip('/')}{path}"

    async def _send(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> httpx.Response:
        self._requests += 1
        return await self._http.request(method, path, content=content, headers=headers)

    def _watch(self, response: httpx.Response) -> None:
        most, left = _number(response, "Max"), _number(response, "Remaining")
        interval = _number(response, "Interval-Milliseconds")
        if most is not None and left is not None and interval == WINDOW_SECONDS * 1000:
            self.shared.window.told(most, left)
        daily, daily_left = _number(response, "Daily"), _number(response, "Daily-Remaining")
        if daily is not None and daily_left is not None:
            self._api_used, self._api_limit = daily - daily_left, daily

    def _misconfigured(self, why: str, kind: type[ConfigError] = ConfigError) -> ConfigError:
        token = self.connection.token.get_secret_value()
        return kind(
            f"{self.connection.url}: {why.replace(token, '***') if token else why}",
            safe=SAFE,
            todo="Correct the connection in profiles/connections.yml (or its environment variables), or the private "
            "app's scopes in HubSpot, then `nightshift doctor`.",
        )


def asked_pause(response: httpx.Response) -> float | None:
    """Read how long HubSpot wants us to wait, in seconds.

    That is ``Retry-After`` where there is one. Else a 429 names its policy, and we wait as long as that one counts; and
    after a 423 as long as HubSpot is locked.
    """
    asked = retry_after(response)
    if asked is None and response.status_code == 423:
        return LOCK_SECONDS
    if asked is not None or response.status_code != 429:
        return asked
    if _policy(response) == "SECONDLY":
        return 1.0
    interval = _number(response, "Interval-Milliseconds")
    return WINDOW_SECONDS if interval is None else interval / 1000


def _policy(response: httpx.Response) -> str:
    body = _json(response)
    return "SECONDLY" if body.get("message") == SECONDLY else str(body.get("policyName", ""))


def _number(response: httpx.Response, name: str) -> int | None:
    text = response.headers.get(f"X-HubSpot-RateLimit-{name}", "")
    return int(text) if text.isdecimal() else None


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _problem_of(response: httpx.Response) -> Problem:
    body = _json(response)
    if not body:
        text = " ".join(response.text.split())
        return Problem("NOT_JSON", text[:200] or response.reason_phrase)
    return problem(body)


def problem(error: Mapping[str, Any]) -> Problem:
    """Read an error, of a request or of one record; every field of it is optional.

    Args:
        error: the error as HubSpot gives it: ``category``, ``message``, ``context`` and, for single properties,
            ``errors`` with ``code``, ``message``, ``in`` and ``context``.
    """
    details = [detail for detail in error.get("errors") or () if isinstance(detail, dict)]
    contexts = [c for c in (error.get("context"), *(d.get("context") for d in details)) if isinstance(c, dict)]
    fields = [name for c in contexts for name in _texts(c.get("propertyName"))]
    fields += [str(detail["in"]) for detail in details if detail.get("in")]
    code = next((str(detail["code"]) for detail in details if detail.get("code")), "")
    names = {text for context in contexts for value in context.values() for text in _texts(value)}
    names.update(_texts(error.get("id")))
    messages = [str(one.get("message") or "") for one in (error, *details)]
    return Problem(
        code=code or str(error.get("category") or "UNKNOWN_ERROR"),
        message=next((message for message in messages if message), ""),
        fields=tuple(dict.fromkeys(fields)),
        names=frozenset(names),
        other_id=_other_id(contexts, messages),
    )


def _other_id(contexts: Sequence[Mapping[str, Any]], messages: Sequence[str]) -> str | None:
    """Of a duplicate, the record that is there already: in the context of a batch's error, else only in its text."""
    named = [text for context in contexts for text in _texts(context.get("existingId"))]
    # The refused value stands before the id in the text, and may itself look like one.
    told = [found[1] for message in messages for found in list(_EXISTING.finditer(message))[-1:]]
    return next(iter((*named, *told)), None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        yield from map(str, value)
    elif value is not None:
        yield str(value)
