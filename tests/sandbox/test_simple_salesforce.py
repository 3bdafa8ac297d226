"""simple-salesforce from PyPI, unchanged, against the sandbox.

It only speaks https and only knows hosts of salesforce.com; `requests` lets a session carry an adapter that delivers
https requests elsewhere, and `session` is one of its documented parameters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceAuthenticationFailed, SalesforceMalformedRequest
from simple_salesforce.exceptions import SalesforceExpiredSession, SalesforceResourceNotFound

from flows.sandbox.server import Running, SandboxConfig

CONFIG = SandboxConfig()


class Loopback(HTTPAdapter):
    """Delivers every https request to the sandbox."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.base_url = base_url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = self.base_url + str(request.path_url)
        return super().send(request, *args, **kwargs)


@pytest.fixture(scope="module")
def session(sandbox: Running) -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.mount("https://", Loopback(sandbox.base_url))
        yield opened


@pytest.fixture(scope="module")
def sf(session: requests.Session) -> Salesforce:
    return Salesforce(
        username=CONFIG.username,
        password=CONFIG.password,
        security_token=CONFIG.security_token,
        session=session,
    )


def test_the_four_ways_in(sandbox: Running, session: requests.Session, sf: Salesforce) -> None:
    host = sandbox.base_url.removeprefix("http://")
    app = {"consumer_key": CONFIG.client_id, "consumer_secret": CONFIG.client_secret}
    others = [
        Salesforce(**app, domain="nightshift.my", session=session),
        Salesforce(**app, username=CONFIG.username, password=CONFIG.password, session=session),
        Salesforce(session_id=sandbox.ready.access_token, instance_url=f"https://{host}", session=session),
    ]
    assert sf.sf_instance == host
    for client in [sf, *others]:
        assert client.limits()["DailyApiRequests"]["Max"] == 100_000
        assert client.api_usage["api-usage"].total == 100_000


def test_wrong_credentials(session: requests.Session) -> None:
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        Salesforce(username=CONFIG.username, password="wrong", security_token="", session=session)
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid_client"):
        Salesforce(consumer_key=CONFIG.client_id, consumer_secret="wrong", domain="x.my", session=session)
    stranger = Salesforce(session_id="nonsense", instance="x.my.salesforce.com", session=session)
    with pytest.raises(SalesforceExpiredSession):
        stranger.query("SELECT Id FROM Account")


def test_an_expired_session_is_renewed(sandbox: Running, sf: Salesforce) -> None:
    rule = [{"path": "/limits", "nth": 1, "expire_token": True}]
    requests.post(f"{sandbox.base_url}/_sandbox/faults", json=rule, timeout=5)
    before = sf.session_id
    assert sf.limits()["DailyApiRequests"]["Max"] == 100_000
    assert sf.session_id != before


def test_describe(sf: Salesforce) -> None:
    assert "Account" in {kind["name"] for kind in sf.describe()["sobjects"]}
    fields = {field["name"]: field for field in sf.Contact.describe()["fields"]}
    assert fields["Email"]["type"] == "email"
    assert sf.Contact.metadata()["objectDescribe"]["keyPrefix"] == "003"
    assert sf.is_sandbox() is True


def test_single_records(sf: Salesforce) -> None:
    made = sf.Contact.create({"LastName": "Smith", "Email": "smith@example.com", "External_Id__c": "s1"})
    assert made["success"]
    assert sf.Contact.update(made["id"], {"LastName": "Jones"}) == 204
    assert sf.Contact.get(made["id"])["LastName"] == "Jones"
    assert sf.Contact.get_by_custom_id("External_Id__c", "s1")["Id"] == made["id"]
    assert sf.Contact.upsert("External_Id__c/s1", {"FirstName": "J"}) == 200
    assert sf.Contact.upsert("External_Id__c/s2", {"LastName": "New"}) == 201
    assert sf.Contact.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        sf.Contact.get(made["id"])
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        sf.Contact.create({"FirstName": "nobody"})


def test_what_goes_with_an_account(sf: Salesforce) -> None:
    children = {
        (c["childSObject"], c["field"]): c["cascadeDelete"] for c in sf.Account.describe()["childRelationships"]
    }
    assert (children["Contact", "AccountId"], children["Account", "ParentId"]) == (True, False)
    account = sf.Account.create({"Name": "goes"})["id"]
    contact = sf.Contact.create({"LastName": "with it", "AccountId": account})["id"]
    assert sf.Account.delete(account) == 204
    with pytest.raises(SalesforceResourceNotFound):
        sf.Contact.get(contact)


def test_collections(sf: Salesforce) -> None:
    records = [
        {"attributes": {"type": "Account"}, "External_Id__c": f"c{n}", "Name": f"Collected {n}"} for n in range(3)
    ]
    path = "composite/sobjects"
    made = sf.restful(f"{path}/Account/External_Id__c", method="PATCH", json={"records": records, "allOrNone": False})
    assert [one["created"] for one in made] == [True] * 3
    changes = [{"attributes": {"type": "Account"}, "id": one["id"], "Phone": "1"} for one in made]
    assert all(one["success"] for one in sf.restful(path, method="PATCH", json={"records": changes}))
    ids = ",".join(one["id"] for one in made)
    read = sf.restful(f"{path}/Account", params={"ids": ids, "fields": "Name,Phone"})
    assert [(one["Name"], one["Phone"]) for one in read] == [(f"Collected {n}", "1") for n in range(3)]
    assert all(one["success"] for one in sf.restful(path, method="DELETE", params={"ids": ids}))


def test_bulk2_and_queries(sf: Salesforce) -> None:
    wait = {"wait": 0.02}  # how long to wait before the first look at a job
    contacts = [{"External_Id__c": f"b{n:04}", "LastName": f"Bulk {n:04}"} for n in range(2500)]
    (made,) = sf.bulk2.Contact.insert(records=contacts, **wait)
    assert (made["numberRecordsProcessed"], made["numberRecordsFailed"]) == (2500, 0)
    where = "FROM Contact WHERE LastName LIKE 'Bulk%'"
    assert sf.query(f"SELECT COUNT() {where}")["totalSize"] == 2500
    first = sf.query(f"SELECT Id, LastName {where}")
    assert (len(first["records"]), first["done"]) == (2000, False)
    everything = sf.query_all(f"SELECT Id, External_Id__c {where}")["records"]
    ids = {one["External_Id__c"]: one["Id"] for one in everything}
    assert set(ids) == {one["External_Id__c"] for one in contacts}

    upserts = [
        {"External_Id__c": "b0001", "LastName": "Bulk again"},
        {"External_Id__c": "b9999", "LastName": "Bulk new"},
    ]
    (done,) = sf.bulk2.Contact.upsert(records=upserts, external_id_field="External_Id__c", **wait)
    good = csv.DictReader(io.StringIO(sf.bulk2.Contact.get_successful_records(done["job_id"])))
    assert {row["External_Id__c"]: row["sf__Created"] for row in good} == {"b0001": "false", "b9999": "true"}

    changes = [{"Id": ids["b0002"], "FirstName": "U"}, {"Id": "003", "FirstName": "U"}]
    (updated,) = sf.bulk2.Contact.update(records=changes, **wait)
    assert updated["numberRecordsFailed"] == 1
    assert "MALFORMED_ID" in sf.bulk2.Contact.get_failed_records(updated["job_id"])
    assert "FirstName" in sf.bulk2.Contact.get_unprocessed_records(updated["job_id"])

    (deleted,) = sf.bulk2.Contact.delete(records=[{"Id": ids["b0003"]}], **wait)
    assert deleted["numberRecordsFailed"] == 0
    pages = list(sf.bulk2.Contact.query(f"SELECT Id {where} OR FirstName = 'U'", max_records=1000, **wait))
    assert [page.count("\n") - 1 for page in pages] == [1000, 1000, 500]
