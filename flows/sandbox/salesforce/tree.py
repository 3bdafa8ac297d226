"""sObject Tree: create up to 200 records in one request, all of them or none.

Records within records are not known here: no object of the sandbox names the relationship to its children.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobject_tree.htm
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from flows.sandbox.salesforce import rows
from flows.sandbox.salesforce.http import Call, Refused
from flows.sandbox.salesforce.rows import ROLLED_BACK, Write
from flows.sandbox.salesforce.values import RowError

MAX_RECORDS = 200


def create(call: Call) -> Response:
    """Answer ``POST composite/tree/{Object}``: the ids by reference, or what is wrong with which record."""
    kind = call.kind(call.path["object"])
    if not kind.writable:
        message = f"entity type cannot be inserted: {kind.label}"
        raise Refused(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
    records = call.object_body().get("records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise Refused(400, "JSON_PARSER_ERROR", "The body is required to have a list of objects named records")
    if len(records) > MAX_RECORDS:
        message = f"The number of records in the request exceeds the limit of {MAX_RECORDS}."
        raise Refused(400, "INVALID_INPUT", message)
    references = [_reference(record) for record in records]
    call.exchange.records += len(records)
    how = Write("insert", kind, all_or_none=True, faults=call.exchange.faults)
    try:
        done = rows.write(call.world, how, rows.by_column(records), len(records))
    except rows.Unreadable as error:
        raise Refused(400, "JSON_PARSER_ERROR", str(error)) from error
    wrong = [
        {"referenceId": reference, "errors": [_error(one.error)]}
        for reference, one in zip(references, done, strict=True)
        if one.error and one.error != ROLLED_BACK
    ]
    if wrong:
        return JSONResponse({"hasErrors": True, "results": wrong}, 400)
    made = [{"referenceId": reference, "id": one.id} for reference, one in zip(references, done, strict=True)]
    return JSONResponse({"hasErrors": False, "results": made}, 201)


def _reference(record: dict[str, Any]) -> str:
    attributes = record.get("attributes")
    reference = attributes.get("referenceId") if isinstance(attributes, dict) else None
    if not isinstance(reference, str) or not reference:
        raise Refused(400, "INVALID_INPUT", "Include a reference ID for each record in the request.")
    return reference


def _error(error: RowError) -> dict[str, Any]:
    return {"statusCode": error.code, "message": error.message, "fields": list(error.fields)}
