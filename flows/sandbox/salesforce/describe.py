"""What the API tells about itself: versions, resources, limits, objects and their fields.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from flows.sandbox.org import NUMBER_TYPES, ORGANIZATION, USER, Field, ObjectType
from flows.sandbox.salesforce.http import VERSIONS, Call
from flows.sandbox.store import quoted

_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
}


def versions(call: Call) -> Response:
    """Answer ``GET /services/data``: the API versions, oldest first."""
    return JSONResponse([{"label": f"API {v}", "url": f"/services/data/v{v}", "version": v} for v in VERSIONS])


def resources(call: Call) -> Response:
    """Answer ``GET /services/data/vXX.0``: the resources."""
    names = ("sobjects", "query", "queryAll", "composite", "jobs", "limits")
    identity = f"{call.base_url}/id/{ORGANIZATION}/{USER}"
    return JSONResponse({name: f"{call.root}/{name}" for name in names} | {"identity": identity})


def limits(call: Call) -> Response:
    """Answer ``GET limits``."""
    world = call.world
    quotas = {
        "DailyApiRequests": world.requests,
        "DailyBulkApiBatches": world.batches,
        "DailyBulkV2QueryJobs": world.query_jobs,
    }
    return JSONResponse({name: {"Max": quota.limit, "Remaining": quota.left} for name, quota in quotas.items()})


def objects(call: Call) -> Response:
    """Answer ``GET sobjects``: all objects."""
    kinds = [_object(call, kind) for kind in call.world.org.objects.values()]
    return JSONResponse({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": kinds})


def basic(call: Call) -> Response:
    """Answer ``GET sobjects/{Object}``: the object, and what was changed last."""
    kind = call.kind(call.path["object"])
    sql = f"SELECT Id FROM {quoted(kind.name)} WHERE IsDeleted = 0 ORDER BY LastModifiedDate DESC LIMIT 10"
    rows = [row for batch in call.world.store.batches(sql, (), 10) for row in batch]
    recent = [
        {"attributes": {"type": kind.name, "url": f"{call.root}/sobjects/{kind.name}/{row[0]}"}, "Id": row[0]}
        for row in rows
    ]
    return JSONResponse({"objectDescribe": _object(call, kind), "recentItems": recent})


def describe(call: Call) -> Response:
    """Answer ``GET sobjects/{Object}/describe``: the object and its fields."""
    kind = call.kind(call.path["object"])
    children = [_child(other, field) for other, field in call.world.org.children(kind)]
    more = {"fields": [_field(f) for f in kind.fields.values()], "childRelationships": children}
    return JSONResponse(_object(call, kind) | more | {"recordTypeInfos": [], "supportedScopes": []})


def _object(call: Call, kind: ObjectType) -> dict[str, Any]:
    url = f"{call.root}/sobjects/{kind.name}"
    return {
        "name": kind.name,
        "label": kind.label,
        "labelPlural": f"{kind.label}s",
        "keyPrefix": kind.prefix,
        "custom": kind.name.endswith("__c"),
        "customSetting": False,
        "activateable": False,
        "createable": kind.writable,
        "updateable": kind.writable,
        "deletable": kind.writable,
        "undeletable": kind.writable,
        "mergeable": False,
        "replicateable": True,
        "retrieveable": True,
        "searchable": True,
        "queryable": True,
        "triggerable": True,
        "deprecatedAndHidden": False,
        "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"},
    }


def _child(other: ObjectType, field: Field) -> dict[str, Any]:
    return {
        "childSObject": other.name,
        "field": field.name,
        "relationshipName": field.children or None,
        "cascadeDelete": field.cascade,
        "restrictedDelete": False,
        "deprecatedAndHidden": False,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
    }


def _field(field: Field) -> dict[str, Any]:
    picklist = [
        {"active": True, "defaultValue": False, "label": value, "validFor": None, "value": value}
        for value in field.picklist
    ]
    number = field.type in NUMBER_TYPES
    whole = field.type == "int"
    return {
        "name": field.name,
        "label": field.label,
        "type": field.type,
        "soapType": _SOAP_TYPES.get(field.type, "xsd:string"),
        "length": field.length,
        "byteLength": field.length * 3 if field.type not in {"id", "reference"} else field.length,
        "precision": field.precision if number and not whole else 0,
        "digits": field.precision if whole else 0,
        "scale": field.scale,
        "nillable": field.nillable,
        "createable": field.createable,
        "updateable": field.updateable,
        "custom": field.custom,
        "externalId": field.external_id,
        "idLookup": field.external_id or field.type == "id",
        "unique": field.unique,
        "caseSensitive": field.case_sensitive,
        "calculated": bool(field.formula) and field.custom,
        "calculatedFormula": None,
        "defaultValue": field.default if isinstance(field.default, bool) else None,
        "defaultedOnCreate": field.default is not None or not field.createable,
        "picklistValues": picklist,
        "restrictedPicklist": field.restricted,
        "dependentPicklist": False,
        "referenceTo": [field.reference_to] if field.reference_to else [],
        "relationshipName": field.relationship or None,
        "filterable": True,
        "sortable": True,
        "groupable": field.type != "textarea",
        "aggregatable": True,
        "nameField": field.name == "Name",
        "autoNumber": False,
        "htmlFormatted": False,
        "inlineHelpText": None,
        "deprecatedAndHidden": False,
        "permissionable": field.nillable,
    }
