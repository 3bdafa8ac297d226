"""Fetching a source's pages: one polite, stubborn HTTP client.

It repeats what may pass (408, 429, 5xx, broken connections) with full jitter, waits as long as ``Retry-After`` asks,
and gives up at the page's deadline. It repeats nothing else.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from flows.errors import ConfigError, ExtractError
from flows.extract.base import Job
from flows.project import RestExtract

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
LARGEST_INT = 18
"""Digits that surely fit DuckDB's JSON numbers; longer ones are kept as text, exact."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of records.

    Attributes:
        number: 1 for the first.
        records: the records as the source gave them; numbers that a float would change are texts.
        bytes: its size, decoded.
    """

    number: int
    records: list[dict[str, Any]]
    bytes: int


class _Again(Exception):
    """This try failed in a way that may pass."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class Client:
    """Reads one source's pages; a context manager.

    Args:
        job: whose source.
        extract: how it is declared.

    Raises:
        ConfigError: the address is not set or is none, or a header cannot be sent.
    """

    def __init__(self, job: Job, extract: RestExtract) -> None:
        self._job = job
        self._extract = extract
        self.url = _address(job, extract)
        self._headers = _headers(job)
        self._http = httpx.Client(
            headers={"Accept": "application/json", **self._headers},
            timeout=extract.timeout_seconds,
            # A proxy of the environment is for the world outside, never for this machine itself.
            trust_env=self.url.host not in ("127.0.0.1", "localhost", "::1"),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    @property
    def shown(self) -> str:
        """The address as people may see it: without query and credentials, either of which may be secret."""
        return f"{self.url.scheme}://{self.url.netloc.decode()}{self.url.path}"

    def pages(self, parameters: Mapping[str, str]) -> Iterator[Page]:
        """Read page after page until one names no next page.

        Args:
            parameters: query parameters of every page.

        Raises:
            ExtractError: an answer that is no page, a refusal, the same token twice, or the deadline.
        """
        sent = {**parameters, self._extract.page_size_param: str(self._extract.page_size)}
        tokens: set[str] = set()
        number = 0
        while True:
            number += 1
            body, kind = self._fetch(sent, number)
            records, token = self._read(body, kind, number)
            yield Page(number, records, len(body))
            if token is None:
                return
            if token in tokens:
                raise self._job.error(
                    f"{self.shown} would go on for ever: page {number} names a next page that it named before.",
                    f"Check that it understands the query parameter {self._extract.page_param!r} (extract.page_param).",
                )
            tokens.add(token)
            sent[self._extract.page_param] = token

    def _fetch(self, parameters: Mapping[str, str], number: int) -> tuple[bytes, str]:
        started = time.monotonic()
        deadline = started + self._extract.deadline_seconds
        tries = 0
        while True:
            tries += 1
            try:
                return self._try(parameters, number, deadline)
            except _Again as error:
                # Full jitter: many clients that failed together do not come back together.
                jitter = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**tries))  # noqa: S311 - no secret
                pause = jitter if error.wait is None else error.wait
                if time.monotonic() + pause < deadline:
                    time.sleep(pause)
                    continue
                asked = f" and asks for {error.wait:,.0f} s of patience" if error.wait else ""
                raise self._job.error(
                    f"{self.shown} {error}{asked}; tried {tries} times in {time.monotonic() - started:.1f} s"
                    f" for page {number}.",
                    "Look whether the source is up; then run again. extract.deadline_seconds says how long to try.",
                ) from error.__cause__

    def _try(self, parameters: Mapping[str, str], number: int, deadline: float) -> tuple[bytes, str]:
        try:
            with self._http.stream("GET", self.url.copy_merge_params(parameters)) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:
                        raise _Again("answers too slowly")
        except httpx.TimeoutException as error:
            raise _Again(f"did not answer within {self._extract.timeout_seconds:g} s") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self._job.error(
                    f"{self.shown}: its certificate is not trusted ({error}).",
                    "Check extract.url; a company's own authority is made known by SSL_CERT_FILE.",
                ) from error
            raise _Again(f"could not be reached ({type(error).__name__}: {error})") from error
        except httpx.DecodingError as error:
            raise _Again("sent an answer that cannot be unpacked") from error
        if answer.status_code == httpx.codes.OK:
            return bytes(body), answer.headers.get("content-type", "no content type")
        status = f"answered {answer.status_code} {answer.reason_phrase}".rstrip()
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise _Again(status, _retry_after(answer.headers.get("retry-after")))
        raise self._refused(answer.status_code, status, bytes(body), number)

    def _refused(self, code: int, status: str, body: bytes, number: int) -> ExtractError:
        where = f"{self.shown} {status} for page {number}"
        if code in (401, 403):
            sent = f"it was sent the header {', '.join(self._headers)}" if self._headers else "no header was sent"
            return self._job.error(
                f"{where}: it wants other credentials ({sent}).",
                f"Check sources.{self._job.source.name.split('.')[0]}.headers in profiles/connections.yml and the "
                "variables that they are made of.",
            )
        if 300 <= code < 400:
            return self._job.error(f"{where}: the address has moved.", "Set extract.url to its new address.")
        said = self._scrubbed(body[:2000].decode("utf-8", errors="replace"))[:200].strip()
        return self._job.error(f"{where}: {said or 'it says nothing more'}", "Check extract.url and its parameters.")

    def _scrubbed(self, text: str) -> str:
        for value in self._headers.values():
            for secret in (value, value.split()[-1]):
                text = text.replace(secret, "[secret]")
        return " ".join(text.split())

    def _read(self, body: bytes, kind: str, number: int) -> tuple[list[dict[str, Any]], str | None]:
        where = f"{self.shown}, page {number}"
        try:
            page = json.loads(body, parse_float=_exact_float, parse_int=_exact_int, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise self._job.error(
                f"{where} is not JSON ({kind}, {len(body):,} bytes).",
                "Open the address: a login page, a proxy or a maintenance page may stand before the source.",
            ) from error
        todo = "Check extract.records and extract.next against the source's documentation."
        if not isinstance(page, dict):
            raise self._job.error(f"{where} is {_kind(page)}; expected an object with a list of records.", todo)
        keys = ", ".join(map(repr, page)) or "none"
        if self._extract.records not in page:
            raise self._job.error(f"{where} has no key {self._extract.records!r}; its keys are: {keys}.", todo)
        records = page[self._extract.records]
        if not isinstance(records, list):
            raise self._job.error(f"{where}: {self._extract.records!r} is {_kind(records)}; expected a list.", todo)
        odd = next((record for record in records if not isinstance(record, dict)), None)
        if odd is not None:
            raise self._job.error(
                f"{where}: {self._extract.records!r} holds {_kind(odd)}; expected objects with columns.", todo
            )
        token = page.get(self._extract.next)
        if isinstance(token, bool) or not (token is None or isinstance(token, str | int)):
            raise self._job.error(f"{where}: {self._extract.next!r} is {_kind(token)}; expected a token.", todo)
        return records, None if token in (None, "") else str(token)


def _address(job: Job, extract: RestExtract) -> httpx.URL:
    where = f"{job.source.declared_in}: {job.source.name}: config.meta.extract.url"
    safe = f"Nothing of {job.source.name} was asked for."
    try:
        url = httpx.URL(extract.url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{where}: not an address: {error}.", safe=safe) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(
            f"{where}: found {extract.url!r}, expected an address that starts with http:// or https://.",
            safe=safe,
            todo="Set the environment variable that the address is made of (the shop's is SHOP_URL).",
        )
    return url


def _headers(job: Job) -> dict[str, str]:
    headers = {name: secret.get_secret_value() for name, secret in job.source.headers.items()}
    for name, value in headers.items():
        # The HTTP library would quote the value, a secret, in its error.
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ConfigError(
                f"profiles/connections.yml: sources.{job.source.name.split('.')[0]}.headers.{name}: its value holds a "
                "line break, an outer space or another character that no header may hold.",
                safe=f"Nothing of {job.source.name} was asked for.",
                todo="Set the environment variable that it is made of again, without a line break at its end.",
            )
    return {name: value for name, value in headers.items() if value}


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait from a ``Retry-After`` header: seconds or a date; None where it says nothing."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _exact_float(text: str) -> float | str:
    value = float(text)
    return value if Decimal(repr(value)) == Decimal(text) else text


def _exact_int(text: str) -> int | str:
    return int(text) if len(text) <= LARGEST_INT else text


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
