"""How a sync's fields look in HubSpot: properties, and associations that stand for lookups.

A lookup's field is the parent's object type, such as ``companies``: that is the default association. With a type of its
own it is ``companies: Billing contact`` or ``companies: 14``, as `flows.project` makes it, so that several lookups to
one object type live side by side.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flows.crm import common
from flows.crm.base import FieldInfo, ObjectInfo
from flows.crm.common import held, near
from flows.crm.forms import Form
from flows.crm.hubspot import scopes
from flows.crm.hubspot.client import AssociationType, Client, Refused
from flows.crm.hubspot.encode import SEVERAL, Decode, decoder, json_sql, kept_form
from flows.errors import MappingUnfit, PushError
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

_ASSOCIATION = re.compile(rf"({'|'.join(OBJECTS)}|2-\d+|p\d+_\w+)(?:: .+)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup, which is an association in HubSpot.

    Attributes:
        parent: the parent's object type.
        external_id: the parent's unique property.
        type: the association's type; None for the default one.
    """

    parent: str
    external_id: str
    type: AssociationType | None = None


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
    kept_forms: Mapping[str, Form]
    lookups: Mapping[str, Lookup]

    def kept_key(self, external_id: str) -> str:
        """The form that HubSpot keeps an external id in."""
        form = self.kept_forms.get(self.external_id)
        return form.of(external_id) if form else external_id


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


def _association_info(name: str) -> FieldInfo | None:
    found = _ASSOCIATION.fullmatch(name)
    return FieldInfo(name, "association", references=(found[1],), relationship=name) if found else None


async def describe(client: Client, name: str) -> ObjectInfo:
    """Describe an object type; the answer is shared by all connectors of the connection.

    It does not tell what the private app may do: `flows.crm.hubspot.scopes` asks for that.

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
            answer = await client.get(client.properties(name))
        except Refused as error:
            if error.status in (400, 404):
                raise MappingUnfit(
                    f"{client.connection.url} has no object type {name!r}{near(name, OBJECTS)}; it says: {error}",
                    safe="Nothing was sent.",
                    todo="Correct `object` in the model's config.meta.sync: the plural name of a standard object, or "
                    "the id (2-...) of a custom one.",
                ) from error
            raise refused(client, f"object type {name} cannot be described", error) from error
        info = ObjectInfo(name, Fields({p["name"]: _field_info(p) for p in answer["results"]}))
        client.shared.described[name] = (time.monotonic(), info)
        return info


async def association_types(client: Client, from_kind: str, to_kind: str) -> tuple[AssociationType, ...]:
    """The types of associations between two object types; the answer is shared by all connectors of the connection.

    Raises:
        PushError: HubSpot did not answer.
        ConfigError: the token is refused.

    Source: https://developers.hubspot.com/docs/api-reference/latest/crm/associations/associations-schema/guide
    """
    async with held(client.shared.describing):
        at, known = client.shared.labels.get((from_kind, to_kind), (0.0, ()))
        if known and time.monotonic() - at < DESCRIBE_SECONDS:
            return known
        try:
            answer = await client.get(f"{client.associations(from_kind, to_kind)}/labels")
        except Refused as error:
            what = f"the associations from {from_kind} to {to_kind} cannot be listed"
            raise refused(client, what, error) from error
        types = tuple(
            AssociationType(found["category"], found["typeId"], found.get("label") or "") for found in answer["results"]
        )
        client.shared.labels[from_kind, to_kind] = (time.monotonic(), types)
        return types


def refused(client: Client, what: str, error: Refused) -> PushError:
    """A refusal of a whole request, told to a person."""
    return common.refused(client.connection.url, what, error, "Correct what the message speaks of, then run again.")


def _field_info(found: Mapping[str, Any]) -> FieldInfo:
    read_only = bool((found.get("modificationMetadata") or {}).get("readOnlyValue") or found.get("calculated"))
    enumeration = found["type"] == "enumeration"
    # A group of checkboxes holds several options at once, separated by semicolons.
    several = enumeration and found.get("fieldType") == "checkbox"
    options = tuple(option["value"] for option in found.get("options") or ())
    email = _is_email(found)
    return FieldInfo(
        name=found["name"],
        type="email" if email else SEVERAL if several else str(found["type"]),
        createable=not read_only,
        updateable=not read_only,
        length=LONGEST_TEXT if found["type"] == "string" else None,
        # A contact's e-mail address is unique by nature, whatever the property says of itself.
        external_id=bool(found.get("hasUniqueValue")) or (email and found["name"] == "email"),
        picklist=options if enumeration and options and not found.get("externalOptions") else None,
        case_sensitive=not email and found["name"] != "domain",
    )


def _is_email(found: Mapping[str, Any]) -> bool:
    return found["type"] == "string" and (found.get("textDisplayHint") == "email" or found["name"] == "email")


async def shape(client: Client, sync: Sync) -> Shape:
    """Find out how a sync's fields are written and read.

    Raises:
        ConfigError: the object type, a mapped property, the external id or an association's type does not exist, or a
            lookup is none.
        PushError: HubSpot did not answer.
    """
    info = await describe(client, sync.object)
    problems = []
    if sync.external_id_field not in info.fields:
        problems.append(_missing(sync.object, sync.external_id_field, info))
    properties: dict[str, tuple[FieldInfo, str]] = {}
    for mapped in sync.fields:
        found = info.fields.get(mapped.crm_field)
        kind: Literal["property", "association"] = "property" if mapped.parent is None else "association"
        if found is None:
            problems.append(_missing(sync.object, mapped.crm_field, info))
        elif (found.type == "association") != (kind == "association"):
            problems.append(f"{sync.object}.{mapped.crm_field} is no {kind}")
        elif kind == "property":
            properties[mapped.crm_field] = (found, mapped.type)
    lookups, wrong = await _lookups(client, sync, info)
    if problems or wrong:
        raise MappingUnfit(
            f"{sync.declared_in or sync.name}: {sync.name}: " + "; ".join((*problems, *wrong)),
            safe="Nothing was sent.",
            todo="Correct the mapping, or make the property or the association's label in HubSpot. A lookup's field "
            "is the parent's object type, such as companies, with an association where there are several.",
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


async def mismatches(client: Client, sync: Sync) -> list[str]:
    """Say what is wrong with a sync that `describe` does not show.

    That is an association's type that is not there, and a scope that is missing to find parents or to read back.

    Raises:
        ConfigError: there is no such object type, or the token is refused.
        PushError: HubSpot did not answer.
    """
    info = await describe(client, sync.object)
    kinds = (sync.object, *(mapped.parent_object for mapped in sync.fields if mapped.parent_object))
    return [*await scopes.unreadable(client, kinds), *(await _lookups(client, sync, info))[1]]


async def _lookups(client: Client, sync: Sync, info: ObjectInfo) -> tuple[dict[str, Lookup], list[str]]:
    """Lookups by field, and what is wrong with the others; those that are no associations are left out."""
    lookups, problems = {}, []
    for mapped in sync.fields:
        found = info.fields.get(mapped.crm_field)
        if mapped.parent is not None and found is not None and found.type == "association":
            try:
                lookups[mapped.crm_field] = await _lookup(client, sync, mapped, found.references[0])
            except _Unknown as error:
                problems.append(str(error))
    return lookups, [*problems, *_alike(lookups)]


class _Unknown(Exception):
    """An association's type that HubSpot does not know, or knows twice."""


async def _lookup(client: Client, sync: Sync, mapped: MappedField, parent: str) -> Lookup:
    external_id, wanted = mapped.parent_external_id or "", mapped.association
    if wanted is None:
        return Lookup(parent, external_id)
    types = await association_types(client, sync.object, parent)
    found = [one for one in types if (one.id == wanted if isinstance(wanted, int) else one.label == wanted)]
    if len(found) == 1:
        return Lookup(parent, external_id, found[0])
    known = ", ".join(f"{one.label} ({one.id})" if one.label else str(one.id) for one in types) or "none"
    state = "several associations" if found else "no association"
    raise _Unknown(f"{sync.object} has {state} {wanted!r} with {parent}; known: {known}")


def _alike(lookups: Mapping[str, Lookup]) -> list[str]:
    """Lookups that cannot be told apart; a default association is there beside every other one."""
    problems = []
    for name, lookup in lookups.items():
        others = {other: found for other, found in lookups.items() if found.parent == lookup.parent and other != name}
        if others and lookup.type is None:
            problems.append(f"several lookups lead to {lookup.parent}, so {name} needs an association of its own")
        problems += [
            f"{name} and {other} are the same association"
            for other, found in others.items()
            if lookup.type is not None and found.type == lookup.type and name < other
        ]
    return problems


def _missing(object_name: str, name: str, info: ObjectInfo) -> str:
    return f"{object_name} has no property {name!r}{near(name, list(info.fields))}"
