"""A dbt model, read as a sync: ``config.meta.sync``, and per column ``crm_field`` or ``lookup``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flows.errors import ConfigError
from flows.project import types
from flows.project.declared import KINDS, Lookup, Nulls, Policy, SyncMeta, TargetConnections
from flows.project.nodes import file, meta_of, where_of
from flows.project.reading import problems_of, rendered
from flows.project.values import MappedField

RESERVED = frozenset({"external_id", "crm_id", "changed"})
"""Columns of a plan's batches that are no CRM fields; see `flows.records`."""


def sync_meta(
    node: Mapping[str, Any], connections: TargetConnections, personal: Set[str], problems: list[str]
) -> SyncMeta | None:
    """Read a model's sync; None where it has none, or what it says is wrong and told."""
    raw = meta_of(node).get("sync")
    if raw is None:
        return None
    where = f"{where_of(node)}.sync"
    try:
        told = rendered(raw, where)
        if isinstance(told, dict):
            told = _for_kind(told, kind_of(connections, told.get("crm", "main")))
        meta = SyncMeta.model_validate(told)
    except ValidationError as error:
        problems.extend(problems_of(error, where))
        return None
    except ConfigError as error:
        problems.append(error.what)
        return None
    if meta.external_id.column not in node["columns"]:
        problems.append(f"{where}.external_id.column: the model has no column {meta.external_id.column!r}")
    elif meta.external_id.column.lower() in personal:
        # A key is how people name a record, in plans, on pages and in commands: it cannot be masked there.
        problems.append(
            f"{where}.external_id.column: {meta.external_id.column!r} is personal (pii: true, here or in a table that "
            "this model comes from or goes to), and people see keys; take a column that is not, such as an id of your "
            "own, or say pii: false on it where its values may be seen"
        )
    return meta


def fields(
    node: Mapping[str, Any],
    meta: SyncMeta,
    declared: Mapping[str, SyncMeta | None],
    kind: str,
    personal: Set[str],
    problems: list[str],
) -> tuple[MappedField, ...]:
    """The mapped columns of a model.

    Args:
        node: the model.
        meta: its sync.
        declared: every model's sync; None where what it says is wrong.
        kind: the kind of its CRM.
        personal: the columns, in lower case, that people may only see masked.
        problems: what is wrong is added here.
    """
    found = []
    for column in node["columns"].values():
        # What is said for other kinds of CRM alone is not sent to this one.
        said = {key: value for key, value in _for_kind(meta_of(column), kind).items() if value is not None}
        if column["name"] != meta.external_id.column and {"crm_field", "lookup"} & said.keys():
            where = f"{file(node)}: {node['name']}.{column['name']}: config.meta"
            mapped = _field(column, said, meta, declared, kind, where, problems)
            found += [replace(mapped, pii=mapped.column.lower() in personal)] if mapped else []
    problems.extend(f"{where_of(node)}: {problem}" for problem in _clashes(found, meta))
    return tuple(found)


def _field(
    column: Mapping[str, Any],
    said: Mapping[str, Any],
    meta: SyncMeta,
    declared: Mapping[str, SyncMeta | None],
    kind: str,
    where: str,
    problems: list[str],
) -> MappedField | None:
    """One mapped column; None where it is for other kinds of CRM, or what it says is wrong."""
    if not (declared_type := column.get("data_type")):
        problems.append(f"{where}: a mapped column needs a data_type")
        return None
    if (data_type := types.sendable(declared_type)) is None:
        problems.append(f"{where}: a CRM cannot be sent the type {declared_type}; {types.advice(declared_type)}")
        return None
    mapped = MappedField(
        column=column["name"],
        crm_field="",
        type=data_type,
        policy=_choice(said, "policy", "always", where, problems),
        nulls=_choice(said, "nulls", meta.nulls, where, problems),
    )
    if "lookup" in said:
        return _lookup(mapped, said["lookup"], declared, kind, f"{where}.lookup", problems)
    if isinstance(said["crm_field"], str):
        return replace(mapped, crm_field=said["crm_field"])
    kinds = " and ".join(sorted(KINDS))
    problems.append(f"{where}.crm_field: found {said['crm_field']!r}, expected a name, or one each for {kinds}")
    return None


def _lookup(
    mapped: MappedField,
    said: Any,
    declared: Mapping[str, SyncMeta | None],
    kind: str,
    where: str,
    problems: list[str],
) -> MappedField | None:
    if isinstance(said, dict) and said.get("field", "") is None:
        return None
    try:
        lookup = Lookup.model_validate(said)
    except ValidationError as error:
        problems.extend(problems_of(error, where))
        return None
    if lookup.sync not in declared:
        problems.append(f"{where}.sync: no model {lookup.sync!r} has a sync")
    # What is wrong with the parent's own sync is told there, once.
    if (parent := declared.get(lookup.sync)) is None:
        return None
    if lookup.association is not None and kind != "hubspot":
        problems.append(f"{where}.association: only HubSpot has types of associations")
    if types.family(mapped.type) == "list":
        problems.append(f"{where}: a lookup holds one external id, and the column is a list of them")
    return replace(
        mapped,
        # External ids are texts, whatever the models keep them as: a child's must be the same text as its parent's.
        type=types.TEXT,
        crm_field=lookup.field if lookup.association is None else f"{lookup.field}: {lookup.association}",
        parent=lookup.sync,
        parent_object=parent.object,
        parent_external_id=parent.external_id.field,
        association=lookup.association,
    )


_CHOICES: dict[str, TypeAdapter[Any]] = {"policy": TypeAdapter(Policy), "nulls": TypeAdapter(Nulls)}


def _choice(meta: Mapping[str, Any], key: str, default: str, where: str, problems: list[str]) -> Any:
    """What a column's meta says under a key that has a few known words; what is wrong is told and the default taken."""
    try:
        return _CHOICES[key].validate_python(meta.get(key, default))
    except ValidationError as error:
        problems.append(f"{where}.{key}: found {meta[key]!r}, expected {error.errors()[0]['ctx']['expected']}")
        return default


def _clashes(found: Sequence[MappedField], meta: SyncMeta) -> Iterator[str]:
    """What cannot be told apart: neither a CRM nor DuckDB minds the case of a name's letters."""
    names = [f.crm_field.casefold() for f in found]
    for mapped, name in zip(found, names, strict=True):
        if names.index(name) < len(names) - 1 - names[::-1].index(name) and mapped is found[names.index(name)]:
            yield f"two columns are mapped to {mapped.crm_field}"
        if name == meta.external_id.field.casefold():
            yield f"the column {mapped.column} is mapped to {mapped.crm_field}, which is the external id"
        if name in RESERVED:
            yield f"the column {mapped.column} is mapped to {mapped.crm_field}, a name that plans use themselves"
    for guarded in meta.guard.fields:
        if guarded not in {f.crm_field for f in found}:
            near = difflib.get_close_matches(guarded, [f.crm_field for f in found], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"sync.guard.fields.{guarded}: no column is mapped to it{hint}"


def levels(fields: Mapping[str, tuple[MappedField, ...]], nodes: Mapping[str, Any]) -> dict[str, int]:
    """How far each sync stands below those without parents.

    Raises:
        ConfigError: lookups form a ring.
    """
    parents = {name: {f.parent for f in mapped if f.parent and f.parent != name} for name, mapped in fields.items()}
    levels: dict[str, int] = {}
    try:
        for name in TopologicalSorter(parents).static_order():
            levels[name] = 1 + max((levels[parent] for parent in parents[name]), default=-1)
    except CycleError as error:
        ring = " -> ".join(error.args[1])
        raise ConfigError(
            f"{file(nodes[error.args[1][0]])}: lookups form a ring: {ring}.",
            safe="Nothing ran.",
            todo="Drop one of the lookups; parents are pushed before children.",
        ) from error
    return levels


def _for_kind(value: Any, kind: str) -> Any:
    """Choose, wherever something is said for each kind of CRM, what is said for one of them.

    ``{salesforce: Name, hubspot: name}`` is ``name`` for HubSpot, and None where it names other kinds alone.
    """
    if not isinstance(value, dict):
        return value
    if value and value.keys() <= KINDS:
        return _for_kind(value.get(kind), kind)
    return {key: _for_kind(inner, kind) for key, inner in value.items()}


def kind_of(connections: TargetConnections, crm: object) -> str:
    """The kind of a connection; for one that does not exist, which is told elsewhere, any kind."""
    found = connections.crms.get(str(crm))
    return found.kind if found else "salesforce"
