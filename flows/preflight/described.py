"""What the CRMs say of the objects that syncs are mapped to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.crm import connect
from flows.crm.base import ObjectInfo
from flows.errors import ConfigError
from flows.project import Connection, Sync


@dataclass(frozen=True, slots=True)
class Described:
    """What was said of the objects.

    Attributes:
        objects: connection's name and object -> its description.
        refused: connection's name and object -> why it could not be described, for the others.
        requests: HTTP requests that it took.
    """

    objects: Mapping[tuple[str, str], ObjectInfo]
    refused: Mapping[tuple[str, str], ConfigError] = field(default_factory=dict)
    requests: int = 0

    def of(self, sync: Sync) -> ObjectInfo | None:
        """A sync's object; None where it could not be described."""
        return self.objects.get((sync.crm, sync.object))


def describe(connections: Mapping[str, Connection], syncs: Sequence[Sync]) -> Described:
    """Ask each CRM to describe the objects of its syncs; one that cannot be described keeps no other from it.

    Args:
        connections: CRM connections by name.
        syncs: the syncs that are to be pushed.

    Raises:
        PushError: a CRM did not answer.
    """
    objects: dict[tuple[str, str], ObjectInfo] = {}
    refused: dict[tuple[str, str], ConfigError] = {}
    requests = 0
    for name, connection in connections.items():
        wanted = sorted({sync.object for sync in syncs if sync.crm == name})
        if wanted:
            answers, sent = asyncio.run(_describe(connection, wanted))
            for object_name, answer in answers.items():
                if isinstance(answer, ConfigError):
                    refused[name, object_name] = answer
                else:
                    objects[name, object_name] = answer
            requests += sent
    return Described(objects, refused, requests)


async def _describe(connection: Connection, objects: Sequence[str]) -> tuple[dict[str, ObjectInfo | ConfigError], int]:
    answers: dict[str, ObjectInfo | ConfigError] = {}
    async with connect(connection) as crm:
        for name in objects:
            try:
                answers[name] = await crm.describe(name)
            except ConfigError as error:
                answers[name] = error
        return answers, crm.usage.requests
