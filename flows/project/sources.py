"""A table of a dbt source, read as a source to extract: ``config.meta.extract``."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from pydantic import ValidationError

from flows.errors import ConfigError
from flows.project.declared import FilesExtract, RestExtract, TargetConnections
from flows.project.nodes import anomalies, file, meta_of
from flows.project.reading import problems_of, rendered
from flows.project.values import Source


def source(
    node: Mapping[str, Any], connections: TargetConnections, personal: Set[str], problems: list[str]
) -> Source | None:
    """Read a source's table; None where nothing is extracted into it, or what it says is wrong and told."""
    raw = meta_of(node).get("extract")
    if raw is None:
        return None
    name = f"{node['source_name']}.{node['name']}"
    where = f"{file(node)}: {name}: config.meta.extract"
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
        declared_in=file(node),
        pii=frozenset(column for column in columns if column.lower() in personal),
        anomalies=anomalies(node, f"{file(node)}: {name}: config.meta.anomalies", problems),
    )
