"""Batches of records: create, update, upsert, read, archive; at most 100 inputs each.

Source: https://developers.hubspot.com/docs/api/crm/using-object-apis
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from flows.sandbox.hubspot.associations import link_all, parse_links
from flows.sandbox.hubspot.http import Call, Refused, invalid_input, texts
from flows.sandbox.hubspot.inputs import inputs_of, number, told
from flows.sandbox.hubspot.schema import PORTAL, Kind, Property
from flows.sandbox.hubspot.store import Record, now_ms
from flows.sandbox.hubspot.values import Wrong, normal
from flows.sandbox.hubspot.writes import Write, apply, not_found, prepare, result, shown

MOST = 100


def create(call: Call) -> Response:
    """Create records, and their associations."""
    started, kind = now_ms(), call.kind()
    writes = []
    for one in inputs_of(call, MOST, properties=dict):
        write = prepare(kind, one["properties"], one.get("objectWriteTraceId"))
        write.links = parse_links(one.get("associations"))
        writes.append(write)
    whole = not _traced(writes)
    with call.portal.records.locked():
        apply(call, kind, writes, whole=whole)
        link_all(call.portal, kind, writes)
    return _written(call, kind, writes, [], started, 201)


def update(call: Call) -> Response:
    """Update records by id, or by a unique property."""
    return _change(call, upsert=False)


def upsert(call: Call) -> Response:
    """Update records by a unique property, and create those that are not there."""
    return _change(call, upsert=True)


def read(call: Call) -> Response:
    """Read records by id, or by a unique property."""
    started, kind = now_ms(), call.kind()
    archived = call.flag("archived")
    body = call.fields(inputs=list)
    wanted = [one["id"] for one in inputs_of(call, MOST, id=str)]
    names = texts(body, "properties") or list(kind.shown)
    found = locate(call, kind, wanted, body.get("idProperty"), archived=archived)
    records = {record.id: record for record in found.values()}
    results = [shown(kind, records[key], names, as_published=call.portal.as_published) for key in sorted(records)]
    missing = [key for key in dict.fromkeys(wanted) if key not in found]
    errors = [not_found(kind, missing).entry()] if missing else []
    return told(started, results, errors, 200)


def archive(call: Call) -> Response:
    """Archive records; ids that no record has are passed over."""
    kind = call.kind()
    wanted = [one["id"] for one in inputs_of(call, MOST, id=str)]
    archive_all(call, kind, {key for text in wanted if (key := number(text)) is not None})
    return Response(status_code=204)


def archive_all(call: Call, kind: Kind, ids: set[int]) -> None:
    """Archive records, and drop their associations."""
    with call.portal.records.locked():
        call.portal.links.forget(kind, ids)
        call.portal.records.archive(kind, ids)


def unique_property(kind: Kind, name: Any) -> Property | None:
    """The unique property that records are to be found by; None where that is their id.

    Raises:
        Refused: it is not unique (400).
    """
    if name is None or name == "hs_object_id":
        return None
    prop = kind.properties.get(name) if isinstance(name, str) else None
    if prop is None or not prop.unique:
        raise _not_unique(kind, name)
    return prop


def key_of(prop: Property, text: str) -> str:
    """A unique value as it is kept; as it came where the property would not accept it."""
    try:
        return normal(prop, text)
    except Wrong:
        return text


def locate(call: Call, kind: Kind, wanted: Sequence[str], id_property: Any, *, archived: bool) -> dict[str, Record]:
    """Find records.

    Args:
        call: the request.
        kind: the object type.
        wanted: ids, or values of the unique property.
        id_property: the unique property's name; None for ids.
        archived: whether archived records are meant.

    Returns:
        What was asked for -> record; the missing are absent.
    """
    prop = unique_property(kind, id_property)
    if prop is None:
        keys = {text: key for text in wanted if (key := number(text)) is not None}
    else:
        held = {text: key_of(prop, text) for text in wanted}
        owners = call.portal.records.owners(kind, prop.name, set(held.values()))
        keys = {text: owners[value] for text, value in held.items() if value in owners}
    records = call.portal.records.get(kind, set(keys.values()), archived=archived)
    return {text: records[key] for text, key in keys.items() if key in records}


def _change(call: Call, *, upsert: bool) -> Response:
    started, kind = now_ms(), call.kind()
    inputs = inputs_of(call, MOST, id=str, properties=dict)
    writes = [prepare(kind, one["properties"], one.get("objectWriteTraceId")) for one in inputs]
    missing: dict[str, list[Write]] = {}
    with call.portal.records.locked():
        for name in dict.fromkeys(one.get("idProperty") for one in inputs):
            if name == "hs_object_id":  # HubSpot wants ids without an idProperty here
                raise _not_unique(kind, name)
            group = [
                (one["id"], write) for one, write in zip(inputs, writes, strict=True) if one.get("idProperty") == name
            ]
            found = locate(call, kind, [key for key, _ in group], name, archived=False)
            prop = unique_property(kind, name)
            if upsert and prop is None:
                raise invalid_input("idProperty is required: the name of a unique property of the object")
            _no_twice(prop, [key for key, _ in group])
            for key, write in group:
                write.record = found.get(key)
                if write.record is not None:
                    continue
                if not upsert or prop is None:
                    missing.setdefault(key, []).append(write)
                    continue
                named = prepare(kind, {prop.name: key})
                write.values = named.values | write.values
                write.problem = write.problem or named.problem
        lost = [write for several in missing.values() for write in several]
        known = [write for write in writes if all(write is not other for other in lost)] if lost else writes
        apply(call, kind, known, whole=not _traced(writes))
    return _written(call, kind, known, _lost(kind, missing), started, 200)


def _not_unique(kind: Kind, name: Any) -> Refused:
    text = f"Unable to perform update/upsert by non-unique {kind.type_id} property {name} in portal ID {PORTAL}"
    return invalid_input(text)


def _no_twice(prop: Property | None, keys: list[str]) -> None:
    held = [key_of(prop, key) for key in keys] if prop else keys
    if len(set(held)) == len(held):
        return
    twice = sorted({key for key in held if held.count(key) > 1})
    raise invalid_input(f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique")


def _traced(writes: Sequence[Write]) -> bool:
    traces = {write.trace for write in writes}
    return None not in traces and len(traces) == len(writes)


def _lost(kind: Kind, missing: dict[str, list[Write]]) -> list[dict[str, Any]]:
    """The errors of inputs whose record is not there: one for each with a trace, one for all others together."""
    errors = []
    others = []
    for key, several in missing.items():
        for write in several:
            if write.trace is None:
                others.append(key)
            else:
                errors.append(not_found(kind, [key]).entry(write.trace))
    return [*errors, not_found(kind, others).entry()] if others else errors


def _written(
    call: Call, kind: Kind, writes: Sequence[Write], errors: list[dict[str, Any]], started: int, status: int
) -> Response:
    results = []
    upserted = call.request.scope["path"].endswith("upsert")
    for write in reversed(writes):  # HubSpot promises no order, so nobody may count on that of the inputs
        if write.problem is not None:
            errors.append(write.problem.entry(write.trace, as_published=call.portal.as_published))
            continue
        body = result(kind, write)
        if upserted:
            body["new"] = write.new
        results.append(body)
    return told(started, results, errors, status)
