"""Lookups are associations: finding the parents, and making, changing and removing the associations.

An association counts as a lookup's value only where the parent bears an external id. HubSpot associates contacts with
companies of its own accord, by the domain of their e-mail address, and people do by hand: those stay untouched.

Source: https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flows.crm.hubspot.batch import Item, Settler, Verdict, inputs
from flows.crm.hubspot.client import Client, Refused
from flows.crm.hubspot.shape import Lookup, Shape, refused
from flows.errors import NightshiftError, PushError

MOST = 100
"""Records that a batch of an object may hold."""
MOST_LINKS = 1_000
"""Associations that a batch may hold."""


class Parents:
    """The parents of one connector's records, and the associations with them.

    Args:
        client: the requests' way out.
        shape: the sync as HubSpot sees it.
    """

    def __init__(self, client: Client, shape: Shape) -> None:
        self._client = client
        self._shape = shape
        self._ids: dict[tuple[str, str], dict[str, str]] = {}
        self._external_ids: dict[tuple[str, str], dict[str, str | None]] = {}

    async def ids(self, lookup: Lookup, external_ids: Iterable[str]) -> Mapping[str, str]:
        """Find parents by their unique property.

        Args:
            lookup: which parents.
            external_ids: those wanted.

        Returns:
            External id -> HubSpot id, of all that were found so far.
        """
        known = self._ids.setdefault((lookup.parent, lookup.external_id), {})
        wanted = list(dict.fromkeys(key for key in external_ids if key not in known))
        exact = set(wanted)
        # HubSpot may keep a unique value in another form than it was sent; see `encode.kept_form`.
        folded = {key.strip().lower(): key for key in wanted}
        async for found in self._read(lookup, wanted, by=lookup.external_id):
            kept = found["properties"].get(lookup.external_id) or ""
            # To most properties ``a`` and ``A`` are two records, whose children must not be mixed up.
            key = kept if kept in exact else folded.get(kept.strip().lower())
            if key is not None:
                known[key] = found["id"]
        return known

    async def external_ids(self, lookup: Lookup, ids: Iterable[str]) -> Mapping[str, str | None]:
        """Read the parents' external ids.

        Returns:
            HubSpot id -> external id, of all that were asked for so far; None for one that bears none or is archived.
        """
        known = self._external_ids.setdefault((lookup.parent, lookup.external_id), {})
        wanted = list(dict.fromkeys(key for key in ids if key not in known))
        async for found in self._read(lookup, wanted, by=None):
            known[found["id"]] = found["properties"].get(lookup.external_id) or None
        known.update((key, None) for key in wanted if key not in known)
        return known

    async def _read(self, lookup: Lookup, wanted: Sequence[str], by: str | None) -> Any:
        requests = [
            read(self._client, lookup.parent, wanted[start : start + MOST], by, [lookup.external_id])
            for start in range(0, len(wanted), MOST)
        ]
        for results in await asyncio.gather(*requests):
            for found in results:
                yield found

    async def linked(self, lookup: Lookup, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Read which parents records are associated with.

        Args:
            lookup: which association.
            ids: HubSpot ids of the records.

        Returns:
            HubSpot id of a record -> HubSpot id of a parent that bears an external id -> that external id.
        """
        pages = [ids[start : start + MOST_LINKS] for start in range(0, len(ids), MOST_LINKS)]
        found = await asyncio.gather(*(self._links(lookup, page) for page in pages))
        links = {record: parents for page in found for record, parents in page.items()}
        known = await self.external_ids(lookup, (parent for parents in links.values() for parent in parents))
        return {
            record: {parent: key for parent in parents if (key := known[parent]) is not None}
            for record, parents in links.items()
        }

    async def _links(self, lookup: Lookup, ids: Sequence[str]) -> dict[str, list[str]]:
        links: dict[str, list[str]] = {}
        todo: list[dict[str, str]] = [{"id": record} for record in ids]
        path = f"{self._client.associations(self._shape.object, lookup.parent)}/batch/read"
        while todo:
            try:
                answer = await self._client.post(path, json.dumps({"inputs": todo}))
            except Refused as error:
                if error.status == 404:
                    return links
                raise refused(self._client, f"reading associations with {lookup.parent}", error) from error
            _only_missing(self._client, f"reading associations with {lookup.parent}", answer)
            todo = []
            for result in answer["results"]:
                parents = links.setdefault(result["from"]["id"], [])
                parents += [str(to["toObjectId"]) for to in result["to"] if _fits(lookup, to)]
                after = ((result.get("paging") or {}).get("next") or {}).get("after")
                if after:
                    todo.append({"id": result["from"]["id"], "after": after})
        return links

    async def link(
        self, settler: Settler, name: str, wanted: Mapping[str, str | None], fresh: frozenset[str]
    ) -> dict[str, Verdict]:
        """Give records a parent, in the place of the one that they have.

        Args:
            settler: knows whether HubSpot still answers.
            name: the lookup's field.
            wanted: HubSpot id of a record -> HubSpot id of its parent; None for no parent.
            fresh: records that were just made, which have none yet.

        Returns:
            HubSpot id of a record -> why its association failed; those that are not there went well.
        """
        lookup = self._shape.lookups[name]
        try:
            current = await self.linked(lookup, [record for record in wanted if record not in fresh])
        except NightshiftError as error:
            return dict.fromkeys(wanted, error)
        made = [(r, parent) for r, parent in wanted.items() if parent and parent not in current.get(r, {})]
        failed = await self._make(settler, lookup, made)
        # Only who has the new parent loses the old one.
        gone = {
            record: others
            for record, parent in wanted.items()
            if record not in failed and (others := [p for p in current.get(record, {}) if p != parent])
        }
        return failed | await self._remove(settler, lookup, gone)

    async def _make(self, settler: Settler, lookup: Lookup, pairs: Sequence[tuple[str, str]]) -> dict[str, Verdict]:
        path = f"{self._client.associations(self._shape.object, lookup.parent)}/batch/"
        path += "create" if lookup.type else "associate/default"

        async def send(items: Sequence[Item]) -> dict[str, Any]:
            return await self._client.post(path, inputs(items))

        def key(result: Mapping[str, Any]) -> str:
            if "fromObjectId" in result:
                return f"{result['fromObjectId']}>{result['toObjectId']}"
            return f"{result['from']['id']}>{result['to']['id']}"

        items = [Item(f"{record}>{parent}", _pair(lookup, record, parent), (record,)) for record, parent in pairs]
        verdicts = await settler.settle(items, send, key, MOST_LINKS)
        return {record: v for record, parent in pairs if not isinstance(v := verdicts[f"{record}>{parent}"], Mapping)}

    async def _remove(self, settler: Settler, lookup: Lookup, gone: Mapping[str, Sequence[str]]) -> dict[str, Verdict]:
        path = f"{self._client.associations(self._shape.object, lookup.parent)}/batch/"
        path += "labels/archive" if lookup.type else "archive"

        async def send(items: Sequence[Item]) -> dict[str, Any]:
            answer = await self._client.post(path, inputs(items))
            # Associations are removed all together, and no answer tells of a single one that went well.
            return answer if answer.get("errors") else {}

        items = [
            Item(f"{record}>{parent}", body, (record,))
            for record, parents in gone.items()
            for parent in parents
            for body in [
                _pair(lookup, record, parent)
                if lookup.type
                else json.dumps({"from": {"id": record}, "to": [{"id": parent}]})
            ]
        ]
        verdicts = await settler.settle(items, send, lambda result: None, MOST_LINKS)
        return {key.partition(">")[0]: v for key, v in verdicts.items() if not isinstance(v, Mapping)}


def _pair(lookup: Lookup, record: str, parent: str) -> str:
    pair: dict[str, Any] = {"from": {"id": record}, "to": {"id": parent}}
    if lookup.type:
        pair["types"] = [{"associationCategory": lookup.type.category, "associationTypeId": lookup.type.id}]
    return json.dumps(pair)


def _fits(lookup: Lookup, to: Mapping[str, Any]) -> bool:
    wanted = lookup.type
    return wanted is None or any(
        (t["category"], t["typeId"]) == (wanted.category, wanted.id) for t in to["associationTypes"]
    )


async def read(
    client: Client, kind: str, wanted: Sequence[str], by: str | None, properties: Sequence[str]
) -> list[dict[str, Any]]:
    """Read up to 100 records, by id or by a unique property; those that are missing or archived are absent.

    Raises:
        PushError: HubSpot did not answer, or could not read a record for another reason than that it is not there.
    """
    body: dict[str, Any] = {
        "inputs": [{"id": key} for key in wanted],
        "properties": list(properties),
        "propertiesWithHistory": [],
    }
    if by is not None:
        body["idProperty"] = by
    try:
        answer = await client.post(f"{client.objects(kind)}/batch/read", json.dumps(body))
    except Refused as error:
        if error.status == 404 and error.problem.code == "OBJECT_NOT_FOUND":
            return []
        raise refused(client, f"reading {kind}", error) from error
    _only_missing(client, f"reading {kind}", answer)
    results: list[dict[str, Any]] = answer["results"]
    return results


def _only_missing(client: Client, what: str, answer: Mapping[str, Any]) -> None:
    """Pass over errors that say that something is not there, and over no others."""
    for wrong in answer.get("errors") or ():
        if wrong.get("category") != "OBJECT_NOT_FOUND":
            raise PushError(
                f"{client.connection.url}: {what}: {wrong.get('category')}: {wrong.get('message')}",
                safe="What was written stays written; only reading failed.",
                todo="Run again.",
            )
