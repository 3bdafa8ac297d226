"""Single records, and lists of them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from flows.sandbox.hubspot.associations import associated, link_all, parse_links
from flows.sandbox.hubspot.batch import archive_all, locate
from flows.sandbox.hubspot.http import Call, Refused, answer, invalid_input
from flows.sandbox.hubspot.schema import Kind
from flows.sandbox.hubspot.store import Record
from flows.sandbox.hubspot.writes import Write, apply, prepare, result, shown


def create(call: Call) -> Response:
    """Create one record."""
    kind = call.kind()
    body = call.fields(properties=dict)
    call.exchange.records = 1
    write = prepare(kind, body["properties"])
    write.links = parse_links(body.get("associations"))
    with call.portal.records.locked():
        apply(call, kind, [write], whole=True)
        link_all(call.portal, kind, [write])
    return answer(result(kind, write), 201)


def read(call: Call) -> Response:
    """Read one record, by id or by a unique property."""
    kind = call.kind()
    record = _one(call, kind, archived=call.flag("archived"))
    return answer(_full(call, kind, record))


def update(call: Call) -> Response:
    """Update one record, by id or by a unique property."""
    kind = call.kind()
    body = call.fields(properties=dict)
    call.exchange.records = 1
    write: Write = prepare(kind, body["properties"])
    with call.portal.records.locked():
        write.record = _one(call, kind, archived=False)
        apply(call, kind, [write], whole=True)
    return answer(result(kind, write))


def delete(call: Call) -> Response:
    """Archive one record; an id that no record has is passed over."""
    kind = call.kind()
    call.exchange.records = 1
    found = locate(call, kind, [call.path["id"]], None, archived=False)
    archive_all(call, kind, {record.id for record in found.values()})
    return Response(status_code=204)


def listed(call: Call) -> Response:
    """Read records page by page, in the order of their ids."""
    kind = call.kind()
    limit = call.number("limit", 10, 100)
    after = call.request.query_params.get("after", "0") or "0"
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise invalid_input(f"after is no cursor of this list: {after}")
    records = call.portal.records.page(kind, int(after), limit + 1, archived=call.flag("archived"))
    body: dict[str, Any] = {"results": [_full(call, kind, record) for record in records[:limit]]}
    if len(records) > limit:
        cursor = str(records[limit - 1].id)
        link = call.request.url.include_query_params(after=cursor)
        body["paging"] = {"next": {"after": cursor, "link": str(link)}}
    return answer(body)


def _one(call: Call, kind: Kind, *, archived: bool) -> Record:
    wanted = call.path["id"]
    found = locate(call, kind, [wanted], call.request.query_params.get("idProperty"), archived=archived)
    if not found:
        raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
    return found[wanted]


def _full(call: Call, kind: Kind, record: Record) -> dict[str, Any]:
    history = call.names("propertiesWithHistory")
    names = [*(call.names("properties") or kind.shown), *history]
    body = shown(kind, record, names, as_published=call.portal.as_published)
    if history:
        body["propertiesWithHistory"] = {name: _history(body, name) for name in history if name in kind.properties}
    links = associated(call.portal, kind, record.id, call.names("associations"))
    if links:
        body["associations"] = links
    return body


def _history(body: dict[str, Any], name: str) -> list[dict[str, str]]:
    """The present value only: the sandbox keeps no history."""
    value = body["properties"].get(name)
    return [] if value is None else [{"value": value, "timestamp": body["updatedAt"], "sourceType": "API"}]
