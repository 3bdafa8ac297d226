"""Creates, updates and upserts of records: one way for single requests and for batches.

A batch in which every input has an ``objectWriteTraceId`` of its own fails input by input; any other is refused as a
whole by its first error, as HubSpot does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.sandbox.faults import changed
from flows.sandbox.hubspot.http import Call, Refused, invalid_input
from flows.sandbox.hubspot.portal import Portal
from flows.sandbox.hubspot.schema import PORTAL, Kind, Property
from flows.sandbox.hubspot.store import Record
from flows.sandbox.hubspot.values import Invalid, convert, instant

CONFLICT = "CONFLICT"


@dataclass(slots=True)
class Write:
    """One record to be written.

    Attributes:
        values: name -> value as it is kept.
        trace: the input's objectWriteTraceId.
        record: the record to update; None to create one.
        new: whether it was created.
        links: the associations that a create makes: to object type, to id, type ids.
        problem: why it is refused.
    """

    values: dict[str, str] = field(default_factory=dict)
    trace: str | None = None
    record: Record | None = None
    new: bool = False
    links: list[Any] = field(default_factory=list)
    problem: Refused | None = None


def prepare(kind: Kind, properties: Any, trace: str | None = None) -> Write:
    """Check the properties of one input.

    Args:
        kind: the object type.
        properties: name -> value, as it came.
        trace: the input's objectWriteTraceId.

    Raises:
        Refused: the properties are no map of texts (400).
    """
    if not isinstance(properties, dict) or any(isinstance(value, dict | list) for value in properties.values()):
        text = "Cannot deserialize value of type `java.lang.String` from another value (properties)"
        raise invalid_input(f"Invalid input JSON on line 1, column 1: {text}")
    values, wrong = convert(kind, properties)
    return Write(values, trace, problem=invalid_properties(wrong) if wrong else None)


def invalid_properties(wrong: Sequence[Invalid]) -> Refused:
    """What is answered to values that properties do not accept."""
    told = [
        {"isValid": False, "message": w.message, "error": w.code, "name": w.name, "localizedErrorMessage": w.message}
        for w in wrong
    ]
    errors = [{"message": w.message, "code": w.code, "context": {"propertyName": [w.name]}} for w in wrong]
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return Refused(400, "VALIDATION_ERROR", f"Property values were not valid: {text}", errors=errors)


def not_found(kind: Kind, ids: list[str]) -> Refused:
    """What is answered to ids that no record has."""
    kinds = f"{kind.singular.upper()} objects"
    text = f"Could not get some {kinds}, they may be deleted or not exist. Check that ids are valid."
    return Refused(404, "OBJECT_NOT_FOUND", text, {"ids": ids})


def apply(call: Call, kind: Kind, writes: Sequence[Write], *, whole: bool) -> None:
    """Write all that can be written, in one transaction; tells in each write what became of it.

    Args:
        call: the request.
        kind: the object type.
        writes: the records to be written.
        whole: whether the first problem refuses all.

    Raises:
        Refused: the first problem, where that refuses all; nothing is written then.
    """
    portal = call.portal
    _spoil(call, writes)
    with portal.records.locked():
        _guard_unique(portal, kind, writes)
        if whole:
            problem = next((write.problem for write in writes if write.problem), None)
            if problem is not None:
                raise problem
        good = [write for write in writes if write.problem is None]
        created = [write for write in good if write.record is None]
        for write in created:
            for prop in kind.properties.values():
                if prop.default:
                    write.values.setdefault(prop.name, prop.default)
        changes = [(write.record, write.values) for write in good if write.record is not None]
        if changes:
            portal.records.update(kind, changes)
        if created:
            records = portal.records.insert(kind, [dict(write.values) for write in created])
            for write, record in zip(created, records, strict=True):
                write.record, write.new = record, True


def result(kind: Kind, write: Write) -> dict[str, Any]:
    """What is answered to a record that was written: what was sent, as it is kept, and the system's properties."""
    assert write.record is not None  # noqa: S101 - only what was written is asked for
    body = shown(kind, write.record, write.values, as_published=True)
    if write.trace is not None:
        body["objectWriteTraceId"] = write.trace
    return body


def shown(kind: Kind, record: Record, names: Any, *, as_published: bool) -> dict[str, Any]:
    """A record as the API answers it.

    Args:
        kind: the object type.
        record: the record.
        names: the properties that were asked for; unknown ones are ignored. The system's own are always there.
        as_published: whether properties without a value are left out, in place of null.
    """
    created, updated = instant(record.created), instant(record.updated)
    system = {kind.created: created, kind.modified: updated, "hs_object_id": str(record.id)}
    properties: dict[str, str | None] = {}
    for name in names:
        value = record.properties.get(name)
        if value is not None or (not as_published and name in kind.properties):
            properties[name] = value
    properties |= system
    body: dict[str, Any] = {
        "id": str(record.id),
        "properties": properties,
        "createdAt": created,
        "updatedAt": updated,
        "archived": record.archived is not None,
    }
    if record.archived is not None:
        body["archivedAt"] = instant(record.archived)
    return body


def _spoil(call: Call, writes: Sequence[Write]) -> None:
    """Refuse what the script of faults wants to have refused, and change what it wants to have changed."""
    for fault in call.exchange.faults:
        change: Any = fault.get("change")
        if change:
            for write in writes:
                if (value := write.values.get(change["field"])) is not None:
                    write.values[change["field"]] = str(changed(change, value))
        reject: Any = fault.get("reject")
        if not reject:
            continue
        where = reject.get("where", {})
        for write in writes:
            held = (write.record.properties if write.record else {}) | write.values
            if any(held.get(name) != str(value) for name, value in where.items()):
                continue
            if write.problem is None and call.world.faults.picks(reject.get("share", 1.0)):
                status = 409 if reject["code"] == CONFLICT else 400
                write.problem = Refused(status, reject["code"], reject.get("message", "The record was refused."))


def _guard_unique(portal: Portal, kind: Kind, writes: Sequence[Write]) -> None:
    """Refuse writes that would give a record a unique value that another one has, in the store or in the batch."""
    for prop in kind.unique:
        claims = [
            (write, value) for write in writes if write.problem is None and (value := write.values.get(prop.name))
        ]
        if not claims:
            continue
        owners = portal.records.owners(kind, prop.name, [value for _, value in claims])
        claimed: dict[str, Write] = {}
        for write, value in claims:
            own = write.record.id if write.record else None
            owner = owners.get(value)
            if owner is not None and owner != own:
                write.problem = _conflict(kind, prop, value, write, str(owner))
            elif value in claimed:
                other = claimed[value].record
                write.problem = _conflict(kind, prop, value, write, str(other.id) if other else "")
            else:
                claimed[value] = write


def _conflict(kind: Kind, prop: Property, value: str, write: Write, owner: str) -> Refused:
    if not prop.custom:  # only what is unique by nature has its own answer
        text = f"{kind.label} already exists." + (f" Existing ID: {owner}" if owner else "")
        return Refused(409, CONFLICT, text, existing_id=owner)
    own = str(write.record.id) if write.record else "a new record"
    text = (
        f"Cannot set PropertyValueCoordinates{{portalId={PORTAL}, objectTypeId={kind.type_id}, "
        f"propertyName={prop.name}, value={value}}} on {own}. {owner or 'Another input'} already has that value."
    )
    return invalid_properties([Invalid(prop.name, "CONFLICTING_UNIQUE_VALUE", text)])
