"""The org's schema: objects and their fields, read from a YAML file.

The file maps objects to ``{prefix, label, fields: {Name: {type, ...}}, duplicate_rules: {Name: {fields, ...}}}``; a
field's keys are the attributes of `Field`, a rule's those of `DuplicateRule`. System fields (Id, IsDeleted,
CreatedDate, ...) are added to every object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows.sandbox.ids import make_ids

BUILT_IN = Path(__file__).with_name("org.yml")
USER = make_ids("005", 1, 1)[0]
ORGANIZATION = make_ids("00D", 1, 1)[0]

TEXT_TYPES = frozenset({"string", "textarea", "phone", "url", "email", "picklist", "multipicklist", "combobox"})
NUMBER_TYPES = frozenset({"int", "double", "currency", "percent"})
MULTIPICKLIST_LENGTH = 4099
"""Characters that a multi-select picklist holds, with its semicolons."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object.

    Attributes:
        name: the API name.
        type: the CRM's type name (string, email, picklist, currency, date, datetime, reference, boolean, ...).
        label: what people read, also in error messages.
        length: most characters of a text.
        precision: digits in all of a number.
        scale: digits after the point of a number.
        nillable: whether it may be empty.
        createable: whether a create may set it.
        updateable: whether an update may set it.
        external_id: whether records can be upserted by it.
        unique: whether no two records may share a value.
        case_sensitive: whether ``a`` and ``A`` are two values of it.
        picklist: the values offered.
        restricted: whether only those values are accepted.
        reference_to: the object that a lookup points to.
        relationship: the name under which the parent is reached.
        children: the name under which the parent reaches these records.
        cascade: whether these records are deleted with the parent.
        default: what a create takes where no value is given.
        formula: an SQL expression over other columns, for what the CRM computes.
    """

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    picklist: tuple[str, ...] = ()
    restricted: bool = False
    reference_to: str = ""
    relationship: str = ""
    children: str = ""
    cascade: bool = False
    default: Any = None
    formula: str = ""

    @property
    def custom(self) -> bool:
        """Whether an administrator added it."""
        return self.name.endswith("__c")

    @property
    def indexed(self) -> bool:
        """Whether records are looked for by it."""
        return self.unique or self.external_id


@dataclass(frozen=True, slots=True)
class DuplicateRule:
    """An administrator's rule: a record is not saved that has the same values as another one.

    Attributes:
        name: the rule's name.
        fields: the fields that are compared; a record without a value in one of them has no duplicate.
        active: whether it is switched on.
        message: what the administrator wants people to read.
    """

    name: str
    fields: tuple[str, ...]
    active: bool = True
    message: str = "Use one of these records?"


@dataclass(frozen=True, slots=True)
class ObjectType:
    """One object: its key prefix, its fields by name, and its duplicate rules."""

    name: str
    prefix: str
    label: str
    fields: dict[str, Field]
    writable: bool = True
    lowered: dict[str, str] = field(default_factory=dict)
    duplicate_rules: tuple[DuplicateRule, ...] = ()

    def find(self, name: str) -> Field | None:
        """Find a field whatever the case of its name, as the CRM does."""
        return self.fields.get(name) or self.fields.get(self.lowered.get(name.lower(), ""))

    def relationship(self, name: str) -> Field | None:
        """Find the lookup field that reaches its parent under a name."""
        wanted = name.lower()
        return next((f for f in self.fields.values() if f.relationship.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Org:
    """All objects by name."""

    objects: dict[str, ObjectType]

    def object(self, name: str) -> ObjectType | None:
        """Find an object whatever the case of its name."""
        found = self.objects.get(name)
        return found or next((o for key, o in self.objects.items() if key.lower() == name.lower()), None)

    def children(self, kind: ObjectType) -> Iterator[tuple[ObjectType, Field]]:
        """Find the lookups that point to an object: each with the object whose field it is."""
        for other in self.objects.values():
            yield from ((other, field) for field in other.fields.values() if field.reference_to == kind.name)


def load(path: Path | None = None) -> Org:
    """Read an org file.

    Args:
        path: the file; None for the built-in org.
    """
    raw = yaml.safe_load((path or BUILT_IN).read_text(encoding="utf-8"))
    return Org({name: _object(name, spec) for name, spec in raw.items()})


def _object(name: str, spec: dict[str, Any]) -> ObjectType:
    fields = {f.name: f for f in _system_fields(owned=spec.get("owned", True))}
    for field_name, settings in spec["fields"].items():
        fields[field_name] = _field(field_name, settings)
    lowered = {key.lower(): key for key in fields}
    rules = tuple(
        DuplicateRule(rule, **{**settings, "fields": tuple(settings["fields"])})
        for rule, settings in spec.get("duplicate_rules", {}).items()
    )
    writable = spec.get("writable", True)
    return ObjectType(name, spec["prefix"], spec.get("label", name), fields, writable, lowered, rules)


def _field(name: str, settings: dict[str, Any]) -> Field:
    values = {**settings, "picklist": tuple(settings.get("picklist", ()))}
    if values["type"] == "reference":
        values.setdefault("length", 18)
        custom = name.endswith("__c")
        values.setdefault("relationship", f"{name[:-1]}r" if custom else name.removesuffix("Id"))
    if values["type"] == "multipicklist":
        values.setdefault("length", MULTIPICKLIST_LENGTH)
    if values.get("formula"):
        values |= {"createable": False, "updateable": False}
    values.setdefault("label", name.removesuffix("__c").replace("_", " "))
    return Field(name, **values)


def _system_fields(*, owned: bool) -> list[Field]:
    def system(name: str, kind: str, **more: Any) -> Field:
        flags: dict[str, Any] = {"nillable": False, "createable": False, "updateable": False}
        return Field(name, kind, label=name, **{**flags, **more})

    user = {"length": 18, "reference_to": "User", "default": USER}
    fields = [
        system("Id", "id", length=18, case_sensitive=True),
        system("IsDeleted", "boolean", default=False),
        system("CreatedDate", "datetime"),
        system("CreatedById", "reference", relationship="CreatedBy", **user),
        system("LastModifiedDate", "datetime"),
        system("LastModifiedById", "reference", relationship="LastModifiedBy", **user),
        system("SystemModstamp", "datetime"),
    ]
    if owned:
        writable = {"createable": True, "updateable": True}
        fields.append(system("OwnerId", "reference", relationship="Owner", **user, **writable))
    return fields
