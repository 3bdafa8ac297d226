"""Search: filter groups, sorts, paging; what it sees lags behind writes by a configured time.

Source: https://developers.hubspot.com/docs/api/crm/search
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from flows.sandbox.hubspot.http import Call, answer, checked, invalid_input, texts
from flows.sandbox.hubspot.schema import Kind, Property
from flows.sandbox.hubspot.values import instant, moment_ms
from flows.sandbox.hubspot.writes import shown

MOST_PAGE = 200
MOST_TOTAL = 10_000
MOST_GROUPS = 6
MOST_FILTERS = 18
_COMPARE = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}

Condition = tuple[str, list[Any]]


def run(call: Call) -> Response:
    """Search records of one object type."""
    kind = call.kind()
    body = call.json()
    checked(body)
    limit = _whole(body, "limit", 10)
    after = _whole(body, "after", 0)
    if not 0 <= limit <= MOST_PAGE:
        raise invalid_input(f"The limit of a page is {MOST_PAGE}, but {limit} were asked for")
    if after + limit > MOST_TOTAL:
        raise invalid_input(f"A search answers at most {MOST_TOTAL} records; use filters to divide it")
    names = texts(body, "properties") or list(kind.shown)
    where, values = _where(kind, body)
    order = _order(kind, body)
    total, records = call.portal.records.search(kind, where, values, order, after, limit)
    results = [shown(kind, record, names, as_published=call.portal.as_published) for record in records]
    told: dict[str, Any] = {"total": total, "results": results}
    if limit and after + limit < min(total, MOST_TOTAL):
        told["paging"] = {"next": {"after": str(after + limit)}}
    return answer(told)


def _whole(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None or value == "":
        return default
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise invalid_input(f"{name} must be a whole number, but was {text[:40]}")
    return int(text)


def _where(kind: Kind, body: dict[str, Any]) -> Condition:
    groups = body.get("filterGroups") or []
    if not isinstance(groups, list) or len(groups) > MOST_GROUPS:
        raise invalid_input(f"filterGroups must be a list of at most {MOST_GROUPS}")
    either: list[Condition] = []
    count = 0
    for group in groups:
        checked(group, filters=list)
        count += len(group["filters"])
        either.append(_joined(" AND ", [_filter(kind, one) for one in group["filters"]]))
    if count > MOST_FILTERS:
        raise invalid_input(f"A search has at most {MOST_FILTERS} filters, but there were {count}")
    query = body.get("query")
    wanted = [_joined(" OR ", either)] if either else []
    if isinstance(query, str) and query.strip():
        if len(query) > 3000:
            raise invalid_input("query has at most 3000 characters")
        wanted += [_query(kind, word) for word in query.lower().split()]
    return _joined(" AND ", wanted)


def _joined(word: str, conditions: list[Condition]) -> Condition:
    if not conditions:
        return "1", []
    return word.join(f"({sql})" for sql, _ in conditions), [value for _, values in conditions for value in values]


def _query(kind: Kind, word: str) -> Condition:
    return _joined(" OR ", [(f"instr(lower({_text(name)}), ?) > 0", [word]) for name in kind.searched])


def _text(name: str) -> str:
    """The SQL of a property's text; null where it has no value."""
    path = "$." + json.dumps(name)
    return "nullif(json_extract(properties, '" + path.replace("'", "''") + "'), '')"


def _column(kind: Kind, prop: Property) -> tuple[str, Callable[[str], Any]]:
    """The SQL that a property is compared by, and what brings a filter's value to the same form."""
    system = {kind.created: "created", kind.modified: "updated", "hs_object_id": "id"}
    if prop.name in system:
        return system[prop.name], _ms if prop.type == "datetime" else _float
    if prop.type == "number":
        return f"CAST({_text(prop.name)} AS REAL)", _float
    if prop.type == "datetime":
        return _text(prop.name), lambda value: instant(_ms(value))
    if prop.type == "date":
        return _text(prop.name), lambda value: instant(_ms(value))[:10]
    return f"lower({_text(prop.name)})", str.lower


def _ms(value: str) -> int:
    ms = moment_ms(value)
    if ms is None:
        raise ValueError(value)
    return ms


def _float(value: str) -> float:
    return float(value)


def _filter(kind: Kind, one: Any) -> Condition:
    checked(one, propertyName=str, operator=str)
    name, operator = one["propertyName"], one["operator"]
    prop = kind.properties.get(name)
    if prop is None:
        raise invalid_input(f"There was a problem with the request. Property {name} does not exist")
    column, convert = _column(kind, prop)
    try:
        if operator in _COMPARE:
            return _compare(column, operator, convert(_value(one, "value")))
        if operator == "BETWEEN":
            bounds = [convert(_value(one, "value")), convert(_value(one, "highValue"))]
            return f"{column} BETWEEN ? AND ?", bounds
        if operator in {"IN", "NOT_IN"}:
            values = [convert(value) for value in texts(one, "values")]
            if not values:
                raise invalid_input(f"operator {operator} requires values")
            marks = ", ".join("?" * len(values))
            return f"{column} {'NOT ' if operator == 'NOT_IN' else ''}IN ({marks})", values
    except (ValueError, OverflowError) as error:
        text = f"There was a problem with the request. {one.get('value')} is no value of {name}, a {prop.type}"
        raise invalid_input(text) from error
    if operator in {"HAS_PROPERTY", "NOT_HAS_PROPERTY"}:
        return f"{column} IS {'NOT ' if operator == 'HAS_PROPERTY' else ''}NULL", []
    if operator in {"CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"}:
        return _token(column, operator, _value(one, "value"))
    raise invalid_input(f"There was a problem with the request. {operator} is no operator")


def _value(one: dict[str, Any], name: str) -> str:
    value = one.get(name)
    if value is None or isinstance(value, dict | list):
        raise invalid_input(f"operator {one['operator']} requires {name}")
    return value if isinstance(value, str) else json.dumps(value)


def _compare(column: str, operator: str, value: Any) -> Condition:
    if operator == "NEQ":
        return f"{column} IS NULL OR {column} != ?", [value]
    return f"{column} {_COMPARE[operator]} ?", [value]


def _token(column: str, operator: str, value: str) -> Condition:
    """A word of the value, where ``*`` stands for any letters; words end at whatever is no letter and no digit."""
    pattern = re.sub(r"([\[?])", r"[\1]", value.lower())
    inside = f"(' ' || {column} || ' ') GLOB ?"
    edge = "[^a-z0-9]"
    glob = f"*{edge}{pattern}{edge}*"
    sql = f"coalesce({inside}, 0)"
    return (f"NOT {sql}" if operator.startswith("NOT") else sql), [glob]


def _order(kind: Kind, body: dict[str, Any]) -> str:
    sorts = body.get("sorts") or []
    if not isinstance(sorts, list) or len(sorts) > 1:
        raise invalid_input("A search has one sort at most")
    terms = []
    for sort in sorts:
        name, direction = sort, "ASC"
        if isinstance(sort, dict):
            name, direction = sort.get("propertyName"), str(sort.get("direction", "ASCENDING"))
        elif isinstance(sort, str) and sort.startswith("-"):
            name, direction = sort[1:], "DESC"
        prop = kind.properties.get(name) if isinstance(name, str) else None
        if prop is None:
            raise invalid_input(f"There was a problem with the request. Property {name} does not exist")
        terms.append(f"{_column(kind, prop)[0]} {'DESC' if direction.upper().startswith('DESC') else 'ASC'}")
    return ", ".join([*terms, "id"])
