"""Single records and sObject Collections.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from flows.sandbox.ids import normalise
from flows.sandbox.org import Field, ObjectType
from flows.sandbox.salesforce import rows, values
from flows.sandbox.salesforce.http import Call, Refused
from flows.sandbox.salesforce.rows import RowResult, Write
from flows.sandbox.salesforce.values import RowError
from flows.sandbox.store import fold, quoted

COLLECTION = 200
RETRIEVE = 2000
CHUNKS = 10


# Single records.


def create(call: Call) -> Response:
    """Answer ``POST sobjects/{Object}``: create a record."""
    kind = _writable(call.kind(call.path["object"]))
    result = _write(call, Write("insert", kind, faults=call.exchange.faults), [call.object_body()])[0]
    _accepted(call, kind, result)
    return JSONResponse({"id": result.id, "success": True, "errors": []}, 201)


def read(call: Call) -> Response:
    """Answer ``GET sobjects/{Object}/{id}``: a record, or some of its fields."""
    kind = call.kind(call.path["object"])
    return _record(call, kind, _existing(call, kind))


def update(call: Call) -> Response:
    """Answer ``PATCH sobjects/{Object}/{id}``: change a record."""
    kind = _writable(call.kind(call.path["object"]))
    body = call.object_body()
    if "Id" in body:
        message = "The Id field should not be specified in the sobject data."
        raise Refused(400, "INVALID_FIELD", message, ["Id"])
    how = Write("update", kind, faults=call.exchange.faults)
    _accepted(call, kind, _write(call, how, [body | {"Id": _existing(call, kind)}])[0])
    return Response(status_code=204)


def delete(call: Call) -> Response:
    """Answer ``DELETE sobjects/{Object}/{id}``: delete a record."""
    kind = _writable(call.kind(call.path["object"]))
    how = Write("delete", kind, faults=call.exchange.faults)
    _accepted(call, kind, _write(call, how, [{"Id": _existing(call, kind)}])[0])
    return Response(status_code=204)


def read_by_key(call: Call) -> Response:
    """Answer ``GET sobjects/{Object}/{Field}/{value}``: a record by its external id."""
    kind = call.kind(call.path["object"])
    found = _by_key(call, kind)
    if not found:
        raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
    return _record(call, kind, found[0])


def upsert(call: Call) -> Response:
    """Answer ``PATCH sobjects/{Object}/{Field}/{value}``: create or change a record by its external id."""
    kind = _writable(call.kind(call.path["object"]))
    field = _key_field(kind, call.path["field"])
    body = call.object_body()
    if field.name in body or "Id" in body:
        message = f"The {field.name} field should not be specified in the sobject data."
        raise Refused(400, "INVALID_FIELD", message, [field.name])
    _by_key(call, kind)
    how = Write("upsert", kind, field, faults=call.exchange.faults)
    result = _write(call, how, [body | {field.name: call.path["value"]}])[0]
    _accepted(call, kind, result)
    if not result.created and float(call.path["version"]) < 46:
        return Response(status_code=204)
    answer: dict[str, Any] = {"id": result.id, "success": True, "errors": [], "created": result.created}
    return JSONResponse(answer, 201 if result.created else 200)


def delete_by_key(call: Call) -> Response:
    """Answer ``DELETE sobjects/{Object}/{Field}/{value}``: delete a record by its external id."""
    kind = _writable(call.kind(call.path["object"]))
    found = _by_key(call, kind)
    if not found:
        raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
    _accepted(call, kind, _write(call, Write("delete", kind, faults=call.exchange.faults), [{"Id": found[0]}])[0])
    return Response(status_code=204)


def _writable(kind: ObjectType) -> ObjectType:
    if not kind.writable:
        message = f"entity type cannot be inserted: {kind.label}"
        raise Refused(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
    return kind


def _existing(call: Call, kind: ObjectType) -> str:
    key = normalise(call.path["id"])
    gone = call.world.store.states(kind, [key]).get(key) if key else None
    if key is None or gone is None:
        message = f"Provided external ID field does not exist or is not accessible: {call.path['id']}"
        raise Refused(404, "NOT_FOUND", message)
    if gone:
        raise Refused(404, "ENTITY_IS_DELETED", "entity is deleted")
    return key


def _key_field(kind: ObjectType, name: str) -> Field:
    field = kind.find(name)
    if field is None or not (field.external_id or field.type == "id"):
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise Refused(404, "NOT_FOUND", message)
    return field


def _by_key(call: Call, kind: ObjectType) -> list[str]:
    """The one record that has the path's external id, or none; several are refused with their addresses."""
    field = _key_field(kind, call.path["field"])
    value = call.path["value"]
    found = call.world.store.find(kind, field, [value]).get(fold(field, value), [])
    if len(found) > 1:
        raise Several([f"{call.root}/sobjects/{kind.name}/{key}" for key in found])
    return found


class Several(Refused):
    """An external id that several records have: answered 300 with a list of their addresses."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__(300, "MULTIPLE_CHOICES", "several records match")
        self.urls = urls

    def response(self) -> Response:
        """The list of addresses."""
        return JSONResponse(self.urls, 300)


def _write(call: Call, how: Write, records: Sequence[dict[str, Any]]) -> list[RowResult]:
    call.exchange.records += len(records)
    try:
        return rows.write(call.world, how, rows.by_column(records), len(records))
    except rows.Unreadable as error:
        raise Refused(400, "JSON_PARSER_ERROR", str(error)) from error


def _accepted(call: Call, kind: ObjectType, result: RowResult) -> None:
    if (error := result.error) is None:
        return
    status = 404 if error.code == "ENTITY_IS_DELETED" and not error.fields else 400
    more = {} if error.duplicates is None else {"duplicateResult": _duplicate_result(call, kind, error)}
    raise Refused(status, error.code, error.message, error.fields, more)


def _duplicate_result(call: Call, kind: ObjectType, error: RowError) -> dict[str, Any]:
    """What a single record's refusal tells of its duplicates. Collections and Bulk tell nothing of them.

    Source: https://developer.salesforce.com/docs/platform/api/guide/sforce-api-objects-duplicateresult.html
    """
    rule, ids = error.duplicates or ("", ())
    matches = [
        {
            "additionalInformation": [],
            "fieldDiffs": [],
            "matchConfidence": 100.0,
            "record": {
                "attributes": {"type": kind.name, "url": f"{call.root}/sobjects/{kind.name}/{key}"},
                "Id": key,
            },
        }
        for key in ids
    ]
    result = {
        "entityType": kind.name,
        "errors": [],
        "matchEngine": "ExactMatchEngine",
        "matchRecords": matches,
        "rule": rule,
        "size": len(matches),
        "success": True,
    }
    return {
        "allowSave": False,
        "duplicateRule": rule,
        "duplicateRuleEntityType": kind.name,
        "errorMessage": error.message,
        "matchResults": [result],
    }


def _record(call: Call, kind: ObjectType, key: str) -> Response:
    wanted = call.query.get("fields", "")
    names = [name.strip() for name in wanted.split(",") if name.strip()] or list(kind.fields)
    return JSONResponse(fetch(call, kind, [key], _fields(kind, names))[0])


def _fields(kind: ObjectType, names: Sequence[str]) -> list[Field]:
    fields = []
    for name in names:
        field = kind.find(name)
        if field is None:
            message = f"No such column '{name}' on entity '{kind.name}'."
            raise Refused(400, "INVALID_FIELD", message)
        fields.append(field)
    return fields


def fetch(
    call: Call, kind: ObjectType, keys: Sequence[str | None], fields: Sequence[Field]
) -> list[dict[str, Any] | None]:
    """Read live records by id.

    Returns:
        One record for each id, None where there is no such live record.
    """
    columns = ", ".join(quoted(field.name) for field in fields)
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        sql = (
            f"SELECT Id, {columns} FROM {quoted(kind.name)} "
            f"WHERE IsDeleted = 0 AND Id IN ({', '.join('?' * len(part))})"
        )
        for batch in call.world.store.batches(sql, part, 500):
            for key, *cells in batch:
                attributes = {"type": kind.name, "url": f"{call.root}/sobjects/{kind.name}/{key}"}
                record = {f.name: values.as_json(f, cell) for f, cell in zip(fields, cells, strict=True)}
                found[key] = {"attributes": attributes, **record}
    return [found.get(key) if key else None for key in keys]


# Collections.


def create_many(call: Call) -> Response:
    """Answer ``POST composite/sobjects``: create up to 200 records."""
    return _collection(call, "insert")


def update_many(call: Call) -> Response:
    """Answer ``PATCH composite/sobjects``: change up to 200 records by id."""
    return _collection(call, "update")


def upsert_many(call: Call) -> Response:
    """Answer ``PATCH composite/sobjects/{Object}/{Field}``: upsert up to 200 records of one object."""
    kind = _writable(call.kind(call.path["object"]))
    field = _key_field(kind, call.path["field"])
    body, records = _records(call)
    if any(_type(record).lower() != kind.name.lower() for record in records):
        message = f"All records must be of the type in the path: {kind.name}"
        raise Refused(400, "INVALID_TYPE", message)
    if field.type != "id" and any("id" in map(str.lower, record) for record in records):
        message = "The Id field should not be specified in the sobject data."
        raise Refused(400, "INVALID_FIELD", message, ["Id"])
    how = Write("upsert", kind, field, all_or_none=body.get("allOrNone", False) is True, faults=call.exchange.faults)
    return JSONResponse([_result(r, created=True) for r in _write(call, how, records)])


def delete_many(call: Call) -> Response:
    """Answer ``DELETE composite/sobjects?ids=``: delete up to 200 records."""
    texts = [text.strip() for text in call.query.get("ids", "").split(",") if text.strip()]
    if not texts:
        raise Refused(400, "INVALID_ID_FIELD", "The ids parameter is required", ["ids"])
    _within(len(texts), COLLECTION)
    records = [{"attributes": {"type": _kind_of(call, text)}, "Id": text} for text in texts]
    all_or_none = call.query.get("allOrNone", "false").lower() == "true"
    return _by_type(call, "delete", records, all_or_none)


def _kind_of(call: Call, key: str) -> str:
    kinds = call.world.org.objects.values()
    kind = next((kind for kind in kinds if key.startswith(kind.prefix)), None)
    return kind.name if kind else next(iter(call.world.org.objects))


def retrieve_many(call: Call) -> Response:
    """Answer ``GET composite/sobjects/{Object}?ids=&fields=``: read records by id."""
    return _retrieve(call, call.query.get("ids", "").split(","), call.query.get("fields", "").split(","))


def retrieve_many_by_body(call: Call) -> Response:
    """Answer ``POST composite/sobjects/{Object}`` with ``{ids, fields}``: read up to 2,000 records by id."""
    body = call.object_body()
    return _retrieve(call, body.get("ids") or [], body.get("fields") or [])


def _retrieve(call: Call, keys: Sequence[str], names: Sequence[str]) -> Response:
    kind = call.kind(call.path["object"])
    _within(len(keys), RETRIEVE)
    if not any(names) or not any(keys):
        raise Refused(400, "MISSING_ARGUMENT", "The ids and fields parameters are required")
    call.exchange.records += len(keys)
    wanted = [normalise(key.strip()) for key in keys]
    return JSONResponse(fetch(call, kind, wanted, _fields(kind, [name.strip() for name in names])))


def _within(count: int, limit: int) -> None:
    if count > limit:
        message = f"record limit reached. cannot submit more than {limit} records into this call"
        raise Refused(400, "EXCEEDED_ID_LIMIT", message)


def _records(call: Call) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    body = call.object_body()
    records = body.get("records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise Refused(400, "JSON_PARSER_ERROR", "The body is required to have a list of objects named records")
    _within(len(records), COLLECTION)
    return body, records


def _type(record: dict[str, Any]) -> str:
    attributes = record.get("attributes")
    kind = attributes.get("type") if isinstance(attributes, dict) else None
    if not isinstance(kind, str):
        raise Refused(400, "INVALID_INPUT", "attributes.type is required for every record")
    return kind


def _collection(call: Call, operation: str) -> Response:
    body, records = _records(call)
    if operation == "update":
        records = [{("Id" if name.lower() == "id" else name): v for name, v in r.items()} for r in records]
    return _by_type(call, operation, records, body.get("allOrNone", False) is True)


def _by_type(call: Call, operation: str, records: list[dict[str, Any]], all_or_none: bool) -> Response:
    """Write records of several objects: neighbours of one object go together, at most ten such chunks."""
    chunks: list[tuple[str, list[dict[str, Any]]]] = []
    for record in records:
        name = _type(record)
        if not chunks or chunks[-1][0] != name:
            chunks.append((name, []))
        chunks[-1][1].append(record)
    if len(chunks) > CHUNKS:
        message = f"Cannot have more than {CHUNKS} chunks in a single operation."
        raise Refused(400, "INVALID_INPUT", message)
    results: list[RowResult] = []
    try:
        with call.world.store.locked():
            for name, part in chunks:
                kind = call.world.org.object(name)
                if kind is None:
                    raise Refused(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
                how = Write(operation, _writable(kind), all_or_none=all_or_none, faults=call.exchange.faults)
                results += _write(call, how, part)
            if all_or_none and any(result.error for result in results):
                raise _UndoAll
    except _UndoAll:
        results = [RowResult(None, False, result.error or rows.ROLLED_BACK) for result in results]
    return JSONResponse([_result(result) for result in results])


class _UndoAll(Exception):
    pass


def _result(result: RowResult, *, created: bool = False) -> dict[str, Any]:
    if result.error:
        refused = result.error
        error = {"statusCode": refused.code, "message": refused.message, "fields": list(refused.fields)}
        known = {"id": result.id} if result.id else {}
        return {**known, "success": False, "errors": [error], **({"created": False} if created else {})}
    answer: dict[str, Any] = {"id": result.id, "success": True, "errors": []}
    return {**answer, "created": result.created} if created else answer
