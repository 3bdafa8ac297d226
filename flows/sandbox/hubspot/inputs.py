"""The frame that every batch has: its inputs, and its answer."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from flows.sandbox.hubspot.http import Call, Refused, answer, checked, invalid_input
from flows.sandbox.hubspot.store import now_ms
from flows.sandbox.hubspot.values import instant


def inputs_of(call: Call, most: int, **required: type | tuple[type, ...]) -> list[dict[str, Any]]:
    """The inputs of a batch.

    Args:
        call: the request.
        most: how many are allowed.
        required: key -> the type that each input must have there.

    Raises:
        Refused: they are too many, or not what they must be (400).
    """
    inputs: list[dict[str, Any]] = call.fields(inputs=list)["inputs"]
    call.exchange.records = len(inputs)
    if len(inputs) > most:
        text = f"The number of inputs ({len(inputs)}) is more than the limit of {most} for one request"
        raise Refused(400, "VALIDATION_ERROR", text, errors=[{"message": text, "in": "inputs"}])
    for one in inputs:
        checked(one, **required)
        for name in ("objectWriteTraceId", "idProperty"):
            if not isinstance(one.get(name, ""), str | None):
                raise invalid_input(f"Invalid input JSON on line 1, column 1: {name} is no text")
    return inputs


def told(started: int, results: list[Any], errors: list[dict[str, Any]], status: int) -> Response:
    """The answer to a batch; 207 where some inputs failed."""
    body: dict[str, Any] = {
        "status": "COMPLETE",
        "results": results,
        "startedAt": instant(started),
        "completedAt": instant(now_ms()),
    }
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
        status = 207
    return answer(body, status)


def number(text: str) -> int | None:
    """A record's id as a number; None where the text is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
