"""The script of faults, and what the sandbox counts."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.sandbox import faults
from flows.sandbox.limits import LongRequests, Quota
from flows.sandbox.server import SandboxConfig, start
from tests.sandbox.conftest import Api, V

KEY = f"{V}/sobjects/Account/External_Id__c"


def there(api: Api, key: str) -> bool:
    return bool(api.soql(f"SELECT Id FROM Account WHERE External_Id__c = '{key}'"))


@pytest.mark.parametrize(
    ("rule", "status", "committed"),
    [
        ({"status": 500}, 500, False),
        ({"status": 500, "after": True}, 500, True),
        ({"status": 429, "headers": {"Retry-After": "3"}, "body": {"slow": "down"}}, 429, False),
    ],
)
def test_an_answer_before_or_after_the_commit(api: Api, rule: dict[str, Any], status: int, committed: bool) -> None:
    key = f"answer-{status}-{committed}"
    api.faults({"method": "PATCH", "path": "External_Id__c/answer", "times": 1, **rule})
    response = api.patch(f"{KEY}/{key}", json={"Name": "n"})
    assert response.status_code == status
    assert response.headers.get("Retry-After") == rule.get("headers", {}).get("Retry-After")
    if "body" in rule:
        assert response.json() == rule["body"]
    assert there(api, key) is committed
    assert api.patch(f"{KEY}/{key}", json={"Name": "n"}).status_code in {200, 201}


@pytest.mark.parametrize(("moment", "committed"), [("before", False), ("after", True)])
def test_a_dropped_connection(api: Api, moment: str, committed: bool) -> None:
    api.faults({"method": "PATCH", "path": "dropped", "times": 1, "drop": moment})
    with pytest.raises(httpx.RemoteProtocolError):
        api.patch(f"{KEY}/dropped-{moment}", json={"Name": "n"})
    assert there(api, f"dropped-{moment}") is committed


def test_when_a_rule_acts(api: Api) -> None:
    def statuses(count: int, **rule: Any) -> list[int]:
        api.faults({"path": "/limits$", "status": 503, **rule})
        return [api.get(f"{V}/limits").status_code for _ in range(count)]

    assert statuses(4, nth=2) == [200, 503, 200, 200]
    assert statuses(4, nth=[1, 4]) == [503, 200, 200, 503]
    assert statuses(4, every=2) == [200, 503, 200, 503]
    assert statuses(4, times=1) == [503, 200, 200, 200]
    assert statuses(2, method="POST") == [200, 200]
    drawn = statuses(40, probability=0.5)
    assert drawn == statuses(40, probability=0.5)
    assert 5 < drawn.count(503) < 35
    counted = api.get("/_sandbox/faults").json()[0]
    assert (counted["matched"], counted["acted"]) == (40, drawn.count(503))


def test_a_slow_answer(api: Api) -> None:
    api.faults({"path": "limits", "delay": 0.2})
    started = time.monotonic()
    assert api.get(f"{V}/limits").status_code == 200
    assert time.monotonic() - started >= 0.2


def test_an_expired_token() -> None:
    with start() as running, Api(running) as api:
        api.faults({"path": "limits", "nth": 2, "expire_token": True})
        assert [api.get(f"{V}/limits").status_code for _ in range(3)] == [200, 401, 401]
        form = {"grant_type": "client_credentials", "client_id": running.ready.client_id}
        form["client_secret"] = running.ready.client_secret
        token = api.post("/services/oauth2/token", data=form).json()["access_token"]
        assert api.get(f"{V}/limits", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_locked_and_rejected_rows(api: Api) -> None:
    records = [{"External_Id__c": f"lock{n}", "Name": "n"} for n in range(100)]
    api.faults({"path": "composite", "lock_rows": 0.3})
    results = api.upsert("Account", *records)
    codes = [result["errors"][0]["statusCode"] for result in results if not result["success"]]
    assert set(codes) == {"UNABLE_TO_LOCK_ROW"}
    assert 10 < len(codes) < 60
    api.faults(
        {"path": "composite", "reject": {"code": "CUSTOM", "message": "no", "where": {"External_Id__c": "lock7"}}}
    )
    results = api.upsert("Account", *records)
    refused = [place for place, result in enumerate(results) if not result["success"]]
    assert refused == [7]
    assert results[7]["errors"][0] == {"statusCode": "CUSTOM", "message": "no", "fields": []}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"field": "Name", "truncate": 3}, "Lon"),
        ({"field": "Name", "truncate": 3, "case": "upper"}, "LON"),
        ({"field": "Name", "case": "lower"}, "longer"),
        ({"field": "Name", "to": "Other"}, "Other"),
        ({"field": "Phone", "to": "5"}, "Longer"),  # a field that was not sent stays as it is
    ],
)
def test_rows_that_are_kept_otherwise_than_they_were_sent(api: Api, change: dict[str, Any], kept: str) -> None:
    api.faults({"path": "composite", "change": change})
    api.upsert("Account", {"External_Id__c": "changed", "Name": "Longer"})
    assert api.soql("SELECT Name FROM Account WHERE External_Id__c = 'changed'")[0]["Name"] == kept


def test_only_texts_are_cut_or_folded() -> None:
    assert [faults.changed({"truncate": 1, "case": "lower"}, value) for value in (12, None, "AB")] == [12, None, "a"]


@pytest.mark.parametrize(
    ("rule", "state", "message", "processed"),
    [
        ({"fail_job": "InternalServerError : no"}, "Failed", "InternalServerError : no", 0),
        ({"unprocessed": 2}, "Failed", "TooManyLockFailure", 2),
        ({"unprocessed": {"after": 2, "state": "JobComplete"}}, "JobComplete", "", 2),
        ({"reject": {"code": "X", "where": {"External_Id__c": "j1"}}}, "JobComplete", "", 5),
    ],
)
def test_jobs_that_go_wrong(api: Api, rule: dict[str, Any], state: str, message: str, processed: int) -> None:
    api.faults({"method": "PATCH", "path": "jobs/ingest", **rule})
    job = api.job(operation="upsert", externalIdFieldName="External_Id__c")
    api.upload(job, "External_Id__c,Name\n" + "".join(f"j{n},n\n" for n in range(5)))
    details = api.ended(f"{V}/jobs/ingest/{job}")
    assert details["state"] == state
    assert message in details.get("errorMessage", "")
    assert details["numberRecordsProcessed"] == processed
    left = api.results(job, "unprocessedRecords").splitlines()[1:]
    assert left == [f"j{n},n" for n in range(processed, 5)]
    failed = api.results(job, "failedResults").splitlines()[1:]
    assert len(failed) == ("reject" in rule)


def test_a_query_job_that_fails(api: Api) -> None:
    api.faults({"method": "POST", "path": "jobs/query", "fail_job": "broken"})
    body = {"operation": "query", "query": "SELECT Id FROM Account"}
    job = api.post(f"{V}/jobs/query", json=body).json()["id"]
    details = api.ended(f"{V}/jobs/query/{job}")
    assert (details["state"], details["errorMessage"]) == ("Failed", "broken")


@pytest.mark.parametrize("script", [{"rules": 5}, [5], [{"status": 500, "nope": 1}], [{"path": "x"}]])
def test_a_script_that_cannot_be_understood(api: Api, script: Any) -> None:
    response = api.post("/_sandbox/faults", json=script)
    assert (response.status_code, response.json()[0]["errorCode"]) == (400, "BAD_SCRIPT")


def test_a_script_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.yml"
    path.write_text("seed: 3\nrules:\n  - {path: limits, status: 503, times: 1}\n")
    with start(SandboxConfig(faults=path)) as running, Api(running) as api:
        assert [api.get(f"{V}/limits").status_code for _ in range(2)] == [503, 200]
    path.write_text("- {bogus: 1}")
    with pytest.raises(faults.BadScript, match=r"faults\.yml: rule 1 has unknown keys \['bogus'\]"):
        start(SandboxConfig(faults=path))


def test_the_sandbox_counts(api: Api) -> None:
    assert api.delete("/_sandbox/stats").status_code == 204
    api.upsert("Account", *({"External_Id__c": f"s{n}", "Name": "n"} for n in range(7)))
    api.upsert("Account", {"External_Id__c": "s1", "Name": "n"})
    api.get(f"{V}/nothing/here")
    stats = api.get("/_sandbox/stats").json()
    route = stats["routes"]["PATCH /services/data/v{version}/composite/sobjects/{object}/{field}"]
    assert route == {"requests": 2, "records": 8, "max_records": 7, "statuses": {"200": 2}}
    assert stats["requests"] == 3
    assert stats["routes"][f"GET {V}/nothing/here"]["statuses"] == {"404": 1}


def test_long_requests_are_held_back() -> None:
    config = SandboxConfig(throttle="real", concurrent_long_requests=1, long_request_seconds=0.1)
    limit = LongRequests(config.concurrent_long_requests, config.long_request_seconds)
    assert limit.enter(1)
    assert limit.enter(2)
    time.sleep(0.15)
    assert not limit.enter(3)
    limit.leave(1)
    limit.leave(2)
    assert limit.enter(3)


def test_a_slow_upload_counts_as_a_long_request() -> None:
    config = SandboxConfig(throttle="real", concurrent_long_requests=1, long_request_seconds=0.2)
    with start(config) as running, Api(running) as api:
        job = api.job(operation="insert")
        release = threading.Event()

        def body() -> Any:
            yield b"Name\n"
            release.wait(10)
            yield b"slow\n"

        def send() -> None:
            with Api(running) as other:
                other.put(f"{V}/jobs/ingest/{job}/batches", content=body())

        thread = threading.Thread(target=send)
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while (status := api.get(f"{V}/limits").status_code) == 200 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert status == 403
        finally:
            release.set()
            thread.join()
        assert api.get(f"{V}/limits").status_code == 200


def test_a_quota_holds_its_limit() -> None:
    quota = Quota(10)
    assert quota.take(7)
    assert not quota.take(4)
    assert quota.take(3)
    assert (quota.used, quota.left) == (10, 0)
