"""Batches of records: what is accepted, what is refused, and how each is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.hubspot_client import Hub

ROOTS = ["/crm/v3/objects", "/crm/objects/2026-03"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True)) as running:
        yield running


@pytest.fixture
def hub(sandbox: Running) -> Iterator[Hub]:
    with Hub(sandbox) as client:
        yield client


def key() -> str:
    return uuid4().hex


def codes(problem: dict[str, Any]) -> list[str]:
    return [detail["code"] for detail in problem["errors"]]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("kind", ["companies", "company", "COMPANIES", "0-2"])
def test_a_record_lives_through_all_batches(hub: Hub, root: str, kind: str) -> None:
    one = key()
    made = hub.batch(kind, "create", [{"properties": {"external_id": one, "name": "A"}, "associations": []}], root)
    assert made.status_code == 201
    record = made.json()["results"][0]
    assert record["id"].isdigit()
    assert record["properties"]["hs_object_id"] == record["id"]

    change = {"id": one, "idProperty": "external_id", "properties": {"name": "B"}}
    upserted = hub.batch(kind, "upsert", [change], root)
    assert (upserted.status_code, upserted.json()["results"][0]["new"]) == (200, False)
    updated = hub.batch(kind, "update", [{"id": record["id"], "properties": {"country": "France"}}], root)
    assert (updated.status_code, updated.json()["results"][0]["id"]) == (200, record["id"])

    asked = {"properties": ["name", "country", "phone", "nonsense"], "propertiesWithHistory": []}
    found = hub.batch(kind, "read", [{"id": record["id"]}], root, **asked).json()["results"][0]
    system = {"createdate", "hs_lastmodifieddate", "hs_object_id"}
    assert {name: value for name, value in found["properties"].items() if name not in system} == {
        "name": "B",
        "country": "France",
    }
    gone = hub.batch(kind, "archive", [{"id": record["id"]}], root)
    assert (gone.status_code, gone.content) == (204, b"")
    missing = hub.batch(kind, "read", [{"id": record["id"]}], root, **asked)
    assert missing.status_code == 207
    assert missing.json()["numErrors"] == 1
    assert missing.json()["errors"][0]["context"] == {"ids": [record["id"]]}
    assert hub.batch(kind, "upsert", [change], root).json()["results"][0]["new"] is True


@pytest.mark.parametrize(
    ("kind", "name", "sent", "kept"),
    [
        ("companies", "name", ' spaces, "quotes"\nand lines ', ' spaces, "quotes"\nand lines '),
        ("companies", "name", "Ünïcødé 漢字 🌙", "Ünïcødé 漢字 🌙"),
        ("companies", "domain", "WWW.Example.COM ", "www.example.com"),
        ("companies", "lifetime_value", "1234.50", "1234.50"),
        ("companies", "lifetime_value", " -0.001 ", "-0.001"),
        ("companies", "first_order_date", "2010-12-01", "2010-12-01"),
        ("companies", "first_order_date", "2010-12-01T00:00:00Z", "2010-12-01"),
        ("companies", "first_order_date", "1291161600000", "2010-12-01"),
        ("companies", "segment", "At Risk", "At Risk"),
        ("companies", "name", "x" * 65_536, "x" * 65_536),
        ("contacts", "email", " Ann@Example.COM ", "ann@example.com"),
        ("contacts", "consent_at", "2024-02-29T12:30:00.25+02:00", "2024-02-29T10:30:00.250Z"),
        ("contacts", "consent_at", "1709202600000", "2024-02-29T10:30:00.000Z"),
        ("contacts", "consent_at", "2024-02-29", "2024-02-29T00:00:00.000Z"),
        ("deals", "dealstage", "closedwon", "closedwon"),
    ],
)
def test_a_value_is_kept_normalised(hub: Hub, kind: str, name: str, sent: str, kept: str) -> None:
    one = key()
    assert hub.upsert(kind, {"id": one, name: sent}).status_code == 200
    assert hub.values(kind, one, name) == {name: kept}


@pytest.mark.parametrize(
    ("kind", "name", "value", "code"),
    [
        ("companies", "nonsense", "1", "PROPERTY_DOESNT_EXIST"),
        ("companies", "segment", "loyal", "INVALID_OPTION"),
        ("companies", "segment", "Loyal;New", "INVALID_OPTION"),
        ("companies", "order_count", "ten", "INVALID_NUMBER"),
        ("companies", "order_count", "1,000", "INVALID_NUMBER"),
        ("companies", "order_count", "NaN", "INVALID_NUMBER"),
        ("companies", "order_count", "٣", "INVALID_NUMBER"),
        ("companies", "first_order_date", "01.12.2010", "INVALID_DATE"),
        ("companies", "first_order_date", "2010-02-30", "INVALID_DATE"),
        ("companies", "first_order_date", "2010-12-01T10:00:00Z", "INVALID_DATE"),
        ("companies", "first_order_date", "999999999999999", "INVALID_DATE"),
        ("companies", "first_order_date", "-1000", "INVALID_DATE"),
        ("companies", "hs_object_id", "7", "READ_ONLY_VALUE"),
        ("companies", "createdate", "2010-12-01", "READ_ONLY_VALUE"),
        ("companies", "name", "x" * 65_537, "PROPERTY_VALUE_TOO_LONG"),
        ("contacts", "email", "nobody", "INVALID_EMAIL"),
        ("contacts", "consent_at", "soon", "INVALID_DATE"),
        ("deals", "dealstage", "Closed Won", "INVALID_OPTION"),
        ("deals", "pipeline", "other", "INVALID_OPTION"),
    ],
)
def test_a_value_is_refused(hub: Hub, kind: str, name: str, value: str, code: str) -> None:
    good, bad, third = key(), key(), key()
    response = hub.upsert(kind, {"id": good}, {"id": bad, name: value})
    assert response.status_code == 207
    body = response.json()
    assert [one["objectWriteTraceId"] for one in body["results"]] == [f"trace-{good}"]
    assert body["numErrors"] == 1
    problem = body["errors"][0]
    assert problem["category"] == "VALIDATION_ERROR"
    assert problem["context"]["objectWriteTraceId"] == [f"trace-{bad}"]
    assert codes(problem) == [code]
    assert problem["errors"][0]["context"] == {"propertyName": [name]}
    assert code in problem["message"]

    whole = hub.upsert(kind, {"id": third}, {"id": bad, name: value}, traced=False)
    assert (whole.status_code, codes(whole.json())) == (400, [code])
    assert hub.read(kind, bad, third, properties=[], key="external_id").json()["results"] == []


@pytest.mark.parametrize(
    ("kind", "name", "sent", "kept"),
    [
        ("shipments", "services", "express;signed", "express;signed"),
        ("shipments", "services", "express;slow", "INVALID_OPTION"),
        ("shipments", "is_fragile", "TRUE", "true"),
        ("shipments", "is_fragile", "yes", "INVALID_OPTION"),
        ("shipments", "contact_phone", "+44 (0) 20-123.456", "+44020123456"),
        ("shipments", "contact_phone", "none", "INVALID_PHONE_NUMBER"),
        ("2-40000001", "parcels", "3", "3"),
        ("p40000001_shipment", "due_date", "2024-05-06", "2024-05-06"),
    ],
)
def test_a_custom_object(hub: Hub, kind: str, name: str, sent: str, kept: str) -> None:
    one = key()
    response = hub.upsert(kind, {"id": one, name: sent}, key="tracking_number")
    if kept.startswith("INVALID"):
        assert codes(response.json()["errors"][0]) == [kept]
        return
    assert response.json()["results"][0]["properties"]["tracking_number"] == one
    read = hub.read(kind, one, properties=[name], key="tracking_number").json()["results"][0]
    assert read["properties"][name] == kept


def test_an_empty_text_clears_and_null_is_ignored_and_a_number_is_text(sandbox: Running, hub: Hub) -> None:
    one = key()
    hub.upsert("companies", {"id": one, "name": "A", "order_count": "3"})
    hub.upsert("companies", {"id": one, "name": ""})
    assert hub.values("companies", one, "name", "order_count") == {"name": "", "order_count": "3"}
    with Hub(sandbox, judged=False) as free:
        assert free.upsert("companies", {"id": one, "order_count": None, "return_count": 2}).status_code == 200
    assert hub.values("companies", one, "order_count", "return_count") == {"order_count": "3", "return_count": "2"}
    assert hub.find("companies", ("external_id", "EQ", one), ("name", "NOT_HAS_PROPERTY")).json()["total"] == 1


def test_what_has_no_value_is_null_as_in_hubspot() -> None:
    with start() as running, Hub(running, judged=False) as hub:
        hub.upsert("companies", {"id": "1"})
        assert hub.values("companies", "1", "name", "nonsense") == {"name": None, "nonsense": None}
        read = hub.read("companies", "1", properties=["name", "nonsense"], key="external_id").json()
        assert read["results"][0]["properties"]["name"] is None
        assert "nonsense" not in read["results"][0]["properties"]


def test_a_known_email_refuses_the_whole_batch_or_one_input(hub: Hub) -> None:
    email = f"{key()}@example.com"
    first = hub.batch("contacts", "create", [{"properties": {"email": email}, "associations": []}])
    known = first.json()["results"][0]["id"]
    other = {"properties": {"lastname": "B", "external_id": key()}, "associations": []}
    again = {"properties": {"email": email.upper()}, "associations": []}

    whole = hub.batch("contacts", "create", [other, again])
    assert whole.status_code == 409
    assert whole.json()["category"] == "CONFLICT"
    assert whole.json()["message"] == f"Contact already exists. Existing ID: {known}"
    total = hub.find("contacts", ("external_id", "EQ", other["properties"]["external_id"]))
    assert total.json()["total"] == 0

    same = [other | {"objectWriteTraceId": "same"}, again | {"objectWriteTraceId": "same"}]
    assert hub.batch("contacts", "create", same).status_code == 409
    each = hub.batch("contacts", "create", [other | {"objectWriteTraceId": "1"}, again | {"objectWriteTraceId": "2"}])
    assert each.status_code == 207
    assert [one["objectWriteTraceId"] for one in each.json()["results"]] == ["1"]
    problem = each.json()["errors"][0]
    assert problem["category"] == "CONFLICT"
    assert problem["context"] == {"objectWriteTraceId": ["2"], "existingId": [known]}


def test_unique_values_in_the_store_and_in_the_batch(hub: Hub) -> None:
    one, two, three = key(), key(), key()
    hub.upsert("companies", {"id": one}, {"id": two})
    taken = hub.upsert("companies", {"id": two, "external_id": one}, {"id": three, "external_id": one})
    assert taken.status_code == 207
    assert [codes(problem) for problem in taken.json()["errors"]] == [["CONFLICTING_UNIQUE_VALUE"]] * 2
    fresh = key()
    create = [
        {"properties": {"external_id": fresh}, "associations": [], "objectWriteTraceId": trace} for trace in ("a", "b")
    ]
    made = hub.batch("companies", "create", create)
    assert (made.status_code, len(made.json()["results"]), made.json()["numErrors"]) == (207, 1, 1)
    assert hub.upsert("companies", {"id": one, "external_id": key()}).status_code == 200
    assert hub.upsert("companies", {"id": one}).json()["results"][0]["new"] is True


def test_upsert_by_email(hub: Hub) -> None:
    email = f"{key()}@example.com"
    first = hub.upsert("contacts", {"id": email, "lastname": "A"}, key="email").json()["results"][0]
    again = hub.upsert("contacts", {"id": email.upper(), "lastname": "B"}, key="email").json()["results"][0]
    assert (first["new"], again["new"], again["id"]) == (True, False, first["id"])
    wrong = hub.upsert("contacts", {"id": "nobody"}, key="email").json()
    assert codes(wrong["errors"][0]) == ["INVALID_EMAIL"]


def test_an_update_of_what_is_not_there(hub: Hub) -> None:
    one = key()
    known = hub.upsert("companies", {"id": one}).json()["results"][0]["id"]
    inputs = [{"id": known, "properties": {"name": "A"}}, *({"id": gone, "properties": {}} for gone in ("7", "x"))]
    mixed = hub.batch("companies", "update", inputs)
    assert mixed.status_code == 207
    assert [record["id"] for record in mixed.json()["results"]] == [known]
    assert mixed.json()["errors"][0]["category"] == "OBJECT_NOT_FOUND"
    assert mixed.json()["errors"][0]["context"] == {"ids": ["7", "x"]}
    traced = hub.batch("companies", "update", [one | {"objectWriteTraceId": one["id"]} for one in inputs])
    assert [problem["context"] for problem in traced.json()["errors"]] == [
        {"ids": [gone], "objectWriteTraceId": [gone]} for gone in ("7", "x")
    ]
    by_key = {"id": one, "idProperty": "external_id", "properties": {"name": "C"}}
    assert hub.batch("companies", "update", [by_key]).json()["results"][0]["id"] == known


@pytest.mark.parametrize("operation", ["create", "update", "upsert", "read", "archive"])
@pytest.mark.parametrize(("count", "accepted"), [(0, True), (100, True), (101, False)])
def test_at_most_a_hundred_inputs(hub: Hub, operation: str, count: int, accepted: bool) -> None:
    full = {"properties": {}, "idProperty": "external_id", "associations": []}
    inputs = [{"id": f"{operation}-{n}"} | (full if operation not in {"read", "archive"} else {}) for n in range(count)]
    more = {"properties": [], "propertiesWithHistory": []} if operation == "read" else {}
    response = hub.batch("companies", operation, inputs, **more)
    assert (response.status_code < 300) is accepted
    if not accepted:
        assert (response.status_code, response.json()["category"]) == (400, "VALIDATION_ERROR")
        assert "100" in response.json()["message"]


@pytest.mark.parametrize(
    ("operation", "body", "text"),
    [
        ("upsert", "{", "Invalid input JSON"),
        ("upsert", "[]", "Invalid input JSON"),
        ("upsert", "NaN", "Invalid input JSON"),
        ("upsert", '{"inputs": [{"id": "\\ud800", "properties": {}}]}', "Invalid input JSON"),
        ("upsert", "{}", "Some required fields were not set: [inputs]"),
        ("upsert", '{"inputs": {}}', "inputs"),
        ("upsert", '{"inputs": [1]}', "Invalid input JSON"),
        ("upsert", '{"inputs": [{}]}', "Some required fields were not set: [id, properties]"),
        ("upsert", '{"inputs": [{"id": "1", "properties": []}]}', "properties"),
        ("upsert", '{"inputs": [{"id": "1", "properties": {"name": []}}]}', "properties"),
        ("upsert", '{"inputs": [{"id": 1, "properties": {}}]}', "id"),
        ("upsert", '{"inputs": [{"id": "1", "properties": {}}]}', "idProperty"),
        ("upsert", '{"inputs": [{"id": "1", "idProperty": "name", "properties": {}}]}', "by non-unique 0-2 property"),
        ("update", '{"inputs": [{"id": "1", "idProperty": "nope", "properties": {}}]}', "by non-unique 0-2 property"),
        (
            "update",
            '{"inputs": [{"id": "1", "idProperty": "hs_object_id", "properties": {}}]}',
            "non-unique 0-2 property",
        ),
        ("upsert", '{"inputs": [{"id": "1", "idProperty": [], "properties": {}}]}', "idProperty"),
        ("read", '{"inputs": [{"id": "1"}], "properties": {}}', "properties"),
        ("read", '{"inputs": [{"id": "1"}], "properties": [1]}', "properties"),
        ("create", '{"inputs": [{"properties": {}, "associations": 1}]}', "associations"),
        ("create", '{"inputs": [{"properties": {}, "objectWriteTraceId": 1}]}', "objectWriteTraceId"),
        (
            "upsert",
            '{"inputs": [{"id": "d", "idProperty": "external_id", "properties": {}}, '
            '{"id": "d", "idProperty": "external_id", "properties": {}}]}',
            "Duplicate IDs found in batch input: [d]",
        ),
        ("archive", '{"inputs": ["1"]}', "Invalid input JSON"),
    ],
)
def test_a_body_that_cannot_be_used(hub: Hub, operation: str, body: str, text: str) -> None:
    response = hub.post(f"/crm/v3/objects/companies/batch/{operation}", content=body)
    assert (response.status_code, response.json()["category"]) == (400, "VALIDATION_ERROR")
    assert text in response.json()["message"]
    assert response.json()["status"] == "error"


def test_upserts_of_the_same_records_at_the_same_time_make_one_of_each(hub: Hub) -> None:
    ids = [key() for _ in range(50)]

    def upsert(number: int) -> list[bool]:
        inputs = [{"id": one, "order_count": str(number)} for one in ids]
        return [record["new"] for record in hub.upsert("companies", *inputs).json()["results"]]

    with ThreadPoolExecutor(8) as pool:
        created = [new for several in pool.map(upsert, range(16)) for new in several]
    assert created.count(True) == len(ids)
    assert len(created) == 16 * len(ids)


def test_answers_do_not_stand_in_the_order_of_the_inputs(hub: Hub) -> None:
    ids = [key() for _ in range(5)]
    results = hub.upsert("companies", *({"id": one} for one in ids)).json()["results"]
    answered = [record["properties"]["external_id"] for record in results]
    assert sorted(answered) == sorted(ids)
    assert answered != ids
