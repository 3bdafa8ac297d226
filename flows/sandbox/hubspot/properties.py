"""The Properties API: list, read, create, update and archive the properties of an object type."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from flows.sandbox.hubspot.http import Call, Refused, answer, invalid_input
from flows.sandbox.hubspot.schema import BOOL_OPTIONS, FIELD_TYPES, Kind, Property

MOST_UNIQUE = 10
"""How many properties with unique values an object type may have."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_FIELD_TYPES = frozenset(
    (*FIELD_TYPES.values(), "calculation_equation", "checkbox", "file", "html", "radio", "textarea")
)
_LATER = ("label", "description", "options", "groupName", "fieldType", "hidden", "displayOrder", "formField", "type")


def listed(call: Call) -> Response:
    """All properties; none are kept that were archived."""
    kind = call.kind()
    archived = call.flag("archived")
    return answer({"results": [] if archived else [prop.as_dict() for prop in kind.properties.values()]})


def read(call: Call) -> Response:
    """One property."""
    return answer(_one(call, call.kind()).as_dict())


def create(call: Call) -> Response:
    """Create a property."""
    kind = call.kind()
    body = call.fields(name=str, label=str, type=str, fieldType=str, groupName=str)
    with call.portal.records.locked():
        if body["name"] in kind.properties:
            text = f"A property named '{body['name']}' already exists."
            raise Refused(409, "OBJECT_ALREADY_EXISTS", text)
        _check(kind, body)
        prop = call.portal.add(kind, body)
        call.portal.records.define(kind, prop, body)
    return answer(prop.as_dict(), 201)


def update(call: Call) -> Response:
    """Change a property's definition; its name and whether its values are unique stay as they are."""
    kind = call.kind()
    changed = call.fields()
    with call.portal.records.locked():
        prop = _one(call, kind)
        if not prop.custom and set(changed) & {"type", "fieldType", "groupName"}:
            raise Refused(400, "VALIDATION_ERROR", f"The definition of {prop.name} is read only")
        body = _definition(prop) | {key: changed[key] for key in _LATER if changed.get(key) is not None}
        _check(kind, body)
        new = call.portal.add(kind, body)
        call.portal.records.define(kind, new, body)
    return answer(new.as_dict())


def archive(call: Call) -> Response:
    """Archive a property that an administrator added."""
    kind = call.kind()
    with call.portal.records.locked():
        prop = _one(call, kind)
        if not prop.custom:
            raise invalid_input(f"The property {prop.name} cannot be archived: HubSpot defined it")
        del kind.properties[prop.name]
        call.portal.records.undefine(kind, prop.name)
    return Response(status_code=204)


def groups(call: Call) -> Response:
    """The groups of properties."""
    kind = call.kind()
    names = dict.fromkeys([kind.group, *(prop.group for prop in kind.properties.values())])
    results = [
        {"name": name, "label": name.replace("_", " ").capitalize(), "displayOrder": number, "archived": False}
        for number, name in enumerate(names)
    ]
    return answer({"results": results})


def _one(call: Call, kind: Kind) -> Property:
    name = call.path["name"]
    if name not in kind.properties:
        raise Refused(404, "OBJECT_NOT_FOUND", f"The property named {name} does not exist.")
    return kind.properties[name]


def _definition(prop: Property) -> dict[str, Any]:
    told = prop.as_dict()
    keys = ("name", "type", "fieldType", "label", "groupName", "options", "hasUniqueValue", "description", "formField")
    return {key: told[key] for key in keys}


def _check(kind: Kind, body: dict[str, Any]) -> None:
    if not _NAME.fullmatch(body["name"]):
        raise invalid_input(f"The name {body['name'][:120]} must be of small letters, digits and _, a letter first")
    if body["type"] not in FIELD_TYPES:
        raise invalid_input(f"{body['type']} is no type of a property; known are {sorted(FIELD_TYPES)}")
    if body["fieldType"] not in _FIELD_TYPES:
        raise invalid_input(f"{body['fieldType']} is no field type; known are {sorted(_FIELD_TYPES)}")
    options = body.get("options") or []
    if not isinstance(options, list) or not all(_is_option(option) for option in options):
        raise invalid_input("options must be a list of objects with label, value and hidden")
    if len({option["value"] for option in options}) != len(options):
        raise invalid_input("Options must have values that differ from one another")
    if body["type"] == "bool" and not options:
        body["options"] = [{"value": value, "label": label} for value, label in BOOL_OPTIONS.items()]
    if body.get("hasUniqueValue"):
        if body["type"] not in {"string", "number"}:
            raise invalid_input("Only properties of type string or number can have unique values")
        others = [prop for prop in kind.unique if prop.custom and prop.name != body["name"]]
        if len(others) >= MOST_UNIQUE:
            raise invalid_input(f"{kind.name} has {MOST_UNIQUE} properties with unique values; there can be no more")


def _is_option(option: Any) -> bool:
    return isinstance(option, dict) and all(isinstance(option.get(key), str) for key in ("label", "value"))
