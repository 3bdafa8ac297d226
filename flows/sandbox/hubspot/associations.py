"""The Associations API (v4), and the associations that a record's create brings along.

Source: https://developers.hubspot.com/docs/api/crm/associations
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from flows.sandbox.hubspot.http import Call, Refused, answer, checked, invalid_input
from flows.sandbox.hubspot.inputs import inputs_of, number, told
from flows.sandbox.hubspot.links import PRIMARY, USER, LinkType
from flows.sandbox.hubspot.portal import Portal
from flows.sandbox.hubspot.schema import Kind
from flows.sandbox.hubspot.store import now_ms
from flows.sandbox.hubspot.writes import Write

MOST_CREATE = 2000
MOST_READ = 1000
MOST_PAGE = 500


def create_many(call: Call) -> Response:
    """Associate pairs of records by the types that each input names."""
    started, (source, target) = now_ms(), _kinds(call)
    results, errors = [], []
    with call.portal.records.locked():
        inputs = _pairs(inputs_of(call, MOST_CREATE, types=list, **{"from": dict, "to": dict}))
        known = _there(call.portal, source, target, inputs)
        for key, other, one in inputs:
            problem = known.get((key, other))
            types, wrong = _types(call.portal, source, target, one["types"])
            problem = problem or wrong
            if problem is not None:
                errors.append(problem.entry(as_published=call.portal.as_published))
                continue
            for link in types:
                call.portal.links.add(int(key), int(other), link)
            results.append(_pair(source, key, target, other, types))
    return told(started, results, errors, 201)


def default_many(call: Call) -> Response:
    """Associate pairs of records by the type that has no label; errors stand in a 200, too."""
    started, (source, target) = now_ms(), _kinds(call)
    results, errors = [], []
    with call.portal.records.locked():
        inputs = _pairs(inputs_of(call, MOST_CREATE, **{"from": dict, "to": dict}))
        known = _there(call.portal, source, target, inputs)
        for key, other, _ in inputs:
            problem = known.get((key, other))
            if problem is not None:
                errors.append(problem.entry(as_published=call.portal.as_published))
                continue
            results += _default(call.portal, source, key, target, other)
    response = told(started, results, errors, 200)
    response.status_code = 200
    return response


def read_many(call: Call) -> Response:
    """Read the associations of records; those that have none are errors, as in HubSpot."""
    started, (source, target) = now_ms(), _kinds(call)
    wanted = {one["id"]: one.get("after") for one in inputs_of(call, MOST_READ, id=str)}
    keys = [key for text in wanted if (key := number(text)) is not None]
    found = call.portal.links.of(source, keys, target)
    results, errors = [], []
    for text, after in wanted.items():
        links = found.get(number(text) or 0, {})
        if not links:
            context = {"fromObjectId": [text], "fromObjectType": [source.singular], "toObjectType": [target.singular]}
            message = f"No {target.singular} is associated with {source.singular} {text}."
            problem = Refused(404, "OBJECT_NOT_FOUND", message, context, (), "crm.associations.NO_ASSOCIATIONS_FOUND")
            errors.append(problem.entry(as_published=call.portal.as_published))
            continue
        page, paging = _page(call, links, after, MOST_PAGE)
        results.append({"from": {"id": text}, "to": page} | paging)
    return told(started, results, errors, 200)


def archive_many(call: Call) -> Response:
    """Remove all associations between pairs of records."""
    started, (source, target) = now_ms(), _kinds(call)
    inputs = inputs_of(call, MOST_CREATE, to=list, **{"from": dict})
    with call.portal.records.locked():
        for one in inputs:
            key = number(_id(one["from"]))
            for other in one["to"]:
                other_key = number(_id(other))
                if key is not None and other_key is not None:
                    call.portal.links.remove(source, key, target, other_key)
    return _gone(call, started)


def archive_labels(call: Call) -> Response:
    """Remove associations of certain types between pairs of records."""
    started, (source, target) = now_ms(), _kinds(call)
    inputs = _pairs(inputs_of(call, MOST_CREATE, types=list, **{"from": dict, "to": dict}))
    with call.portal.records.locked():
        for key, other, one in inputs:
            types, wrong = _types(call.portal, source, target, one["types"])
            if wrong is not None:
                raise wrong
            first, second = number(key), number(other)
            if first is not None and second is not None:
                call.portal.links.remove(source, first, target, second, [link.id for link in types])
    return _gone(call, started)


def listed(call: Call) -> Response:
    """The associations of one record."""
    source, target = call.kind("type"), call.kind("to")
    key = number(call.path["id"])
    if key is None or not call.portal.records.get(source, [key]):
        raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
    links = call.portal.links.of(source, [key], target).get(key, {})
    limit = call.number("limit", MOST_PAGE, MOST_PAGE)
    page, paging = _page(call, links, call.request.query_params.get("after"), limit)
    return answer({"results": page} | paging)


def put(call: Call) -> Response:
    """Associate two records by the types that the body names."""
    source, target = call.kind("type"), call.kind("to")
    specs = call.json()
    if not isinstance(specs, list):
        raise invalid_input("Invalid input JSON on line 1, column 1: a list of association types is needed")
    key, other = call.path["id"], call.path["to_id"]
    with call.portal.records.locked():
        types, wrong = _types(call.portal, source, target, specs)
        problem = _there(call.portal, source, target, [(key, other, {})]).get((key, other)) or wrong
        if problem is not None:
            raise problem
        for link in types:
            call.portal.links.add(int(key), int(other), link)
    return answer(_pair(source, key, target, other, types), 201)


def put_default(call: Call) -> Response:
    """Associate two records by the type that has no label."""
    started, source, target = now_ms(), call.kind("type"), call.kind("to")
    key, other = call.path["id"], call.path["to_id"]
    with call.portal.records.locked():
        problem = _there(call.portal, source, target, [(key, other, {})]).get((key, other))
        if problem is not None:
            raise problem
        results = _default(call.portal, source, key, target, other)
    return told(started, results, [], 200)


def remove(call: Call) -> Response:
    """Remove all associations between two records."""
    source, target = call.kind("type"), call.kind("to")
    key, other = number(call.path["id"]), number(call.path["to_id"])
    if key is not None and other is not None:
        call.portal.links.remove(source, key, target, other)
    return Response(status_code=204)


def labels(call: Call) -> Response:
    """The types of associations between two object types."""
    source, target = _kinds(call)
    known = call.portal.links.types(source, target).values()
    return answer({"results": [link.spec(as_published=call.portal.as_published) for link in known]})


def define_label(call: Call) -> Response:
    """Add a label."""
    source, target = _kinds(call)
    body = call.fields(label=str, name=str)
    inverse = body.get("inverseLabel")
    made = call.portal.links.define(source, target, body["label"], str(inverse) if inverse else None)
    return answer({"results": [link.spec(as_published=call.portal.as_published) for link in made]})


def delete_label(call: Call) -> Response:
    """Take a label away, in both directions."""
    source, target = _kinds(call)
    found = call.portal.links.types(source, target).get(number(call.path["type_id"]) or 0)
    if found is None or found.category != USER or not found.label:
        raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
    call.portal.links.undefine(found)
    return Response(status_code=204)


def parse_links(wanted: Any) -> list[tuple[str, list[Any]]]:
    """Check the form of the associations that a record's create brings along: to id, types."""
    if wanted is None:
        return []
    if not isinstance(wanted, list):
        raise invalid_input("Invalid input JSON on line 1, column 1: associations is no list")
    for one in wanted:
        checked(one, to=dict, types=list)
    return [(_id(one["to"]), one["types"]) for one in wanted]


def link_all(portal: Portal, kind: Kind, writes: Sequence[Write]) -> None:
    """Associate records that were just created with what their creates named.

    Raises:
        Refused: an association cannot be made (400); whoever calls rolls the creates back.
    """
    for write in writes:
        for other, specs in write.links:
            if write.problem is not None or write.record is None:
                continue
            target, types = _resolve(portal, kind, specs)
            problem = _there(portal, kind, target, [(str(write.record.id), other, {})])
            if problem:
                raise next(iter(problem.values()))
            for link in types:
                portal.links.add(write.record.id, int(other), link)


def associated(portal: Portal, kind: Kind, key: int, names: Sequence[str]) -> dict[str, Any]:
    """A record's associations as reads of objects tell them: object type -> results of id and type."""
    told: dict[str, Any] = {}
    for name in names:
        target = portal.schema.find(name)
        if target is None:
            raise invalid_input(f"Unable to infer object type from: {name}")
        links = portal.links.of(kind, [key], target).get(key, {})
        results = [
            {"id": str(other), "type": f"{kind.singular}_to_{target.singular}" + _suffix(link, target)}
            for other, types in links.items()
            for link in types
        ]
        if results:
            told[target.name] = {"results": results}
    return told


def _suffix(link: LinkType, target: Kind) -> str:
    if not link.label:
        return "_unlabeled" if target.name == "companies" and link.source in {"contacts", "deals"} else ""
    return "" if link.label == PRIMARY else "_" + link.label.lower().replace(" ", "_")


def _kinds(call: Call) -> tuple[Kind, Kind]:
    return call.kind("from"), call.kind("to")


def _id(one: Any) -> str:
    checked(one, id=str)
    return str(one["id"])


def _pairs(inputs: Sequence[dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(_id(one["from"]), _id(one["to"]), one) for one in inputs]


def _there(
    portal: Portal, source: Kind, target: Kind, pairs: Sequence[tuple[str, str, Any]]
) -> dict[tuple[str, str], Refused]:
    """What is wrong with pairs of ids, where something is."""
    firsts = portal.records.get(source, {key for pair in pairs if (key := number(pair[0])) is not None})
    seconds = portal.records.get(target, {key for pair in pairs if (key := number(pair[1])) is not None})
    wrong: dict[tuple[str, str], Refused] = {}
    for first, second, _ in pairs:
        lost = []
        if number(first) not in firsts:
            lost.append((source, first, "fromObjectId"))
        if number(second) not in seconds:
            lost.append((target, second, "toObjectId"))
        if lost:
            text = ", ".join(f"{kind.singular.upper()}={key} is not valid" for kind, key, _ in lost)
            context = {name: [key] for _, key, name in lost}
            wrong[first, second] = Refused(
                400, "VALIDATION_ERROR", text, context, (), "crm.associations.INVALID_OBJECT_IDS"
            )
    return wrong


def _types(portal: Portal, source: Kind, target: Kind, specs: Any) -> tuple[list[LinkType], Refused | None]:
    known = portal.links.types(source, target)
    types = []
    for spec in specs:
        checked(spec, associationCategory=str, associationTypeId=int)
        link = known.get(spec["associationTypeId"])
        if link is None or link.category != spec["associationCategory"]:
            text = (
                f"No association type exists from {source.singular} to {target.singular} with "
                f"{spec['associationCategory']}-{spec['associationTypeId']}"
            )
            context = {"typeId": [str(spec["associationTypeId"])]}
            return [], Refused(
                400, "VALIDATION_ERROR", text, context, (), "crm.associations.ASSOCIATION_TYPE_NOT_FOUND"
            )
        types.append(link)
    if not types:
        return [], Refused(400, "VALIDATION_ERROR", "types must name one association type at least")
    return types, None


def _resolve(portal: Portal, kind: Kind, specs: list[Any]) -> tuple[Kind, list[LinkType]]:
    """Find the object type that a list of types leads to: a create names types only."""
    for target in portal.schema.kinds.values():
        types, wrong = _types(portal, kind, target, specs)
        if wrong is None:
            return target, types
    raise Refused(400, "VALIDATION_ERROR", "One or more associations have a type that does not exist")


def _pair(source: Kind, key: str, target: Kind, other: str, types: Sequence[LinkType]) -> dict[str, Any]:
    return {
        "fromObjectTypeId": source.type_id,
        "fromObjectId": key,
        "toObjectTypeId": target.type_id,
        "toObjectId": other,
        "labels": [link.label for link in types if link.label],
    }


def _default(portal: Portal, source: Kind, key: str, target: Kind, other: str) -> list[dict[str, Any]]:
    link = portal.links.default(source, target)
    portal.links.add(int(key), int(other), link)
    return [
        {
            "from": {"id": one},
            "to": {"id": two},
            "associationSpec": {"associationCategory": link.category, "associationTypeId": type_id},
        }
        for one, two, type_id in ((key, other, link.id), (other, key, link.inverse))
    ]


def _page(
    call: Call, links: dict[int, list[LinkType]], after: Any, limit: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    behind = number(str(after)) if after else 0
    if behind is None:
        raise invalid_input(f"after is no cursor of this list: {after}")
    others = [other for other in links if other > behind]
    page = [
        {
            "toObjectId": str(other),
            "associationTypes": [link.spec(as_published=call.portal.as_published) for link in links[other]],
        }
        for other in others[:limit]
    ]
    more = len(others) > limit
    return page, {"paging": {"next": {"after": str(others[limit - 1])}}} if more else {}


def _gone(call: Call, started: int) -> Response:
    """v4 answers an archive without a body, the date-versioned path with one."""
    return told(started, [], [], 200) if call.dated else Response(status_code=204)
