"""What dbt states of tables: columns, types, tests, contracts, what is personal, and how tables hang together.

Read from dbt's manifest without the connections, so that it needs no secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import transform
from flows.project import nodes as project_nodes
from flows.project.nodes import meta_of, relation, table_name
from flows.settings import Settings

_EXTRACTED = {"_extracted_at": "timestamp", "_run_id": "varchar"}
_EXTRACTED_BY = {"files": {"_file": "varchar", "_row": "bigint"}, "rest": {"_page": "varchar"}}
"""The columns that extraction adds to its tables, by the kind of the source."""

_TESTS = ("not_null", "unique", "accepted_values", "relationships")


@dataclass(frozen=True, slots=True)
class Rule:
    """What dbt sees to about one column.

    Attributes:
        name: not_null, unique, accepted_values or relationships, as dbt's tests are called.
        by: ``dbt test`` or ``contract``.
        values: for accepted_values, what is accepted, as text.
    """

    name: str
    by: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One table that dbt knows, a source's or a model's.

    Attributes:
        name: ``<schema>.<table>``.
        node: the name in dbt: of a model, or ``<source>.<table>``.
        types: declared column -> data type, empty where none is declared.
        complete: whether the declared columns are all that there are (an extracted source, an enforced contract).
        rules: column in lower case -> what dbt sees to.
        personal: columns, in lower case, that are personal here or in a table that this one comes from or goes to.
        key: for a synced model, the column that its sync knows a record by.
        parents: for a synced model, lookup's column -> the parent's model.
        owner: the e-mail address of the group that owns it.
        loaded_at: for a source whose freshness dbt watches, the column that it goes by.
    """

    name: str
    node: str
    types: Mapping[str, str]
    complete: bool = False
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    personal: frozenset[str] = frozenset()
    key: str | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    loaded_at: str | None = None

    def said(self, column: str, name: str) -> Rule | None:
        """The rule of that name on a column, if dbt has one."""
        return next((rule for rule in self.rules.get(column.lower(), ()) if rule.name == name), None)


def manifest(settings: Settings) -> Mapping[str, Any]:
    """Give dbt's manifest: the one that is there while nothing in the project is newer, else parsed anew.

    Args:
        settings: the target.

    Raises:
        ConfigError: the project does not parse.
    """
    made = settings.dbt_target / "manifest.json"
    if made.exists() and made.stat().st_mtime > max(_changes(settings.dbt_project)):
        found: Mapping[str, Any] = json.loads(made.read_text(encoding="utf-8"))
        return found
    return transform.parse(settings)


def _changes(folder: Path) -> Iterator[float]:
    """When files and folders of a dbt project last changed; a folder changes with what is added or taken away."""
    yield folder.joinpath("dbt_project.yml").stat().st_mtime
    for part in ("models", "seeds", "snapshots", "macros", "tests"):
        for path in folder.joinpath(part).rglob("*"):
            yield path.stat().st_mtime


def tables(manifest: Mapping[str, Any]) -> dict[str, Table]:
    """Every source, model, seed and snapshot of a manifest.

    Args:
        manifest: dbt's ``manifest.json``.

    Returns:
        ``<schema>.<table>`` in lower case, since DuckDB minds no case -> table.
    """
    nodes, personal = project_nodes.tables(manifest), project_nodes.personal(manifest)
    rules = _rules(manifest, nodes)
    return {
        (name := table_name(node)): _table(manifest, node, personal[name], rules.get(unique_id, {}))
        for unique_id, node in nodes.items()
    }


def _table(
    manifest: Mapping[str, Any], node: Mapping[str, Any], personal: frozenset[str], rules: Mapping[str, list[Rule]]
) -> Table:
    meta, is_source = meta_of(node), node["resource_type"] == "source"
    key = _inside(_inside(meta.get("sync")).get("external_id")).get("column")
    extracted, enforced = "extract" in meta, (node["config"].get("contract") or {}).get("enforced", False)
    types = {c["name"]: c.get("data_type") or "" for c in node["columns"].values()}
    group = manifest.get("groups", {}).get(f"group.{node['package_name']}.{node.get('group')}", {})
    return Table(
        name=relation(node).replace('"', ""),
        node=f"{node['source_name']}.{node['name']}" if is_source else node["name"],
        types={**types, **_added(meta)},
        complete=bool(types) and (extracted or enforced),
        rules={column: tuple(said) for column, said in rules.items()},
        personal=personal,
        key=key if isinstance(key, str) else None,
        parents={
            c["name"]: parent
            for c in node["columns"].values()
            if isinstance(parent := _inside(meta_of(c).get("lookup")).get("sync"), str)
        },
        owner=((group.get("owner") or {}).get("email")) or "",
        loaded_at=node.get("loaded_at_field") if is_source and _watched(node) else None,
    )


def _added(meta: Mapping[str, Any]) -> Mapping[str, str]:
    """The columns that extraction adds."""
    if "extract" not in meta:
        return {}
    return {**_EXTRACTED, **_EXTRACTED_BY.get(str(_inside(meta["extract"]).get("kind")), {})}


def _inside(told: object) -> Mapping[str, Any]:
    """A mapping that should stand there; an empty one where something else does, which `flows.project` tells."""
    return told if isinstance(told, dict) else {}


def _watched(node: Mapping[str, Any]) -> bool:
    freshness = node.get("freshness") or {}
    return any((freshness.get(limit) or {}).get("count") for limit in ("warn_after", "error_after"))


def _rules(manifest: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, dict[str, list[Rule]]]:
    """Node -> column in lower case -> what dbt sees to."""
    found: dict[str, dict[str, list[Rule]]] = {}
    for test in manifest["nodes"].values():
        kind = (test.get("test_metadata") or {}).get("name")
        # A test that judges some of the rows alone states nothing of the others.
        if test["resource_type"] != "test" or kind not in _TESTS or test["config"].get("where"):
            continue
        arguments = test["test_metadata"]["kwargs"]
        on = test.get("attached_node") or next(iter(test["depends_on"]["nodes"]), "")
        rule = Rule(kind, "dbt test", tuple(map(str, arguments.get("values", ()))))
        found.setdefault(on, {}).setdefault(str(test.get("column_name")).lower(), []).append(rule)
    for unique_id, node in nodes.items():
        if not (node["config"].get("contract") or {}).get("enforced"):
            continue
        for column in node["columns"].values():
            for constraint in column.get("constraints") or ():
                names = {"not_null": ["not_null"], "unique": ["unique"], "primary_key": ["not_null", "unique"]}
                for name in names.get(constraint["type"], ()):
                    said = found.setdefault(unique_id, {}).setdefault(column["name"].lower(), [])
                    if name not in {rule.name for rule in said}:
                        said.append(Rule(name, "contract"))
    return found
