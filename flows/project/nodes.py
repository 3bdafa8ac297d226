"""Nodes of dbt's manifest: where they are declared, what their meta says, which table they are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Set
from typing import Any

from pydantic import ValidationError

from flows.project.declared import Anomalies
from flows.project.reading import problems_of


def file(node: Mapping[str, Any]) -> str:
    """The file that declares a node, as people know it: within the dbt project."""
    patch = node.get("patch_path") or node["original_file_path"]
    return str(patch).split("://")[-1]


def where_of(node: Mapping[str, Any]) -> str:
    """Where a node's meta stands, for messages."""
    return f"{file(node)}: {node['name']}: config.meta"


def relation(node: Mapping[str, Any]) -> str:
    """A node's table, quoted for SQL."""
    return f'"{node["schema"]}"."{node.get("identifier") or node.get("alias") or node["name"]}"'


def meta_of(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a node's or a column's meta says, in dbt's old place and in its new one."""
    return {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}


def related(manifest: Mapping[str, Any], unique_id: str) -> set[str]:
    """A node, all that it comes from, and all that comes from it."""
    found = {unique_id}
    for direction in ("parent_map", "child_map"):
        todo = [unique_id]
        while todo:
            for other in manifest[direction].get(todo.pop(), ()):
                if other not in found:
                    found.add(other)
                    todo.append(other)
    return found


def tables(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The nodes that are tables, by their unique ids: sources, models, seeds and snapshots."""
    kinds = ("model", "seed", "snapshot")
    return {u: n for u, n in manifest["nodes"].items() if n["resource_type"] in kinds} | dict(manifest["sources"])


def built(manifest: Mapping[str, Any]) -> dict[str, bool]:
    """Every table, ``<schema>.<table>`` as dbt spells it -> whether the transform builds it; a source it only reads."""
    return {relation(node).replace('"', ""): node["resource_type"] != "source" for node in tables(manifest).values()}


def personal(manifest: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Every table's columns whose values people may only see masked.

    A column is personal where its meta says ``pii: true``, and where that of a column of the same name does, in a table
    that this one comes from or goes to; ``pii: false`` says that it is not.

    Args:
        manifest: dbt's ``manifest.json``.

    Returns:
        `table_name` -> columns in lower case. They need not be in the table.
    """
    nodes = tables(manifest)
    said = {u: {c["name"].lower(): meta_of(c).get("pii") for c in n["columns"].values()} for u, n in nodes.items()}
    found: dict[str, set[str]] = {table_name(node): set() for node in nodes.values()}
    # From the few tables that mark a column outwards: to walk from each of a large project's would take seconds.
    for unique_id in nodes:
        if marked := {column for column, pii in said[unique_id].items() if pii}:
            for other in related(manifest, unique_id) & nodes.keys():
                found[table_name(nodes[other])] |= {c for c in marked if said[other].get(c) is not False}
    return {name: frozenset(columns) for name, columns in found.items()}


def table_name(node: Mapping[str, Any]) -> str:
    """A node's table as ``<schema>.<table>`` in lower case, since DuckDB minds no case."""
    return relation(node).replace('"', "").lower()


def upstream(manifest: Mapping[str, Any], unique_id: str, extracted: Set[str]) -> tuple[str, ...]:
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


def anomalies(node: Mapping[str, Any], where: str, problems: list[str]) -> Anomalies | None:
    """What ``config.meta.anomalies`` says; what is wrong is told."""
    raw = meta_of(node).get("anomalies", {})
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
