"""What a refused record's receipt says beside the error: whether the record is gone, and which other one is there.

Salesforce gives the same codes for a record that somebody deleted and for a parent that somebody deleted, and tells the
records that a duplicate rule found only to who asks for one record alone. So both are asked for.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from flows.crm.flight import in_flight
from flows.crm.retry import NoAnswer
from flows.crm.salesforce.client import IN_FLIGHT, Client, Refused
from flows.crm.salesforce.encode import json_values
from flows.crm.salesforce.readback import there
from flows.crm.salesforce.shape import Shape
from flows.errors import PushError
from flows.records import Operation, Outcome, Receipt, Record

GONE = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})
"""What an update or a delete by id is refused with where there is no such record, among other reasons; the last one is
said of a record that comes alone."""
DUPLICATES = "DUPLICATES_DETECTED"
ALONE = 100
"""Refused duplicates of one batch that are sent again, each alone, to hear which record is there already."""

_OTHER = re.compile(r"(?:record with id: |external id field: \[)([a-zA-Z0-9]{18}|[a-zA-Z0-9]{15})\b")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def other_id(message: str) -> str | None:
    """Read the other record's id from the text of DUPLICATE_VALUE or DUPLICATE_EXTERNAL_ID, as 18 characters."""
    found = _OTHER.search(message)
    return full_id(found[1]) if found else None


def full_id(text: str) -> str:
    """Make an id of 15 characters one of 18: the last three say which of its letters are capitals.

    Source: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/field_types.htm
    """
    if len(text) != 15:
        return text
    fives = (text[start : start + 5] for start in (0, 5, 10))
    return text + "".join(
        _LETTERS[sum(letter.isupper() << place for place, letter in enumerate(five))] for five in fives
    )


def rejected(record_id: str, crm_id: str | None, code: str, message: str, fields: tuple[str, ...]) -> Receipt:
    """Make a refused record's receipt."""
    return Receipt(record_id, Outcome.REJECTED, crm_id, None, code, message, fields, other_id(message))


class Refusals:
    """Asks what the refusals of one batch leave open.

    Args:
        client: the requests' way out.
        shape: the sync as Salesforce sees it.
        operation: what was to be done.
    """

    def __init__(self, client: Client, shape: Shape, operation: Operation) -> None:
        self._client = client
        self._shape = shape
        self._operation = operation
        self._alone = ALONE

    async def explained(
        self, receipts: Sequence[Receipt], records: Callable[[set[str]], Iterable[Record]]
    ) -> list[Receipt]:
        """Complete receipts; where Salesforce cannot be asked they stay as they are.

        Args:
            receipts: the receipts.
            records: gives the records of some external ids.
        """
        done = {r.external_id: r async for r in self._again(receipts, records)}
        done |= await self._gone([done.get(r.external_id, r) for r in receipts])
        return [done.get(r.external_id, r) for r in receipts] if done else list(receipts)

    async def _gone(self, receipts: Sequence[Receipt]) -> dict[str, Receipt]:
        if self._operation is Operation.CREATE:
            return {}
        # A refusal that names a field is about a lookup.
        asked = {r.crm_id: r for r in receipts if r.code in GONE and not r.fields and r.crm_id}
        try:
            alive = await there(self._client, self._shape, list(asked)) if asked else set()
        except PushError:
            return {}
        return {r.external_id: replace(r, gone=True) for crm_id, r in asked.items() if crm_id not in alive}

    async def _again(
        self, receipts: Sequence[Receipt], records: Callable[[set[str]], Iterable[Record]]
    ) -> AsyncIterator[Receipt]:
        refused = {r.external_id: r for r in receipts if r.code == DUPLICATES and r.other_id is None}
        chosen = dict(list(refused.items())[: self._alone])
        self._alone -= len(chosen)
        if not chosen:
            return
        work: list[Callable[[], Coroutine[Any, Any, Receipt]]] = [
            partial(self._send, record, chosen[record.external_id]) for record in records(set(chosen))
        ]
        async for receipt in in_flight(work, IN_FLIGHT):
            yield receipt

    async def _send(self, record: Record, refused: Receipt) -> Receipt:
        """Send a record alone: it is refused again, now with the other's id; or accepted, if that one has gone."""
        path = f"sobjects/{self._shape.object}"
        creating = self._operation is Operation.CREATE
        path += f"/{self._shape.external_id}/{quote(record.external_id, safe='')}" if creating else f"/{record.crm_id}"
        try:
            response = await self._client.request("PATCH", path, content=json_values(self._shape, record).encode())
        except Refused as error:
            again = rejected(record.external_id, record.crm_id, error.code, error.message, error.fields)
            return replace(again, other_id=error.other_id or again.other_id)
        except NoAnswer as error:
            if not error.maybe_written:
                return refused
            return Receipt(record.external_id, Outcome.UNKNOWN, record.crm_id, code="NO_ANSWER", message=error.what)
        except PushError:
            return refused
        answer: Mapping[str, Any] = response.json() if response.content else {}
        return Receipt(record.external_id, Outcome.APPLIED, answer.get("id") or record.crm_id, answer.get("created"))
