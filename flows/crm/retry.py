"""The one owner of retries: a request is repeated until the CRM gives an answer that is one, or the deadline is near.

Repeated are the statuses in `RETRYABLE`, what a CRM knows to be passing beside them, connection errors and timeouts.
Whoever sends must see to it that a repeat is harmless. The pause is what the CRM asks for (``Retry-After``, or its own
way to say so), else drawn from the whole of a growing range ("full jitter",
https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from flows.crm.common import SAFE
from flows.errors import ConfigError, PushError

RETRYABLE = frozenset({408, 423, 429, 500, 502, 503, 504, *range(520, 525)})
"""423 is what HubSpot says while it is written to faster than it can lock; 520 to 524 is what stands before a CRM that
cannot be reached: https://developers.hubspot.com/docs/api-reference/error-handling"""
UNTRIED = frozenset({403, 423, 429})
"""Refusals of what was not even begun."""
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0


class NoAnswer(PushError):
    """The CRM gave no answer until the deadline, or something else answered in its place.

    Attributes:
        maybe_written: whether the CRM may have carried out one of the attempts.
    """

    maybe_written = False


def retry_after(response: httpx.Response) -> float | None:
    """Read ``Retry-After``, which holds seconds or an HTTP date.

    Args:
        response: the CRM's answer.

    Returns:
        Seconds from now, never negative; None where the header is absent or unreadable.
    """
    text = response.headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds: float = (moment - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds)


def jitter(attempt: int) -> float:
    """Draw a pause.

    Args:
        attempt: how many attempts there were before this one.

    Returns:
        Seconds.
    """
    return random.uniform(0, min(CAP_SECONDS, BASE_SECONDS * 2**attempt))  # noqa: S311 - not for secrets


def not_the_crms(what: str, response: httpx.Response) -> NoAnswer:
    """The error of an answer that is no refusal and that the CRM cannot have given: a page for people, most often.

    Args:
        what: the request.
        response: what came instead. Whether the CRM has carried the request out is not known.
    """
    text = " ".join(response.text.split())
    failure = NoAnswer(
        f"{what}: HTTP {response.status_code} NOT_JSON: {text[:200] or 'nothing'}",
        safe=SAFE,
        todo="Correct the connection's url in profiles/connections.yml (or its environment variable) if it is not that "
        "of the CRM's API; else see what stands between this machine and the CRM. Then run again.",
    )
    failure.maybe_written = True
    return failure


def by_status(response: httpx.Response) -> str:
    """Say what a passing answer is; nothing of one that a repeat would not change."""
    return f"HTTP {response.status_code}" if response.status_code in RETRYABLE else ""


async def answered(
    attempt: Callable[[], Awaitable[httpx.Response]],
    *,
    what: str,
    deadline: float,
    on_retry: Callable[[httpx.Response | None, float], None],
    asked_pause: Callable[[httpx.Response], float | None] = retry_after,
    passing: Callable[[httpx.Response], str] = by_status,
) -> httpx.Response:
    """Send a request until it is answered.

    Args:
        attempt: sends it once.
        what: the request, for the error.
        deadline: seconds after which no further attempt begins.
        on_retry: called before each pause with the answer that makes it necessary (None where there was none) and
            the pause's seconds.
        asked_pause: reads from an answer how many seconds the CRM wants us to wait; None where it does not say.
        passing: says what an answer is that is worth another attempt; nothing of any other.

    Returns:
        An answer that no repeat would change; it may still be a refusal.

    Raises:
        NoAnswer: the deadline came first.
        ConfigError: the CRM's certificate is not trusted.
    """
    until = time.monotonic() + deadline
    maybe_written = False
    attempts = 0
    while True:
        response: httpx.Response | None = None
        try:
            response = await attempt()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            reason = _reason(error)
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                raise ConfigError(f"{what}: {reason}", safe="Nothing was sent.") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            maybe_written = True
            reason = _reason(error)
        else:
            reason = passing(response)
            if not reason:
                return response
            maybe_written |= response.status_code not in UNTRIED
        asked = None if response is None else asked_pause(response)
        pause = jitter(attempts) if asked is None else asked
        attempts += 1
        if time.monotonic() + pause > until:
            failure = NoAnswer(
                f"{what}: no answer after {attempts} attempts in {deadline:g} s; the last one: {reason}",
                safe=SAFE,
                todo="See whether the CRM is up, then run again.",
            )
            failure.maybe_written = maybe_written
            raise failure
        on_retry(response, pause)
        await asyncio.sleep(pause)


def _reason(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}{': ' if str(error) else ''}{error}"
