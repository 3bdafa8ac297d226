"""Salesforce: sObject Collections for a few records, Bulk API 2.0 for many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from flows.crm.base import Child, Limits, ObjectInfo
from flows.crm.common import even_share, first
from flows.crm.forms import Form
from flows.crm.salesforce import bulk, children, collections, forecast, readback
from flows.crm.salesforce.client import Client, Refused
from flows.crm.salesforce.shape import describe, kept_forms, refused, shape
from flows.crm.session import Connected
from flows.project import SalesforceConnection, Sync
from flows.records import Batch, Operation, Receipt, Record

COLLECTIONS_BATCH = 2_000
"""Records of a batch that goes by Collections: ten requests."""
BULK_BATCH = 100_000
"""Records of a batch that goes by Bulk: one job, which Salesforce cuts into ten batches."""


class Salesforce(Connected[Client]):
    """A connection to one Salesforce org.

    Args:
        connection: the org, and how to log in.
    """

    def __init__(self, connection: SalesforceConnection) -> None:
        self._connection = connection
        super().__init__(Client(connection))

    def batch_size(self, operation: Operation, count: int) -> int:
        """How many records a batch file should hold: equal shares of what one batch may carry.

        Args:
            operation: what is to be done.
            count: records that get this operation in the plan.
        """
        return even_share(count, BULK_BATCH if self._by_bulk(count) else COLLECTIONS_BATCH)

    def requests(self, sync: Sync, operation: Operation, *counts: int) -> int:
        """Forecast the requests of a write; see `flows.crm.base.Connector.requests`."""
        few = first(counts, self._connection.collections_up_to)
        needed = sum(forecast.by_collections(sync, count, COLLECTIONS_BATCH) for count in few)
        if not self._by_bulk(sum(counts)):
            return needed
        # Where Bulk begins it takes fewer requests than Collections, but a forecast must not fall.
        poll = self._connection.poll_seconds
        return max(needed, sum(forecast.by_bulk(operation, count, BULK_BATCH, poll) for count in counts))

    async def limits(self) -> Limits:
        """Ask what is left of the day; see `flows.crm.base.Connector.limits`.

        Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_limits.htm
        """
        per_second = self._connection.requests_per_second or None
        try:
            told = (await self._client.request("GET", "limits")).json()["DailyApiRequests"]
            return Limits(int(told["Remaining"]), int(told["Max"]), per_second)
        except Refused as error:
            # It takes "View Setup and Configuration" to see the limits; every answer's header tells the same.
            usage = self._client.usage
            if usage.api_used is None or usage.api_limit is None:
                raise refused(self._client, "its limits", error) from error
            return Limits(usage.api_limit - usage.api_used, usage.api_limit, per_second)

    def _by_bulk(self, count: int) -> bool:
        return count > self._connection.collections_up_to

    async def describe(self, object_name: str) -> ObjectInfo:
        """Describe an object; see `flows.crm.base.Connector.describe`."""
        return await describe(self._client, object_name)

    async def forms(self, sync: Sync) -> Mapping[str, Form]:
        """Say what Salesforce keeps or matches in a form of its own; see `flows.crm.base.Connector.forms`."""
        return await kept_forms(self._client, sync)

    async def write(self, sync: Sync, batch: Batch) -> AsyncIterator[list[Receipt]]:
        """Write a batch; see `flows.crm.base.Connector.write`."""
        if not batch.count:
            return
        known = await shape(self._client, sync)
        if self._by_bulk(batch.total):
            written = bulk.write(self._client, known, batch)
        else:
            written = collections.write(self._client, known, batch.operation, list(batch.records()))
        async for receipts in written:
            yield receipts

    async def read(self, sync: Sync, known: Sequence[Record]) -> AsyncIterator[list[Record]]:
        """Read records back; see `flows.crm.base.Connector.read`."""
        if not known:
            return
        found = await shape(self._client, sync)
        read = readback.many if self._by_bulk(len(known)) else readback.some
        async for records in read(self._client, found, known, await kept_forms(self._client, sync)):
            yield records

    async def children(self, sync: Sync, known: Sequence[Record]) -> AsyncIterator[list[Child]]:
        """Find what goes with records; see `flows.crm.base.Cascades.children`."""
        info = await self.describe(sync.object)
        if not info.goes_with:
            return
        ids = {record.crm_id: record.external_id for record in known if record.crm_id is not None}
        async for found in self.read(sync, [record for record in known if record.crm_id is None]):
            ids |= {str(record.crm_id): record.external_id for record in found}
        async for batch in children.find(self._client, info, ids, by_bulk=self._by_bulk(len(ids))):
            yield batch
