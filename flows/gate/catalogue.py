"""The expectations that a suite may use, and their arguments.

Great Expectations ships one JSON schema for each of its expectations. They are read from its folder without importing
it (which takes seconds), so that a misspelt suite is found at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, FormatChecker  # type: ignore[import-untyped]  # a dependency of GX, and of dbt

SQL = "unexpected_rows_expectation"
"""The expectation that is a query: it holds when the query finds nothing."""

PYTHON = frozenset(("expect_column_values_to_be_dateutil_parseable", "expect_column_values_to_match_json_schema"))
"""Expectations that SQL cannot judge: DuckDB calls Python for every value, which is slow in a large table."""

_IN_SQL = f"write it as {SQL} (SQL) instead"
_DECLARED = "types are declared in dbt: data_type at the source's column, and the model's contract"
_UNORDERED = f"a table has no order; {_IN_SQL}, with lag() over (order by …)"
REFUSED: Mapping[str, str] = {
    "expect_column_type_to_be": _DECLARED,
    "expect_column_values_to_be_of_type": _DECLARED,
    "expect_column_values_to_be_in_type_list": _DECLARED,
    "expect_column_values_to_be_increasing": _UNORDERED,
    "expect_column_values_to_be_decreasing": _UNORDERED,
    "expect_multicolumn_values_to_be_unique": (
        "Great Expectations gave it up; use expect_compound_columns_to_be_unique, or within each row "
        "expect_select_column_values_to_be_unique_within_record"
    ),
    "expect_table_row_count_to_equal_other_table": f"it knows tables only, here it is given a query; {_IN_SQL}",
    "expect_query_results_to_match_comparison": f"it compares two databases, here there is one; {_IN_SQL}",
}
"""Expectations of Great Expectations that are not for us -> why, and what to use."""

_FRAME = frozenset(
    (
        *("id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity"),
        *("windows", "batch_id", "metadata", "row_condition", "condition_parser", "library_metadata"),
    )
)
"""What every schema has beside the expectation's own arguments; a suite says these outside of them, or not at all."""

COLUMNS = ("column", "column_A", "column_B", "column_list")
"""The arguments that name columns which must exist."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One expectation of the catalogue.

    Attributes:
        name: its name in a suite.
        class_name: its class in ``great_expectations.expectations``.
        row_level: whether it judges rows one by one; else it judges the whole table.
        arguments: argument -> JSON schema.
        required: the arguments that it cannot do without.
    """

    name: str
    class_name: str
    row_level: bool
    arguments: Mapping[str, Mapping[str, Any]]
    required: frozenset[str]

    def problem(self, argument: str, value: object) -> str | None:
        """What is wrong with an argument's value, in a person's words; None where it fits."""
        schema = self.arguments[argument]
        if value == []:
            return f"{self.name}.{argument}: the list is empty"
        if Draft7Validator(schema, format_checker=_FORMATS).is_valid(value):
            return None
        return f"{self.name}.{argument}: found {value!r}, expected {_words(schema)}"


def _is_date(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_FORMATS = FormatChecker(formats=())
_FORMATS.checks("date")(_is_date)
_FORMATS.checks("date-time")(_is_date)


@cache
def catalogue() -> Mapping[str, Kind]:
    """Every expectation that a suite may use, by name."""
    spec = find_spec("great_expectations")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("great_expectations is not installed")
    folder = Path(spec.origin).parent / "expectations" / "core" / "schemas"
    kinds = {}
    for path in folder.glob("[A-Z]*.json"):
        kind = _kind(json.loads(path.read_text(encoding="utf-8")))
        if kind.name not in REFUSED:
            kinds[kind.name] = kind
    for name, class_name, own in _WITHOUT_SCHEMA:
        arguments = {"column": _COLUMN, "mostly": _MOSTLY, **own}
        kinds[name] = Kind(name, class_name, True, arguments, frozenset(("column", *own)))
    return kinds


_COLUMN: Mapping[str, Any] = {"type": "string", "minLength": 1, "description": "The column name."}
_MOSTLY: Mapping[str, Any] = {
    **{"type": "number", "minimum": 0.0, "maximum": 1.0},
    "description": "The share of the values that must fit.",
}
_WITHOUT_SCHEMA: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("expect_column_values_to_be_dateutil_parseable", "ExpectColumnValuesToBeDateutilParseable", {}),
    ("expect_column_values_to_be_json_parseable", "ExpectColumnValuesToBeJsonParseable", {}),
    (
        "expect_column_values_to_match_json_schema",
        "ExpectColumnValuesToMatchJsonSchema",
        {"json_schema": {"type": "object", "description": "The JSON schema that each value must match."}},
    ),
)
"""Expectations of which Great Expectations has no schema: name, class, arguments beside ``column`` and ``mostly``."""


def _kind(schema: Mapping[str, Any]) -> Kind:
    facts = schema["properties"]["metadata"]["properties"]
    return Kind(
        name=facts["expectation_type"]["const"],
        class_name=facts["expectation_class"]["const"],
        row_level=facts["domain_type"]["description"].endswith("Map"),
        arguments={
            name: _plain(argument, schema["definitions"])
            for name, argument in schema["properties"].items()
            if name not in _FRAME
        },
        required=frozenset(schema.get("required", ())),
    )


def _plain(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """An argument's schema without GX's suite parameters (the bare object) and its whole hundredths for ``mostly``."""
    plain = {key: value for key, value in schema.items() if key != "multipleOf"}
    if "anyOf" in plain:
        plain["anyOf"] = [choice for choice in plain["anyOf"] if choice != {"type": "object"}]
    return {**plain, "definitions": definitions}


def _words(schema: Mapping[str, Any]) -> str:
    """Say a schema in words, such as ``a number from 0 to 1``."""
    if "$ref" in schema:
        return "a mapping with quantiles and value_ranges"
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(dict.fromkeys(_words(choice) for choice in choices))
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        items = schema.get("items")
        return "a list" if not isinstance(items, dict) or not items else f"a list, each {_words(items)}"
    words = {"string": "a text", "number": "a number", "integer": "a whole number", "boolean": "true or false"}
    word = words.get(str(schema.get("type")), "a mapping")
    if "format" in schema:
        return "a date"
    if schema.get("minLength"):
        return f"{word} that is not empty"
    if "minimum" in schema:
        return f"{word} from {schema['minimum']:g}" + (f" to {schema['maximum']:g}" if "maximum" in schema else "")
    return word
