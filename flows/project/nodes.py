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
