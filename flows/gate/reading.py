"""Which tables a suite's own SQL reads, since the values of some of them are personal."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Set
from typing import Any

from flows.warehouse import Error, Warehouse, quoted

_PLAIN = ("SELECT_NODE", "JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST")
"""What stands in DuckDB's ``from`` and is no table itself."""
_NUMBERS = ("range", "generate_series", "unnest")
"""Functions in a ``from`` that read no table and no file."""


def tables_of(sql: str, warehouse: Warehouse, *, own: str) -> set[str] | None:
    """Name the tables that a query reads.

    Args:
        sql: the query.
        warehouse: parses it, and knows the functions that people have made in SQL.
        own: a name that stands for rows that are known.

    Returns:
        ``<schema>.<table>`` in lower case; None where nobody can tell, as of a file, a function or another database.
    """
    parsed = json.loads(warehouse.scalar("select json_serialize_sql(?)", (sql,)))
    parts = list(_parts(parsed))
    # What a common table expression reads stands in it.
    known = {own, *(str(each["key"]).lower() for part in parts for each in (part.get("cte_map") or {}).get("map", ()))}
    found: set[str] = set()
    for part in parts:
        kind = part.get("type")
        # Parts of a query and what stands in its `from` are sampled; expressions are not.
        if "sample" not in part or kind in _PLAIN:
            continue
        if kind == "TABLE_FUNCTION" and part["function"].get("function_name") in _NUMBERS:
            continue
        if kind != "BASE_TABLE" or part["catalog_name"]:
            return None
        if part["schema_name"]:
            found.add(f"{part['schema_name']}.{part['table_name']}".lower())
        elif part["table_name"].lower() not in known:
            return None
    functions = [part["function_name"] for part in parts if part.get("function_name")]
    macro = "select 1 from duckdb_functions() where not internal and function_type like '%macro' and list_contains(?, "
    if parsed["error"] or warehouse.scalar(f"{macro} function_name) limit 1", (functions,)):
        return None
    return found


def _parts(parsed: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping of a parsed query, at any depth."""
    if isinstance(parsed, dict):
        yield parsed
    for value in parsed.values() if isinstance(parsed, dict) else parsed if isinstance(parsed, list) else ():
        yield from _parts(value)


def is_personal(tables: Set[str] | None, warehouse: Warehouse, pii: Mapping[str, Collection[str]]) -> bool:
    """Whether any table has a column whose values are not shown, or may have one.

    Args:
        tables: as `tables_of` names them.
        warehouse: knows their columns.
        pii: ``<schema>.<table>`` in lower case -> the columns that are not shown, of every table of the project.
    """
    if tables is None or tables - pii.keys():
        return True
    for name in tables:
        schema, _, table = name.partition(".")
        hidden = {column.lower() for column in pii[name]}
        try:
            found = warehouse.columns(f"{quoted(schema)}.{quoted(table)}")
        except Error:
            return True
        if not hidden.isdisjoint(column.lower() for column in found):
            return True
    return False
