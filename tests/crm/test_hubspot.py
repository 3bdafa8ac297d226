"""HubSpot misbehaves in every way that it knows: nothing is lost or doubled, and every record has its answer."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flows.crm import connect
from flows.errors import ConfigError, PushError
from flows.project import MappedField
from flows.records import Operation, Outcome, Receipt, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import COMPANIES, PEOPLE, hubspot

PARENTS: dict[str, dict[str, Value]] = {f"p{i}": {"name": f"Parent {i}", "order_count": i} for i in range(450)}
TEXTS = tuple(MappedField(name, name, "varchar") for name in ("name", "segment", "order_count", "first_order_date"))
WRITES = "batch/(upsert|update|archive)"


def held(sandbox: Sandbox) -> dict[str, str]:
    """External id -> order count of all companies; each is there once."""
    found = [r["properties"] for r in sandbox.records("companies", "external_id", "order_count")]
    assert max(Counter(p["external_id"] for p in found).values(), default=1) == 1
    return {p["external_id"]: p["order_count"] for p in found}


FAULTS: dict[str, dict[str, Any]] = {
    "429 with Retry-After": {"every": 2, "times": 6, "status": 429, "headers": {"Retry-After": "0"}},
    "429 rolling": {
        "nth": [2, 3],
        "status": 429,
        "headers": {"X-HubSpot-RateLimit-Interval-Milliseconds": "50"},
        "body": {"status": "error", "message": "no", "policyName": "TEN_SECONDLY_ROLLING", "errorType": "RATE_LIMIT"},
    },
    "500 before": {"nth": [2, 4], "status": 500},
    "500 after": {"nth": [2, 3, 5], "status": 500, "after": True},
    "502 with a page of HTML": {"nth": 3, "status": 502, "body": "<html>Bad gateway</html>"},
    "dropped before": {"nth": [2, 4], "drop": "before"},
    "dropped after": {"nth": [2, 3, 5], "drop": "after"},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_passing_fault_loses_nothing_and_doubles_nothing(
    sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any]
) -> None:
    crm = hubspot(sandbox, tmp_path)
    sandbox.faults({"path": WRITES, **fault})
    ids = crm.create(COMPANIES, PARENTS)
    assert sandbox.acted()[0] > 0
    assert held(sandbox) == {key: str(values["order_count"]) for key, values in PARENTS.items()}

    sandbox.faults({"path": WRITES, **fault})
    receipts = crm.write(COMPANIES, Operation.UPDATE, [Record(key, ids[key], {"order_count": 1}) for key in PARENTS])
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    assert held(sandbox) == dict.fromkeys(PARENTS, "1")

    sandbox.faults({"path": "batch/read", **fault})
    assert len(crm.read(COMPANIES, ids)) == len(ids)

    sandbox.faults({"path": WRITES, **fault})
    receipts = crm.write(COMPANIES, Operation.ARCHIVE, [Record(key, ids[key]) for key in PARENTS])
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    assert held(sandbox) == {}


def test_a_limit_by_the_second_is_waited_for(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    body = {"message": "You have reached your secondly limit.", "policyName": "SECONDLY"}
    sandbox.faults({"path": WRITES, "nth": 1, "status": 429, "body": body})
    begun = time.monotonic()
    crm.create(COMPANIES, {"a": {"name": "A"}})
    assert time.monotonic() - begun >= 1.0


def test_a_day_without_requests_left_is_told_and_not_retried(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = make_sandbox(throttle="real", hubspot_daily_requests=4)
    crm = hubspot(sandbox, tmp_path)  # takes one
    records = [Record(f"p{i}", None, {"name": "P"}) for i in range(2_000)]
    receipts = crm.write_until(r"requests of the day are used up: .*daily limit", COMPANIES, Operation.CREATE, records)
    assert len(receipts) == 200
    assert {r.outcome for r in receipts} == {Outcome.APPLIED}
    assert sandbox.requests("batch/upsert") <= 2 + 8


def test_the_rate_is_used_up_and_never_gone_over(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.crm.hubspot.client.WINDOW_SECONDS", 0.5)
    sandbox = make_sandbox(throttle="real", hubspot_requests=20, hubspot_seconds=0.5)
    crm = hubspot(sandbox, tmp_path, requests_per_10_seconds=20)
    usages: list[Any] = []

    def push(thread: int) -> None:
        batch = crm.batch(
            COMPANIES, Operation.CREATE, [Record(f"{thread}-{i}", None, {"name": "P"}) for i in range(50)]
        )

        async def work(connector: Any) -> None:
            for _ in range(30):
                async for _receipts in connector.write(COMPANIES, batch):
                    pass
            usages.append(connector.usage)

        crm.run(work)

    begun = time.monotonic()
    threads = [threading.Thread(target=push, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    taken = time.monotonic() - begun
    assert sum(usage.requests for usage in usages) == 121  # and one describe
    assert [usage.retries for usage in usages] == [0] * 4
    assert sandbox.stats()["hubspot_requests"]["refused"] == 0
    assert 2.5 <= taken < 15  # six windows and a beginning; on a busy machine the rate is not what holds it up


REJECTS: dict[str, tuple[dict[str, Any], tuple[str, str, tuple[str, ...]]]] = {
    "option": ({"segment": "Gold"}, ("INVALID_OPTION", "Gold", ("segment",))),
    "number": ({"order_count": "many"}, ("INVALID_NUMBER", "many", ("order_count",))),
    "date": ({"first_order_date": "yesterday"}, ("INVALID_DATE", "yesterday", ("first_order_date",))),
}


@pytest.mark.parametrize(("values", "told"), REJECTS.values(), ids=REJECTS.keys())
@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.UPDATE])
def test_a_refused_value_tells_code_message_and_field(
    sandbox: Sandbox,
    tmp_path: Path,
    values: dict[str, Any],
    told: tuple[str, str, tuple[str, ...]],
    operation: Operation,
) -> None:
    sync = replace(COMPANIES, fields=TEXTS)
    crm = hubspot(sandbox, tmp_path)
    ids: dict[str, str | None] = dict.fromkeys(PARENTS)
    if operation is Operation.UPDATE:
        ids |= crm.create(sync, {key: {"name": "P"} for key in PARENTS})
    records = [Record(key, ids[key], {"name": "Q", **(values if key == "p7" else {})}) for key in PARENTS]
    receipts = crm.write(sync, operation, records)
    refused = [r for r in receipts.values() if r.outcome is not Outcome.APPLIED]
    code, text, fields = told
    assert [(r.external_id, r.outcome, r.code, r.fields) for r in refused] == [("p7", Outcome.REJECTED, code, fields)]
    assert text in refused[0].message


def test_a_duplicate_names_the_other_record(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(PEOPLE, {"a": {"lastname": "A", "email": "a@example.com"}})
    twin: dict[str, Value] = {"lastname": "B", "email": "A@Example.com"}
    receipts = crm.write(PEOPLE, Operation.CREATE, [Record("b", None, twin), Record("c", None, {"lastname": "C"})])
    assert receipts["c"].outcome is Outcome.APPLIED
    assert receipts["b"].code == "CONFLICT"
    assert receipts["b"].other_id == ids["a"]
    assert not receipts["b"].gone


@pytest.mark.parametrize("value", ["t-1", "7 already has that value. 8"])
def test_a_unique_value_that_another_record_has_names_that_record(sandbox: Sandbox, tmp_path: Path, value: str) -> None:
    shipments = replace(
        COMPANIES,
        object="2-40000001",
        external_id_field="tracking_number",
        fields=(MappedField("reference", "reference", "varchar"), MappedField("number", "own_number", "varchar")),
    )
    sandbox.make_property("shipments", "own_number", "string", "text", unique=True)
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(shipments, {"a": {"own_number": value}, "b": {"own_number": "other"}})
    twins = [Record("c", None, {"own_number": value}), Record("d", None, {"own_number": "d"})]
    receipts = crm.write(shipments, Operation.CREATE, twins)
    assert (receipts["c"].code, receipts["c"].other_id) == ("CONFLICTING_UNIQUE_VALUE", ids["a"])
    assert receipts["d"].outcome is Outcome.APPLIED
    receipts = crm.write(shipments, Operation.UPDATE, [Record("b", ids["b"], {"own_number": value})])
    assert (receipts["b"].fields, receipts["b"].other_id) == (("own_number",), ids["a"])


def test_a_record_that_somebody_deleted_is_gone(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(COMPANIES, PARENTS)
    for key in ("p3", "p200"):
        sandbox.crm("DELETE", f"v3/objects/companies/{ids[key]}")
    records = [Record(key, crm_id, {"name": "new"}) for key, crm_id in ids.items()]
    records.append(Record("wrong", ids["p5"], {"order_count": "many"}))
    receipts = crm.write(replace(COMPANIES, fields=TEXTS), Operation.UPDATE, records[:-1])
    gone = {key for key, receipt in receipts.items() if receipt.outcome is not Outcome.APPLIED}
    assert gone == {"p3", "p200"}
    assert {(receipts[key].gone, receipts[key].code) for key in gone} == {(True, "OBJECT_NOT_FOUND")}
    # Alone, and beside a record that is refused for another reason.
    receipts = crm.write(COMPANIES, Operation.UPDATE, [Record("p3", ids["p3"], {"name": "new"})])
    assert receipts["p3"].gone
    receipts = crm.write(replace(COMPANIES, fields=TEXTS), Operation.UPDATE, [records[3], records[-1]])
    assert {key: receipt.gone for key, receipt in receipts.items()} == {"p3": True, "wrong": False}


def test_what_is_not_found_for_another_reason_is_not_gone(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(COMPANIES, {"a": {"name": "A"}})
    body = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "resource not found"}
    sandbox.faults({"path": "batch/update", "status": 404, "body": body})
    receipt = crm.write(COMPANIES, Operation.UPDATE, [Record("a", ids["a"], {"name": "B"})])["a"]
    assert (receipt.outcome, receipt.code, receipt.gone) == (Outcome.REJECTED, "OBJECT_NOT_FOUND", False)


@pytest.mark.parametrize("operation", [Operation.UPDATE, Operation.ARCHIVE])
def test_a_batch_refused_as_a_whole_is_cut_until_the_bad_record_is_alone(
    sandbox: Sandbox, tmp_path: Path, operation: Operation
) -> None:
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(COMPANIES, PARENTS)
    # HubSpot refuses all of a batch that names one record twice.
    twin = Record("twin", ids["p0"], {"name": "twin"})
    records = [twin, *(Record(key, crm_id, {"name": "new"}) for key, crm_id in ids.items())]
    path = f"batch/{operation}"
    body = {"status": "error", "category": "VALIDATION_ERROR", "message": "Duplicate IDs found in batch input"}
    sandbox.faults({"path": path, "times": 3, "status": 400, "body": body})
    receipts = crm.write(COMPANIES, operation, records)
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    assert sandbox.requests(path) > 5


def test_the_last_refusal_of_a_lone_record_is_its_receipt(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    body = {"status": "error", "category": "CONFLICT", "message": "Contact already exists. Existing ID: 17"}
    sandbox.faults({"path": "batch/upsert", "status": 409, "body": body})
    receipts = crm.write(COMPANIES, Operation.CREATE, [Record(f"p{i}", None, {"name": "P"}) for i in range(5)])
    assert {(r.outcome, r.code, r.message) for r in receipts.values()} == {
        (Outcome.REJECTED, "CONFLICT", "Contact already exists. Existing ID: 17")
    }


def test_an_answer_that_leaves_records_out_is_asked_for_again(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    moment = "2026-01-01T00:00:00.000Z"
    nothing = {"status": "COMPLETE", "results": [], "startedAt": moment, "completedAt": moment}
    sandbox.faults({"path": "batch/upsert", "nth": 1, "status": 200, "body": nothing})
    crm.create(COMPANIES, PARENTS)
    assert len(held(sandbox)) == len(PARENTS)
    sandbox.faults({"path": "batch/upsert", "status": 200, "body": nothing})
    receipts = crm.write(COMPANIES, Operation.CREATE, [Record(k, None, v) for k, v in list(PARENTS.items())[:3]])
    assert {(r.outcome, r.code) for r in receipts.values()} == {(Outcome.REJECTED, "NO_RESULT")}


def test_only_what_an_answer_left_out_is_asked_for_again(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    result = {"id": "17", "objectWriteTraceId": "n0", "new": True, "properties": {}}
    sandbox.faults({"path": "batch/upsert", "nth": 1, "status": 200, "body": {"results": [result]}})
    ids = crm.create(COMPANIES, {key: {"name": key} for key in ("a", "b", "c")})
    assert ids["a"] == "17"
    assert held(sandbox).keys() == {"b", "c"}
    assert sandbox.requests("batch/upsert") == 2


def test_errors_count_whatever_the_status(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    moment = "2026-01-01T00:00:00.000Z"
    error = {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": "No.",
        "context": {"objectWriteTraceId": ["n0"]},
        "errors": [],
        "links": {},
    }
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}
    sandbox.faults(
        {"path": "batch/upsert", "status": 200, "body": {**body, "startedAt": moment, "completedAt": moment}}
    )
    receipts = crm.write(COMPANIES, Operation.CREATE, [Record("a", None, {"name": "A"})])
    assert receipts["a"] == Receipt("a", Outcome.REJECTED, code="VALIDATION_ERROR", message="No.")


def test_without_an_answer_records_are_unknown_and_a_later_run_heals_it(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path, deadline_seconds=0.3)
    sandbox.faults({"path": "batch/upsert", "status": 500, "after": True})
    records = [Record(key, None, values) for key, values in list(PARENTS.items())[:90]]
    receipts = crm.write(COMPANIES, Operation.CREATE, records)
    assert {r.outcome for r in receipts.values()} == {Outcome.UNKNOWN}
    assert all(r.code and "HTTP 500" in r.message for r in receipts.values())
    sandbox.faults()
    healed = crm.write(COMPANIES, Operation.CREATE, records)
    assert {(r.outcome, r.created) for r in healed.values()} == {(Outcome.APPLIED, False)}
    assert len(held(sandbox)) == 90


def test_a_crm_that_went_silent_is_not_waited_for_again(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path, deadline_seconds=0.5)
    sandbox.faults({"path": "batch/upsert", "status": 500, "after": True})
    records = [Record(f"p{i}", None, {"name": "P"}) for i in range(5000)]
    begun = time.monotonic()
    receipts = crm.write_until(r"no answer .* HTTP 500", COMPANIES, Operation.CREATE, records)
    assert time.monotonic() - begun < 3
    assert {r.outcome for r in receipts} == {Outcome.UNKNOWN}
    assert len(receipts) == len(held(sandbox)) == 800


LOCKED = {"status": "error", "message": "Too much at once.", "category": "LOCKED"}


@pytest.mark.parametrize(
    "fault", [{"status": 429, "headers": {"Retry-After": "1.5"}}, {"status": 423, "body": LOCKED}], ids=["429", "423"]
)
def test_a_429_or_423_holds_up_all_requests(sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any]) -> None:
    crm = hubspot(sandbox, tmp_path)
    sandbox.faults({"path": "batch/upsert", "nth": 1, **fault})
    batch = crm.batch(COMPANIES, Operation.CREATE, [Record(f"p{i}", None, {"name": "P"}) for i in range(5000)])

    async def work(connector: Any) -> None:
        async for _ in connector.write(COMPANIES, batch):
            pass

    pushing = threading.Thread(target=lambda: crm.run(work))
    pushing.start()
    while not sandbox.requests("batch/upsert"):
        time.sleep(0.01)
    refused = time.monotonic()
    while pushing.is_alive() and sandbox.requests("batch/upsert") < 25:
        time.sleep(0.01)
    assert time.monotonic() - refused > 1.2, "others went on while one was to wait"
    pushing.join(30)
    assert sandbox.requests("batch/upsert") == 51


def test_what_was_not_sent_gets_no_receipt_and_what_was_keeps_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path, deadline_seconds=0.3)
    sandbox.faults({"path": "batch/upsert", "nth": [*range(5, 500)], "status": 429})
    records = [Record(f"p{i}", None, {"name": "P"}) for i in range(3000)]
    receipts = crm.write_until(r"no answer .* HTTP 429", COMPANIES, Operation.CREATE, records)
    assert len(receipts) == 400 == len(held(sandbox))
    assert {r.outcome for r in receipts} == {Outcome.APPLIED}


def test_a_crm_that_is_not_there_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    crm = hubspot(sandbox, tmp_path, url=url, deadline_seconds=0.3)
    with pytest.raises(PushError, match=rf"{url}.*no answer"):
        crm.create(COMPANIES, PARENTS)


LOGINS: dict[str, tuple[dict[str, Any], str]] = {
    "wrong token": ({"token": SecretStr("pat-secret-of-somebody")}, "refuses the token.*INVALID_AUTHENTICATION"),
    "no scheme": ({"url": "api.hubapi.com"}, "must begin with https://"),
    "no url": ({"url": "http://host:port"}, "not a URL"),
}


@pytest.mark.parametrize(("changes", "told"), LOGINS.values(), ids=LOGINS.keys())
def test_a_connection_that_is_wrong_is_told_without_the_token(
    sandbox: Sandbox, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    crm = hubspot(sandbox, tmp_path, **changes)
    with pytest.raises(ConfigError, match=told) as error:
        crm.create(COMPANIES, PARENTS)
    assert "pat-" not in str(error.value)


def test_a_missing_scope_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    body = {"status": "error", "category": "MISSING_SCOPES", "message": "This app lacks crm.objects.companies.write."}
    crm.create(PEOPLE, {"written": {"lastname": "W"}})
    sandbox.faults({"path": "batch/upsert", "status": 403, "body": body})
    with pytest.raises(ConfigError, match=r"lacks a scope for .*batch/upsert.*companies\.write") as error:
        crm.create(COMPANIES, {"a": {"name": "A"}})
    assert "Nothing was sent" not in str(error.value), "another object's records were, with the same token"


def test_the_scope_that_is_missing_is_told_by_its_name(make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    """HubSpot's message names none; its context does."""
    crm = hubspot(make_sandbox(hubspot_scopes=frozenset(("crm.objects.contacts.write",))), tmp_path)
    with pytest.raises(ConfigError, match=r"lacks a scope for .*batch/upsert: .*\(crm\.objects\.companies\.write\)"):
        crm.create(COMPANIES, {"a": {"name": "A"}})


def test_addresses_are_the_same_in_any_case_of_their_letters(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    sent: dict[str, Value] = {"lastname": "A", "email": "Mary.A@Example.com"}
    ids = crm.create(PEOPLE, {"a": sent})
    assert crm.read(PEOPLE, ids)["a"]["email"] == "mary.a@example.com"

    def read(values: dict[str, Value]) -> Value:
        async def work(connector: Any) -> Value:
            found = [r async for some in connector.read(PEOPLE, [Record("a", ids["a"], values)]) for r in some]
            value: Value = found[0].values["email"]
            return value

        return crm.run(work)

    assert read(sent) == sent["email"]
    assert read({"email": "john@example.com"}) == "mary.a@example.com"


def test_a_record_under_another_external_id_is_absent(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(COMPANIES, {"a": {"name": "A"}, "b": {"name": "B"}})
    sandbox.crm("PATCH", f"v3/objects/companies/{ids['a']}", {"properties": {"external_id": "other"}})
    assert crm.read(COMPANIES, ids).keys() == {"b"}


def test_an_address_may_be_the_external_id(sandbox: Sandbox, tmp_path: Path) -> None:
    sync = replace(PEOPLE, external_id_field="email", fields=PEOPLE.fields[:1])
    crm = hubspot(sandbox, tmp_path)
    key = "Mary.A@Example.com"
    ids = crm.create(sync, {key: {"lastname": "A"}})
    assert crm.create(sync, {key: {"lastname": "B"}}) == ids
    assert crm.read(sync, ids) == crm.read(sync, {key: None}) == {key: {"lastname": "B"}}


def test_a_day_is_a_midnight_and_a_time_of_day_shows(sandbox: Sandbox, tmp_path: Path) -> None:
    deals = replace(
        COMPANIES,
        object="deals",
        fields=(MappedField("name", "dealname", "varchar"), MappedField("closed", "closedate", "date")),
    )
    crm = hubspot(sandbox, tmp_path)
    ids = crm.create(deals, {"d": {"dealname": "D", "closedate": date(2011, 12, 9)}})
    assert sandbox.records("deals", "closedate")[0]["properties"]["closedate"] == "2011-12-09T00:00:00.000Z"
    assert crm.read(deals, ids)["d"]["closedate"] == date(2011, 12, 9)
    sandbox.crm("PATCH", f"v3/objects/deals/{ids['d']}", {"properties": {"closedate": "2011-12-09T13:00:00.000Z"}})
    assert crm.read(deals, ids)["d"]["closedate"] == "2011-12-09T13:00:00.000Z"


def test_usage_counts_every_request_and_knows_the_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    sandbox.faults({"path": "batch", "nth": 1, "status": 500})
    batch = crm.batch(COMPANIES, Operation.CREATE, [Record("p", None, {"name": "P"})])

    async def work(connector: Any) -> Any:
        async for _ in connector.write(COMPANIES, batch):
            pass
        return connector.usage

    usage = crm.run(work)
    assert (usage.requests, usage.retries) == (3, 1)  # describe, write, write again
    assert usage.api_limit == 650_000
    assert 0 < usage.api_used <= 4


def test_a_connector_that_was_not_opened_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(connect(sandbox.hubspot()).describe("companies"))
