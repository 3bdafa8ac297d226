"""The account's schema: objects and their properties, read from ``hubspot.yml``.

Source: https://developers.hubspot.com/docs/api/crm/properties
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

BUILT_IN = Path(__file__).parent.with_name("hubspot.yml")
PORTAL = 40_000_001
"""The account's id."""

FIELD_TYPES = {
    "bool": "booleancheckbox",
    "date": "date",
    "datetime": "date",
    "enumeration": "select",
    "number": "number",
    "phone_number": "phonenumber",
    "string": "text",
}
"""Property type -> the field type that it has where none is given."""

Verb = Literal["read", "write"]

BOOL_OPTIONS = {"true": "Yes", "false": "No"}


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an object.

    Attributes:
        name: the internal name.
        type: bool, date, datetime, enumeration, number, phone_number or string.
        field_type: how forms show it; ``checkbox`` makes an enumeration hold several values.
        label: what people read.
        group: the group that it is listed in.
        options: the values that an enumeration or a bool accepts, with their labels.
        unique: whether no two records may share a value.
        custom: whether an administrator added it.
        read_only: whether only HubSpot sets it.
        normalise: ``email`` or ``lower``, for what HubSpot rewrites; else as it came.
        default: what a create takes where no value is given.
        extra: what else a create through the API said, kept and answered as it is.
    """

    name: str
    type: str = "string"
    field_type: str = "text"
    label: str = ""
    group: str = ""
    options: dict[str, str] = field(default_factory=dict)
    unique: bool = False
    custom: bool = False
    read_only: bool = False
    normalise: str = ""
    default: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The property as the Properties API answers it."""
        writable = not self.read_only
        return {
            "hidden": False,
            "displayOrder": -1,
            "description": "",
            "formField": self.custom,
            "createdAt": "2024-01-01T00:00:00.000Z",
            "updatedAt": "2024-01-01T00:00:00.000Z",
            **self.extra,
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "groupName": self.group,
            "options": [
                {"label": label, "value": value, "displayOrder": number, "hidden": False}
                for number, (value, label) in enumerate(self.options.items())
            ],
            "hasUniqueValue": self.unique,
            "calculated": False,
            "externalOptions": False,
            "archived": False,
            "hubspotDefined": not self.custom,
            "dataSensitivity": "non_sensitive",
            "modificationMetadata": {
                "archivable": self.custom,
                "readOnlyDefinition": not self.custom,
                "readOnlyOptions": not self.custom,
                "readOnlyValue": not writable,
            },
        }


@dataclass(frozen=True, slots=True)
class Kind:
    """One object type.

    Attributes:
        name: the plural name, as it stands in paths.
        singular: the name of one.
        type_id: the object type's id, such as ``0-2``.
        label: what people read.
        group: the group of its properties.
        created: the property that tells when a record was created.
        modified: the property that tells when it was last written.
        shown: the properties that a read answers where none are asked for.
        searched: the properties that a search's ``query`` looks at.
        properties: by name.
    """

    name: str
    singular: str
    type_id: str
    label: str
    group: str
    created: str
    modified: str
    shown: tuple[str, ...]
    searched: tuple[str, ...]
    properties: dict[str, Property]

    @property
    def unique(self) -> list[Property]:
        """The properties whose values are unique."""
        return [p for p in self.properties.values() if p.unique]

    def scope(self, verb: Verb) -> str:
        """The scope that it takes; all custom object types share theirs."""
        own = self.type_id.startswith("0-")
        return f"crm.objects.{self.name if own else 'custom'}.{verb}"

    @property
    def scopes(self) -> tuple[str, str]:
        """All that it takes."""
        return self.scope("read"), self.scope("write")


class Schema:
    """All object types.

    Args:
        path: the YAML file; None for the built-in account.
    """

    def __init__(self, path: Path | None = None) -> None:
        raw = yaml.safe_load((path or BUILT_IN).read_text(encoding="utf-8"))
        self.kinds = {name: _kind(name, spec) for name, spec in raw.items()}
        self._names: dict[str, Kind] = {}
        for kind in self.kinds.values():
            full = f"p{PORTAL}_{kind.singular}"
            for alias in (kind.name, kind.singular, kind.type_id, full):
                self._names[alias.lower()] = kind

    def find(self, name: str) -> Kind | None:
        """Find an object type by plural or singular name, type id or fully qualified name, whatever the case."""
        return self._names.get(name.lower())


def _kind(name: str, spec: dict[str, Any]) -> Kind:
    created = spec.get("created", "createdate")
    modified = spec.get("modified", "hs_lastmodifieddate")
    group = spec["group"]
    system = {
        "hs_object_id": Property("hs_object_id", "number", "number", "Record ID", group, read_only=True),
        created: Property(created, "datetime", "date", "Create Date", group, read_only=True),
        modified: Property(modified, "datetime", "date", "Last Modified Date", group, read_only=True),
    }
    own = {key: _property(key, group, dict(settings)) for key, settings in spec["properties"].items()}
    return Kind(
        name,
        spec["singular"],
        spec["type_id"],
        spec["label"],
        group,
        created,
        modified,
        tuple(spec["shown"]),
        tuple(spec["searched"]),
        system | own,
    )


def _property(name: str, group: str, settings: dict[str, Any]) -> Property:
    kind = settings.setdefault("type", "string")
    settings.setdefault("field_type", FIELD_TYPES[kind])
    settings.setdefault("label", name.replace("_", " ").capitalize())
    options = settings.pop("options", BOOL_OPTIONS if kind == "bool" else {})
    if not isinstance(options, dict):
        options = {option: option.replace("_", " ").capitalize() for option in options}
    return Property(name, group=group, options=options, **settings)
