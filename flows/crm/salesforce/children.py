"""What Salesforce deletes together with records: SOQL by the parents' ids for a few, a bulk query for many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial

import httpx

from flows.crm.base import Child, ObjectInfo
from flows.crm.flight import in_flight
from flows.crm.salesforce import readback
from flows.crm.salesforce.client import IN_FLIGHT, Client, Refused
from flows.crm.salesforce.shape import refused


async def find(
    client: Client, info: ObjectInfo, ids: Mapping[str, str], *, by_bulk: bool
) -> AsyncIterator[list[Child]]:
    """Find the records that go with others.

    Args:
        client: the requests' way out.
        info: the object of the others.
        ids: their CRM ids -> their external ids.
        by_bulk: whether they are so many that all children are read rather than these alone.

    Yields:
        The children; of an object that this login may not read, one without an id for each of the others.
    """
    for name, lookup in info.goes_with if ids else ():
        query = f"SELECT Id, {lookup} FROM {name} WHERE "
        if name == "Contact" and "IsPersonAccount" in info.fields:
            # A person account is one record with two faces.
            query += "IsPersonAccount = false AND "
        try:
            async for rows in _rows(client, query, lookup, ids, by_bulk=by_bulk):
                yield [Child(ids[parent], name, child) for child, parent in rows if parent in ids]
        except Refused as error:
            if error.status != httpx.codes.BAD_REQUEST:
                raise refused(client, f"{name} records cannot be looked for", error) from error
            yield [Child(external_id, name, None) for external_id in ids.values()]


async def _rows(
    client: Client, query: str, lookup: str, ids: Iterable[str], *, by_bulk: bool
) -> AsyncIterator[Iterable[list[str]]]:
    if by_bulk:
        async for page in readback.by_bulk(client, f"{query}{lookup} != null"):
            yield page
        return
    work = [
        partial(readback.by_query, client, f"{query}{lookup} IN ({listed})", ["Id", lookup])
        for listed in readback.lists(ids)
    ]
    async for rows in in_flight(work, IN_FLIGHT):
        yield rows
