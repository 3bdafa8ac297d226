"""HubSpot's own Python SDK (hubspot-api-client on PyPI), unchanged, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flows.sandbox.server import Running, SandboxConfig, start

hubspot = pytest.importorskip("hubspot", reason="hubspot-api-client is not installed; pip install hubspot-api-client")

KINDS = {"companies": "name", "contacts": "lastname", "deals": "dealname"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig()) as running:
        yield running


@pytest.fixture
def crm(sandbox: Running) -> Any:
    return hubspot.Client.create(access_token=sandbox.ready.hubspot_token, host=sandbox.base_url).crm


def key() -> str:
    return uuid4().hex


@pytest.mark.parametrize(("kind", "text"), KINDS.items())
def test_batches(crm: Any, kind: str, text: str) -> None:
    api = getattr(crm, kind)
    one, two = key(), key()
    wanted = [{"id": k, "idProperty": "external_id", "properties": {text: "A"}} for k in (one, two)]
    made = api.batch_api.upsert({"inputs": wanted})
    assert sorted(record.properties["external_id"] for record in made.results) == sorted([one, two])
    assert all(record.new for record in made.results)
    ids = [record.id for record in made.results]

    updated = api.batch_api.update({"inputs": [{"id": ids[0], "properties": {text: "B"}}]})
    assert updated.results[0].properties[text] == "B"
    asked = {"properties": [text], "propertiesWithHistory": [], "inputs": [{"id": record} for record in ids]}
    read = api.batch_api.read(asked)
    assert {record.id: record.properties[text] for record in read.results} == {ids[0]: "B", ids[1]: "A"}

    create = [{"properties": {"external_id": key(), text: "C"}, "associations": []}]
    assert api.batch_api.create({"inputs": create}).results[0].properties[text] == "C"
    api.batch_api.archive({"inputs": [{"id": record} for record in ids]})
    assert api.batch_api.read(asked).num_errors == 1


@pytest.mark.parametrize(("kind", "text"), KINDS.items())
def test_single_records_lists_and_search(crm: Any, kind: str, text: str) -> None:
    api = getattr(crm, kind)
    one = key()
    made = api.basic_api.create({"properties": {"external_id": one, text: "A"}, "associations": []})
    api.basic_api.update(made.id, {"properties": {text: "B"}})
    assert api.basic_api.get_by_id(one, id_property="external_id", properties=[text]).properties[text] == "B"
    group = {"filters": [{"propertyName": "external_id", "operator": "EQ", "value": one}]}
    body = {"filterGroups": [group], "sorts": [], "properties": [text], "limit": 10, "after": "0"}
    found = api.search_api.do_search(body)
    assert (found.total, found.results[0].id) == (1, made.id)
    inputs = [{"id": key(), "idProperty": "external_id", "properties": {}} for _ in range(100)]
    api.batch_api.upsert({"inputs": inputs})
    everything = api.get_all()
    assert len(everything) > 100  # more than one page
    assert made.id in {record.id for record in everything}
    api.basic_api.archive(made.id)
    with pytest.raises(Exception, match="resource not found") as error:
        api.basic_api.get_by_id(made.id)
    assert error.value.status == 404


def test_errors(crm: Any) -> None:
    email = f"{key()}@example.com"
    body = {"properties": {"email": email}, "associations": []}
    known = crm.contacts.basic_api.create(body).id
    with pytest.raises(Exception, match=f"Contact already exists. Existing ID: {known}") as conflict:
        crm.contacts.batch_api.create({"inputs": [body]})
    assert conflict.value.status == 409
    partly = crm.contacts.batch_api.create({"inputs": [{**body, "objectWriteTraceId": "t"}]})
    assert (partly.num_errors, partly.errors[0].category) == (1, "CONFLICT")
    assert partly.errors[0].context["objectWriteTraceId"] == ["t"]
    with pytest.raises(Exception, match="INVALID_OPTION") as wrong:
        crm.deals.basic_api.create({"properties": {"dealstage": "Closed Won"}, "associations": []})
    assert wrong.value.status == 400


def test_a_wrong_token(sandbox: Running) -> None:
    stranger = hubspot.Client.create(access_token="wrong", host=sandbox.base_url)
    with pytest.raises(Exception, match="INVALID_AUTHENTICATION") as error:
        stranger.crm.companies.basic_api.get_page()
    assert error.value.status == 401


def test_custom_objects(crm: Any) -> None:
    one = {"id": key(), "idProperty": "tracking_number", "properties": {"parcels": "2"}}
    made = crm.objects.batch_api.upsert("shipments", {"inputs": [one]}).results[0]
    assert crm.objects.basic_api.get_by_id("2-40000001", made.id, properties=["parcels"]).properties["parcels"] == "2"


def test_properties(crm: Any) -> None:
    assert "email" in {prop.name for prop in crm.properties.core_api.get_all("contacts").results}
    name = "p" + key()
    body = {"name": name, "label": "L", "type": "enumeration", "fieldType": "select", "groupName": "companyinformation"}
    body["options"] = [{"label": "A", "value": "a", "hidden": False, "displayOrder": 0}]
    assert crm.properties.core_api.create("companies", body).options[0].value == "a"
    assert crm.properties.core_api.get_by_name("companies", name).has_unique_value is False


def test_associations(crm: Any) -> None:
    def make(kind: str) -> str:
        inputs = [{"id": key(), "idProperty": "external_id", "properties": {}}]
        return str(getattr(crm, kind).batch_api.upsert({"inputs": inputs}).results[0].id)

    contact, company, deal = make("contacts"), make("companies"), make("deals")
    api = crm.associations.v4
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279}]
    made = api.batch_api.create(
        "contacts", "companies", {"inputs": [{"from": {"id": contact}, "to": {"id": company}, "types": types}]}
    )
    assert made.results[0].to_object_id == company
    api.batch_api.create_default("deals", "companies", {"inputs": [{"from": {"id": deal}, "to": {"id": company}}]})
    read = api.batch_api.get_page("companies", "deals", {"inputs": [{"id": company}]})
    assert read.results[0].to[0].to_object_id == deal
    labels = api.schema.definitions_api.get_all("contacts", "companies").results
    assert {label.type_id: label.label for label in labels} == {279: None, 1: "Primary"}
    api.batch_api.archive("contacts", "companies", {"inputs": [{"from": {"id": contact}, "to": [{"id": company}]}]})
    assert api.basic_api.get_page("contacts", contact, "companies").results == []


def test_the_sdks_own_retry_waits_for_the_rate() -> None:
    """With its `retry` setting the SDK waits for the sandbox's rolling rate."""
    from urllib3.util.retry import Retry

    config = SandboxConfig(throttle="real", hubspot_requests=2, hubspot_seconds=0.5)
    with start(config) as running:
        retry = Retry(total=8, status_forcelist=(429,), backoff_factor=0.1, allowed_methods=None)
        client = hubspot.Client.create(access_token=running.ready.hubspot_token, host=running.base_url, retry=retry)
        answers = [client.crm.companies.basic_api.get_page() for _ in range(5)]
        counted = httpx.get(f"{running.base_url}/_sandbox/stats", timeout=30).json()
    assert [answer.results for answer in answers] == [[]] * 5
    assert counted["hubspot_requests"]["refused"] > 0
