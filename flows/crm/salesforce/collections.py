"""sObject Collections: up to 200 records a request, answered in order.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

from flows.crm.flight import in_flight
from flows.crm.retry import NoAnswer, jitter
from flows.crm.salesforce.client import IN_FLIGHT, Client, Refused, duplicate_of
from flows.crm.salesforce.encode import json_record
from flows.crm.salesforce.refusals import Refusals, rejected
from flows.crm.salesforce.shape import Shape, refused
from flows.errors import PushError
from flows.records import Operation, Outcome, Receipt, Record

MOST = 200
"""Records a request may hold."""
TRANSIENT = frozenset({"UNABLE_TO_LOCK_ROW"})
"""Row errors that another try may well cure: somebody else was writing the same parent."""
ROUNDS = 6
"""How often rows with a transient error are sent in all."""
SPLITTABLE = frozenset({400, 413, 414})
"""Refusals that one bad record can cause for the whole request."""


def requests(records: Sequence[Record], parent: str | None) -> Iterator[list[Record]]:
    """Cut records into requests of at most 200, the children of one parent together where they fit.

    Args:
        records: the records.
        parent: the lookup field that they are sorted by, so that no two requests in flight lock the same parent;
            None where the object has none.
    """

    def key(record: Record) -> str:
        return "" if parent is None else str(record.values.get(parent) or "")

    request: list[Record] = []
    for _, siblings in groupby(sorted(records, key=key), key):
        family = list(siblings)
        if request and len(family) <= MOST < len(request) + len(family):
            yield request
            request = []
        for record in family:
            request.append(record)
            if len(request) == MOST:
                yield request
                request = []
    if request:
        yield request


async def write(
    client: Client, shape: Shape, operation: Operation, records: Sequence[Record]
) -> AsyncIterator[list[Receipt]]:
    """Write records, several requests in flight.

    Args:
        client: the requests' way out.
        shape: the sync as Salesforce sees it.
        operation: what is to be done to all of them.
        records: the records.

    Yields:
        One receipt for each record, a request's together.

    Raises:
        PushError: a request could not be tried, or got no answer while others still waited; see `Writer`.
    """
    writer = Writer(client, shape, operation)
    parent = next(iter(shape.lookups), None)
    todo = list(requests(records, parent))
    work: list[Callable[[], Coroutine[Any, Any, list[Receipt]]]] = [partial(writer.send, request) for request in todo]
    async for receipts in in_flight(work, IN_FLIGHT):
        yield receipts


class Writer:
    """Writes requests of one batch.

    A request that may have been carried out without an answer gives ``unknown`` receipts. After that the CRM is taken
    to be gone: requests that follow are not sent and fail with the same error.
    """

    def __init__(self, client: Client, shape: Shape, operation: Operation) -> None:
        self._client = client
        self._shape = shape
        self._operation = operation
        self._refusals = Refusals(client, shape, operation)
        self._gone: NoAnswer | None = None

    async def send(self, records: list[Record]) -> list[Receipt]:
        """Write up to 200 records; those with a transient error are sent again, a few times.

        Raises:
            NoAnswer: nothing of it can have been carried out.
            PushError: the request was refused for a reason that no record causes.
        """
        receipts: list[Receipt] = []
        for attempt in range(ROUNDS):
            try:
                answers = await self._split(records)
            except PushError as error:
                if not receipts:
                    raise
                # What earlier rounds wrote keeps its receipts.
                return receipts + [_unknown(record, error) for record in records]
            again = {r.external_id for r in answers if r.code in TRANSIENT}
            if not again or attempt == ROUNDS - 1:
                return receipts + answers
            receipts += [r for r in answers if r.external_id not in again]
            records = [r for r in records if r.external_id in again]
            await asyncio.sleep(jitter(attempt))
        return receipts

    async def _split(self, records: list[Record]) -> list[Receipt]:
        """Send records; halve a request that is refused as a whole until the bad record is alone."""
        if self._gone is not None:
            raise PushError(self._gone.what, safe=self._gone.safe, todo=self._gone.todo)
        try:
            answers = await self._once(records)
        except Refused as error:
            if error.status not in SPLITTABLE:
                raise refused(self._client, f"{self._operation} {self._shape.object}", error) from error
            if len(records) == 1:
                return [rejected(records[0].external_id, records[0].crm_id, error.code, error.message, error.fields)]
            middle = len(records) // 2
            first = await self._split(records[:middle])
            try:
                return first + await self._split(records[middle:])
            except PushError as failure:
                # The first half is written: its receipts must not be lost with the second.
                return first + [_unknown(record, failure) for record in records[middle:]]
        except NoAnswer as error:
            self._gone = error
            if not error.maybe_written:
                raise
            return [_unknown(record, error) for record in records]
        receipts = [self._receipt(record, answer) for record, answer in zip(records, answers, strict=True)]
        return await self._refusals.explained(
            receipts, lambda wanted: [record for record in records if record.external_id in wanted]
        )

    async def _once(self, records: list[Record]) -> list[dict[str, Any]]:
        if self._operation is Operation.ARCHIVE:
            params = {"ids": ",".join(record.crm_id or "" for record in records), "allOrNone": "false"}
            response = await self._client.request("DELETE", "composite/sobjects", params=params)
        else:
            listed = ",".join(json_record(self._shape, record, self._operation) for record in records)
            path = "composite/sobjects"
            if self._operation is Operation.CREATE:
                path = f"{path}/{self._shape.object}/{self._shape.external_id}"
            body = f'{{"allOrNone":false,"records":[{listed}]}}'.encode()
            response = await self._client.request("PATCH", path, content=body)
        answers: list[dict[str, Any]] = response.json()
        return answers

    def _receipt(self, record: Record, answer: dict[str, Any]) -> Receipt:
        crm_id = answer.get("id") or record.crm_id
        if answer["success"]:
            return Receipt(record.external_id, Outcome.APPLIED, crm_id, answer.get("created"))
        error = (answer.get("errors") or [{}])[0]
        code = str(error.get("statusCode", "UNKNOWN_ERROR"))
        if is_archived(self._operation, code):
            return Receipt(record.external_id, Outcome.APPLIED, record.crm_id)
        fields = tuple(map(str, error.get("fields") or ()))
        refused = rejected(record.external_id, record.crm_id, code, str(error.get("message", "")), fields)
        return replace(refused, other_id=duplicate_of(error) or refused.other_id)


def is_archived(operation: Operation, code: str) -> bool:
    """Whether an error says that the archive which was asked for has happened already."""
    return operation is Operation.ARCHIVE and code == "ENTITY_IS_DELETED"


def _unknown(record: Record, error: PushError) -> Receipt:
    return Receipt(record.external_id, Outcome.UNKNOWN, record.crm_id, code="NO_ANSWER", message=error.what)
