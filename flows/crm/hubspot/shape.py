"""How a sync's fields look in HubSpot: properties, and associations that stand for lookups.

A lookup names an association as its field: the parent's object type, such as ``companies``; with an association type
of HubSpot's behind a colon where several lead to the same object (``companies:14``), or with its category and id where
the account or an app made it (``companies:USER_DEFINED:25``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flows.crm.base import FieldInfo, ObjectInfo
from flows.crm.common import held, near
from flows.crm.hubspot.client import Client, Refused
from flows.crm.hubspot.encode import Decode, decoder, json_sql, kept_form
from flows.errors import ConfigError, PushError
from flows.project import MappedField, Sync
from flows.warehouse import quoted

DESCRIBE_SECONDS = 600.0
"""How long a describe answer is believed."""
LONGEST_TEXT = 65_536
"""Characters that a text property holds: https://knowledge.hubspot.com/properties/property-field-types-in-hubspot"""
OBJECTS = (
    *("appointments", "calls", "carts", "communications", "companies", "contacts", "courses", "deals", "emails"),
    *("feedback_submissions", "invoices", "leads", "line_items", "listings", "meetings", "notes", "orders"),
    *("postal_mail", "products", "projects", "quotes", "services", "subscriptions", "tasks", "tickets"),
)
"""HubSpot's own object types, by the names that stand in paths."""

_ASSOCIATION = re.compile(rf"({'|'.join(OBJECTS)}|2-\d+|p\d+_\w+)(?::(?:([A-Z]+_DEFINED|WORK):)?(\d+))?")


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup, which is an association in HubSpot.

    Attributes:
        parent: the parent's object type.
        external_id: the parent's unique property.
        type: category and id of the association's type; None for the default one.
    """

    parent: str
    external_id: str
    type: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """A sync as HubSpot sees it.

    Attributes:
        object: the object type.
        external_id: its unique property.
        encoded: property -> SQL that writes its values as JSON, for the mapped properties.
        decoders: property -> how its values are read.
        kept_forms: property -> the form that HubSpot keeps a text in, for those where it has one; also the external id.
        lookups: field -> how it is associated, for the mapped lookups.
    """

    object: str
    external_id: str
    encoded: Mapping[str, str]
    decoders: Mapping[str, Decode]
    kept_forms: Mapping[str, Callable[[str], str]]
    lookups: Mapping[str, Lookup]

    def kept_key(self, external_id: str) -> str:
        """The form that HubSpot keeps an external id in."""
        form = self.kept_forms.get(self.external_id)
        return form(external_id) if form else external_id


class Fields(dict[str, FieldInfo]):
    """An object's properties, which are listed, and its associations, which can only be looked up.

    Any object type may be associated, by any type that an administrator makes: there is no end to their names.
    """

    def get(self, name: Any, default: Any = None) -> Any:
        """A property, else an association."""
        return super().get(name) or _association_info(name) or default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __missing__(self, name: str) -> FieldInfo:
        found = _association_info(name)
        if found is None:
            raise KeyError(name)
        return found


def association(name: str) -> tuple[str, tuple[str, int] | None] | None:
    """Read a lookup's field: the parent's object type, and category and id of the association; None if it is none."""
    found = _ASSOCIATION.fullmatch(name)
    if found is None:
        return None
    return found[1], (found[2] or "HUBSPOT_DEFINED", int(found[3])) if found[3] else None


def _association_info(name: str) -> FieldInfo | None:
    found = association(name)
    return FieldInfo(name, "association", references=(found[0],), relationship=name) if found else None


async def describe(client: Client, name: str) -> ObjectInfo:
    """Describe an object type; the answer is shared by all connectors of the connection.

    Raises:
        ConfigError: there is no such object type, or the token is refused.
        PushError: HubSpot did not answer.

    Source: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide
    """
    async with held(client.shared.describing):
        at, known = client.shared.described.get(name, (0.0, None))
        if known is not None and time.monotonic() - at < DESCRIBE_SECONDS:
            return known
        try:
            answer = await client.get(f"/crm/v3/properties/{name}")
        except Refused as error:
            if error.status in (400, 404):
                raise ConfigError(
                    f"{client.connection.url} has no object type {name!r}{near(name, OBJECTS)}; it says: {error}",
                    safe="Nothing was sent.",
                    todo="Correct `object` in the model's config.meta.sync: the plural name of a standard object, or "
                    "the id (2-...) of a custom one.",
                ) from error
            raise refused(client, f"object type {name} cannot be described", error) from error
        info = ObjectInfo(name, Fields({p["name"]: _field_info(p) for p in answer["results"]}))
        client.shared.described[name] = (time.monotonic(), info)
        return info


def refused(client: Client, what: str, error: Refused) -> PushError:
    """A refusal of a whole request, told to a person."""
    return PushError(
        f"{client.connection.url}: {what}: {error}",
        safe="Every record without a receipt stays as it was in the ledger; the next run sends it again.",
        todo="Correct what the message speaks of, then run again.",
    )


def _field_info(found: Mapping[str, Any]) -> FieldInfo:
    read_only = bool((found.get("modificationMetadata") or {}).get("readOnlyValue") or found.get("calculated"))
    # A checkbox holds several options at once, separated by semicolons.
    single = found["type"] == "enumeration" and found.get("fieldType") != "checkbox"
    options = tuple(option["value"] for option in found.get("options") or ())
    email = _is_email(found)
    return FieldInfo(
        name=found["name"],
        type="email" if email else str(found["type"]),
        createable=not read_only,
        updateable=not read_only,
        length=LONGEST_TEXT if found["type"] == "string" else None,
        # A contact's e-mail address is unique by nature, whatever the property says of itself.
        external_id=bool(found.get("hasUniqueValue")) or (email and found["name"] == "email"),
        picklist=options if single and options and not found.get("externalOptions") else None,
    )


def _is_email(found: Mapping[str, Any]) -> bool:
    return found["type"] == "string" and (found.get("textDisplayHint") == "email" or found["name"] == "email")


async def shape(client: Client, sync: Sync) -> Shape:
    """Find out how a sync's fields are written and read.

    Raises:
        ConfigError: the object type, a mapped property or the external id does not exist, or a lookup is none.
        PushError: HubSpot did not answer.
    """
    info = await describe(client, sync.object)
    problems = []
    if sync.external_id_field not in info.fields:
        problems.append(_missing(sync.object, sync.external_id_field, info))
    properties: dict[str, tuple[FieldInfo, str]] = {}
    lookups: dict[str, Lookup] = {}
    for mapped in sync.fields:
        found = info.fields.get(mapped.crm_field)
        kind: Literal["property", "association"] = "property" if mapped.parent is None else "association"
        if found is None:
            problems.append(_missing(sync.object, mapped.crm_field, info))
        elif (found.type == "association") != (kind == "association"):
            problems.append(f"{sync.object}.{mapped.crm_field} is no {kind}")
        elif kind == "property":
            properties[mapped.crm_field] = (found, mapped.type)
        else:
            lookups[mapped.crm_field] = _lookup(mapped)
    problems += _untyped(lookups)
    if problems:
        raise ConfigError(
            f"{sync.declared_in or sync.name}: {sync.name}: " + "; ".join(problems),
            safe="Nothing was sent.",
            todo="Correct the mapping, or make the property in HubSpot. A lookup's field is the parent's object type, "
            "such as companies, with an association type where there are several: companies:14.",
        )
    key = info.fields[sync.external_id_field]
    forms = {name: kept_form(found) for name, (found, _) in properties.items()} | {key.name: kept_form(key)}
    return Shape(
        sync.object,
        sync.external_id_field,
        {name: json_sql(quoted(name), data_type, found) for name, (found, data_type) in properties.items()},
        {name: decoder(data_type) for name, (_, data_type) in properties.items()},
        {name: form for name, form in forms.items() if form is not None},
        lookups,
    )


def _lookup(mapped: MappedField) -> Lookup:
    found = association(mapped.crm_field)
    assert found is not None and mapped.parent_external_id is not None  # noqa: S101, PT018 - checked by the caller
    return Lookup(found[0], mapped.parent_external_id, found[1])


def _untyped(lookups: Mapping[str, Lookup]) -> list[str]:
    """A default association is there beside every typed one, so the two cannot be told apart."""
    parents = [lookup.parent for lookup in lookups.values()]
    return [
        f"several lookups lead to {lookup.parent}, so {name} needs an association type"
        for name, lookup in lookups.items()
        if lookup.type is None and parents.count(lookup.parent) > 1
    ]


def _missing(object_name: str, name: str, info: ObjectInfo) -> str:
    return f"{object_name} has no property {name!r}{near(name, list(info.fields))}"
