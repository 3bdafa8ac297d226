"""SOQL over REST: what it finds, how it pages, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.conftest import Api, V


@pytest.fixture(scope="module", autouse=True)
def _records(sandbox: Any) -> None:
    with Api(sandbox) as api:
        api.upsert(
            "Account",
            {"External_Id__c": "1", "Name": "Alpha", "BillingCountry": "France", "Order_Count__c": 1},
            {"External_Id__c": "2", "Name": "Beta", "BillingCountry": "Spain", "Order_Count__c": 2},
            {"External_Id__c": "3", "Name": "100% O'Brien", "First_Order_Date__c": "2010-12-01"},
            {"External_Id__c": "4", "Name": "100 Delta", "First_Order_Date__c": "2011-01-01"},
        )
        api.upsert(
            "Contact",
            {"External_Id__c": "k1", "LastName": "A", "Account": {"External_Id__c": "1"}, "HasOptedOutOfEmail": True},
            {"External_Id__c": "k2", "LastName": "B", "Consent_At__c": "2020-01-01T00:00:00Z"},
        )


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ("Name = 'alpha'", "1"),
        ("Name != 'alpha'", "234"),
        ("BillingCountry != 'France'", "234"),
        ("BillingCountry = null", "34"),
        ("BillingCountry <> NULL", "12"),
        ("BillingCountry IN ('France', 'Spain')", "12"),
        ("BillingCountry NOT IN ('France')", "234"),
        ("NOT BillingCountry = 'France'", "234"),
        ("NOT (BillingCountry = 'France' OR BillingCountry = 'Spain')", "34"),
        ("Order_Count__c > 1", "2"),
        ("Order_Count__c >= 1 AND Order_Count__c <= 1.5", "1"),
        ("Order_Count__c < 2 OR Name = 'Beta'", "12"),
        ("Name LIKE '100%'", "34"),
        (r"Name LIKE '100\%%'", "3"),
        ("Name LIKE '_eta'", "2"),
        (r"Name = '100% O\'Brien'", "3"),
        ("First_Order_Date__c = 2010-12-01", "3"),
        ("First_Order_Date__c > 2010-12-01", "4"),
        ("CreatedDate > 2020-01-01T00:00:00Z AND CreatedDate < 2099-01-01T00:00:00+01:00", "1234"),
        ("(Name = 'Alpha' OR Name = 'Beta') AND Order_Count__c = 2", "2"),
        ("IsDeleted = true", ""),
        ("Owner.Username LIKE 'nightly%' AND External_Id__c = '1'", "1"),
    ],
)
def test_where(api: Api, where: str, keys: str) -> None:
    found = api.soql(f"SELECT External_Id__c FROM Account WHERE {where} ORDER BY External_Id__c")
    assert "".join(row["External_Id__c"] for row in found) == keys
    count = api.get(f"{V}/query", params={"q": f"select count() from account where {where}"}).json()
    assert (count["totalSize"], count["records"]) == (len(keys), [])


def test_order_limit_offset(api: Api) -> None:
    query = "SELECT External_Id__c FROM Account ORDER BY Order_Count__c DESC NULLS LAST, Name ASC LIMIT 2 OFFSET 1"
    assert [row["External_Id__c"] for row in api.soql(query)] == ["1", "4"]
    nulls_first = "SELECT External_Id__c FROM Account ORDER BY Order_Count__c, Name"
    assert [row["External_Id__c"] for row in api.soql(nulls_first)] == ["4", "3", "1", "2"]


def test_parents(api: Api) -> None:
    rows = api.soql("SELECT LastName, Account.External_Id__c, Account.Name FROM Contact ORDER BY LastName")
    assert {name: rows[0]["Account"][name] for name in ("External_Id__c", "Name")} == {
        "External_Id__c": "1",
        "Name": "Alpha",
    }
    assert rows[0]["Account"]["attributes"]["type"] == "Account"
    assert rows[1]["Account"] is None
    by_parent = "SELECT LastName FROM Contact WHERE Account.External_Id__c = '1'"
    assert [row["LastName"] for row in api.soql(by_parent)] == ["A"]


def test_booleans_and_computed_fields(api: Api) -> None:
    rows = api.soql("SELECT Name, HasOptedOutOfEmail FROM Contact WHERE HasOptedOutOfEmail = true")
    assert rows == [{"Name": "A", "HasOptedOutOfEmail": True}]


def test_counting_a_field(api: Api) -> None:
    answer = api.get(f"{V}/query", params={"q": "SELECT COUNT(Order_Count__c) FROM Account"}).json()
    assert answer["records"][0]["expr0"] == 2


def test_deleted_records_are_found_by_query_all_only(api: Api) -> None:
    key = api.upsert("Opportunity", {"External_Id__c": "o", "Name": "o", "StageName": "x", "CloseDate": "2010-12-01"})
    api.delete(f"{V}/sobjects/Opportunity/{key[0]['id']}")
    query = {"q": "SELECT Id, IsDeleted FROM Opportunity"}
    assert api.get(f"{V}/query", params=query).json()["totalSize"] == 0
    found = api.get(f"{V}/queryAll", params=query).json()["records"]
    assert [row["IsDeleted"] for row in found] == [True]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MALFORMED_QUERY"),
        ("SELECT", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account garbage more", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'open", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name LIKE 5", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account; DROP TABLE Account", "MALFORMED_QUERY"),
        ("SELECT Account.Owner.Name FROM Contact", "MALFORMED_QUERY"),
        ("SELECT MAX(Name) FROM Account", "MALFORMED_QUERY"),
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Nope.Name FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Order_Count__c = '1'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Name = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Name > null", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Account WHERE First_Order_Date__c = 2010-02-30", "MALFORMED_QUERY"),
        ("SELECT Id FROM ScratchOrgInfo", "INVALID_TYPE"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ],
)
def test_refused_queries(api: Api, query: str, code: str) -> None:
    response = api.get(f"{V}/query", params={"q": query})
    assert (response.status_code, response.json()[0]["errorCode"]) == (400, code)


def test_columns(api: Api) -> None:
    query = {"q": "SELECT Id, Account.Name FROM Contact", "columns": "true"}
    answer = api.get(f"{V}/query", params=query).json()
    assert [column["displayName"] for column in answer["columnMetadata"]] == ["Id", "Account.Name"]
    assert answer["entityName"] == "Contact"


def test_pages_of_2000(api: Api) -> None:
    job = api.job(object="Opportunity", operation="insert")
    lines = [f"p{n:05},{n:05},Closed Won,2010-12-01" for n in range(4500)]
    api.upload(job, "External_Id__c,Name,StageName,CloseDate\n" + "\n".join(lines) + "\n")
    assert api.ended(f"{V}/jobs/ingest/{job}")["numberRecordsFailed"] == 0
    query = {"q": "SELECT Name FROM Opportunity ORDER BY Name"}
    page = api.get(f"{V}/query", params=query).json()
    names, sizes = [], []
    while True:
        names += [row["Name"] for row in page["records"]]
        sizes.append(len(page["records"]))
        assert page["totalSize"] == 4500
        if page["done"]:
            break
        page = api.get(page["nextRecordsUrl"]).json()
    assert (sizes, names) == ([2000, 2000, 500], [f"{n:05}" for n in range(4500)])
    small = api.get(f"{V}/query", params=query, headers={"Sforce-Query-Options": "batchSize=250"}).json()
    assert len(small["records"]) == 250
    wrong = api.get(small["nextRecordsUrl"].rsplit("-", 1)[0] + "-7")
    assert wrong.json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
