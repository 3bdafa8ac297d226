"""Bulk API 2.0: the walk through the states, the files of results, and what fails a row or a job."""

from __future__ import annotations

import csv
import gzip
import io
import time
from typing import Any

import pytest

from flows.sandbox.server import SandboxConfig, start
from tests.sandbox.conftest import Api, V

UPSERT = {"operation": "upsert", "externalIdFieldName": "External_Id__c"}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_walk_through_the_states(api: Api) -> None:
    api.faults({"path": "jobs/ingest/", "method": "PATCH", "slow_job": 0.3})
    job = api.job(**UPSERT)
    path = f"{V}/jobs/ingest/{job}"
    seen = [api.get(path).json()["state"]]
    headers = {"Content-Type": "text/csv"}
    chunks = iter([b"External_Id__c,Na", b"me\nw1,", b"walk\n"])  # arrives chunked
    upload = api.put(f"{path}/batches", content=chunks, headers=headers)
    assert (upload.status_code, upload.content) == (201, b"")
    assert api.get(f"{path}/successfulResults").json()[0]["errorCode"] == "INVALIDJOBSTATE"
    assert api.patch(path, json={"state": "UploadComplete"}).json()["state"] == "UploadComplete"
    while seen[-1] != "JobComplete":
        state = api.get(path).json()["state"]
        if state != seen[-1]:
            seen.append(state)
        time.sleep(0.02)
    assert seen == ["Open", "UploadComplete", "InProgress", "JobComplete"]
    assert job in [one["id"] for one in api.get(f"{V}/jobs/ingest").json()["records"]]
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_upsert_and_its_three_files(api: Api) -> None:
    old = api.upsert("Account", {"External_Id__c": "b1", "Name": "old", "Phone": "1", "Website": "w"})[0]["id"]
    job = api.job(**UPSERT)
    api.upload(job, 'External_Id__c,Name,Phone,Website\nb1,"new, ""n""",,#N/A\nb2,zwölf,2,\nb3,,,\nB2,twice,,\n')
    details = api.ended(f"{V}/jobs/ingest/{job}")
    assert (details["state"], details["numberRecordsProcessed"], details["numberRecordsFailed"]) == (
        "JobComplete",
        4,
        2,
    )
    good = {row["External_Id__c"]: row for row in rows(api.results(job, "successfulResults"))}
    assert (good["b1"]["sf__Id"], good["b1"]["sf__Created"], good["b1"]["Name"]) == (old, "false", 'new, "n"')
    assert good["b2"]["sf__Created"] == "true"
    bad = {row["External_Id__c"]: row for row in rows(api.results(job, "failedResults"))}
    assert bad["b3"]["sf__Error"] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"
    assert bad["B2"]["sf__Error"].startswith("DUPLICATE_VALUE:Duplicate external id specified: B2:")
    assert api.results(job, "UnprocessedRecords") == "External_Id__c,Name,Phone,Website\n"
    kept = api.soql("SELECT Name, Phone, Website FROM Account WHERE External_Id__c = 'b1'")
    assert kept == [{"Name": 'new, "n"', "Phone": "1", "Website": None}]


def test_insert_update_delete_hard_delete(api: Api) -> None:
    def run(operation: str, text: str) -> list[dict[str, str]]:
        job = api.job(operation=operation)
        api.upload(job, text)
        details = api.ended(f"{V}/jobs/ingest/{job}")
        assert (details["state"], details["numberRecordsFailed"]) == ("JobComplete", 0), details
        return rows(api.results(job, "successfulResults"))

    (made,) = run("insert", "Name\nborn\n")
    key = made["sf__Id"]
    run("update", f"Id,Phone\n{key},77\n")
    assert api.get(f"{V}/sobjects/Account/{key}").json()["Phone"] == "77"
    api.upsert("Contact", {"External_Id__c": "goes", "LastName": "with it", "AccountId": key})
    run("delete", f"Id\n{key}\n")
    asked = (f"Account WHERE Id = '{key}'", "Contact WHERE External_Id__c = 'goes'")
    queries = [{"q": f"SELECT IsDeleted FROM {one}"} for one in asked]
    for query in queries:
        assert [row["IsDeleted"] for row in api.get(f"{V}/queryAll", params=query).json()["records"]] == [True]
    run("hardDelete", f"Id\n{key}\n")
    for query in queries:
        assert api.get(f"{V}/queryAll", params=query).json()["totalSize"] == 0


def test_row_errors_have_the_platforms_codes(api: Api) -> None:
    job = api.job(object="Opportunity", **UPSERT)
    api.upload(
        job,
        "External_Id__c,Name,StageName,CloseDate,Amount,Account.External_Id__c\n"
        "e1,n,Closed Won,01/12/2010,1,\n"
        "e2,n,Closed Won,2010-12-01,much,\n"
        "e3,n,Closed Won,2010-12-01,1,nobody\n"
        ",n,Closed Won,2010-12-01,1,\n"
        f"e5,{'n' * 121},Closed Won,2010-12-01,1,\n"
        "e6,n,Closed Won,2010-12-01,1,\n",
    )
    assert api.ended(f"{V}/jobs/ingest/{job}")["numberRecordsFailed"] == 5
    errors = {row["External_Id__c"]: row["sf__Error"] for row in rows(api.results(job, "failedResults"))}
    assert errors["e1"].startswith("INVALID_FIELD:Failed to deserialize field")
    assert "'much' is not a valid value for the type xsd:double" in errors["e2"]
    assert errors["e3"].startswith("INVALID_FIELD:Foreign key external ID: nobody not found")
    assert errors[""].startswith("MISSING_ARGUMENT:External_Id__c not specified")
    assert errors["e5"].startswith("STRING_TOO_LONG:")


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        (UPSERT, "External_Id__c,Nope\n1,2\n", "InvalidBatch : Field name not found : Nope"),
        (UPSERT, "Name\nx\n", "InvalidBatch : Field name not found : External_Id__c"),
        (UPSERT, "External_Id__c,Parent.Nope\n1,2\n", "InvalidBatch : Field name not found : Parent.Nope"),
        (UPSERT, "External_Id__c,Name\r\n1,2\r\n", "LineEnding is invalid on user data"),
        (UPSERT, "External_Id__c,Name\n1\n", "more or fewer values than the header"),
        (UPSERT, 'External_Id__c,Name\n1,"open\n', "InvalidBatch"),
        (UPSERT, f"External_Id__c,Description\n1,{'x' * 32_001}\n", "longer than 32000"),
        ({"operation": "delete"}, "Id,Name\n1,2\n", "must contain only ids"),
    ],
)
def test_uploads_that_fail_their_job(api: Api, settings: dict[str, str], text: str, message: str) -> None:
    job = api.job(**settings)
    api.upload(job, text)
    details = api.ended(f"{V}/jobs/ingest/{job}")
    assert details["state"] == "Failed"
    assert message in details["errorMessage"]
    assert details["numberRecordsProcessed"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operation": "mangle"}, "operation"),
        ({"operation": "insert", "object": "Nope"}, "Unable to find object"),
        ({"operation": "insert", "object": "User"}, "Unable to find object"),
        ({"operation": "upsert"}, "External ID was blank"),
        ({"operation": "upsert", "externalIdFieldName": "Website"}, "does not match an External ID"),
        ({"operation": "insert", "columnDelimiter": "DOT"}, "columnDelimiter"),
        ({"operation": "insert", "contentType": "XML"}, "contentType"),
    ],
)
def test_jobs_that_are_refused(api: Api, settings: dict[str, str], message: str) -> None:
    response = api.post(f"{V}/jobs/ingest", json={"object": "Account", **settings})
    assert (response.status_code, response.json()[0]["errorCode"]) == (400, "INVALIDJOB")
    assert message in response.json()[0]["message"]


def test_what_a_state_does_not_allow(api: Api) -> None:
    job = api.job(**UPSERT)
    path = f"{V}/jobs/ingest/{job}"
    assert api.delete(path).status_code == 400
    assert api.patch(path, json={"state": "JobComplete"}).status_code == 400
    assert api.put(f"{path}/batches", content=b"External_Id__c\n").status_code == 201
    assert api.put(f"{path}/batches", content=b"External_Id__c\n").status_code == 400
    assert api.patch(path, json={"state": "Aborted"}).json()["state"] == "Aborted"
    assert api.patch(path, json={"state": "UploadComplete"}).json()[0]["errorCode"] == "INVALIDJOBSTATE"
    assert api.put(f"{path}/batches", content=b"External_Id__c\n").status_code == 400
    assert api.get(f"{V}/jobs/ingest/750NS0zzzzzzzzz").status_code == 404


def test_aborted_in_the_middle(api: Api) -> None:
    api.faults({"path": "jobs/ingest/", "method": "PATCH", "slow_job": 0.5, "nth": [1, 3]})
    job, later = api.job(**UPSERT), api.job(**UPSERT)
    api.upload(job, "External_Id__c,Name\nabort,x\n")
    assert api.patch(f"{V}/jobs/ingest/{job}", json={"state": "Aborted"}).status_code == 200
    api.upload(later, "External_Id__c,Name\nlater,x\n")
    # It is as slow and began after: once it has ended, the other would have.
    assert api.ended(f"{V}/jobs/ingest/{later}")["state"] == "JobComplete"
    assert api.get(f"{V}/jobs/ingest/{job}").json()["state"] == "Aborted"
    assert rows(api.results(job, "unprocessedRecords")) == [{"External_Id__c": "abort", "Name": "x"}]
    assert not api.soql("SELECT Id FROM Account WHERE External_Id__c = 'abort'")


def test_other_delimiters_line_endings_and_gzip(api: Api) -> None:
    job = api.job(columnDelimiter="SEMICOLON", lineEnding="CRLF", **UPSERT)
    content = gzip.compress(b'External_Id__c;Name\r\nz1;"a;\nb"\r\n')
    path = f"{V}/jobs/ingest/{job}"
    assert api.put(f"{path}/batches", content=content, headers={"Content-Encoding": "gzip"}).status_code == 201
    api.patch(path, json={"state": "UploadComplete"})
    assert api.ended(path)["numberRecordsFailed"] == 0
    assert api.results(job, "successfulResults").startswith("sf__Id;sf__Created;External_Id__c;Name\r\n")
    assert api.soql("SELECT Name FROM Account WHERE External_Id__c = 'z1'") == [{"Name": "a;\nb"}]


@pytest.mark.parametrize("quoted", ["plain", '"quoted"'])
def test_blank_lines_and_a_blank_id_column(api: Api, quoted: str) -> None:
    job = api.job(**UPSERT)
    api.upload(job, f"Id,External_Id__c,Name\n\n,y1,{quoted}\n\n,y2,b\n\n")
    details = api.ended(f"{V}/jobs/ingest/{job}")
    assert (details["numberRecordsProcessed"], details["numberRecordsFailed"]) == (2, 0)
    names = api.soql("SELECT Name FROM Account WHERE External_Id__c IN ('y1', 'y2') ORDER BY External_Id__c")
    assert [row["Name"] for row in names] == [quoted.strip('"'), "b"]
    blank = api.job(**UPSERT)
    api.upload(blank, "External_Id__c,Name\n\n\n")
    assert api.ended(f"{V}/jobs/ingest/{blank}")["numberRecordsProcessed"] == 0


def test_the_limits_of_uploads_and_of_a_day() -> None:
    with start(SandboxConfig(max_upload_bytes=1000, daily_batches=1)) as running, Api(running) as api:
        job = api.job(**UPSERT)
        large = api.put(f"{V}/jobs/ingest/{job}/batches", content=b"x" * 1001)
        assert large.status_code == 413
        api.upload(job, "External_Id__c,Name\nl1,x\n")  # what was too large has left nothing behind
        assert api.ended(f"{V}/jobs/ingest/{job}")["state"] == "JobComplete"
        second = api.job(**UPSERT)
        api.upload(second, "External_Id__c,Name\nl2,x\n")
        assert "ExceededQuota" in api.ended(f"{V}/jobs/ingest/{second}")["errorMessage"]


def test_many_batches_keep_every_row(api: Api) -> None:
    count = 25_000
    lines = [f"m{n},Name {n},{n % 100}.{n % 100:02d}" for n in range(count)]
    job = api.job(**UPSERT)
    api.upload(job, "External_Id__c,Name,Lifetime_Value__c\n" + "\n".join(lines))
    assert api.ended(f"{V}/jobs/ingest/{job}")["numberRecordsProcessed"] == count
    keys = [row["External_Id__c"] for row in rows(api.results(job, "successfulResults"))]
    assert sorted(keys) == sorted(f"m{n}" for n in range(count))
    assert keys != [f"m{n}" for n in range(count)], "no order is promised, so none should be relied on"


def query_job(api: Api, soql: str, **more: str) -> str:
    response = api.post(f"{V}/jobs/query", json={"operation": "query", "query": soql, **more})
    assert response.status_code == 200, response.text
    assert response.json()["state"] == "UploadComplete"
    job = str(response.json()["id"])
    assert api.ended(f"{V}/jobs/query/{job}")["state"] == "JobComplete"
    return job


def parts(api: Api, job: str, size: int) -> list[list[dict[str, str]]]:
    found = []
    locator = ""
    while locator != "null":
        params: dict[str, Any] = {"maxRecords": size} | ({"locator": locator} if locator else {})
        response = api.get(f"{V}/jobs/query/{job}/results", params=params)
        part = rows(response.text)
        assert response.headers["Sforce-NumberOfRecords"] == str(len(part))
        locator = response.headers["Sforce-Locator"]
        found.append(part)
    return found


def test_a_bulk_query_in_parts(api: Api) -> None:
    job = api.job(**UPSERT)
    lines = [f'q{n:05},"Multi\nline {n}"' for n in range(3300)]
    api.upload(job, "External_Id__c,Name\n" + "\n".join(lines) + "\n")
    api.ended(f"{V}/jobs/ingest/{job}")
    soql = "SELECT External_Id__c, Name, Owner.Username FROM Account WHERE External_Id__c LIKE 'q%' ORDER BY Name"
    asked = query_job(api, soql)
    expected = sorted(f"q{n:05}" for n in range(3300))
    for size in (700, 1000, 3300, 100_000):
        found = parts(api, asked, size)
        assert [len(part) for part in found[:-1]] == [size] * (len(found) - 1)
        assert sorted(row["External_Id__c"] for part in found for row in part) == expected
    assert found[0][0]["Name"].startswith("Multi\nline ")
    assert "@" in found[0][0]["Owner.Username"]
    assert api.delete(f"{V}/jobs/query/{asked}").status_code == 204


def test_a_bulk_query_that_finds_nothing(api: Api) -> None:
    job = query_job(api, "SELECT Id, Name FROM Account WHERE Name = 'nobody at all'")
    response = api.get(f"{V}/jobs/query/{job}/results")
    assert (response.text, response.headers["Sforce-Locator"]) == ('"Id","Name"\n', "null")


def test_refused_bulk_queries(api: Api) -> None:
    for body, code in (
        ({"operation": "query", "query": "SELECT Nope FROM Account"}, "INVALID_FIELD"),
        ({"operation": "query", "query": "SELECT COUNT() FROM Account"}, "FEATURENOTENABLED"),
        ({"operation": "look"}, "INVALIDJOB"),
    ):
        response = api.post(f"{V}/jobs/query", json=body)
        assert (response.status_code, response.json()[0]["errorCode"]) == (400, code)


def test_values_in_a_bulk_query(api: Api) -> None:
    contact = {"External_Id__c": "v", "LastName": "L", "Consent_At__c": "2020-01-02T03:04:05Z"}
    api.upsert("Contact", contact | {"HasOptedOutOfEmail": True})
    soql = "SELECT Consent_At__c, HasOptedOutOfEmail, Email FROM Contact WHERE External_Id__c = 'v'"
    assert parts(api, query_job(api, soql), 10) == [
        [{"Consent_At__c": "2020-01-02T03:04:05.000Z", "HasOptedOutOfEmail": "true", "Email": ""}]
    ]
