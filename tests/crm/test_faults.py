"""Salesforce misbehaves in every way that the sandbox knows: nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.crm import connect
from flows.errors import ConfigError, PushError
from flows.project import MappedField, Sync
from flows.records import Batch, Operation, Outcome, Receipt, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.contract import House
from tests.crm.test_contract import ACCOUNTS, CONTACTS, FIELDS

COLLECTIONS, BULK = 1_000_000, 0
PLAIN = replace(ACCOUNTS, fields=tuple(mapped for mapped in ACCOUNTS.fields if mapped.parent is None))
"""Without a lookup: by Bulk, its rows go out as they stand in the batch."""
PARENTS: dict[str, dict[str, Value]] = {f"p{i}": {"Name": f"Parent {i}", "Order_Count__c": i} for i in range(450)}


def house(sandbox: Sandbox, folder: Path, up_to: int, **changes: Any) -> House:
    return House(
        connection=sandbox.connection(collections_up_to=up_to, **changes),
        parents=ACCOUNTS,
        children=CONTACTS,
        fields=FIELDS,
        folder=folder,
        count=lambda name: len(sandbox.query(f"SELECT Id FROM {name}")),
        requests=lambda: int(sandbox.stats()["requests"]),
        over_limits=list,
    )


def is_there_once(sandbox: Sandbox, expected: dict[str, dict[str, Any]]) -> None:
    found = sandbox.query("SELECT External_Id__c, Order_Count__c FROM Account")
    assert Counter(r["External_Id__c"] for r in found) == Counter(list(expected))
    assert {r["External_Id__c"]: r["Order_Count__c"] for r in found} == {
        key: values["Order_Count__c"] for key, values in expected.items()
    }


ANYWHERE = "sobjects|jobs"
COMMON: dict[str, dict[str, Any]] = {
    "429 with Retry-After": {"path": ANYWHERE, "every": 2, "times": 6, "status": 429, "headers": {"Retry-After": "0"}},
    "503 with a date": {
        "path": ANYWHERE,
        "every": 3,
        "status": 503,
        "headers": {"Retry-After": "Fri, 09 Dec 2011 12:00:00 GMT"},
    },
    "500 before": {"path": ANYWHERE, "nth": [2, 4], "status": 500},
    "500 after": {"path": ANYWHERE, "nth": [2, 3, 5, 8], "status": 500, "after": True},
    "502 with a page of HTML": {"path": ANYWHERE, "nth": 3, "status": 502, "body": "<html>Bad gateway</html>"},
    "dropped before": {"path": ANYWHERE, "nth": [2, 4], "drop": "before"},
    "dropped after": {"path": ANYWHERE, "nth": [2, 3, 5, 7], "drop": "after"},
    "expired token": {"path": ANYWHERE, "nth": 2, "expire_token": True},
    "token endpoint down": {"path": "oauth2/token", "times": 2, "status": 503, "headers": {"Retry-After": "0"}},
}


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
@pytest.mark.parametrize("fault", COMMON.values(), ids=COMMON.keys())
def test_a_passing_fault_loses_nothing_and_doubles_nothing(
    sandbox: Sandbox, tmp_path: Path, up_to: int, fault: dict[str, Any]
) -> None:
    crm = house(sandbox, tmp_path, up_to)
    sandbox.faults(fault)
    ids = crm.create(ACCOUNTS, PARENTS)
    assert sandbox.acted()[0] > 0
    is_there_once(sandbox, PARENTS)

    logged_in = "oauth2" in fault["path"]  # its token is good from here on
    sandbox.faults(fault)
    changed = {key: {**values, "Order_Count__c": 1} for key, values in PARENTS.items()}
    receipts = crm.write(ACCOUNTS, Operation.UPDATE, [Record(key, ids[key], {"Order_Count__c": 1}) for key in PARENTS])
    assert sandbox.acted()[0] > 0 or logged_in
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    is_there_once(sandbox, changed)
    assert len(crm.read(ACCOUNTS, ids)) == len(ids)

    sandbox.faults(fault)
    receipts = crm.write(ACCOUNTS, Operation.ARCHIVE, [Record(key, ids[key]) for key in PARENTS])
    assert sandbox.acted()[0] > 0 or logged_in
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    is_there_once(sandbox, {})


def test_an_expired_token_is_replaced_once_for_all(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, COLLECTIONS)
    crm.create(ACCOUNTS, {"p": {"Name": "P"}})
    sandbox.faults({"path": "composite", "nth": 1, "expire_token": True})
    before = sandbox.requests("oauth2/token")
    crm.create(ACCOUNTS, PARENTS)
    assert sandbox.requests("oauth2/token") == before + 1


def test_threads_share_one_login_and_one_describe(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, COLLECTIONS)
    done: list[dict[str, str]] = []

    def push(number: int) -> None:
        done.append(crm.create(ACCOUNTS, {f"t{number}-{i}": {"Name": "P"} for i in range(20)}))

    threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [len(ids) for ids in done] == [20] * 6
    assert sandbox.requests("oauth2/token") == 1
    assert sandbox.requests("describe") == 1


@pytest.mark.parametrize(
    ("up_to", "sync"),
    [(COLLECTIONS, ACCOUNTS), (BULK, ACCOUNTS), (BULK, PLAIN)],
    ids=["collections", "bulk", "bulk, no lookup"],
)
def test_rows_that_were_locked_are_sent_again(sandbox: Sandbox, tmp_path: Path, up_to: int, sync: Sync) -> None:
    crm = house(sandbox, tmp_path, up_to)
    sandbox.faults({"path": "composite|jobs/ingest", "lock_rows": 0.3, "times": 5})
    crm.create(sync, PARENTS)
    assert sandbox.acted()[0] > 0
    is_there_once(sandbox, PARENTS)


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_rows_that_stay_locked_are_refused_in_the_end(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    crm = house(sandbox, tmp_path, up_to)
    locked = {"code": "UNABLE_TO_LOCK_ROW", "where": {"External_Id__c": "p1"}}
    sandbox.faults({"reject": locked})
    receipts = crm.write(ACCOUNTS, Operation.CREATE, [Record(f"p{i}", None, {"Name": "P"}) for i in range(3)])
    assert {k: (r.outcome, r.code) for k, r in receipts.items()} == {
        "p0": (Outcome.APPLIED, ""),
        "p1": (Outcome.REJECTED, "UNABLE_TO_LOCK_ROW"),
        "p2": (Outcome.APPLIED, ""),
    }


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_a_refused_row_tells_code_message_and_fields(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    crm = house(sandbox, tmp_path, up_to)
    reject: dict[str, Any] = {
        "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "message": 'Say: "why", please -- now',
        "fields": ["Name", "Phone"],
    }
    sandbox.faults({"reject": {**reject, "where": {"External_Id__c": "p1"}}})
    receipts = crm.write(ACCOUNTS, Operation.CREATE, [Record(f"p{i}", None, {"Name": "P"}) for i in range(3)])
    assert receipts["p1"] == Receipt(
        "p1", Outcome.REJECTED, None, None, reject["code"], reject["message"], ("Name", "Phone")
    )


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_a_request_refused_as_a_whole_is_cut_until_the_bad_record_is_alone(
    sandbox: Sandbox, tmp_path: Path, up_to: int
) -> None:
    # A text in a number field makes the JSON unreadable; a text of more than 32,000 characters fails a bulk job.
    sync = replace(
        ACCOUNTS,
        fields=(
            MappedField("name", "Name", "varchar"),
            MappedField("count", "Order_Count__c", "varchar"),
            MappedField("about", "Description", "varchar"),
        ),
    )
    crm = house(sandbox, tmp_path, up_to)
    bad = {"p17", "p333"}
    records = [
        Record(
            key,
            None,
            {
                "Name": key,
                "Order_Count__c": "many" if key in bad else "7",
                "Description": "x" * 33_000 if key in bad else "x",
            },
        )
        for key in PARENTS
    ]
    receipts = crm.write(sync, Operation.CREATE, records)
    assert {key for key, r in receipts.items() if r.outcome is Outcome.REJECTED} == bad
    is_there_once(sandbox, {key: {"Order_Count__c": 7} for key in PARENTS if key not in bad})


def test_a_bulk_job_that_broke_off_at_a_bad_record_goes_on_behind_it(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if this CRM took shorter values than others do: else what is too long would not go by Bulk at all.
    monkeypatch.setattr("flows.crm.salesforce.bulk_files.MOST_TEXT", 40_000)
    crm = house(sandbox, tmp_path, BULK)
    count = 25_000
    path = tmp_path / "batch.parquet"
    duckdb.sql(
        f"""copy (
            select 'p' || lpad(i::varchar, 5, '0') as external_id, null::varchar as crm_id,
                ['Name', 'Description'] as changed, 'P' as "Name",
                repeat('x', if(i in (15000, 24999), 33000, 1)) as "Description", null::varchar as "BillingCountry"
            from range({count}) t(i)
        ) to '{path}'"""
    )
    batch = Batch(path, ACCOUNTS.name, Operation.CREATE, count, count)
    sync = replace(ACCOUNTS, fields=ACCOUNTS.fields[:3])

    async def work(connector: Any) -> list[Receipt]:
        return [receipt async for receipts in connector.write(sync, batch) for receipt in receipts]

    receipts = {r.external_id: r for r in crm.run(work)}
    assert len(receipts) == count
    outcomes = {key: r.outcome for key, r in receipts.items() if r.outcome is not Outcome.APPLIED}
    assert outcomes == {"p15000": Outcome.REJECTED, "p24999": Outcome.REJECTED}
    assert crm.count("Account") == count - 2


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_without_an_answer_records_are_unknown_and_a_later_run_heals_it(
    sandbox: Sandbox, tmp_path: Path, up_to: int
) -> None:
    crm = house(sandbox, tmp_path, up_to, deadline_seconds=0.3)
    # The write is carried out, and nobody is told.
    sandbox.faults({"method": "PATCH", "status": 500, "after": True}, {"method": "GET", "path": "/75", "status": 500})
    records = [Record(key, None, values) for key, values in list(PARENTS.items())[:150]]
    receipts = crm.write(ACCOUNTS, Operation.CREATE, records)
    assert {r.outcome for r in receipts.values()} == {Outcome.UNKNOWN}
    assert all(r.code and "HTTP 500" in r.message for r in receipts.values())
    sandbox.faults()
    healed = crm.write(ACCOUNTS, Operation.CREATE, records)
    assert {r.outcome for r in healed.values()} == {Outcome.APPLIED}
    is_there_once(sandbox, dict(list(PARENTS.items())[:150]))


def test_what_was_not_sent_gets_no_receipt_and_what_was_keeps_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, COLLECTIONS, deadline_seconds=0.3)
    sandbox.faults({"method": "PATCH", "path": "composite", "nth": [*range(5, 500)], "status": 429})
    records = [Record(f"p{i:04}", None, {"Name": "P", "Order_Count__c": 1}) for i in range(3000)]
    receipts = crm.write_until(r"no answer .* HTTP 429", ACCOUNTS, Operation.CREATE, records)
    assert 0 < len(receipts) < 3000
    assert {r.outcome for r in receipts} == {Outcome.APPLIED}
    assert len({r.external_id for r in receipts}) == len(receipts) == crm.count("Account")


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_a_crm_that_is_not_there_is_told(tmp_path: Path, sandbox: Sandbox, up_to: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    crm = house(sandbox, tmp_path, up_to, url=url, deadline_seconds=0.3)
    with pytest.raises(PushError, match="no answer") as told:
        crm.create(ACCOUNTS, PARENTS)
    assert url in told.value.what
    assert told.value.safe
    assert told.value.todo


def test_a_slow_answer_runs_into_the_timeout(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, COLLECTIONS, deadline_seconds=0.4)
    crm.create(ACCOUNTS, {"p": {"Name": "P"}})
    sandbox.faults({"method": "PATCH", "delay": 1.5, "times": 5})
    receipts = crm.write(ACCOUNTS, Operation.CREATE, [Record("q", None, {"Name": "Q"})])
    assert receipts["q"].outcome is Outcome.UNKNOWN
    assert "Timeout" in receipts["q"].message


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_a_day_without_requests_left_is_told_and_not_retried(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, up_to: int
) -> None:
    sandbox = make_sandbox(throttle="real", daily_requests=3)
    crm = house(sandbox, tmp_path, up_to)
    with pytest.raises(PushError, match=r"last 24 hours are used up"):
        crm.create(ACCOUNTS, {f"p{i}": {"Name": "P"} for i in range(1000)})
    assert sandbox.requests("") <= 3 + 4 + 1


CROWDED = [
    {"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentRequests (Concurrent API Requests) Limit exceeded."}
]


@pytest.mark.parametrize("up_to", [COLLECTIONS, BULK], ids=["collections", "bulk"])
def test_too_many_long_requests_at_one_time_are_no_used_up_day(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    crm = house(sandbox, tmp_path, up_to)
    sandbox.faults({"path": ANYWHERE, "nth": [2, 3], "status": 403, "body": CROWDED})
    crm.create(ACCOUNTS, PARENTS)
    assert sandbox.acted() == [2]
    is_there_once(sandbox, PARENTS)
    sandbox.faults({"path": ANYWHERE, "status": 403, "body": CROWDED})
    crm = house(sandbox, tmp_path, up_to, deadline_seconds=0.3)
    told = r"no answer after \d+ attempts .* REQUEST_LIMIT_EXCEEDED: ConcurrentRequests"
    assert crm.write_until(told, ACCOUNTS, Operation.CREATE, [Record("p", None, {"Name": "P"})]) == []


@pytest.mark.parametrize("sync", [ACCOUNTS, PLAIN], ids=["a lookup", "no lookup"])
def test_what_is_too_large_for_one_upload_goes_in_several(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync
) -> None:
    monkeypatch.setattr("flows.crm.salesforce.bulk.MOST_BYTES", 2_000)
    crm = house(sandbox, tmp_path, BULK)
    crm.create(sync, PARENTS)
    is_there_once(sandbox, PARENTS)
    assert sandbox.stats()["jobs"]["ingest.JobComplete"] > 3


def test_a_day_without_bulk_batches_left_is_told_and_what_was_written_keeps_its_receipts(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = make_sandbox(daily_batches=1)
    crm = house(sandbox, tmp_path, BULK)
    receipts = crm.write_until(
        "ExceededQuota", ACCOUNTS, Operation.CREATE, [Record(f"p{i}", None, {"Name": "P"}) for i in range(12_000)]
    )
    assert len(receipts) == crm.count("Account") == 10_000
    assert {r.outcome for r in receipts} == {Outcome.APPLIED}
    assert sandbox.stats()["jobs"] == {"ingest.Failed": 1}


JOBS: dict[str, dict[str, Any]] = {
    "failed before it began": {"fail_job": "InternalServerError : try again", "times": 1},
    "unprocessed records, failed": {"unprocessed": 100, "times": 2},
    "unprocessed records, complete": {"unprocessed": {"after": 100, "state": "JobComplete"}, "times": 2},
    "slow": {"slow_job": 0.1},
}


@pytest.mark.parametrize("sync", [ACCOUNTS, PLAIN], ids=["a lookup", "no lookup"])
@pytest.mark.parametrize("fault", JOBS.values(), ids=JOBS.keys())
def test_a_job_that_left_records_out_is_followed_by_another(
    sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any], sync: Sync
) -> None:
    crm = house(sandbox, tmp_path, BULK)
    sandbox.faults({"method": "PATCH", **fault})
    crm.create(sync, PARENTS)
    assert sandbox.acted()[0] > 0
    is_there_once(sandbox, PARENTS)


def test_a_job_that_is_nearly_done_is_looked_at_soon(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = house(sandbox, tmp_path, BULK, poll_seconds=1)
    far, near = ({"state": "InProgress", "numberRecordsProcessed": count} for count in (0, 449))
    look = {"method": "GET", "path": "jobs/ingest/75\\w+$", "status": 200}
    sandbox.faults({**look, "nth": [1, 2, 3], "body": far}, {**look, "nth": 4, "body": near})
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    crm.create(ACCOUNTS, PARENTS)
    assert [pause for pause in pauses if pause >= 0.5][:4] == [1, 1.5, 2.25, 1]


def test_a_job_that_fails_for_ever_leaves_unknown_records(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, BULK)
    sandbox.faults({"method": "PATCH", "fail_job": "InternalServerError : try again"})
    receipts = crm.write(ACCOUNTS, Operation.CREATE, [Record("p", None, {"Name": "P"})])
    assert receipts["p"].outcome is Outcome.UNKNOWN
    assert receipts["p"].code == "BULK_JOB_FAILED"
    assert "InternalServerError" in receipts["p"].message


def test_a_job_that_does_not_move_is_aborted(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, BULK, deadline_seconds=0.3)
    sandbox.faults({"method": "PATCH", "slow_job": 1.5, "times": 1})
    receipts = crm.write(ACCOUNTS, Operation.CREATE, [Record("p", None, {"Name": "P", "Order_Count__c": 1})])
    assert receipts["p"].outcome is Outcome.UNKNOWN
    assert receipts["p"].code == "BULK_JOB_STALLED"
    assert sandbox.query("SELECT Id FROM Account") == []


def test_a_job_on_an_unknown_field_names_it(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, BULK)
    sandbox.faults({"method": "PATCH", "fail_job": "InvalidBatch : Field name not found : Segment__c"})
    with pytest.raises(ConfigError, match="Field name not found : Segment__c"):
        crm.create(ACCOUNTS, {"p": {"Name": "P"}})


def test_an_unknown_field_is_told_before_anything_is_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    for up_to in (COLLECTIONS, BULK):
        crm = house(sandbox, tmp_path, up_to)
        slots = {name: getattr(ACCOUNTS, name) for name in Sync.__slots__}
        wrong = (MappedField("name", "Name", "varchar"), MappedField("value", "Lifetime_Value_c", "decimal(14,2)"))
        sync = Sync(**{**slots, "fields": wrong, "declared_in": "models/crm/_crm__models.yml"})
        with pytest.raises(ConfigError, match=r"_crm__models.yml.*'Lifetime_Value_c'; did you mean Lifetime_Value__c"):
            crm.create(sync, {"p": {"Name": "P"}})
    assert sandbox.requests("composite") == sandbox.requests("jobs") == 0


def test_the_rate_is_kept_over_all_threads(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, COLLECTIONS, requests_per_second=10)
    crm.create(ACCOUNTS, {"p": {"Name": "P"}})

    def push(thread: int) -> None:
        for number in range(4):
            crm.create(ACCOUNTS, {f"t{thread}-{number}": {"Name": "P"}})

    begun = time.monotonic()
    threads = [threading.Thread(target=push, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sandbox.requests("composite") == 17
    assert time.monotonic() - begun >= 1.5


def test_usage_counts_every_request_and_knows_the_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, COLLECTIONS)
    sandbox.faults({"path": "composite", "nth": 1, "status": 500})
    batch = crm.batch(ACCOUNTS, Operation.CREATE, [Record("p", None, {"Name": "P"})])

    async def work(connector: Any) -> Any:
        async for _ in connector.write(ACCOUNTS, batch):
            pass
        return connector.usage

    usage = crm.run(work)
    assert usage.requests == sandbox.stats()["requests"] == 4  # token, describe, write, write again
    assert usage.retries == 1
    assert usage.api_limit == 100_000
    assert usage.api_used == 2


def test_a_connector_that_was_not_opened_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(connect(sandbox.connection()).describe("Account"))


def test_no_file_is_left_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = house(sandbox, tmp_path, BULK)
    crm.create(ACCOUNTS, PARENTS)
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]
