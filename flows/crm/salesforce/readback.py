"""Reading records back: SOQL by id for a few, one Bulk API 2.0 query for many."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from flows.crm.flight import in_flight
from flows.crm.forms import STRIPPED, TRIMMED, Form
from flows.crm.salesforce import jobs
from flows.crm.salesforce.client import IN_FLIGHT, Client, Refused
from flows.crm.salesforce.encode import decoders
from flows.crm.salesforce.shape import Shape, refused
from flows.errors import PushError
from flows.project import Sync
from flows.records import Record, Value

URL_BYTES = 15_000
"""Bytes that one query may take in the URL, of which Salesforce accepts 16,384 in all."""
LEAST_LIST_BYTES = 3_000
"""Bytes that the ids of one query have in any case."""
ID_BYTES = 27
"""Bytes of a record's id with its quotes and its comma, as they stand in a URL."""
PAGE = 50_000
"""Records of a bulk query that are fetched at once."""

csv.field_size_limit(1_000_000)


async def some(
    client: Client, shape: Shape, known: Sequence[Record], forms: Mapping[str, Form]
) -> AsyncIterator[list[Record]]:
    """Read records by their ids, several queries in flight.

    Args:
        client: the requests' way out.
        shape: the sync as Salesforce sees it.
        known: those with a CRM id are looked for by it, the others by external id.
        forms: what `flows.crm.salesforce.shape.kept_forms` says.

    Yields:
        A query's records, of those that are wanted.
    """
    ids = [record.crm_id for record in known if record.crm_id is not None]
    external_ids = [STRIPPED.of(record.external_id) for record in known if record.crm_id is None]
    queries = [
        f"{_select(shape)} WHERE {field} IN ({listed})"
        for field, values in (("Id", ids), (shape.external_id, external_ids))
        for listed in lists(values, _list_bytes(_columns(shape)))
    ]
    work: list[Callable[[], Coroutine[Any, Any, list[list[str | None]]]]] = [
        partial(_query, client, shape, query, _columns(shape)) for query in queries
    ]
    decode = _decode(shape, known, forms)
    async for rows in in_flight(work, IN_FLIGHT):
        yield list(decode(rows))


async def many(
    client: Client, shape: Shape, known: Sequence[Record], forms: Mapping[str, Form]
) -> AsyncIterator[list[Record]]:
    """Read records by one bulk query over all that have an external id; those not wanted are left out here.

    Where all CRM ids are known the query goes from the lowest to the highest of them, as Salesforce's own PK chunking
    does: what was created together lies together, so that little else is read in an object of millions.

    Args:
        client: the requests' way out.
        shape: the sync as Salesforce sees it.
        known: the records that are wanted.
        forms: what `flows.crm.salesforce.shape.kept_forms` says.

    Yields:
        A page's records, of those that are wanted.

    Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_get_job_results.htm
    """
    decode = _decode(shape, known, forms)
    query = f"{_select(shape)} WHERE {shape.external_id} != null"
    ids = [record.crm_id for record in known if record.crm_id is not None]
    if len(ids) == len(known):
        query += f" AND Id >= '{min(ids)}' AND Id <= '{max(ids)}'"
    try:
        async for rows in by_bulk(client, query):
            yield list(decode(rows))
    except Refused as error:
        raise refused(client, f"reading back {shape.object}", error) from error


async def by_bulk(client: Client, query: str) -> AsyncIterator[Iterator[list[str]]]:
    """Run a query as a bulk job; yields its rows page by page.

    Raises:
        Refused: the query is refused.
        PushError: the job did not end well.
    """
    job_id = await jobs.create(client, "query", {"operation": "query", "query": query})
    job = await jobs.ended(client, "query", job_id)
    if job["state"] != "JobComplete":
        raise PushError(
            f"{client.connection.url}: bulk query {job_id} ended {job['state']}: {job.get('errorMessage') or ''}",
            safe="What was written stays written; only reading it back failed.",
            todo="Run again.",
        )
    locator = ""
    while locator != "null":
        params = {"maxRecords": str(PAGE), **({"locator": locator} if locator else {})}
        page = await client.request("GET", f"jobs/query/{job_id}/results", params=params)
        locator = page.headers.get("Sforce-Locator", "null")
        rows = csv.reader(io.StringIO(page.content.decode("utf-8"), newline=""))
        next(rows, None)
        yield rows


def ids_in_a_query(sync: Sync) -> int:
    """About how many records are read back by one query by id."""
    return _list_bytes([sync.external_id_field, *sync.types]) // ID_BYTES


def _list_bytes(columns: Sequence[str]) -> int:
    return max(LEAST_LIST_BYTES, URL_BYTES - len(quote(", ".join(columns))))


def _columns(shape: Shape) -> list[str]:
    """What is selected: the id, the external id, and the mapped fields in their order."""
    fields = [shape.lookups[name].path if name in shape.lookups else name for name in shape.types]
    return ["Id", shape.external_id, *fields]


def _select(shape: Shape) -> str:
    return f"SELECT {', '.join(_columns(shape))} FROM {shape.object}"


def _decode(
    shape: Shape, known: Sequence[Record], forms: Mapping[str, Form]
) -> Callable[[Iterable[Sequence[Any]]], Iterator[Record]]:
    columns = list(decoders(shape).items())
    wanted = {STRIPPED.of(record.external_id): record for record in known}
    ours = _spelt(wanted) if forms[shape.external_id] is TRIMMED else wanted.get
    formed = [(name, form) for name, form in forms.items() if name in shape.types]

    def records(rows: Iterable[Sequence[Any]]) -> Iterator[Record]:
        for crm_id, external_id, *values in rows:
            if (record := ours(external_id)) is not None:
                held = {name: decode(raw) for (name, decode), raw in zip(columns, values, strict=True)}
                held |= {name: _as_sent(record.values.get(name), held[name], form) for name, form in formed}
                yield Record(record.external_id, crm_id, held)

    return records


def _spelt(wanted: Mapping[str, Record]) -> Callable[[str | None], Record | None]:
    """Find what is wanted by Salesforce's spelling of its external id: that very one, else one in other letters."""
    # Most external ids have no capitals, and need no second entry.
    others = {low: record for key, record in wanted.items() if (low := key.lower()) != key}

    def find(external_id: str | None) -> Record | None:
        if external_id is None:
            return None
        low = external_id.lower()
        return wanted.get(external_id) or wanted.get(low) or others.get(low)

    return find


def _as_sent(sent: Value, found: Value, form: Form) -> Value:
    """A text as it was sent, where what was found is the same to Salesforce."""
    if not isinstance(sent, str) or not isinstance(found, str | None) or sent == found:
        return found
    return sent if form.of(sent) == form.of(found or "") else found


def lists(values: Iterable[str], most: int = URL_BYTES) -> Iterator[str]:
    """Quote values for SOQL's IN, as many together as have room in so many bytes of a URL."""
    listed: list[str] = []
    room = most
    for value in values:
        escaped = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        cost = len(quote(escaped)) + 3
        if listed and cost > room:
            yield ",".join(listed)
            listed, room = [], most
        listed.append(escaped)
        room -= cost
    if listed:
        yield ",".join(listed)


async def there(client: Client, shape: Shape, ids: Sequence[str]) -> set[str]:
    """Find out which of some records the CRM still holds.

    Args:
        client: the requests' way out.
        shape: the sync as Salesforce sees it.
        ids: CRM ids of 18 characters.
    """
    found: set[str] = set()
    for listed in lists(ids):
        query = f"SELECT Id FROM {shape.object} WHERE Id IN ({listed})"
        found.update(row[0] for row in await _query(client, shape, query, ["Id"]))
    return found


async def _query(client: Client, shape: Shape, query: str, names: Sequence[str]) -> list[list[Any]]:
    try:
        return await by_query(client, query, names)
    except Refused as error:
        raise refused(client, f"reading back {shape.object}", error) from error


async def by_query(client: Client, query: str, names: Sequence[str]) -> list[list[Any]]:
    """Run a query; answers these fields of each record.

    Raises:
        Refused: the query is refused.
    """
    rows: list[list[Any]] = []
    path: str | None = "query"
    params: dict[str, str] | None = {"q": query}
    while path:
        page = (await client.request("GET", path, params=params)).json(parse_float=str, parse_int=str)
        rows += [[_reach(record, name.split(".")) for name in names] for record in page["records"]]
        path, params = page.get("nextRecordsUrl"), None
    return rows


def _reach(record: Any, path: list[str]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record
