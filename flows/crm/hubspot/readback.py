"""Reading records back: by id, and not by search, whose index lags behind what was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from flows.crm.flight import in_flight
from flows.crm.hubspot.client import Client
from flows.crm.hubspot.parents import MOST, MOST_LINKS, Parents, read
from flows.crm.hubspot.shape import Shape
from flows.records import Record, Value

GROUPS = 3
"""Groups of records that are read at once."""


async def records(client: Client, shape: Shape, known: Sequence[Record]) -> AsyncIterator[list[Record]]:
    """Read records with their lookups.

    Args:
        client: the requests' way out.
        shape: the sync as HubSpot sees it.
        known: those with a CRM id are looked for by it, the others by external id; values, where given, are what was
            sent: a value that HubSpot keeps in another form comes back as it was sent.

    Yields:
        A group's records, of those that HubSpot holds.
    """
    reader = _Reader(client, shape)
    work: list[Callable[[], Coroutine[Any, Any, list[Record]]]] = [
        partial(reader.group, known[start : start + MOST_LINKS]) for start in range(0, len(known), MOST_LINKS)
    ]
    async for found in in_flight(work, GROUPS):
        yield found


class _Reader:
    def __init__(self, client: Client, shape: Shape) -> None:
        self._client = client
        self._shape = shape
        self._parents = Parents(client, shape)
        self._names = [shape.external_id, *(name for name in shape.decoders if name != shape.external_id)]

    async def group(self, known: Sequence[Record]) -> list[Record]:
        """Read up to 1,000 records."""
        by_id = {record.crm_id: record for record in known if record.crm_id is not None}
        by_key = {self._shape.kept_key(r.external_id): r for r in known if r.crm_id is None}
        found = await asyncio.gather(
            *(self._read(part, None) for part in _parts(list(by_id))),
            *(self._read(part, self._shape.external_id) for part in _parts(list(by_key))),
        )
        held: dict[str, tuple[Record, Mapping[str, Any]]] = {}
        for result in (result for results in found for result in results):
            key = self._shape.kept_key(result["properties"].get(self._shape.external_id) or "")
            record = by_id.get(result["id"]) or by_key.get(key)
            if record is not None and self._shape.kept_key(record.external_id) == key:
                held[result["id"]] = (record, result["properties"])
        links = {name: await self._parents.linked(lookup, list(held)) for name, lookup in self._shape.lookups.items()}
        return [
            Record(
                record.external_id,
                crm_id,
                {
                    **{name: self._value(name, record, raw.get(name)) for name in self._shape.decoders},
                    **{name: _parent(linked.get(crm_id, {})) for name, linked in links.items()},
                },
            )
            for crm_id, (record, raw) in held.items()
        ]

    async def _read(self, wanted: Sequence[str], by: str | None) -> list[dict[str, Any]]:
        return await read(self._client, self._shape.object, wanted, by, self._names)

    def _value(self, name: str, record: Record, raw: Any) -> Value:
        value = self._shape.decoders[name](raw)
        form, sent = self._shape.kept_forms.get(name), record.values.get(name)
        if isinstance(sent, list) and isinstance(value, list) and set(sent) == set(value):
            return sent
        if form is not None and isinstance(sent, str) and isinstance(value, str) and form.of(sent) == form.of(value):
            return sent
        return value


def _parts(wanted: Sequence[str]) -> list[Sequence[str]]:
    return [wanted[start : start + MOST] for start in range(0, len(wanted), MOST)]


def _parent(linked: Mapping[str, str]) -> Value:
    """A lookup's value; several parents show up as a difference, since a lookup has one."""
    return ";".join(sorted(linked.values())) or None
