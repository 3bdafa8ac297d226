"""Associations: by type, by default, by label; read, removed, and made together with a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.hubspot_client import Hub

ROOTS = ["/crm/v4/associations", "/crm/associations/2026-03"]
RECORDS = ["/crm/v4/objects", "/crm/objects/2026-03"]
PRIMARY, PLAIN = 1, 279


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True)) as running:
        yield running


@pytest.fixture
def hub(sandbox: Running) -> Iterator[Hub]:
    with Hub(sandbox) as client:
        yield client


def make(hub: Hub, kind: str, count: int = 1) -> list[str]:
    inputs = [{"id": uuid4().hex} for _ in range(count)]
    key = "tracking_number" if kind == "shipments" else "external_id"
    return sorted(record["id"] for record in hub.upsert(kind, *inputs, key=key).json()["results"])


def spec(number: int, category: str = "HUBSPOT_DEFINED") -> dict[str, Any]:
    return {"associationCategory": category, "associationTypeId": number}


def pair(one: str, other: str, *types: int) -> dict[str, Any]:
    return {"from": {"id": one}, "to": {"id": other}} | ({"types": [spec(number) for number in types]} if types else {})


def linked(hub: Hub, kind: str, record: str, to: str) -> dict[str, list[int]]:
    """The other records' ids -> type ids."""
    results = hub.get(f"/crm/v4/objects/{kind}/{record}/associations/{to}").json()["results"]
    return {one["toObjectId"]: sorted(link["typeId"] for link in one["associationTypes"]) for one in results}


@pytest.mark.parametrize("root", ROOTS)
def test_create_read_and_archive_in_batches(hub: Hub, root: str) -> None:
    contacts, companies = make(hub, "contacts", 3), make(hub, "companies", 2)
    path = f"{root}/contacts/companies/batch"
    inputs = [pair(contact, companies[0], PLAIN) for contact in contacts[:2]]
    made = hub.post(f"{path}/create", json={"inputs": inputs})
    assert made.status_code == 201
    assert made.json()["results"][0] == {
        "fromObjectTypeId": "0-1",
        "fromObjectId": contacts[0],
        "toObjectTypeId": "0-2",
        "toObjectId": companies[0],
        "labels": [],
    }
    again = hub.post(f"{path}/create", json={"inputs": inputs})
    assert again.status_code == 201

    read = hub.post(f"{path}/read", json={"inputs": [{"id": contact} for contact in contacts]})
    assert read.status_code == 207
    assert [one["from"]["id"] for one in read.json()["results"]] == contacts[:2]
    assert [one["to"][0]["toObjectId"] for one in read.json()["results"]] == [companies[0]] * 2
    assert read.json()["errors"][0]["context"]["fromObjectId"] == [contacts[2]]
    assert linked(hub, "companies", companies[0], "contacts") == {contact: [2, 280] for contact in contacts[:2]}

    gone = hub.post(f"{path}/archive", json={"inputs": [{"from": {"id": contacts[0]}, "to": [{"id": companies[0]}]}]})
    assert gone.status_code == (204 if "v4" in root else 200)
    assert linked(hub, "companies", companies[0], "contacts") == {contacts[1]: [2, 280]}
    assert linked(hub, "contacts", contacts[0], "companies") == {}


@pytest.mark.parametrize("root", ROOTS)
def test_the_default_association(hub: Hub, root: str) -> None:
    deal, company = make(hub, "deals")[0], make(hub, "companies")[0]
    inputs = {"inputs": [pair(deal, company), pair("7", company)]}
    response = hub.post(f"{root}/deals/companies/batch/associate/default", json=inputs)
    assert response.status_code == 200  # errors stand in a 200 here
    body = response.json()
    assert [one["associationSpec"]["associationTypeId"] for one in body["results"]] == [341, 342]
    assert body["numErrors"] == 1
    assert body["errors"][0]["category"] == "VALIDATION_ERROR"
    assert body["errors"][0]["message"] == "DEAL=7 is not valid"
    assert linked(hub, "deals", deal, "companies") == {company: [5, 341]}


@pytest.mark.parametrize("root", RECORDS)
def test_one_pair(hub: Hub, root: str) -> None:
    contact, company = make(hub, "contacts")[0], make(hub, "companies")[0]
    path = f"{root}/contacts/{contact}/associations"
    assert hub.put(f"{path}/companies/{company}", json=[spec(PLAIN)]).status_code == 201
    assert linked(hub, "contacts", contact, "companies") == {company: [PRIMARY, PLAIN]}
    assert hub.delete(f"{path}/companies/{company}").status_code == 204
    assert hub.delete(f"{path}/companies/{company}").status_code == 204
    assert linked(hub, "contacts", contact, "companies") == {}
    assert hub.put(f"{path}/default/companies/{company}").status_code == 200
    assert linked(hub, "contacts", contact, "companies") == {company: [PRIMARY, PLAIN]}
    assert hub.put(f"{path}/default/companies/7").status_code == 400
    assert hub.put(f"{path}/companies/{company}", json=[]).status_code == 400
    assert hub.get(f"{root}/contacts/7/associations/companies").status_code == 404


def test_one_company_is_primary(hub: Hub) -> None:
    contact, (first, second) = make(hub, "contacts")[0], make(hub, "companies", 2)
    path = "/crm/v4/associations/contacts/companies/batch/create"
    hub.post(path, json={"inputs": [pair(contact, first, PLAIN), pair(contact, second, PLAIN)]})
    assert linked(hub, "contacts", contact, "companies") == {first: [PRIMARY, PLAIN], second: [PLAIN]}
    assert hub.post(path, json={"inputs": [pair(contact, second, PRIMARY)]}).json()["results"][0]["labels"] == [
        "Primary"
    ]
    assert linked(hub, "contacts", contact, "companies") == {first: [PLAIN], second: [PRIMARY, PLAIN]}
    back = "/crm/v4/associations/companies/contacts/batch/create"
    hub.post(back, json={"inputs": [pair(first, contact, 2)]})
    assert linked(hub, "contacts", contact, "companies") == {first: [PRIMARY, PLAIN], second: [PLAIN]}
    assert linked(hub, "companies", second, "contacts") == {contact: [280]}
    removed = {"inputs": [pair(contact, first, PRIMARY)]}
    hub.post("/crm/v4/associations/contacts/companies/batch/labels/archive", json=removed)
    assert linked(hub, "contacts", contact, "companies") == {first: [PLAIN], second: [PLAIN]}


def test_a_company_has_a_parent(hub: Hub) -> None:
    parent, child = make(hub, "companies", 2)
    hub.put(f"/crm/v4/objects/companies/{child}/associations/companies/{parent}", json=[spec(14)])
    assert linked(hub, "companies", child, "companies") == {parent: [14, 450]}
    assert linked(hub, "companies", parent, "companies") == {child: [13, 450]}


def test_labels_and_custom_objects(hub: Hub) -> None:
    path = "/crm/v4/associations/shipments/deals"
    plain = hub.get(f"{path}/labels").json()["results"]
    assert [one["category"] for one in plain] == ["USER_DEFINED"]
    body = {"label": "Returned", "name": "returned", "inverseLabel": "Return of"}
    forth, back = hub.post(f"{path}/labels", json=body).json()["results"]
    assert (forth["label"], back["label"]) == ("Returned", "Return of")
    shipment, deal = make(hub, "shipments")[0], make(hub, "deals")[0]
    one = {**pair(shipment, deal), "types": [spec(forth["typeId"], "USER_DEFINED")]}
    made = hub.post(f"{path}/batch/create", json={"inputs": [one]})
    assert made.json()["results"][0]["labels"] == ["Returned"]
    assert linked(hub, "shipments", shipment, "deals") == {deal: sorted([plain[0]["typeId"], forth["typeId"]])}
    assert back["typeId"] in linked(hub, "deals", deal, "shipments")[shipment]


def test_associations_made_together_with_a_record(hub: Hub) -> None:
    company = make(hub, "companies")[0]
    with_company = [{"to": {"id": company}, "types": [spec(PLAIN)]}]
    made = hub.post("/crm/v3/objects/contacts", json={"properties": {}, "associations": with_company})
    contact = made.json()["id"]
    read = hub.get(f"/crm/v3/objects/contacts/{contact}", params={"associations": "companies,deals"}).json()
    assert [one["type"] for one in read["associations"]["companies"]["results"]] == [
        "contact_to_company",
        "contact_to_company_unlabeled",
    ]
    assert set(read["associations"]) == {"companies"}
    assert hub.get(f"/crm/v3/objects/contacts/{contact}", params={"associations": "planets"}).status_code == 400

    key = uuid4().hex
    for wrong in ({"to": {"id": "7"}, "types": [spec(PLAIN)]}, {"to": {"id": company}, "types": [spec(99)]}):
        body = {"properties": {"external_id": key}, "associations": [*with_company, wrong]}
        assert hub.batch("contacts", "create", [body]).status_code == 400
        assert hub.find("contacts", ("external_id", "EQ", key)).json()["total"] == 0

    hub.delete(f"/crm/v3/objects/contacts/{contact}")
    assert contact not in linked(hub, "companies", company, "contacts")


@pytest.mark.parametrize(
    ("types", "text"),
    [([99], "No association type exists"), ([341], "No association type exists"), ([], "types")],
)
def test_a_type_that_does_not_exist(hub: Hub, types: list[int], text: str) -> None:
    contact, company = make(hub, "contacts")[0], make(hub, "companies")[0]
    inputs = [{**pair(contact, company), "types": [spec(number) for number in types]}, pair(contact, company, PLAIN)]
    response = hub.post("/crm/v4/associations/contacts/companies/batch/create", json={"inputs": inputs})
    assert (response.status_code, len(response.json()["results"])) == (207, 1)
    assert text in response.json()["errors"][0]["message"]


@pytest.mark.parametrize(("operation", "most"), [("create", 2000), ("archive", 2000), ("read", 1000)])
def test_how_many_at_once(hub: Hub, operation: str, most: int) -> None:
    one: dict[str, Any] = pair("1", "2", PLAIN) | {"id": "1"}
    if operation == "archive":
        one["to"] = [{"id": "2"}]
    path = f"/crm/v4/associations/contacts/companies/batch/{operation}"
    assert hub.post(path, json={"inputs": [one] * most}).status_code in {204, 207}
    refused = hub.post(path, json={"inputs": [one] * (most + 1)})
    assert (refused.status_code, refused.json()["category"]) == (400, "VALIDATION_ERROR")


def test_many_associations_of_one_record_come_in_pages(hub: Hub) -> None:
    company = make(hub, "companies")[0]
    contacts = sorted(contact for _ in range(6) for contact in make(hub, "contacts", 100))
    inputs = [pair(contact, company) for contact in contacts]
    hub.post("/crm/v4/associations/contacts/companies/batch/associate/default", json={"inputs": inputs})
    path = "/crm/v4/associations/companies/contacts/batch/read"
    first = hub.post(path, json={"inputs": [{"id": company}]}).json()["results"][0]
    rest = hub.post(path, json={"inputs": [{"id": company, "after": first["paging"]["next"]["after"]}]})
    found = [one["toObjectId"] for one in [*first["to"], *rest.json()["results"][0]["to"]]]
    assert (len(first["to"]), found) == (500, contacts)
    page = hub.get(f"/crm/v4/objects/companies/{company}/associations/contacts", params={"limit": "10"}).json()
    assert (len(page["results"]), page["paging"]["next"]["after"]) == (10, contacts[9])


def test_what_hubspot_answers_beyond_its_schema() -> None:
    with start() as running, Hub(running, judged=False) as hub:
        contact, company = make(hub, "contacts")[0], make(hub, "companies")[0]
        path = "/crm/v4/associations/contacts/companies/batch"
        none = hub.post(f"{path}/read", json={"inputs": [{"id": contact}]}).json()
        assert none["errors"][0]["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"
        hub.post(f"{path}/associate/default", json={"inputs": [pair(contact, company)]})
        read = hub.post(f"{path}/read", json={"inputs": [{"id": contact}]}).json()
        assert {"category": "HUBSPOT_DEFINED", "typeId": PLAIN, "label": None} in read["results"][0]["to"][0][
            "associationTypes"
        ]


@pytest.mark.parametrize("root", ROOTS)
def test_a_label_comes_and_goes(hub: Hub, root: str) -> None:
    path = f"{root}/contacts/companies"
    label = {"label": "Adviser", "name": "adviser"}
    made = hub.post(f"{path}/labels", json=label).json()["results"]
    assert [(one["label"], one["category"]) for one in made] == [("Adviser", "USER_DEFINED")] * 2
    number = made[0]["typeId"]
    assert number in [one["typeId"] for one in hub.get(f"{path}/labels").json()["results"]]
    contact, company = make(hub, "contacts")[0], make(hub, "companies")[0]
    typed = {**pair(contact, company), "types": [spec(number, "USER_DEFINED")]}
    assert hub.post(f"{path}/batch/create", json={"inputs": [typed]}).status_code == 201
    assert linked(hub, "contacts", contact, "companies") == {company: [PRIMARY, PLAIN, number]}
    assert hub.delete(f"{path}/labels/{number}").status_code == 204
    assert linked(hub, "contacts", contact, "companies") == {company: [PRIMARY, PLAIN]}
    assert made[1]["typeId"] not in linked(hub, "companies", company, "contacts")[contact]
    for wrong in (number, PLAIN, PRIMARY, "x"):
        assert hub.delete(f"{path}/labels/{wrong}").status_code == 404
    assert hub.post(f"{path}/batch/create", json={"inputs": [typed]}).status_code == 207


def test_a_label_between_records_of_one_object_type_needs_no_inverse(hub: Hub) -> None:
    path = "/crm/v4/associations/companies/companies"
    (one,) = hub.post(f"{path}/labels", json={"label": "Partner", "name": "partner"}).json()["results"]
    first, second = make(hub, "companies", 2)
    hub.post(
        f"{path}/batch/create",
        json={"inputs": [{**pair(first, second), "types": [spec(one["typeId"], "USER_DEFINED")]}]},
    )
    assert one["typeId"] in linked(hub, "companies", first, "companies")[second]
    assert one["typeId"] in linked(hub, "companies", second, "companies")[first]


def test_without_its_unlabelled_type_no_association_is_left(hub: Hub) -> None:
    contact, company = make(hub, "contacts")[0], make(hub, "companies")[0]
    path = "/crm/v4/associations/contacts/companies/batch"
    hub.post(f"{path}/create", json={"inputs": [pair(contact, company, PLAIN)]})
    gone = hub.post(f"{path}/labels/archive", json={"inputs": [pair(contact, company, PLAIN)]})
    assert gone.status_code == 204
    assert linked(hub, "contacts", contact, "companies") == {}
    assert linked(hub, "companies", company, "contacts") == {}
