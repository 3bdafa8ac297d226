"""Requests to Salesforce: login, retries, the shared rate, and what its refusals mean."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt

from flows.crm import retry, session
from flows.crm.common import SAFE, checked_url, held
from flows.crm.limiter import Limiter
from flows.crm.retry import answered, not_the_crms, retry_after
from flows.errors import ConfigError, PushError
from flows.project import SalesforceConnection

VERSION = "v62.0"
API = f"/services/data/{VERSION}"
IN_FLIGHT = 4
"""Requests that one connector has under way at most."""
READ_SECONDS = 150.0
"""Salesforce ends a request of its own accord after 120 s of computing, or answers."""
LIMIT = "REQUEST_LIMIT_EXCEEDED"
CHUNK = 1 << 20
"""Bytes read at once from a file that is uploaded."""


class Refused(Exception):
    """A request that Salesforce answered with a final error, for the caller to make sense of.

    Attributes:
        status: the HTTP status.
        code: Salesforce's code.
        message: its text.
        fields: the fields that it names.
        other_id: the id of the record, or of the first one, that is there already.

    Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm
    """

    def __init__(
        self, status: int, code: str, message: str, fields: tuple[str, ...] = (), other_id: str | None = None
    ) -> None:
        super().__init__(f"HTTP {status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields
        self.other_id = other_id


@dataclass(frozen=True, slots=True)
class Call:
    """One request, which can be sent any number of times.

    Attributes:
        method: the HTTP method.
        url: where to.
        headers: beside those that httpx adds.
        content: the body, or a file that is streamed.
        save_to: a file that a good answer's body is streamed to.
    """

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | Path | None = field(default=None, repr=False)
    save_to: Path | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A login: the access token, and where the org answers."""

    token: str = field(repr=False)
    instance_url: str


class Shared(session.Shared):
    """What all connectors of one org have in common, over the threads of this process."""

    def __init__(self, connection: SalesforceConnection) -> None:
        super().__init__()
        self.limiter = Limiter(connection.requests_per_second)
        self.login = threading.Lock()
        self.session: Session | None = None


class Client(session.Pool):
    """One connection pool for one event loop.

    Args:
        connection: the org, and how to log in.
    """

    def __init__(self, connection: SalesforceConnection) -> None:
        super().__init__()
        self.connection = connection
        self.shared = session.shared(connection, Shared)

    async def open(self) -> None:
        """Open the connection pool."""
        self._open(in_flight=IN_FLIGHT, read_seconds=READ_SECONDS, deadline=self.connection.deadline_seconds)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | Path | None = None,
        content_type: str = "application/json; charset=utf-8",
        save_to: Path | None = None,
    ) -> httpx.Response:
        """Send a request until it is answered, with a fresh login where the old one has expired.

        Args:
            method: the HTTP method.
            path: below `API`, or an absolute path beginning with ``/services``.
            params: the query.
            content: the body, or a file that is streamed.
            content_type: the body's type.
            save_to: a file that a good answer's body is streamed to.

        Returns:
            An answer of 2xx.

        Raises:
            Refused: any other final answer.
            NoAnswer: none came until the connection's deadline, or it was not Salesforce's.
            PushError: the day's requests are used up.
            ConfigError: the login is refused.
        """
        login = await self._session(None)
        response = None
        for _ in range(2):
            headers = {"Authorization": f"Bearer {login.token}"}
            if content is not None:
                headers["Content-Type"] = content_type
            where = login.instance_url + (path if path.startswith("/services") else f"{API}/{path}")
            # An empty set of parameters would take away the query that stands in the path.
            url = httpx.URL(where, params=params) if params else httpx.URL(where)
            response = await self._answered(Call(method, url, headers, content, save_to))
            if response.status_code != 401:
                break
            login = await self._session(login)
        if response is None or response.status_code == 401:
            raise self._login_refused("a login that was fresh is answered with 401")
        if response.is_success:
            if _is_page(response):
                raise not_the_crms(_named(method, url), response)
            return response
        refused = refusal(response)
        if refused.code == LIMIT:
            raise PushError(
                f"{self.connection.url}: the org's API requests of the last 24 hours are used up: {refused.message}",
                safe=SAFE,
                todo="Run again when the limit has room (Setup > System Overview), or ask Salesforce for more.",
            )
        raise refused

    async def _answered(self, call: Call) -> httpx.Response:
        async def attempt() -> httpx.Response:
            await asyncio.sleep(self.shared.limiter.reserve())
            self._requests += 1
            return await self._send(call)

        def on_retry(response: httpx.Response | None, pause: float) -> None:
            self._retries += 1
            if response is not None and response.status_code == 429 and retry_after(response) is not None:
                self.shared.limiter.pause(pause)

        what = _named(call.method, call.url)
        deadline = self.connection.deadline_seconds
        return await answered(attempt, what=what, deadline=deadline, on_retry=on_retry, passing=passing)

    async def _send(self, call: Call) -> httpx.Response:
        headers = dict(call.headers)
        body: bytes | AsyncIterator[bytes] | None
        if isinstance(call.content, Path):
            headers["Content-Length"] = str(call.content.stat().st_size)
            body = _chunks(call.content)
        else:
            body = call.content
        request = self._http.build_request(call.method, call.url, headers=headers, content=body)
        response = await self._http.send(request, stream=call.save_to is not None)
        if call.save_to is not None:
            try:
                if response.is_success and not _is_page(response):
                    with call.save_to.open("wb") as file:
                        async for data in response.aiter_bytes():
                            file.write(data)
                else:
                    await response.aread()
            finally:
                await response.aclose()
        self._watch(response)
        return response

    def _watch(self, response: httpx.Response) -> None:
        # https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
        info = re.search(r"api-usage=(\d+)/(\d+)", response.headers.get("Sforce-Limit-Info", ""))
        if info:
            self._api_used, self._api_limit = int(info[1]), int(info[2])

    async def _session(self, stale: Session | None) -> Session:
        """The shared login; a new one where there is none or it is the stale one."""
        async with held(self.shared.login):
            if self.shared.session is None or self.shared.session is stale:
                self.shared.session = None
                self.shared.session = await self._log_in()
            return self.shared.session

    async def _log_in(self) -> Session:
        connection = self.connection
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if connection.auth == "jwt":
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion()}
        else:
            if connection.client_secret is None:
                raise self._login_refused("auth: client_credentials needs a client_secret")
            form = {"grant_type": "client_credentials"}
            pair = f"{connection.client_id}:{connection.client_secret.get_secret_value()}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        url = checked_url(f"{connection.url.rstrip('/')}/services/oauth2/token", self._login_refused)
        response = await self._answered(Call("POST", url, headers, urlencode(form).encode()))
        try:
            answer: dict[str, Any] = response.json()
            return Session(answer["access_token"], answer["instance_url"].rstrip("/"))
        except (ValueError, KeyError, TypeError, AttributeError):
            refused = refusal(response)
            raise self._login_refused(f"HTTP {refused.status} {refused.code}: {refused.message}") from None

    def _assertion(self) -> str:
        # https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm
        connection = self.connection
        if connection.private_key is None or connection.username is None:
            raise self._login_refused("auth: jwt needs a username and a private_key")
        claims = {
            "iss": connection.client_id,
            "sub": connection.username,
            "aud": connection.audience or connection.url.rstrip("/"),
            "exp": int(time.time()) + 180,
        }
        try:
            return jwt.encode(claims, connection.private_key.get_secret_value(), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            # Not chained: the cause may quote the key.
            raise self._login_refused("the private_key is not the PEM text of an RSA key") from None

    def _login_refused(self, why: str) -> ConfigError:
        for secret in (self.connection.client_secret, self.connection.private_key):
            if secret is not None and secret.get_secret_value():
                why = why.replace(secret.get_secret_value(), "***")
        return ConfigError(
            f"{self.connection.url} refuses the login of client {self.connection.client_id!r}: {why}",
            safe="Nothing was sent with this login.",
            todo="Correct the connection in profiles/connections.yml (or its environment variables), "
            "then `nightshift doctor`.",
        )


def _is_page(response: httpx.Response) -> bool:
    """Whether an answer is a page for people: Salesforce answers with JSON, CSV or nothing."""
    return bool(response.headers.get("Content-Type", "").startswith("text/html"))


def _named(method: str, url: httpx.URL) -> str:
    return f"{method} {url.copy_with(query=None)}"


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            yield data


def passing(response: httpx.Response) -> str:
    """Say what a passing answer is; nothing of one that a repeat would not change.

    Salesforce has one code for two limits: the day's, and that of long requests at one time, which has room again when
    one of them ends.

    Source: https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm
    """
    if response.status_code == httpx.codes.FORBIDDEN:
        refused = refusal(response)
        return str(refused) if refused.code == LIMIT and refused.message.startswith("Concurrent") else ""
    return retry.by_status(response)


def refusal(response: httpx.Response) -> Refused:
    """Read a refusal: the API answers with a list of errors, the login with one object, a proxy with anything."""
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        text = re.sub(r"\s+", " ", response.text).strip()
        return Refused(status, "NOT_JSON", text[:200] or response.reason_phrase)
    if status == httpx.codes.MULTIPLE_CHOICES and isinstance(body, list) and body:
        ids = [str(url).rpartition("/")[2] for url in body]
        return Refused(status, "DUPLICATE_EXTERNAL_ID", f"several records match: {', '.join(ids)}", (), ids[0])
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, dict):
        return Refused(status, "UNEXPECTED_ANSWER", str(body)[:200])
    if "error" in first:
        return Refused(status, str(first["error"]), str(first.get("error_description", "")))
    code, message = str(first.get("errorCode", "UNEXPECTED_ANSWER")), str(first.get("message", ""))
    return Refused(status, code, message, tuple(map(str, first.get("fields") or ())), duplicate_of(first))


def duplicate_of(error: Mapping[str, Any]) -> str | None:
    """Read from an error the id of the first record that a duplicate rule found; None where it tells of none.

    Source: https://developer.salesforce.com/docs/platform/api/guide/sforce-api-objects-duplicateresult.html
    """
    # Orgs were seen to spell it without its l.
    found = error.get("duplicateResult") or error.get("duplicateResut") or {}
    matches = (match for result in found.get("matchResults") or () for match in result.get("matchRecords") or ())
    return next((str(match["record"]["Id"]) for match in matches if match.get("record", {}).get("Id")), None)
