"""The JSON schema of a suite, for editors: they complete names and arguments, tell what they mean, and mark mistakes.

It is kept as ``expectations/suite.schema.json`` and made by ``python -m flows.gate.schema``. `flows.gate.load_suite`
finds more: what stands twice, and what a query needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, get_args

from flows.gate.catalogue import SQL, Kind, catalogue
from flows.gate.declared import MAX_QUARANTINED, OnFail, Rows, Severity

_TEXT = {"type": "string"}
_SUITE: Mapping[str, Mapping[str, Any]] = {
    "table": {
        **_TEXT,
        "pattern": r"^[^.]+\.[^.]+$",
        "description": "The table in the warehouse, as <schema>.<table>, such as raw.shop__customers.",
    },
    "description": {**_TEXT, "description": "What the suite guards."},
    "owner": {**_TEXT, "description": "Whom to ask: an e-mail address."},
    "pii": {
        "type": "array",
        "items": _TEXT,
        "description": "Columns whose values are never shown, beside those that dbt calls personal.",
    },
    "max_quarantined": {
        "anyOf": [
            {"type": "string", "pattern": r"^ *[0-9]+([.][0-9]+)? *%? *$"},
            {"type": "number", "minimum": 0},
        ],
        "default": f"{MAX_QUARANTINED:.0%}",
        "description": "The most rows that may be held back, as a share (5%) or a count; more than that stops the run.",
    },
}
_EXPECTATION: Mapping[str, Mapping[str, Any]] = {
    "severity": {
        "enum": list(get_args(Severity)),
        "default": "critical",
        "description": "How bad it is when it fails; by itself warning and info are only reported.",
    },
    "on_fail": {
        "enum": list(get_args(OnFail)),
        "description": (
            "What follows when it fails: stop the run, hold back the rows that fail (quarantine; synced models only), "
            "or only report it. By itself a critical one on rows of a synced model holds them back, a critical one on "
            "a table stops the run, and the others report."
        ),
    },
    "description": {**_TEXT, "description": "Why it is there; people read this in the morning."},
    "row_condition": {**_TEXT, "description": "SQL: only the rows for which it holds are judged."},
    "rows": {
        "enum": list(get_args(Rows)),
        "default": "all",
        "description": "new judges only rows that no finished run has carried yet; for extracted tables.",
    },
    "owner": {**_TEXT, "description": "Whom to ask; else the suite's owner."},
}
_DATE = r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}"
_QUERY = r"^(?=[\s\S]*[{]batch[}])([^{}]|[{][{]|[}][}]|[{]batch[}])*$"
"""SQL that reads from {batch}, and in which braces of SQL's own stand twice."""


def json_schema() -> dict[str, Any]:
    """Make the schema of a suite, in JSON Schema's draft 7, which editors know."""
    kinds = sorted(catalogue().values(), key=lambda kind: kind.name)
    definitions = {
        name: definition
        for kind in kinds
        for argument in kind.arguments.values()
        for name, definition in argument.get("definitions", {}).items()
        if f"#/definitions/{name}"
        in json.dumps({key: value for key, value in argument.items() if key != "definitions"})
    }
    items = {
        "type": "object",
        "additionalProperties": False,
        "properties": {**{kind.name: _arguments(kind) for kind in kinds}, **_EXPECTATION},
        "oneOf": [{"required": [kind.name]} for kind in kinds],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Made by python -m flows.gate.schema.",
        "title": "A suite of expectations",
        "type": "object",
        "additionalProperties": False,
        "required": ["table", "expectations"],
        "properties": {
            **_SUITE,
            "expectations": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": items,
                "description": "One expectation each, by its name in Great Expectations.",
            },
        },
        "definitions": _terse(definitions),
    }


def _arguments(kind: Kind) -> dict[str, Any]:
    """The schema of one expectation's arguments."""
    properties = {name: _argument(schema) for name, schema in kind.arguments.items()}
    if kind.name == SQL:
        properties = {name: {**schema, "pattern": _QUERY} for name, schema in properties.items()}
    judged = "Judges rows one by one." if kind.row_level else "Judges the whole table."
    found: dict[str, Any] = {
        "type": "object",
        "description": f"{_about(kind)} {judged}",
        "additionalProperties": False,
        "properties": properties,
        "required": sorted(kind.required),
    }
    bounds = ["min_value", "max_value"]
    if kind.name.endswith("_to_be_between") and set(bounds) <= kind.arguments.keys():
        found["anyOf"] = [{"required": [bound]} for bound in bounds]
    if not kind.required and "anyOf" not in found:
        found["type"] = ["object", "null"]
    return found


def _argument(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An argument's schema: without what only a form would show, dates as `load_suite` takes them, lists not empty."""
    plain: dict[str, Any] = _terse({key: value for key, value in schema.items() if key != "definitions"})
    choices = plain.get("anyOf", [plain])
    for choice in choices:
        if choice.get("type") == "array":
            choice["minItems"] = 1
    if "anyOf" in plain:
        plain["anyOf"] = [choice for at, choice in enumerate(choices) if choice not in choices[:at]]
    return plain


def _terse(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_terse(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "format" in schema:
        return {"type": "string", "pattern": _DATE}
    # What Great Expectations says of its arguments stays with it; the words here are our own.
    left_out = ("title", "examples", "description")
    return {key: _terse(value) for key, value in schema.items() if key not in left_out or isinstance(value, dict)}


def _about(kind: Kind) -> str:
    """An expectation's name as a sentence; what it means in full stands in Great Expectations' gallery."""
    return kind.name.removeprefix("expect_").replace("_", " ").capitalize() + "."


def text() -> str:
    """The schema as its file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
