"""How a sync's fields look in Salesforce: which exist, and under what names lookups are written and read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.crm import common
from flows.crm.base import FieldInfo, ObjectInfo
from flows.crm.common import held, near
from flows.crm.forms import SEVERAL, STRIPPED, TRIMMED, Form
from flows.crm.salesforce.client import Client, Refused
from flows.errors import MappingUnfit, PushError
from flows.project import Sync
from flows.project.types import family

_WORKED_ON = frozenset({"Asset", "Case", "Contact", "Contract", "Opportunity", "Order", "Quote"})
"""Standard objects whose records people make and work on by themselves."""
DESCRIBE_SECONDS = 600.0
"""How long a describe answer is believed."""
NO_TEXTS = frozenset({"double", "currency", "percent", "int", "long", "boolean", "date", "datetime"})
"""Types of fields that hold no texts."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup that is written by the parent's external id.

    Attributes:
        relationship: the name that reaches the parent, such as ``Account`` for ``AccountId``.
        external_id: the parent's external-id field.
        parent: the parent's object where the lookup could point to several, else None.
    """

    relationship: str
    external_id: str
    parent: str | None = None

    @property
    def path(self) -> str:
        """The parent's external id as SOQL reaches it."""
        return f"{self.relationship}.{self.external_id}"

    @property
    def header(self) -> str:
        """The column of a bulk CSV that sets the lookup."""
        return f"{self.parent}:{self.path}" if self.parent else self.path


@dataclass(frozen=True, slots=True)
class Shape:
    """A sync as Salesforce sees it.

    Attributes:
        object: the object.
        external_id: its external-id field.
        types: CRM field -> DuckDB type of every mapped field.
        lookups: CRM field -> how it is written, for the mapped lookups.
        texts: mapped fields that hold texts, though their columns do not: JSON must hold a text for them.
        moments: mapped fields that hold moments, while their columns hold days.
    """

    object: str
    external_id: str
    types: Mapping[str, str]
    lookups: Mapping[str, Lookup]
    texts: frozenset[str] = frozenset()
    moments: frozenset[str] = frozenset()


async def describe(client: Client, name: str) -> ObjectInfo:
    """Describe an object; the answer is shared by all connectors of the connection.

    Raises:
        ConfigError: there is no such object for this login.
        PushError: Salesforce did not answer.
    """
    async with held(client.shared.describing):
        at, known = client.shared.described.get(name, (0.0, None))
        if known is not None and time.monotonic() - at < DESCRIBE_SECONDS:
            return known
        try:
            answer = (await client.request("GET", f"sobjects/{name}/describe")).json()
        except Refused as error:
            if error.status == 404:
                raise await _unknown_object(client, name) from error
            raise refused(client, f"object {name} cannot be described", error) from error
        info = object_info(answer)
        client.shared.described[name] = (time.monotonic(), info)
        return info


async def _unknown_object(client: Client, name: str) -> MappingUnfit:
    try:
        listed = (await client.request("GET", "sobjects")).json()["sobjects"]
    except Refused:
        listed = []
    return MappingUnfit(
        f"{client.connection.url} has no object {name!r}{near(name, [entry['name'] for entry in listed])}.",
        safe="Nothing was sent.",
        todo="Correct `object` in the model's config.meta.sync, or let the login's profile see the object.",
    )


def refused(client: Client, what: str, error: Refused) -> PushError:
    """A refusal of a whole request, told to a person."""
    todo = "Give the login the permission, or correct the mapping, that the message speaks of."
    return common.refused(client.connection.url, what, error, todo)


def object_info(answer: Mapping[str, Any]) -> ObjectInfo:
    """Turn Salesforce's describe into the protocol's words.

    Source: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_describesobjects_describesobjectresult.htm
    """
    fields = {field["name"]: _field_info(field) for field in answer["fields"]}
    children = ((one, str(one.get("childSObject"))) for one in answer.get("childRelationships") or ())
    return ObjectInfo(
        answer["name"],
        fields,
        bool(answer["createable"]),
        bool(answer["updateable"]),
        bool(answer["deletable"]),
        # The others (shares, history, roles, notes, activities) are parts of the record, and partly Salesforce's own.
        goes_with=tuple(
            (name, str(one["field"]))
            for one, name in children
            if one.get("cascadeDelete") and (name in _WORKED_ON or name.endswith("__c"))
        ),
    )


def _field_info(field: Mapping[str, Any]) -> FieldInfo:
    number = field["type"] in ("double", "currency", "percent")
    restricted = field["type"] in ("picklist", "multipicklist") and field.get("restrictedPicklist")
    return FieldInfo(
        name=field["name"],
        type=field["type"],
        createable=bool(field["createable"]),
        updateable=bool(field["updateable"]),
        nullable=bool(field["nillable"]),
        length=field.get("length") or None,
        precision=(field.get("digits") if field["type"] == "int" else field.get("precision") if number else None),
        scale=field.get("scale") if number else 0 if field["type"] == "int" else None,
        external_id=bool(field.get("externalId") and field.get("unique")),
        picklist=tuple(v["value"] for v in field["picklistValues"] if v["active"]) if restricted else None,
        references=tuple(field.get("referenceTo") or ()),
        relationship=field.get("relationshipName"),
        defaulted=bool(field.get("defaultedOnCreate")),
        case_sensitive=bool(field.get("caseSensitive", True)),
    )


async def shape(client: Client, sync: Sync) -> Shape:
    """Find out how a sync's fields are written and read.

    Raises:
        ConfigError: the object, a mapped field or the external id does not exist, or a lookup is none.
        PushError: Salesforce did not answer.
    """
    info = await describe(client, sync.object)
    problems = [
        f"{sync.object} has no field {name!r}{near(name, list(info.fields))}"
        for name in (sync.external_id_field, *sync.types)
        if name not in info.fields
    ]
    lookups: dict[str, Lookup] = {}
    for mapped in sync.fields:
        found = info.fields.get(mapped.crm_field)
        if mapped.parent_external_id is None or found is None:
            continue
        if found.relationship is None:
            problems.append(f"{sync.object}.{found.name} is no lookup; its type is {found.type}")
        else:
            several = mapped.parent_object if len(found.references) > 1 else None
            lookups[found.name] = Lookup(found.relationship, mapped.parent_external_id, several)
    if problems:
        raise MappingUnfit(
            f"{sync.declared_in or sync.name}: {sync.name}: " + "; ".join(problems),
            safe="Nothing was sent.",
            todo="Correct the mapping, or make the field in Salesforce and let the login's profile see it.",
        )
    kinds = {f.crm_field: (family(f.type), info.fields[f.crm_field].type) for f in sync.fields if f.parent is None}
    texts = {name for name, (ours, theirs) in kinds.items() if ours not in ("text", "list") and theirs not in NO_TEXTS}
    moments = {name for name, kind in kinds.items() if kind == ("date", "datetime")}
    return Shape(
        sync.object, sync.external_id_field, sync.types, lookups, texts=frozenset(texts), moments=frozenset(moments)
    )


async def caseless(client: Client, sync: Sync) -> frozenset[str]:
    """Find out which external ids Salesforce matches whatever their capitals: upserts, lookups and queries all do.

    Returns:
        Of the sync's own field of external ids and its lookups, those whose external ids are such.

    Raises:
        ConfigError: the object, or a parent's, does not exist for this login.
        PushError: Salesforce did not answer.

    Source: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_upsert.htm
    """
    keys = {sync.external_id_field: (sync.object, sync.external_id_field)}
    for mapped in sync.fields:
        if mapped.parent_object is not None and mapped.parent_external_id is not None:
            keys[mapped.crm_field] = (mapped.parent_object, mapped.parent_external_id)
    found = set()
    for name, (kind, key) in keys.items():
        described = (await describe(client, kind)).fields.get(key)
        if described is not None and not described.case_sensitive:
            found.add(name)
    return frozenset(found)


async def kept_forms(client: Client, sync: Sync) -> dict[str, Form]:
    """Find out what Salesforce makes of texts before it keeps or compares them.

    It cuts off what is blank at a text's ends, and puts the values of a multi-select picklist in an order of its own.

    Returns:
        CRM field -> the form, for the field of external ids and for the mapped fields that have one.

    Raises:
        ConfigError: the object, or a parent's, does not exist for this login.
        PushError: Salesforce did not answer.

    Source: https://developer.salesforce.com/docs/atlas.en-us.change_data_capture.meta/change_data_capture/cdc_data_diff_event_fields_considerations.htm
    """
    described = (await describe(client, sync.object)).fields
    kinds = {f.crm_field: described[f.crm_field].type for f in sync.fields if f.crm_field in described}
    texts = {name: kind for name, kind in kinds.items() if kind not in NO_TEXTS}
    forms = {name: SEVERAL if kind == "multipicklist" else STRIPPED for name, kind in texts.items()}
    small = await caseless(client, sync)
    keys = [sync.external_id_field, *(f.crm_field for f in sync.fields if f.parent is not None)]
    return forms | {name: TRIMMED if name in small else STRIPPED for name in keys}
