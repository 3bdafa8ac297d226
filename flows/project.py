"""The dbt project read as configuration: sources to extract, syncs to push, and the connections they use.

What to extract is declared on dbt sources (``config.meta.extract``), what to sync on dbt models
(``config.meta.sync`` and, per column, ``crm_field`` or ``lookup``), connections in ``profiles/connections.yml``.
Everything that is wrong in it is found here, before anything runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import SecretStr, TypeAdapter, ValidationError

from flows.connections import load_connections
from flows.declared import (
    KINDS,
    Anomalies,
    Connection,
    FilesExtract,
    Guard,
    HubSpotConnection,
    Lookup,
    Nulls,
    Policy,
    RestExtract,
    SalesforceConnection,
    SyncMeta,
    TargetConnections,
    Threshold,
)
from flows.errors import ConfigError
from flows.reading import fail, problems_of, rendered

__all__ = [
    "Connection",
    "FilesExtract",
    "Guard",
    "HubSpotConnection",
    "MappedField",
    "Project",
    "RestExtract",
    "SalesforceConnection",
    "Source",
    "Sync",
    "Threshold",
    "load",
    "load_connections",
]

RESERVED = frozenset({"external_id", "crm_id", "changed"})
"""Columns of a plan's batches that are no CRM fields; see `flows.records`."""


@dataclass(frozen=True, slots=True)
class Source:
    """One table to extract.

    Attributes:
        name: ``<source>.<table>`` as in dbt.
        table: its table in the warehouse's schema ``raw``.
        columns: column -> DuckDB type, in the order declared.
        extract: where it comes from.
        headers: HTTP headers of its connection (may hold secrets).
        declared_in: the YAML file.
        pii: the columns whose values no message may show.
        anomalies: what of it is unusual; None where nobody wants to know.
    """

    name: str
    table: str
    columns: Mapping[str, str]
    extract: FilesExtract | RestExtract
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    declared_in: str = ""
    pii: frozenset[str] = frozenset()
    anomalies: Anomalies | None = field(default_factory=Anomalies)

    @property
    def relation(self) -> str:
        """The raw table, quoted for SQL."""
        return f'"raw"."{self.table}"'


@dataclass(frozen=True, slots=True)
class MappedField:
    """A model's column and the CRM field it is sent to.

    Attributes:
        column: the model's column.
        crm_field: the CRM's field, unique in a sync. For a lookup, the reference field such as ``AccountId``; in
            HubSpot the parent's object type, with the association's where it has one: ``companies: Billing contact``.
        type: the column's DuckDB type.
        pii: whether people may only see it masked.
        parent: for a lookup, the parent sync's name.
        parent_object: for a lookup, the parent's CRM object.
        parent_external_id: for a lookup, the parent's external-id field in the CRM.
        association: for a lookup in HubSpot, the association's type; None for the default one.
        policy: when the field is sent.
        nulls: what no value means.
    """

    column: str
    crm_field: str
    type: str
    pii: bool = False
    parent: str | None = None
    parent_object: str | None = None
    parent_external_id: str | None = None
    association: str | int | None = None
    policy: Policy = "always"
    nulls: Nulls = "clear"


@dataclass(frozen=True, slots=True)
class Sync:
    """One model that is kept in step with one CRM object.

    Attributes:
        name: the dbt model's name.
        relation: its table, quoted for SQL.
        crm: the connection's name.
        object: the CRM object.
        external_id_column: the model's key column.
        external_id_field: the CRM field that holds it.
        mode: upsert, create_only, update_only or mirror (archives what left the model).
        guard: what a plan may do without being approved.
        fields: the mapped columns, without the external id.
        level: 0 for a sync without parents, else one more than its highest parent.
        declared_in: the YAML file.
        deleted: what to do about a record that somebody deleted in the CRM: report, recreate or forget.
        sources: the extracted sources that the model is made from, at any distance.
        anomalies: what of the model is unusual; None where nobody wants to know.
    """

    name: str
    relation: str
    crm: str
    object: str
    external_id_column: str
    external_id_field: str
    mode: str
    guard: Guard
    fields: tuple[MappedField, ...]
    level: int = 0
    declared_in: str = ""
    deleted: str = "report"
    sources: tuple[str, ...] = ()
    anomalies: Anomalies | None = field(default_factory=Anomalies)

    @property
    def types(self) -> dict[str, str]:
        """CRM field -> DuckDB type of every mapped field."""
        return {f.crm_field: f.type for f in self.fields}

    @property
    def pii(self) -> frozenset[str]:
        """The CRM fields that people may only see masked."""
        return frozenset(f.crm_field for f in self.fields if f.pii)


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that one target's night works from.

    Attributes:
        sources: what to extract.
        syncs: what to push, parents before children.
        connections: CRM connections by name.
        notify: apprise URLs (secret).
        models: dbt models by name -> quoted relation, for gates.
    """

    sources: tuple[Source, ...]
    syncs: tuple[Sync, ...]
    connections: Mapping[str, Connection]
    notify: tuple[SecretStr, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)

    def sync(self, name: str) -> Sync:
        """The sync of that name."""
        return next(sync for sync in self.syncs if sync.name == name)


def load(manifest: Mapping[str, Any], connections: TargetConnections) -> Project:
    """Turn dbt's manifest into sources and syncs.

    Args:
        manifest: dbt's ``manifest.json``.
        connections: the target's connections.

    Raises:
        ConfigError: lists every problem found at once, each with file, node and key.
    """
    problems: list[str] = []
    sources = tuple(
        source for node in manifest["sources"].values() if (source := _source(node, connections, problems)) is not None
    )
    nodes = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    declared = {n: _sync_meta(node, connections, problems) for n, node in nodes.items() if "sync" in _meta(node)}
    metas = {name: meta for name, meta in declared.items() if meta is not None}
    for name, meta in metas.items():
        if meta.crm not in connections.crms:
            known = ", ".join(sorted(connections.crms)) or "none"
            problems.append(
                f"{_where(nodes[name])}.sync.crm: no connection {meta.crm!r} in connections.yml (known: {known})"
            )
    fields = {
        name: _fields(nodes[name], meta, declared, _kind(connections, meta.crm), problems)
        for name, meta in metas.items()
    }
    watched = {name: _anomalies(nodes[name], f"{_where(nodes[name])}.anomalies", problems) for name in metas}
    fail(problems)
    levels = _levels(fields, nodes)
    syncs = [
        Sync(
            name=name,
            relation=_relation(nodes[name]),
            crm=meta.crm,
            object=meta.object,
            external_id_column=meta.external_id.column,
            external_id_field=meta.external_id.field,
            mode=meta.mode,
            guard=meta.guard,
            fields=fields[name],
            level=levels[name],
            declared_in=_file(nodes[name]),
            deleted=meta.deleted,
            sources=_upstream(manifest, nodes[name]["unique_id"], {source.name for source in sources}),
            anomalies=watched[name],
        )
        for name, meta in metas.items()
    ]
    return Project(
        sources=sources,
        syncs=tuple(sorted(syncs, key=lambda sync: (sync.level, sync.name))),
        connections=connections.crms,
        notify=tuple(connections.notify),
        models={name: _relation(node) for name, node in nodes.items()},
    )


def _upstream(manifest: Mapping[str, Any], unique_id: str, extracted: Set[str]) -> tuple[str, ...]:
    """The extracted sources that a model is made from, at any distance."""
    found, todo, seen = set(), [unique_id], {unique_id}
    while todo:
        for parent in manifest["parent_map"].get(todo.pop(), ()):
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)
                node = manifest["sources"].get(parent)
                if node:
                    found.add(f"{node['source_name']}.{node['name']}")
    return tuple(sorted(found & extracted))


def _file(node: Mapping[str, Any]) -> str:
    patch = node.get("patch_path") or node["original_file_path"]
    return str(patch).split("://")[-1]


def _where(node: Mapping[str, Any]) -> str:
    return f"{_file(node)}: {node['name']}: config.meta"


def _relation(node: Mapping[str, Any]) -> str:
    return f'"{node["schema"]}"."{node.get("identifier") or node.get("alias") or node["name"]}"'


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}


def _source(node: Mapping[str, Any], connections: TargetConnections, problems: list[str]) -> Source | None:
    raw = _meta(node).get("extract")
    if raw is None:
        return None
    name = f"{node['source_name']}.{node['name']}"
    where = f"{_file(node)}: {name}: config.meta.extract"
    columns = {c["name"]: c.get("data_type") for c in node["columns"].values()}
    untyped = [column for column, data_type in columns.items() if not data_type]
    if untyped or not columns:
        problems.append(f"{where}: every column needs a data_type; without one: {', '.join(untyped) or 'all'}")
        return None
    extract: FilesExtract | RestExtract
    try:
        told = rendered(raw, where)
        kinds: dict[str, type[FilesExtract] | type[RestExtract]] = {
            "files": FilesExtract,
            "rest": RestExtract,
        }
        if not isinstance(told, dict):
            problems.append(f"{where}: found {told!r}, expected a mapping such as {{kind: files, path: ...}}")
            return None
        kind = kinds.get(str(told.get("kind")))
        if kind is None:
            problems.append(f"{where}.kind: found {told.get('kind')!r}, expected one of {', '.join(kinds)}")
            return None
        extract = kind.model_validate(told)
    except ValidationError as error:
        problems.extend(problems_of(error, where))
        return None
    except ConfigError as error:
        problems.append(error.what)
        return None
    if isinstance(extract, RestExtract):
        for key in ("key", "cursor"):
            column = getattr(extract, key)
            if column is not None and column not in columns:
                problems.append(f"{where}.{key}: no column {column!r} is declared")
        if extract.strategy == "merge" and extract.key is None:
            problems.append(f"{where}.key: strategy merge needs the column that identifies a record")
    connection = connections.sources.get(node["source_name"])
    return Source(
        name=name,
        table=node["identifier"],
        columns={column: str(data_type) for column, data_type in columns.items()},
        extract=extract,
        headers=connection.headers if connection else {},
        declared_in=_file(node),
        pii=frozenset(c["name"] for c in node["columns"].values() if _meta(c).get("pii", False)),
        anomalies=_anomalies(node, f"{_file(node)}: {name}: config.meta.anomalies", problems),
    )


def _anomalies(node: Mapping[str, Any], where: str, problems: list[str]) -> Anomalies | None:
    """What ``config.meta.anomalies`` says; what is wrong is told."""
    raw = _meta(node).get("anomalies", {})
    if raw is False:
        return None
    try:
        told = Anomalies.model_validate(raw)
    except ValidationError as error:
        problems.extend(problems_of(error, where))
        return None
    names = [column["name"] for column in node["columns"].values()]
    for column in set(told.ignore) - set(names):
        near = difflib.get_close_matches(column, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        problems.append(f"{where}.ignore: no column {column!r} is declared{hint}")
    return told


def _for_kind(value: Any, kind: str) -> Any:
    """Choose, wherever something is said for each kind of CRM, what is said for one of them.

    ``{salesforce: Name, hubspot: name}`` is ``name`` for HubSpot, and None where it names other kinds alone.
    """
    if not isinstance(value, dict):
        return value
    if value and value.keys() <= KINDS:
        return _for_kind(value.get(kind), kind)
    return {key: _for_kind(inner, kind) for key, inner in value.items()}


def _kind(connections: TargetConnections, crm: object) -> str:
    """The kind of a connection; for one that does not exist, which is told elsewhere, any kind."""
    found = connections.crms.get(str(crm))
    return found.kind if found else "salesforce"


def _sync_meta(node: Mapping[str, Any], connections: TargetConnections, problems: list[str]) -> SyncMeta | None:
    raw = _meta(node).get("sync")
    if raw is None:
        return None
    where = f"{_where(node)}.sync"
    try:
        told = rendered(raw, where)
        if isinstance(told, dict):
            told = _for_kind(told, _kind(connections, told.get("crm", "main")))
        meta = SyncMeta.model_validate(told)
    except ValidationError as error:
        problems.extend(problems_of(error, where))
        return None
    except ConfigError as error:
        problems.append(error.what)
        return None
    if meta.external_id.column not in node["columns"]:
        problems.append(f"{where}.external_id.column: the model has no column {meta.external_id.column!r}")
    return meta


def _fields(
    node: Mapping[str, Any], meta: SyncMeta, declared: Mapping[str, SyncMeta | None], kind: str, problems: list[str]
) -> tuple[MappedField, ...]:
    found: list[MappedField] = []
    defaults: dict[str, str] = {"policy": "always", "nulls": meta.nulls}
    for column in node["columns"].values():
        # What is said for other kinds of CRM alone is not sent to this one.
        name = column["name"]
        column_meta = {key: value for key, value in _for_kind(_meta(column), kind).items() if value is not None}
        where = f"{_file(node)}: {node['name']}.{name}: config.meta"
        if name == meta.external_id.column or not {"crm_field", "lookup"} & column_meta.keys():
            continue
        data_type = column.get("data_type")
        if not data_type:
            problems.append(f"{where}: a mapped column needs a data_type")
            continue
        pii = bool(column_meta.get("pii", False))
        policy, nulls = (_choice(column_meta, key, default, where, problems) for key, default in defaults.items())
        if isinstance(lookup_meta := column_meta.get("lookup"), dict) and lookup_meta.get("field", "") is None:
            continue
        if "lookup" not in column_meta:
            crm_field = column_meta["crm_field"]
            if isinstance(crm_field, str):
                found.append(MappedField(name, crm_field, data_type, pii, policy=policy, nulls=nulls))
            else:
                kinds = " and ".join(sorted(KINDS))
                problems.append(f"{where}.crm_field: found {crm_field!r}, expected a name, or one each for {kinds}")
            continue
        try:
            lookup = Lookup.model_validate(column_meta["lookup"])
        except ValidationError as error:
            problems.extend(problems_of(error, f"{where}.lookup"))
            continue
        if lookup.sync not in declared:
            problems.append(f"{where}.lookup.sync: no model {lookup.sync!r} has a sync")
        # What is wrong with the parent's own sync is told there, once.
        if (parent := declared.get(lookup.sync)) is None:
            continue
        if lookup.association is not None and kind != "hubspot":
            problems.append(f"{where}.lookup.association: only HubSpot has types of associations")
        found.append(
            MappedField(
                column=name,
                crm_field=lookup.field if lookup.association is None else f"{lookup.field}: {lookup.association}",
                type=data_type,
                pii=pii,
                parent=lookup.sync,
                parent_object=parent.object,
                parent_external_id=parent.external_id.field,
                association=lookup.association,
                policy=policy,
                nulls=nulls,
            )
        )
    problems.extend(f"{_where(node)}: {problem}" for problem in _clashes(found, meta))
    return tuple(found)


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


def _levels(fields: Mapping[str, tuple[MappedField, ...]], nodes: Mapping[str, Any]) -> dict[str, int]:
    parents = {name: {f.parent for f in mapped if f.parent and f.parent != name} for name, mapped in fields.items()}
    levels: dict[str, int] = {}
    try:
        for name in TopologicalSorter(parents).static_order():
            levels[name] = 1 + max((levels[parent] for parent in parents[name]), default=-1)
    except CycleError as error:
        ring = " -> ".join(error.args[1])
        raise ConfigError(
            f"{_file(nodes[error.args[1][0]])}: lookups form a ring: {ring}.",
            safe="Nothing ran.",
            todo="Drop one of the lookups; parents are pushed before children.",
        ) from error
    return levels
