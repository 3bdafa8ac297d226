"""The dbt project read as configuration: sources to extract, syncs to push, and the connections they use.

What to extract is declared on dbt sources (``config.meta.extract``), what to sync on dbt models
(``config.meta.sync`` and, per column, ``crm_field`` or ``lookup``), connections in ``profiles/connections.yml``.
Everything that is wrong in it is found here, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.project import sources, syncs
from flows.project.connections import load_connections
from flows.project.declared import (
    Connection,
    FilesExtract,
    Guard,
    HubSpotConnection,
    RestExtract,
    SalesforceConnection,
    TargetConnections,
    Threshold,
)
from flows.project.nodes import anomalies, built, file, meta_of, personal, relation, table_name, upstream, where_of
from flows.project.reading import fail
from flows.project.values import MappedField, Project, Source, Sync

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
    "built",
    "load",
    "load_connections",
]


def load(manifest: Mapping[str, Any], connections: TargetConnections) -> Project:
    """Turn dbt's manifest into sources and syncs.

    Args:
        manifest: dbt's ``manifest.json``.
        connections: the target's connections.

    Raises:
        ConfigError: lists every problem found at once, each with file, node and key.
    """
    problems: list[str] = []
    hidden = personal(manifest)
    extracted = tuple(
        source
        for node in manifest["sources"].values()
        if (source := sources.source(node, connections, hidden[table_name(node)], problems)) is not None
    )
    nodes = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    declared = {
        name: syncs.sync_meta(node, connections, hidden[table_name(node)], problems)
        for name, node in nodes.items()
        if "sync" in meta_of(node)
    }
    metas = {name: meta for name, meta in declared.items() if meta is not None}
    for name, meta in metas.items():
        if meta.crm not in connections.crms:
            known = ", ".join(sorted(connections.crms)) or "none"
            problems.append(
                f"{where_of(nodes[name])}.sync.crm: no connection {meta.crm!r} in connections.yml (known: {known})"
            )
    mapped = {
        name: syncs.fields(
            nodes[name], meta, declared, syncs.kind_of(connections, meta.crm), hidden[table_name(nodes[name])], problems
        )
        for name, meta in metas.items()
    }
    watched = {name: anomalies(nodes[name], f"{where_of(nodes[name])}.anomalies", problems) for name in metas}
    fail(problems)
    levels = syncs.levels(mapped, nodes)
    found = [
        Sync(
            name=name,
            relation=relation(nodes[name]),
            crm=meta.crm,
            object=meta.object,
            external_id_column=meta.external_id.column,
            external_id_field=meta.external_id.field,
            mode=meta.mode,
            guard=meta.guard,
            fields=mapped[name],
            level=levels[name],
            declared_in=file(nodes[name]),
            deleted=meta.deleted,
            sources=upstream(manifest, nodes[name]["unique_id"], {source.name for source in extracted}),
            anomalies=watched[name],
            personal=hidden[table_name(nodes[name])],
        )
        for name, meta in metas.items()
    ]
    return Project(
        sources=extracted,
        syncs=tuple(sorted(found, key=lambda sync: (sync.level, sync.name))),
        connections=connections.crms,
        personal=hidden,
        tables=built(manifest),
    )
