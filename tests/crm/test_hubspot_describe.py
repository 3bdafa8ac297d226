"""What HubSpot tells of its object types, and mappings that do not fit them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.crm.base import Checks, Connector, ObjectInfo
from flows.errors import ConfigError
from flows.project import MappedField
from tests.crm.conftest import Sandbox
from tests.crm.contract import House
from tests.crm.test_contract import COMPANIES, PEOPLE, hubspot

INFO = "private-apps/get/access-token-info"
ALL = frozenset(
    f"crm.objects.{kind}.{verb}" for kind in ("companies", "contacts", "deals", "custom") for verb in ("read", "write")
)


def test_an_unknown_property_is_told_before_anything_is_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    wrong = replace(COMPANIES, fields=(MappedField("v", "lifetimevalue", "decimal(14,2)"),), declared_in="crm.yml")
    with pytest.raises(ConfigError, match=r"crm\.yml: crm_accounts: .* no property 'lifetimevalue'; did you"):
        crm.create(wrong, {"a": {"lifetimevalue": 1}})
    assert sandbox.requests("batch") == 0
    slashed = replace(PEOPLE, fields=(MappedField("a", "lastname", "varchar", False, "s", "companies", "external_id"),))
    with pytest.raises(ConfigError, match=r"contacts\.lastname is no association"):
        crm.create(slashed, {"a": {"lastname": "x"}})


def test_what_describe_tells(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    contacts = crm.run(lambda connector: connector.describe("contacts")).fields
    assert contacts["email"].external_id
    assert contacts["external_id"].external_id
    assert not contacts["lastname"].external_id
    assert not contacts["hs_object_id"].createable
    companies = crm.run(lambda connector: connector.describe("companies")).fields
    assert companies["segment"].picklist == (
        *("Champions", "Loyal", "Promising", "New", "At Risk", "Hibernating", "Lost"),
    )
    assert "companies: Parent Company" in companies
    assert companies["companies: Parent Company"].references == ("companies",)
    shipments = crm.run(lambda connector: connector.describe("2-40000001")).fields
    assert (shipments["services"].type, shipments["services"].picklist) == (
        *("multipicklist", ("express", "insured", "signed")),
    )
    assert (shipments["carrier"].type, shipments["is_fragile"].picklist) == ("enumeration", None)
    # A misspelt property is no association.
    assert "lifetime_valu" not in companies
    with pytest.raises(KeyError):
        companies["lifetime_valu"]


def rights(info: ObjectInfo) -> tuple[bool, bool, bool, str]:
    return info.createable, info.updateable, info.deletable, info.lacks


def described(crm: House, kind: str) -> ObjectInfo:
    return crm.run(lambda connector: connector.describe(kind))


@pytest.mark.parametrize("paths", ["v3", "2026-03"])
def test_what_the_private_app_may_write(make_sandbox: Callable[..., Sandbox], tmp_path: Path, paths: str) -> None:
    missing = {"crm.objects.companies.write", "crm.objects.custom.write"}
    sandbox = make_sandbox(hubspot_scopes=ALL - missing)
    crm = hubspot(sandbox, tmp_path, paths=paths)
    kinds = ("companies", "contacts", "deals", "2-40000001")
    with ThreadPoolExecutor(4) as threads:
        found = dict(zip(kinds, threads.map(lambda kind: described(crm, kind), kinds), strict=True))
    assert rights(found["companies"]) == (False, False, False, "crm.objects.companies.write")
    assert rights(found["2-40000001"]) == (False, False, False, "crm.objects.custom.write")
    assert rights(found["contacts"]) == rights(found["deals"]) == (True, True, True, "")
    assert sandbox.requests(INFO) == 1


def test_what_the_private_app_may_read(make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = make_sandbox(hubspot_scopes=ALL - {"crm.objects.companies.read"})
    crm = hubspot(sandbox, tmp_path)

    async def wrong(connector: Connector) -> list[str]:
        assert isinstance(connector, Checks)
        return [*await connector.mismatches(COMPANIES), *await connector.mismatches(PEOPLE)]

    # To read companies back, and to find the people's companies.
    told = "this login may not read companies records: it lacks crm.objects.companies.read"
    assert crm.run(wrong) == [told, told]
    assert rights(described(crm, "companies")) == (True, True, True, "")
    assert sandbox.requests(INFO) == 1
    with pytest.raises(ConfigError, match=r"lacks a scope for .*batch/read: .*\(crm\.objects\.companies\.read\)"):
        crm.read(COMPANIES, {"a": "1"})


UNKNOWN: dict[str, dict[str, Any]] = {
    "no such path": {"status": 404},
    "not for this token": {"status": 400},
    "a token of another kind": {"status": 401},
    "forbidden": {"status": 403},
    "out of order": {"status": 500},
    "a page": {"status": 200, "body": "<html>Hello</html>"},
    "no scopes": {"status": 200, "body": {"hubId": 1}},
    "not one scope": {"status": 200, "body": {"scopes": []}},
    "odd scopes": {"status": 200, "body": {"scopes": "all"}},
    "scopes of former days": {"status": 200, "body": {"scopes": ["contacts", "oauth"]}},
}


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_where_the_scopes_are_not_told_nothing_is_claimed(
    sandbox: Sandbox, tmp_path: Path, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.crm.hubspot.scopes.PATIENCE", 0.5)
    crm = hubspot(sandbox, tmp_path)
    sandbox.faults({"path": INFO, **answer})
    for kind in ("companies", "contacts"):
        assert rights(described(crm, kind)) == (True, True, True, "")
    [asked] = sandbox.acted()
    assert asked == 1 or answer["status"] == 500
    crm.create(COMPANIES, {"a": {"name": "A"}})
    assert sandbox.acted() == [asked]


def test_object_types_whose_scope_is_not_known_are_not_judged(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = make_sandbox(hubspot_scopes=frozenset(("crm.objects.owners.read",)))
    crm = hubspot(sandbox, tmp_path)
    assert rights(described(crm, "company")) == (True, True, True, "")
    assert sandbox.requests(INFO) == 0
