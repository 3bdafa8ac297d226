"""One HubSpot account: its schema, its records, its associations, its rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flows.sandbox.config import SandboxConfig
from flows.sandbox.hubspot.links import Links
from flows.sandbox.hubspot.schema import Kind, Property, Schema
from flows.sandbox.hubspot.store import Records
from flows.sandbox.limits import Quota, Window
from flows.sandbox.store import Store


class Portal:
    """The state of the HubSpot dialect.

    Args:
        config: how the sandbox behaves.
        store: where the records lie.
    """

    def __init__(self, config: SandboxConfig, store: Store) -> None:
        self.schema = Schema(config.hubspot)
        every = frozenset(scope for kind in self.schema.kinds.values() for scope in kind.scopes)
        self.scopes = every if config.hubspot_scopes is None else config.hubspot_scopes
        self.records = Records(store, config.hubspot_index_seconds)
        self.links = Links(store, self.schema)
        self.as_published = config.hubspot_as_published
        self.window = Window(config.hubspot_requests, config.hubspot_seconds)
        self.searches = Window(config.hubspot_searches, 1.0)
        self.day = Quota(config.hubspot_daily_requests)
        for name, definition in self.records.definitions():
            kind = self.schema.kinds.get(name)
            if kind is not None:
                self.add(kind, definition)

    def add(self, kind: Kind, definition: dict[str, Any]) -> Property:
        """Add a property, or put it in the place of the one that has its name.

        Args:
            kind: the object type.
            definition: the body that created it, checked.
        """
        own = {"name", "type", "fieldType", "label", "groupName", "options", "hasUniqueValue"}
        options = definition.get("options") or []
        name = definition["name"]
        before = kind.properties.get(name, Property(name, custom=True))
        prop = replace(
            before,
            type=definition["type"],
            field_type=definition["fieldType"],
            label=definition["label"],
            group=definition["groupName"],
            options={option["value"]: option["label"] for option in options},
            unique=bool(definition.get("hasUniqueValue")),
            extra={key: value for key, value in definition.items() if key not in own and value is not None},
        )
        kind.properties[prop.name] = prop
        return prop

    def take(self, *, enforce: bool, search: bool) -> str | None:
        """Count a request.

        Args:
            enforce: whether a request too many is refused.
            search: whether it is a search.

        Returns:
            The name of the policy that refuses it, or None.
        """
        if not self.day.take() and enforce:
            return "DAILY"
        if search and not self.searches.take(enforce=enforce):
            return "SECONDLY"
        if not search and not self.window.take(enforce=enforce):
            return "TEN_SECONDLY_ROLLING"
        return None

    def rate_headers(self) -> dict[str, str]:
        """What every answer but a search's tells about the rates."""
        return {
            "X-HubSpot-RateLimit-Max": str(self.window.limit),
            "X-HubSpot-RateLimit-Remaining": str(self.window.left),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(self.window.seconds * 1000)),
            "X-HubSpot-RateLimit-Daily": str(self.day.limit),
            "X-HubSpot-RateLimit-Daily-Remaining": str(self.day.left),
        }

    def reset_counts(self) -> None:
        """Start the counts anew; what was used of the rates stays used."""
        self.window.reset()
        self.searches.reset()

    def counts(self) -> dict[str, Any]:
        """The rates for the sandbox's own statistics."""
        return {
            "used": self.day.used,
            "limit": self.day.limit,
            "window": {"limit": self.window.limit, "seconds": self.window.seconds, "peak": self.window.peak},
            "refused": self.window.refused + self.searches.refused,
        }
