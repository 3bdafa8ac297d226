"""How many requests HubSpot takes, told beforehand, and how many it still grants today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.crm import connect
from flows.crm.base import Limits
from flows.errors import ConfigError, PushError
from flows.project import Sync
from flows.records import Operation, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import COMPANIES, PEOPLE, hubspot

COUNT = 1_730


def forecast(sandbox: Sandbox, sync: Sync, operation: Operation, count: int) -> int:
    return connect(sandbox.hubspot()).requests(sync, operation, count)


@pytest.mark.parametrize("operation", Operation)
def test_the_forecast_is_about_what_it_takes(sandbox: Sandbox, tmp_path: Path, operation: Operation) -> None:
    crm = hubspot(sandbox, tmp_path)
    crm.create(COMPANIES, {f"p{i}": {"name": "P"} for i in range(COUNT)})
    values: dict[str, dict[str, Value]] = {f"c{i}": {"lastname": "C", "companies": f"p{i}"} for i in range(COUNT)}
    ids: dict[str, Any] = dict.fromkeys(values)
    if operation is not Operation.CREATE:
        ids = dict(crm.create(PEOPLE, values))
    sent = values if operation is Operation.CREATE else {key: {"lastname": "D"} for key in values}
    before = crm.requests()
    receipts = crm.write(PEOPLE, operation, [Record(key, ids[key], sent[key]) for key in values])
    crm.read(PEOPLE, {key: receipt.crm_id for key, receipt in receipts.items()})
    took = crm.requests() - before
    assert took == pytest.approx(forecast(sandbox, PEOPLE, operation, COUNT), rel=0.25)


@pytest.mark.parametrize("sync", [COMPANIES, PEOPLE], ids=["alone", "with a lookup"])
@pytest.mark.parametrize("operation", Operation)
def test_more_records_never_take_fewer_requests(sandbox: Sandbox, sync: Sync, operation: Operation) -> None:
    connector = connect(sandbox.hubspot())
    counts = [*range(0, 12_000, 37), 10**6, 10**6 + 1]
    told = [connector.requests(sync, operation, count) for count in counts]
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] >= 2 * 10**4


@pytest.mark.parametrize("paths", ["v3", "2026-03"])
def test_the_limits_are_what_hubspot_says(sandbox: Sandbox, paths: str) -> None:
    async def ask(connector: Any) -> Limits:
        found: Limits = await connector.limits()
        return found

    crm = hubspot(sandbox, Path(), paths=paths, requests_per_10_seconds=250)
    limits = crm.run(ask)
    assert limits.most == 650_000
    assert limits.left == 650_000 - sandbox.stats()["hubspot_requests"]["used"]
    assert limits.per_second == 19  # the account's own 190 in ten seconds
    crm.connection = sandbox.hubspot(requests_per_10_seconds=0)
    assert crm.run(ask).per_second is None


def test_without_headers_the_answer_itself_is_believed(sandbox: Sandbox) -> None:
    usage = {"name": "private-apps-api-calls-daily", "usageLimit": 500, "currentUsage": 620, "fetchStatus": "CACHED"}
    sandbox.faults({"path": "api-usage", "nth": 1, "status": 200, "body": {"results": [usage]}})
    crm = hubspot(sandbox, Path(), requests_per_10_seconds=40)
    assert crm.run(lambda connector: connector.limits()) == Limits(0, 500, 4)
    sandbox.faults({"path": "api-usage", "status": 200, "body": {"results": []}})
    assert crm.run(lambda connector: connector.limits()) == Limits(None, None, 4)


def test_who_may_not_ask_is_told(sandbox: Sandbox) -> None:
    crm = hubspot(sandbox, Path(), deadline_seconds=0.2)
    sandbox.faults({"path": "api-usage", "status": 401})
    with pytest.raises(ConfigError, match="refuses the token"):
        crm.run(lambda connector: connector.limits())
    sandbox.faults({"path": "api-usage", "status": 404})
    with pytest.raises(PushError, match="asking what is left of the day: HTTP 404"):
        crm.run(lambda connector: connector.limits())
    sandbox.faults({"path": "api-usage", "status": 500})
    with pytest.raises(PushError, match="no answer"):
        crm.run(lambda connector: connector.limits())
