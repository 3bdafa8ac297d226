"""What Salesforce's refusals tell beside the error: a record that is gone, and the record that is there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml

from flows.crm.salesforce.client import refusal
from flows.crm.salesforce.refusals import full_id, other_id
from flows.records import Operation, Outcome, Receipt, Record
from flows.sandbox import org
from flows.sandbox.ids import make_ids
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import ACCOUNTS, CONTACTS, salesforce

WAYS = pytest.mark.parametrize("up_to", [1_000_000, 0], ids=["collections", "bulk"])
PEOPLE = replace(CONTACTS, fields=(*CONTACTS.fields, replace(CONTACTS.fields[0], column="email", crm_field="Email")))


def strict(make_sandbox: Callable[..., Sandbox], folder: Path) -> Sandbox:
    """A sandbox whose administrator switched the rule on that lets no two contacts have one address."""
    objects = yaml.safe_load(org.BUILT_IN.read_text(encoding="utf-8"))
    objects["Contact"]["duplicate_rules"]["Contact_Email"]["active"] = True
    path = folder / "org.yml"
    path.write_text(yaml.safe_dump(objects), encoding="utf-8")
    return make_sandbox(org=path)


def person(key: str, email: str, crm_id: str | None = None) -> Record:
    return Record(key, crm_id, {"LastName": key, "Email": email, "AccountId": None})


def outcomes(receipts: dict[str, Receipt]) -> dict[str, tuple[str, str, str | None]]:
    return {key: (str(r.outcome), r.code, r.other_id) for key, r in receipts.items()}


@WAYS
def test_a_duplicate_rule_names_the_other_record(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, up_to: int
) -> None:
    house = salesforce(strict(make_sandbox, tmp_path), tmp_path, up_to)
    ids = house.create(PEOPLE, {key: {"LastName": key, "Email": f"{key}@x.org"} for key in ("a", "b")})
    sent = [person("c/1 #", "A@x.org"), person("d", "d@x.org")]
    assert outcomes(house.write(PEOPLE, Operation.CREATE, sent)) == {
        "c/1 #": ("rejected", "DUPLICATES_DETECTED", ids["a"]),
        "d": ("applied", "", None),
    }
    changed = house.write(
        PEOPLE, Operation.UPDATE, [person("b", "a@x.org", ids["b"]), person("a", "a@x.org", ids["a"])]
    )
    assert outcomes(changed) == {
        "b": ("rejected", "DUPLICATES_DETECTED", ids["a"]),
        "a": ("applied", "", None),
    }
    assert house.count("Contact") == 3


@WAYS
def test_only_so_many_duplicates_are_asked_for_alone(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.crm.salesforce.refusals.ALONE", 3)
    sandbox = strict(make_sandbox, tmp_path)
    house = salesforce(sandbox, tmp_path, up_to)
    ids = house.create(PEOPLE, {"a": {"LastName": "A", "Email": "a@x.org"}})
    receipts = house.write(PEOPLE, Operation.CREATE, [person(f"d{i}", "a@x.org") for i in range(250)])
    assert {r.code for r in receipts.values()} == {"DUPLICATES_DETECTED"}
    assert sorted(r.other_id or "" for r in receipts.values())[-4:] == ["", *[ids["a"]] * 3]
    assert sandbox.requests("PATCH /services/data/v{version}/sobjects") == 3


@WAYS
def test_a_record_that_is_taken_when_it_comes_alone_is_written(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    house = salesforce(sandbox, tmp_path, up_to)
    sandbox.faults({"path": "composite|jobs/ingest/", "reject": {"code": "DUPLICATES_DETECTED", "message": "no"}})
    receipt = house.write(PEOPLE, Operation.CREATE, [person("a", "a@x.org")])["a"]
    (there,) = sandbox.query("SELECT Id FROM Contact")
    assert (receipt.outcome, receipt.crm_id, receipt.created) == (Outcome.APPLIED, there["Id"], True)
    receipt = house.write(PEOPLE, Operation.UPDATE, [person("a", "b@x.org", receipt.crm_id)])["a"]
    assert (receipt.outcome, receipt.crm_id) == (Outcome.APPLIED, there["Id"])
    assert sandbox.query("SELECT Email FROM Contact")[0]["Email"] == "b@x.org"


@WAYS
def test_no_answer_to_a_record_alone_leaves_it_unknown(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    house = salesforce(sandbox, tmp_path, up_to)
    house.connection = sandbox.connection(collections_up_to=up_to, deadline_seconds=1)
    house.create(PEOPLE, {"z": {"LastName": "Z"}})
    sandbox.faults(
        {"path": "composite|jobs/ingest/", "reject": {"code": "DUPLICATES_DETECTED", "message": "no"}},
        {"path": "/sobjects/Contact/External_Id__c", "status": 503, "after": True},
    )
    receipt = house.write(PEOPLE, Operation.CREATE, [person("a", "a@x.org")])["a"]
    assert (receipt.outcome, receipt.code) == (Outcome.UNKNOWN, "NO_ANSWER")


@WAYS
def test_an_external_id_that_several_records_have(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, up_to: int
) -> None:
    objects = yaml.safe_load(org.BUILT_IN.read_text(encoding="utf-8"))
    objects["Account"]["fields"]["External_Id__c"]["unique"] = False
    (tmp_path / "org.yml").write_text(yaml.safe_dump(objects), encoding="utf-8")
    sandbox = make_sandbox(org=tmp_path / "org.yml")
    house = salesforce(sandbox, tmp_path, up_to)
    ids = [sandbox.salesforce("POST", "sobjects/Account", {"Name": "N", "External_Id__c": "k"})["id"] for _ in range(2)]
    receipt = house.write(ACCOUNTS, Operation.CREATE, [Record("k", None, {"Name": "New"})])["k"]
    assert (receipt.outcome, receipt.code) == (Outcome.REJECTED, "DUPLICATE_EXTERNAL_ID")
    assert receipt.other_id in ids


def test_several_matches_of_a_record_alone() -> None:
    urls = [f"/services/data/v62.0/sobjects/Account/{key}" for key in make_ids("001", 1, 2)]
    refused = refusal(httpx.Response(300, json=urls))
    assert (refused.code, refused.other_id) == ("DUPLICATE_EXTERNAL_ID", make_ids("001", 1, 1)[0])


@WAYS
@pytest.mark.parametrize("operation", [Operation.UPDATE, Operation.ARCHIVE])
def test_a_record_that_was_removed_for_good_is_gone(
    sandbox: Sandbox, tmp_path: Path, up_to: int, operation: Operation
) -> None:
    house = salesforce(sandbox, tmp_path, up_to)
    ids = house.create(ACCOUNTS, {key: {"Name": key} for key in ("a", "b")})
    ids["a"] = make_ids("001", 999_999, 1)[0]
    receipts = house.write(ACCOUNTS, operation, [Record(key, ids[key], {"Name": "new"}) for key in ids])
    assert {k: (str(r.outcome), r.code, r.gone) for k, r in receipts.items()} == {
        "a": ("rejected", "INVALID_CROSS_REFERENCE_KEY", True),
        "b": ("applied", "", False),
    }


@WAYS
def test_a_record_that_is_found_gone_when_it_comes_alone(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    house = salesforce(sandbox, tmp_path, up_to)
    sandbox.faults({"path": "composite|jobs/ingest/", "reject": {"code": "DUPLICATES_DETECTED", "message": "no"}})
    missing = make_ids("001", 999_999, 1)[0]
    receipt = house.write(ACCOUNTS, Operation.UPDATE, [Record("a", missing, {"Name": "A"})])["a"]
    assert (receipt.outcome, receipt.code, receipt.gone) == (Outcome.REJECTED, "NOT_FOUND", True)


@WAYS
@pytest.mark.parametrize("code", ["ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"])
def test_a_record_that_is_there_is_not_gone_whatever_the_refusal_says(
    sandbox: Sandbox, tmp_path: Path, up_to: int, code: str
) -> None:
    house = salesforce(sandbox, tmp_path, up_to)
    ids = house.create(ACCOUNTS, {"a": {"Name": "A"}})
    # So a trigger speaks that stumbled over another record.
    sandbox.faults({"path": "composite|jobs/ingest/", "reject": {"code": code, "message": "entity is deleted"}})
    receipt = house.write(ACCOUNTS, Operation.UPDATE, [Record("a", ids["a"], {"Name": "B"})])["a"]
    assert (receipt.outcome, receipt.code, receipt.gone) == (Outcome.REJECTED, code, False)


@WAYS
def test_where_salesforce_cannot_be_asked_nothing_is_said(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    house = salesforce(sandbox, tmp_path, up_to)
    ids = house.create(ACCOUNTS, {"a": {"Name": "A"}})
    house.write(ACCOUNTS, Operation.ARCHIVE, [Record("a", ids["a"])])
    sandbox.faults({"path": "/query", "status": 403, "body": [{"errorCode": "FORBIDDEN", "message": "no"}]})
    receipt = house.write(ACCOUNTS, Operation.UPDATE, [Record("a", ids["a"], {"Name": "B"})])["a"]
    assert (receipt.outcome, receipt.code, receipt.gone) == (Outcome.REJECTED, "ENTITY_IS_DELETED", False)


@pytest.mark.parametrize("key", make_ids("001", 61 * 62**3 + 12_345, 40))
def test_short_ids_become_long_ones(key: str) -> None:
    assert full_id(key[:15]) == key
    assert full_id(key) == key
    message = f"duplicate value found: Vat_Number__c duplicates value on record with id: {key[:15]}"
    assert other_id(message) == key


@pytest.mark.parametrize(
    "message",
    [
        "duplicate value found: <unknown> duplicates value on record with id: <unknown>",
        "Duplicate external id specified: 001000000000001",
        "",
    ],
)
def test_a_message_without_an_id(message: str) -> None:
    assert other_id(message) is None
