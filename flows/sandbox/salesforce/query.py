"""SOQL queries over REST, 2,000 records a page.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from flows.sandbox.org import NUMBER_TYPES, TEXT_TYPES
from flows.sandbox.salesforce import soql, values
from flows.sandbox.salesforce.http import Call, Refused
from flows.sandbox.salesforce.soql import BadQuery, Query

PAGE = 2000
MAX_QUERY = 100_000
CURSORS = 10


@dataclass(frozen=True, slots=True)
class Cursor:
    """The rest of an answer: its pages lie in a file, so that a large answer needs no memory.

    Attributes:
        query: the translated query.
        path: the file, one JSON line of rows for each page.
        starts: where each page begins, in bytes.
        size: records on a page.
        total: records in all.
    """

    query: Query
    path: Path
    starts: list[int]
    size: int
    total: int


class Cursors:
    """The cursors of one sandbox; the oldest is dropped when there are more than ten, as Salesforce does."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Cursor] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, name: str, cursor: Cursor) -> None:
        """Keep a cursor."""
        with self._lock:
            self._known[name] = cursor
            while len(self._known) > CURSORS:
                self._known.popitem(last=False)[1].path.unlink(missing_ok=True)

    def get(self, name: str) -> Cursor | None:
        """Find a cursor."""
        with self._lock:
            return self._known.get(name)


def run(call: Call, *, deleted: bool = False) -> Response:
    """Answer ``GET query?q=`` and, with deleted records too, ``GET queryAll?q=``."""
    query = translate(call, call.query.get("q", ""), deleted=deleted)
    if call.query.get("columns", "").lower() == "true":
        return JSONResponse(_columns(query))
    store = call.world.store
    if query.count:
        total = store.count(query.sql, query.values)
        return JSONResponse({"totalSize": total, "done": True, "records": []})
    if query.counted:
        row = next(batch for batch in store.batches(query.sql, query.values, 1))[0]
        cells = {f"expr{place}": value for place, value in enumerate(row)}
        record = {"attributes": {"type": "AggregateResult"}, **cells}
        return JSONResponse({"totalSize": 1, "done": True, "records": [record]})
    size = _page_size(call)
    with closing(store.batches(query.sql, query.values, size)) as batches:
        first = next(batches, [])
        if len(first) < size:
            return JSONResponse(_page(call, query, first, len(first), None))
        name = f"01gNS{secrets.token_hex(5)}AAA"
        cursor = _spooled(call, name, query, size, chain([first], batches))
    call.request.app.state.cursors.add(name, cursor)
    return _answer(call, name, cursor, 0)


def _spooled(call: Call, name: str, query: Query, size: int, pages: Iterable[list[Any]]) -> Cursor:
    path = call.world.scratch / f"{name}.jsonl"
    starts, total = [], 0
    with path.open("wb") as file:
        for rows in pages:
            starts.append(file.tell())
            file.write(json.dumps(rows).encode() + b"\n")
            total += len(rows)
    return Cursor(query, path, starts, size, total)


def run_all(call: Call) -> Response:
    """Answer ``GET queryAll?q=``."""
    return run(call, deleted=True)


def more(call: Call) -> Response:
    """Answer ``GET query/{cursor}-{from}``: the next page."""
    name, _, start = call.path["locator"].rpartition("-")
    cursor = call.request.app.state.cursors.get(name)
    if cursor is None or not start.isdigit() or int(start) >= cursor.total or int(start) % cursor.size:
        raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return _answer(call, name, cursor, int(start))


def translate(call: Call, text: str, *, deleted: bool) -> Query:
    """Translate SOQL.

    Raises:
        Refused: it is malformed (400).
    """
    if not text.strip():
        raise Refused(400, "MALFORMED_QUERY", "unexpected token: '<EOF>'")
    if len(text) > MAX_QUERY:
        message = f"SOQL statements cannot be longer than {MAX_QUERY} characters."
        raise Refused(400, "MALFORMED_QUERY", message)
    try:
        return soql.translate(text, call.world.org, deleted=deleted)
    except BadQuery as error:
        raise Refused(400, error.code, str(error)) from error


def _page_size(call: Call) -> int:
    match = re.search(r"batchSize=(\d+)", call.request.headers.get("sforce-query-options", ""))
    return min(max(int(match[1]), 200), PAGE) if match else PAGE


def _answer(call: Call, name: str, cursor: Cursor, start: int) -> Response:
    number = start // cursor.size
    with cursor.path.open("rb") as file:
        file.seek(cursor.starts[number])
        rows = json.loads(file.readline())
    after = start + len(rows)
    following = f"{call.root}/query/{name}-{after}" if after < cursor.total else None
    return JSONResponse(_page(call, cursor.query, rows, cursor.total, following))


def _page(call: Call, query: Query, rows: list[Any], total: int, following: str | None) -> dict[str, Any]:
    call.exchange.records += len(rows)
    answer: dict[str, Any] = {"totalSize": total, "done": following is None}
    if following:
        answer["nextRecordsUrl"] = following
    return answer | {"records": [_record(call, query, row) for row in rows]}


def _record(call: Call, query: Query, row: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"attributes": _attributes(call, query.kind.name, row[query.keys[""]])}
    for place, chosen in enumerate(query.selected):
        value = values.as_json(chosen.field, row[place])
        if not chosen.path:
            record[chosen.field.name] = value
            continue
        key = row[query.keys[chosen.path]]
        if key is None:
            record[chosen.path] = None
        else:
            parent = call.world.org.objects[query.parents[chosen.path]]
            record.setdefault(chosen.path, {"attributes": _attributes(call, parent.name, key)})
            record[chosen.path][chosen.field.name] = value
    return record


def _attributes(call: Call, kind: str, key: str) -> dict[str, str]:
    return {"type": kind, "url": f"{call.root}/sobjects/{kind}/{key}"}


def _columns(query: Query) -> dict[str, Any]:
    """What ``columns=true`` asks for: the fields of the answer, without records."""
    columns: list[dict[str, Any]] = [
        {
            "aggregate": False,
            "apexType": chosen.field.type.capitalize(),
            "booleanType": chosen.field.type == "boolean",
            "columnName": chosen.field.name,
            "custom": chosen.field.custom,
            "displayName": chosen.name,
            "foreignKeyName": chosen.path or None,
            "insertable": chosen.field.createable,
            "joinColumns": [],
            "numberType": chosen.field.type in NUMBER_TYPES,
            "textType": chosen.field.type in TEXT_TYPES | {"id"},
            "updatable": chosen.field.updateable,
        }
        for chosen in query.selected
    ]
    return {
        "columnMetadata": columns,
        "entityName": query.kind.name,
        "groupBy": False,
        "idSelected": any(chosen.name == "Id" for chosen in query.selected),
        "keyPrefix": query.kind.prefix,
    }
