"""HubSpot: batches of 100 records, and associations for lookups."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence

from flows.crm.base import Limits, ObjectInfo
from flows.crm.common import even_share
from flows.crm.forms import Form
from flows.crm.hubspot import readback, scopes, writer
from flows.crm.hubspot.client import Client, Refused
from flows.crm.hubspot.parents import MOST, MOST_LINKS
from flows.crm.hubspot.shape import describe, mismatches, refused, shape
from flows.crm.session import Connected
from flows.project import HubSpotConnection, Sync
from flows.records import Batch, Operation, Receipt, Record

BATCH = 5_000
"""Records of a batch file: 50 requests, which take 2.6 s under the rate of 190 in 10 s."""


class HubSpot(Connected[Client]):
    """A connection to one HubSpot account.

    Args:
        connection: the account, and the token.
    """

    def __init__(self, connection: HubSpotConnection) -> None:
        super().__init__(Client(connection))

    def batch_size(self, operation: Operation, count: int) -> int:
        """How many records a batch file should hold: equal shares of what one batch may carry.

        Args:
            operation: what is to be done.
            count: records that get this operation in the plan.
        """
        return even_share(count, BATCH)

    def requests(self, sync: Sync, operation: Operation, *counts: int) -> int:
        """About how many requests it takes; see `flows.crm.base.Connector.requests`.

        Every record is taken to have a parent of its own, and an update to leave the parents as they are.
        """
        size = self.batch_size(operation, sum(counts))
        files = [(math.ceil(count / size), min(count, size)) for count in counts if count]
        records = sum(number * math.ceil(held / MOST) for number, held in files)
        links = sum(number * math.ceil(held / MOST_LINKS) for number, held in files)
        lookups = 0 if operation is Operation.ARCHIVE else sum(mapped.parent is not None for mapped in sync.fields)
        # Reading back: the associations, and the parents that they lead to. A create finds its parents and is
        # associated with them before that.
        linking = (links + records) * (2 if operation is Operation.CREATE else 1)
        return 2 * records + lookups * linking

    async def limits(self) -> Limits:
        """Ask HubSpot what is left of the day; see `flows.crm.base.Connector.limits`."""
        try:
            return await self._client.limits()
        except Refused as error:
            raise refused(self._client, "asking what is left of the day", error) from error

    async def describe(self, object_name: str) -> ObjectInfo:
        """Describe an object type; see `flows.crm.base.Connector.describe`."""
        return await scopes.with_rights(self._client, await describe(self._client, object_name))

    async def mismatches(self, sync: Sync) -> list[str]:
        """Say what is wrong with a mapping; see `flows.crm.base.Checks.mismatches`."""
        return await mismatches(self._client, sync)

    async def forms(self, sync: Sync) -> Mapping[str, Form]:
        """Say what HubSpot keeps in a form of its own; see `flows.crm.base.Connector.forms`."""
        return (await shape(self._client, sync)).kept_forms

    async def write(self, sync: Sync, batch: Batch) -> AsyncIterator[list[Receipt]]:
        """Write a batch; see `flows.crm.base.Connector.write`."""
        if not batch.count:
            return
        known = await shape(self._client, sync)
        async for receipts in writer.write(self._client, known, batch):
            yield receipts

    async def read(self, sync: Sync, known: Sequence[Record]) -> AsyncIterator[list[Record]]:
        """Read records back; see `flows.crm.base.Connector.read`."""
        if not known:
            return
        found = await shape(self._client, sync)
        async for records in readback.records(self._client, found, known):
            yield records
