"""What the CRMs say of the objects that syncs are mapped to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.crm import connect
from flows.crm.base import Checks, ObjectInfo
from flows.errors import ConfigError
from flows.project import Connection, Sync


@dataclass(frozen=True, slots=True)
class Described:
    """What was said of the objects.

    Attributes:
        objects: connection's name and object -> its description.
        refused: connection's name and object -> why it could not be described, for the others.
        more: sync -> what a connector says of its mapping beyond the description (`flows.crm.base.Checks`).
        requests: HTTP requests that it took.
    """

    objects: Mapping[tuple[str, str], ObjectInfo]
    refused: Mapping[tuple[str, str], ConfigError] = field(default_factory=dict)
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)
    requests: int = 0

    def of(self, sync: Sync) -> ObjectInfo | None:
        """A sync's object; None where it could not be described."""
        return self.objects.get((sync.crm, sync.object))


def describe(connections: Mapping[str, Connection], syncs: Sequence[Sync]) -> Described:
    """Ask each CRM to describe the objects of its syncs; one that cannot be described keeps no other from it.

    Args:
        connections: CRM connections by name.
        syncs: whose objects.

    Raises:
        PushError: a CRM did not answer.
    """
    told: list[Described] = []
    for name, connection in connections.items():
        mine = [sync for sync in syncs if sync.crm == name]
        if mine:
            told.append(asyncio.run(_describe(name, connection, mine)))
    return Described(
        {key: info for one in told for key, info in one.objects.items()},
        {key: error for one in told for key, error in one.refused.items()},
        {sync: problems for one in told for sync, problems in one.more.items()},
        sum(one.requests for one in told),
    )


async def _describe(name: str, connection: Connection, syncs: Sequence[Sync]) -> Described:
    objects: dict[tuple[str, str], ObjectInfo] = {}
    refused: dict[tuple[str, str], ConfigError] = {}
    more: dict[str, Sequence[str]] = {}
    async with connect(connection) as crm:
        for object_name in sorted({sync.object for sync in syncs}):
            try:
                objects[name, object_name] = await crm.describe(object_name)
            except ConfigError as error:
                refused[name, object_name] = error
        if isinstance(crm, Checks):
            for sync in syncs:
                if (name, sync.object) in objects:
                    try:
                        more[sync.name] = await crm.mismatches(sync)
                    except ConfigError as error:
                        more[sync.name] = [error.what]
        return Described(objects, refused, more, crm.usage.requests)
