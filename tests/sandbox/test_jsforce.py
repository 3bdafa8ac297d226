"""jsforce from npm, unchanged, against the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.sandbox.org import ORGANIZATION
from flows.sandbox.server import Running, SandboxConfig
from tests.sandbox.conftest import Api
from tests.sandbox.npm import Client

CONFIG = SandboxConfig()


@pytest.fixture
def jsforce(tmp_path: Path) -> Client:
    return Client("jsforce", tmp_path)


def test_logins_describe_and_records(jsforce: Client, sandbox: Running, api: Api) -> None:
    seen = jsforce.script(
        "records.mjs",
        url=sandbox.base_url,
        clientId=CONFIG.client_id,
        clientSecret=CONFIG.client_secret,
        username=CONFIG.username,
        password=CONFIG.password,
    )
    assert seen["organizations"] == [ORGANIZATION] * 4
    assert seen["username"] == CONFIG.username
    assert seen["wrong"]["message"].startswith("INVALID_LOGIN")
    assert {"Account", "Contact", "Opportunity"} <= set(seen["objects"])
    assert (seen["daily"], seen["email"]) == (100_000, "email")

    one = seen["made"]["id"]
    assert seen["made"]["success"]
    assert (seen["upserted"]["id"], seen["upserted"]["created"]) == (one, False)
    assert seen["born"]["created"] is True
    assert seen["updated"] == {"id": one, "success": True, "errors": []}
    record = seen["record"]
    assert [record[name] for name in ("Id", "Name", "Email")] == [one, "J Jones", "smith@example.com"]
    assert seen["refused"]["code"] == "REQUIRED_FIELD_MISSING"

    assert seen["created"] == 250
    again, new, bad = seen["mixed"]
    assert (again["created"], new["created"], bad["success"]) == (False, True, False)
    assert bad["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    changed, lost = seen["changed"]
    assert (changed["success"], lost["errors"][0]["statusCode"]) == (True, "INVALID_CROSS_REFERENCE_KEY")
    assert [one["success"] for one in seen["destroyed"]] == [True, True]
    assert [seen[name]["code"] for name in ("gone", "twice")] == ["ENTITY_IS_DELETED"] * 2

    live = api.soql("SELECT External_Id__c FROM Contact")
    assert len(live) == 251
    assert api.soql("SELECT FirstName FROM Contact WHERE FirstName != null ORDER BY FirstName") == [
        {"FirstName": "Again"},
        {"FirstName": "Changed"},
    ]


def test_bulk_and_queries(jsforce: Client, sandbox: Running, api: Api) -> None:
    seen = jsforce.script("queries.mjs", url=sandbox.base_url, accessToken=sandbox.ready.access_token)
    assert seen["inserted"] == [4500, 0, 0]
    results = seen["upserted"]["successfulResults"]
    assert {row["External_Id__c"]: row["sf__Created"] for row in results} == {"b1": "false", "b9999": "true"}
    (refused,) = seen["upserted"]["failedResults"]
    assert refused["sf__Error"].startswith("REQUIRED_FIELD_MISSING:")
    assert "Field name not found : Nonsense__c" in seen["failed"]["message"]

    assert seen["pages"] == [4501, 2000, False, 2000, False, 4501]
    assert seen["found"] == ['Quotes "", commas, and\na line', "Ünïcödé 🌙"]
    assert (seen["bulk"], seen["same"]) == (4501, True)
    assert [row["Phone"] for row in seen["updated"]["successfulResults"]] == ["2"]
    assert seen["updated"]["failedResults"][0]["sf__Error"].startswith("MALFORMED_ID:")
    assert (seen["deleted"], seen["count"]) == ([2, 0, 0], 4499)
    assert api.soql("SELECT Phone FROM Account WHERE External_Id__c = 'b2'") == [{"Phone": "2"}]
    assert not api.soql("SELECT Id FROM Account WHERE External_Id__c IN ('b3', 'b4')")
