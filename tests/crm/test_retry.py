"""Pauses, rates and things in flight, without any CRM."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import httpx
import pytest

from flows.crm import retry
from flows.crm.flight import in_flight
from flows.crm.limiter import Limiter
from flows.crm.retry import NoAnswer, answered, jitter, retry_after
from flows.errors import ConfigError


def response(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Answers:
    """Gives prepared answers, one for each attempt; the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.left = list(answers)
        self.attempts = 0

    async def __call__(self) -> httpx.Response:
        self.attempts += 1
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(answers: Answers, deadline: float = 5.0) -> tuple[httpx.Response, list[float]]:
    pauses: list[float] = []
    got = answered(answers, what="GET x", deadline=deadline, on_retry=lambda _, pause: pauses.append(pause))
    return asyncio.run(got), pauses


@pytest.mark.parametrize("status", [200, 201, 300, 400, 401, 403, 404, 409, 501])
def test_a_final_answer_is_not_asked_for_again(status: int) -> None:
    answers = Answers(response(status))
    assert ask(answers)[0].status_code == status
    assert answers.attempts == 1


@pytest.mark.parametrize("status", [408, 423, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_a_passing_answer_is_asked_for_again(status: int) -> None:
    answers = Answers(response(status), response(status), response(200))
    assert ask(answers)[0].status_code == 200
    assert answers.attempts == 3


@pytest.mark.parametrize(
    ("failure", "maybe_written"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout(""), False),
        (httpx.ReadTimeout(""), True),
        (httpx.WriteError(""), True),
        (httpx.RemoteProtocolError("gone"), True),
        (response(429), False),
        (response(423), False),
        (response(524), True),
        (response(503), True),
        (response(500), True),
    ],
)
def test_the_deadline_tells_whether_something_may_have_been_written(
    failure: httpx.Response | Exception, maybe_written: bool
) -> None:
    begun = time.monotonic()
    with pytest.raises(NoAnswer, match=r"GET x: no answer after \d+ attempts in 0.1 s") as told:
        ask(Answers(failure), deadline=0.1)
    assert time.monotonic() - begun < 1
    assert told.value.maybe_written is maybe_written
    assert pickle.loads(pickle.dumps(told.value)).what == told.value.what


def test_a_certificate_that_is_not_trusted_is_no_passing_fault() -> None:
    answers = Answers(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with pytest.raises(ConfigError, match="self-signed"):
        ask(answers)
    assert answers.attempts == 1


def test_retry_after_is_obeyed() -> None:
    begun = time.monotonic()
    _, pauses = ask(Answers(response(429, Retry_After="0.3"), response(200)))
    assert pauses == [0.3]
    assert time.monotonic() - begun >= 0.3


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    begun = time.monotonic()
    with pytest.raises(NoAnswer):
        ask(Answers(response(503, Retry_After="3600")), deadline=2)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("1.5", 1.5), ("-3", 0)])
def test_retry_after_holds_seconds(text: str, seconds: float) -> None:
    assert retry_after(response(429, Retry_After=text)) == seconds


@pytest.mark.parametrize(("hours", "low", "high"), [(1, 3000, 3600), (-1, 0, 0)])
def test_retry_after_holds_a_date(hours: int, low: float, high: float) -> None:
    text = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    seconds = retry_after(response(429, Retry_After=text))
    assert seconds is not None
    assert low <= seconds <= high


@pytest.mark.parametrize("text", ["", "soon", "32 Foo 2011"])
def test_an_unreadable_retry_after_is_none(text: str) -> None:
    assert retry_after(response(429, Retry_After=text)) is None


def test_jitter_grows_and_uses_the_whole_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.5)
    for attempt, most in ((0, 0.5), (3, 4.0), (50, retry.CAP_SECONDS)):
        drawn = [jitter(attempt) for _ in range(500)]
        assert max(drawn) <= most
        assert max(drawn) > 0.9 * most
        assert min(drawn) < 0.1 * most


def test_slots_are_handed_out_evenly_to_all_threads() -> None:
    limiter = Limiter(100)
    begun = time.monotonic()
    slots: list[float] = []

    def take() -> None:
        for _ in range(25):
            wait = limiter.reserve()
            slots.append(time.monotonic() + wait)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slots) == 100
    assert max(slots) - begun == pytest.approx(0.99, abs=0.1)


def test_without_a_ceiling_nobody_waits() -> None:
    limiter = Limiter(0)
    assert max(limiter.reserve() for _ in range(1000)) == 0


def test_a_pause_holds_everybody() -> None:
    limiter = Limiter(0)
    limiter.pause(5)
    assert 4.9 < limiter.reserve() <= 5
    limiter.pause(1)
    assert 4.9 < limiter.reserve() <= 5


Work = list[Callable[[], Coroutine[Any, Any, int]]]


def test_no_more_than_so_many_are_in_flight() -> None:
    now = most = 0

    async def piece(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001 * (number % 3))
        now -= 1
        return number

    async def all_of_it() -> list[int]:
        work: Work = [partial(piece, number) for number in range(50)]
        return [number async for number in in_flight(work, 4)]

    assert sorted(asyncio.run(all_of_it())) == list(range(50))
    assert most == 4


def test_a_failure_lets_those_under_way_finish_and_begins_no_more() -> None:
    begun: list[int] = []
    got: list[int] = []

    async def piece(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0.01 if number == 1 else 0.05)
        if number == 1:
            raise ValueError("piece 1")
        return number

    async def all_of_it() -> None:
        work: Work = [partial(piece, number) for number in range(20)]
        async for number in in_flight(work, 4):
            got.append(number)

    with pytest.raises(ValueError, match="piece 1"):
        asyncio.run(all_of_it())
    assert sorted(begun) == [0, 1, 2, 3]
    assert sorted(got) == [0, 2, 3]


def test_who_stops_listening_leaves_nothing_running() -> None:
    ended: list[str] = []

    async def piece(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return number

    async def first() -> int:
        work: Work = [partial(piece, number) for number in range(3)]
        listening = in_flight(work, 3)
        found = await anext(listening)
        await listening.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(first()) == 0
    assert ended == ["cancelled", "cancelled"]
