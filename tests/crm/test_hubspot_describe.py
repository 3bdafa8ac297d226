"""What HubSpot tells of its object types, and mappings that do not fit them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.errors import ConfigError
from flows.project import MappedField
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import COMPANIES, PEOPLE, hubspot


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
