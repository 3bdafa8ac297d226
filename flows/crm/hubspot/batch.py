"""One batch request, and a verdict for each of its inputs, however HubSpot answers.

HubSpot answers 200 or 201 where all went well, 207 where some inputs failed, errors inside a 200 where it changes its
mind about that, and refuses a whole batch for one bad input where it cannot tell them apart. So neither the status nor
the order is relied upon: results and errors are matched to inputs by what they name, and what is left without a
verdict is sent again in smaller batches until it is alone. Whatever is sent this way must bear a repeat.

Source: https://developers.hubspot.com/docs/api-reference/error-handling (multi-status errors)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flows.crm.common import SAFE
from flows.crm.hubspot.client import IN_FLIGHT, Problem, Refused, problem
from flows.crm.retry import NoAnswer
from flows.errors import NightshiftError, PushError

SPLITTABLE = frozenset({400, 404, 409, 413, 414, 422})
"""Refusals that one bad input can cause for the whole batch."""
LONE = Problem("NO_RESULT", "HubSpot answered without a result and without an error for this record.")


class Item(NamedTuple):
    """One input of a batch.

    Attributes:
        key: what tells it from the other inputs, and what its result is found by.
        body: the input as JSON.
        names: by which an error may call it, beside the key.
    """

    key: str
    body: str
    names: tuple[str, ...] = ()


Verdict = Mapping[str, Any] | Problem | NightshiftError
"""What became of an input: its result; or what HubSpot holds against it; or why there is no answer."""
Send = Callable[[Sequence[Item]], Awaitable[dict[str, Any]]]
"""Sends inputs in one request and returns the answer's JSON, without any where HubSpot answers 204."""


class Settler:
    """Sends batches until every input has a verdict.

    After a request without an answer the CRM is taken to be gone: what would follow is not sent, and gets the same
    error for a verdict.
    """

    def __init__(self) -> None:
        self._gone: NightshiftError | None = None
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def settle(
        self, items: Sequence[Item], send: Send, result_key: Callable[[Mapping[str, Any]], str | None], most: int
    ) -> dict[str, Verdict]:
        """Send inputs, so many in a request, several requests in flight.

        Args:
            items: the inputs; their keys differ.
            send: sends some of them in one request.
            result_key: tells the key of the input that a result is of; None where it is of none.
            most: inputs that a request may hold.

        Returns:
            Key -> verdict, one for each input. An answer without a body (204) means that all went well.
        """
        requests = [items[start : start + most] for start in range(0, len(items), most)]
        answers = await asyncio.gather(*(self._settle(request, send, result_key) for request in requests))
        verdicts: dict[str, Verdict] = {}
        for answer in answers:
            verdicts.update(answer)
        return verdicts

    async def _settle(
        self, items: Sequence[Item], send: Send, result_key: Callable[[Mapping[str, Any]], str | None]
    ) -> dict[str, Verdict]:
        refusal: Refused | None = None
        answer: Mapping[str, Any] = {}
        async with self._room:
            if self._gone is not None:
                # Not the same object: whether this request was written is another question.
                return _all(items, PushError(self._gone.what, safe=self._gone.safe, todo=self._gone.todo))
            try:
                answer = await send(items)
            except Refused as error:
                if error.status not in SPLITTABLE:
                    return _all(items, self._stop(PushError(str(error), safe=SAFE, todo=_TODO)))
                refusal = error
            except NightshiftError as error:
                return _all(items, self._stop(error))
        if refusal is not None:
            return await self._halves(items, send, result_key, refusal.problem)
        if not answer:
            return _all(items, {})
        verdicts, told = _read(items, answer, result_key)
        left = [item for item in items if item.key not in verdicts]
        if left and verdicts:
            verdicts |= await self._settle(left, send, result_key)
        elif left:
            verdicts = await self._halves(left, send, result_key, next(iter(told), LONE))
        return verdicts

    async def _halves(
        self,
        items: Sequence[Item],
        send: Send,
        result_key: Callable[[Mapping[str, Any]], str | None],
        why: Problem,
    ) -> dict[str, Verdict]:
        if len(items) == 1:
            return {items[0].key: why}
        middle = len(items) // 2
        first = await self._settle(items[:middle], send, result_key)
        return first | await self._settle(items[middle:], send, result_key)

    def _stop(self, error: NightshiftError) -> NightshiftError:
        self._gone = self._gone or error
        return error


_TODO = "See HubSpot's status page, or correct what the message speaks of; then run again."


def inputs(items: Iterable[Item]) -> str:
    """Write the body of a batch request."""
    return f'{{"inputs":[{",".join(item.body for item in items)}]}}'


def unanswered(verdict: Verdict | None) -> bool:
    """Whether an input may have been carried out without an answer."""
    return isinstance(verdict, NoAnswer) and verdict.maybe_written


def _all(items: Iterable[Item], verdict: Verdict) -> dict[str, Verdict]:
    return {item.key: verdict for item in items}


def _read(
    items: Sequence[Item], answer: Mapping[str, Any], result_key: Callable[[Mapping[str, Any]], str | None]
) -> tuple[dict[str, Verdict], list[Problem]]:
    """Match an answer to the inputs: key -> verdict where one was found, and the errors that name no input."""
    keys = {item.key for item in items}
    verdicts: dict[str, Verdict] = {}
    for result in answer.get("results") or ():
        key = result_key(result)
        if key in keys and key is not None:
            verdicts[key] = result
    unmatched: list[Problem] = []
    for error in answer.get("errors") or ():
        found = problem(error)
        named = keys & found.names or {item.key for item in items if not found.names.isdisjoint(item.names)}
        for key in named:
            verdicts.setdefault(key, found)
        if not named:
            unmatched.append(found)
    return verdicts, unmatched
