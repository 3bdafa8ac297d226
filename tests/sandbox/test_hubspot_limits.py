"""The token, the rates and their headers, the counts, and the script of faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from flows.sandbox.hubspot.http import failed
from flows.sandbox.limits import Window
from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.hubspot_client import Hub

LIST = "/crm/v3/objects/companies"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True)) as running:
        yield running


@pytest.fixture
def hub(sandbox: Running) -> Iterator[Hub]:
    with Hub(sandbox) as client:
        yield client
        client.faults()


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic pat-sandbox-token", "pat-sandbox-token"])
def test_without_the_token(hub: Hub, header: str | None) -> None:
    del hub.headers["Authorization"]
    response = hub.get(LIST, headers={"Authorization": header} if header else {})
    assert (response.status_code, response.json()["category"]) == (401, "INVALID_AUTHENTICATION")
    assert response.json()["message"].startswith("Authentication credentials not found.")
    assert "X-HubSpot-RateLimit-Max" not in response.headers


def test_each_dialect_has_a_token_of_its_own(sandbox: Running, hub: Hub) -> None:
    crossed = {"Authorization": f"Bearer {sandbox.ready.access_token}"}
    assert hub.get(LIST, headers=crossed).status_code == 401
    assert hub.get("/services/data/v62.0/limits").status_code == 401


def test_headers_and_counts_while_nothing_is_enforced() -> None:
    config = SandboxConfig(hubspot_requests=3, hubspot_daily_requests=5, hubspot_searches=1, hubspot_as_published=True)
    with start(config) as running, Hub(running) as hub:
        left = []
        for _ in range(6):
            response = hub.get(LIST)
            assert response.status_code == 200
            left.append(response.headers["X-HubSpot-RateLimit-Remaining"])
        assert left == ["2", "1", "0", "0", "0", "0"]
        assert response.headers["X-HubSpot-RateLimit-Max"] == "3"
        assert response.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
        assert response.headers["X-HubSpot-RateLimit-Daily"] == "5"
        assert response.headers["X-HubSpot-RateLimit-Daily-Remaining"] == "0"
        searched = hub.find("companies")
        assert searched.status_code == 200
        assert "X-HubSpot-RateLimit-Remaining" not in searched.headers
        counted = hub.stats()
        assert counted["hubspot_requests"]["window"] == {"limit": 3, "seconds": 10.0, "peak": 6}
        assert counted["routes"]["GET /crm/v3/objects/{type}"]["statuses"] == {"200": 6}
        hub.upsert("companies", {"id": "1"}, {"id": "2"})
        assert hub.stats()["routes"]["POST /crm/v3/objects/{type}/batch/upsert"]["max_records"] == 2


def test_the_rolling_rate_is_enforced() -> None:
    config = SandboxConfig(throttle="real", hubspot_requests=20, hubspot_seconds=0.6, hubspot_as_published=True)
    with start(config) as running, Hub(running) as hub:
        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(lambda _: hub.get(LIST), range(30)))
        refused = [response for response in responses if response.status_code == 429]
        assert len(refused) == 10
        body = refused[0].json()
        assert (body["policyName"], body["errorType"]) == ("TEN_SECONDLY_ROLLING", "RATE_LIMIT")
        assert body["message"] == "You have reached your ten_secondly_rolling limit."
        time.sleep(0.65)
        assert hub.get(LIST).status_code == 200
        counted = hub.stats()
        assert counted["hubspot_requests"]["window"]["peak"] == 20
        assert counted["hubspot_requests"]["refused"] == 10
        assert counted["routes"]["GET /crm/v3/objects/{type}"]["statuses"] == {"200": 21, "429": 10}
        assert hub.delete("/_sandbox/stats").status_code == 204
        assert hub.stats()["hubspot_requests"]["refused"] == 0


def test_the_daily_rate_and_that_of_searches_are_enforced() -> None:
    config = SandboxConfig(throttle="real", hubspot_daily_requests=4, hubspot_searches=2)
    with start(config) as running, Hub(running, judged=False) as hub:
        told = [hub.find("companies") for _ in range(3)]
        assert [response.status_code for response in told] == [200, 200, 429]
        assert told[2].json()["policyName"] == "SECONDLY"
        assert told[2].json()["message"] == "You have reached your secondly limit."
        assert [hub.get(LIST).status_code for _ in range(2)] == [200, 429]
        body = hub.get(LIST).json()
        assert (body["policyName"], body["message"]) == ("DAILY", "You have reached your daily limit.")
        assert set(body) == {"status", "message", "errorType", "correlationId", "policyName", "requestId"}


def test_a_window_forgets() -> None:
    window = Window(2, 0.1)
    assert [window.take(enforce=True) for _ in range(3)] == [True, True, False]
    assert (window.left, window.peak, window.refused) == (0, 2, 1)
    time.sleep(0.12)
    assert window.left == 2
    assert window.take(enforce=True)
    window.reset()
    assert (window.peak, window.refused) == (1, 0)


@pytest.mark.parametrize(
    ("rule", "status", "committed"),
    [
        ({"status": 500}, 500, False),
        ({"status": 502, "after": True}, 502, True),
        ({"status": 429, "headers": {"Retry-After": "1"}}, 429, False),
    ],
)
def test_an_answer_before_or_after_the_commit(
    sandbox: Running, rule: dict[str, Any], status: int, committed: bool
) -> None:
    with Hub(sandbox, judged=False) as hub:
        hub.faults({"path": "companies/batch/upsert", "times": 1, **rule})
        response = hub.upsert("companies", {"id": f"fault-{status}"})
        assert response.status_code == status
        assert response.json()["status"] == "error"
        assert response.json().get("policyName") == ("TEN_SECONDLY_ROLLING" if status == 429 else None)
        again = hub.upsert("companies", {"id": f"fault-{status}"}).json()["results"][0]
        assert again["new"] is not committed


@pytest.mark.parametrize(("moment", "committed"), [("before", False), ("after", True)])
def test_a_dropped_connection(hub: Hub, moment: str, committed: bool) -> None:
    hub.faults({"path": "batch/create", "times": 1, "drop": moment})
    inputs = [{"properties": {"email": f"{moment}@example.com"}, "associations": []}]
    with pytest.raises(httpx.RemoteProtocolError):
        hub.batch("contacts", "create", inputs)
    assert hub.batch("contacts", "create", inputs).status_code == (409 if committed else 201)


def test_a_token_that_expires() -> None:
    with start(SandboxConfig(hubspot_as_published=True)) as running, Hub(running) as hub:
        hub.faults({"path": "/crm/", "nth": 2, "expire_token": True})
        assert [hub.get(LIST).status_code for _ in range(3)] == [200, 401, 401]


def test_rejected_records(hub: Hub) -> None:
    rule = {"code": "VALIDATION_ERROR", "message": "no", "where": {"external_id": "r1"}}
    hub.faults({"path": "companies/batch", "reject": rule})
    partly = hub.upsert("companies", {"id": "r0"}, {"id": "r1"})
    assert partly.status_code == 207
    assert [one["context"]["objectWriteTraceId"] for one in partly.json()["errors"]] == [["trace-r1"]]
    whole = hub.upsert("companies", {"id": "r0"}, {"id": "r1"}, traced=False)
    assert (whole.status_code, whole.json()["message"]) == (400, "no")
    assert hub.upsert("companies", {"id": "r0"}, traced=False).status_code == 200
    hub.faults({"path": "companies/batch", "reject": {"code": "CONFLICT", "share": 0.3}})
    some = hub.upsert("companies", *({"id": f"share-{number}"} for number in range(100))).json()
    assert 10 < some["numErrors"] < 50
    assert len(some["results"]) == 100 - some["numErrors"]


def test_records_that_are_kept_otherwise_than_they_were_sent(hub: Hub) -> None:
    hub.faults({"path": "companies/batch", "change": {"field": "name", "truncate": 3}})
    hub.upsert("companies", {"id": "changed", "name": "Longer", "country": "France"})
    assert hub.values("companies", "changed", "name", "country") == {"name": "Lon", "country": "France"}


def test_what_the_sandbox_itself_does_wrong_is_told_as_hubspot_does() -> None:
    request = Request({"type": "http", "method": "GET", "path": LIST, "headers": []})
    response = asyncio.run(failed(request, RuntimeError("broken")))
    told = json.loads(bytes(response.body))
    assert (response.status_code, told["status"], told["category"]) == (500, "error", "INTERNAL_ERROR")
    assert "broken" not in str(told)


@pytest.mark.parametrize("version", ["v3", "2026-03"])
def test_the_days_usage_is_told(version: str) -> None:
    with start(SandboxConfig(hubspot_daily_requests=7)) as running, Hub(running) as hub:
        hub.get(LIST)
        answer = hub.get(f"/account-info/{version}/api-usage/daily/private-apps")
        assert answer.headers["X-HubSpot-RateLimit-Daily-Remaining"] == "5"
        told = answer.json()["results"][0]
        assert (told["name"], told["usageLimit"], told["currentUsage"]) == ("private-apps-api-calls-daily", 7, 2)
        assert told["collectedAt"] < told["resetsAt"]
        assert hub.get("/account-info/v3/nothing").json()["status"] == "error"
        assert hub.stats()["hubspot_requests"]["used"] == 2
