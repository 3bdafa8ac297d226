"""Which scopes the private app has, and which of them a sync needs.

What HubSpot tells of an object type's properties does not say what the token may do with its records; it tells the
scopes of a token to whoever holds it. A scope is missed only where both is known: what the token has, and which one
scope the requests take. Associations take any scope of those of all objects, so that there is nothing to miss.

Sources: https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview,
https://github.com/HubSpot/HubSpot-public-api-spec-collection (``security`` of the batch paths)
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from flows.crm.base import ObjectInfo
from flows.crm.common import held
from flows.crm.hubspot.client import Client, Refused
from flows.errors import ConfigError, PushError

PATH = "/oauth/v2/private-apps/get/access-token-info"
BELIEVED_SECONDS = 600.0
"""How long an answer is believed."""
PATIENCE = 10.0
"""Seconds that an answer may take. Without one a missing scope is told later, by the first request that takes it."""
ONE_SCOPE = frozenset(
    ("carts", "companies", "contacts", "courses", "deals", "invoices", "leads", "listings", "orders", "services")
)
"""HubSpot's own object types whose records are read by one scope and written by another, both named after them."""
LEGACY = "contacts"
"""A scope of former days, which stood for several of today's."""

_CUSTOM = re.compile(r"2-\d+|p\d+_\w+")

Verb = Literal["read", "write"]


def _needed(kind: str, verb: Verb) -> str | None:
    """The scope that it takes to read or write an object type's records; None where that is not known."""
    own = kind if kind in ONE_SCOPE else "custom" if _CUSTOM.fullmatch(kind) else None
    return own and f"crm.objects.{own}.{verb}"


async def with_rights(client: Client, info: ObjectInfo) -> ObjectInfo:
    """Add to the description of an object type what the private app may do with its records."""
    lacks = await _lacking(client, info.name, "write")
    # One scope stands for all kinds of writing.
    return replace(info, createable=False, updateable=False, deletable=False, lacks=lacks) if lacks else info


async def unreadable(client: Client, kinds: Iterable[str]) -> list[str]:
    """Say which object types' records the private app cannot read for lack of a scope."""
    lacks = {kind: await _lacking(client, kind, "read") for kind in dict.fromkeys(kinds)}
    return [f"this login may not read {kind} records: it lacks {scope}" for kind, scope in lacks.items() if scope]


async def _lacking(client: Client, kind: str, verb: Verb) -> str:
    """Say which scope the private app lacks to read or write an object type's records; empty where it lacks none."""
    scope = _needed(kind, verb)
    if scope is None:
        return ""
    known = await _granted(client)
    return "" if known is None or scope in known or LEGACY in known else scope


async def _granted(client: Client) -> frozenset[str] | None:
    """The scopes of the private app; None where HubSpot does not say, as of a token that is no private app's.

    The answer is shared by all connectors of the connection.
    """
    async with held(client.shared.describing):
        if client.shared.scopes is not None and time.monotonic() - client.shared.scopes[0] < BELIEVED_SECONDS:
            return client.shared.scopes[1]
        body = json.dumps({"tokenKey": client.connection.token.get_secret_value()})
        try:
            async with asyncio.timeout(PATIENCE):
                told = (await client.post(PATH, body)).get("scopes")
        except (Refused, ConfigError, PushError, TimeoutError):
            told = None
        known = frozenset(map(str, told)) if told and isinstance(told, list) else None
        client.shared.scopes = (time.monotonic(), known)
        return known
