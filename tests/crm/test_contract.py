"""The contract suite, for each connector and each of its ways to write."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flows.project import Guard, MappedField, Sync
from tests.crm.conftest import Sandbox
from tests.crm.contract import Contract, Fields, House

ACCOUNTS = Sync(
    name="crm_accounts",
    relation='"crm"."crm_accounts"',
    crm="main",
    object="Account",
    external_id_column="account_id",
    external_id_field="External_Id__c",
    mode="mirror",
    guard=Guard(),
    fields=(
        MappedField("name", "Name", "varchar"),
        MappedField("about", "Description", "varchar"),
        MappedField("country", "BillingCountry", "varchar"),
        MappedField("lifetime_value", "Lifetime_Value__c", "decimal(14,2)"),
        MappedField("order_count", "Order_Count__c", "bigint"),
        MappedField("first_order_date", "First_Order_Date__c", "date"),
        MappedField("vat_number", "Vat_Number__c", "varchar"),
        MappedField("channels", "Channels__c", "varchar[]"),
        MappedField("notes", "Notes__c", "varchar"),
        MappedField("parent_id", "ParentId", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
    ),
)
CONTACTS = Sync(
    name="crm_contacts",
    relation='"crm"."crm_contacts"',
    crm="main",
    object="Contact",
    external_id_column="contact_id",
    external_id_field="External_Id__c",
    mode="mirror",
    guard=Guard(),
    fields=(
        MappedField("last_name", "LastName", "varchar"),
        MappedField("consent_at", "Consent_At__c", "timestamp"),
        MappedField("opted_out", "HasOptedOutOfEmail", "boolean"),
        MappedField("account_id", "AccountId", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
    ),
    level=1,
)
OPPORTUNITIES = replace(
    CONTACTS,
    name="crm_opportunities",
    object="Opportunity",
    external_id_column="opportunity_id",
    fields=(
        MappedField("name", "Name", "varchar"),
        MappedField("stage", "StageName", "varchar"),
        MappedField("closed_on", "CloseDate", "date"),
        MappedField("account_id", "AccountId", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
        MappedField("partner_id", "Partner_Account__c", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
    ),
)
FIELDS = Fields(
    parent_name="Name",
    child_name="LastName",
    text="Description",
    short=("BillingCountry", 80),
    money="Lifetime_Value__c",
    number="Order_Count__c",
    day="First_Order_Date__c",
    moment="Consent_At__c",
    flag="HasOptedOutOfEmail",
    lookup="AccountId",
    unique="Vat_Number__c",
    several=("Channels__c", ("Shop", "Web", "Phone")),
    long="Notes__c",
    self="ParentId",
    pair=("AccountId", "Partner_Account__c"),
    pair_values={"Name": "O", "StageName": "Closed Won", "CloseDate": date(2011, 2, 3)},
)


COMPANIES = replace(
    ACCOUNTS,
    object="companies",
    external_id_field="external_id",
    fields=(
        MappedField("name", "name", "varchar"),
        MappedField("about", "description", "varchar"),
        MappedField("country", "country", "varchar"),
        MappedField("lifetime_value", "lifetime_value", "decimal(14,2)"),
        MappedField("order_count", "order_count", "bigint"),
        MappedField("first_order_date", "first_order_date", "date"),
    ),
)
PEOPLE = replace(
    CONTACTS,
    object="contacts",
    external_id_field="external_id",
    fields=(
        MappedField("last_name", "lastname", "varchar"),
        MappedField("email", "email", "varchar"),
        MappedField("consent_at", "consent_at", "timestamp"),
        MappedField("opted_out", "opted_out", "boolean"),
        MappedField("account_id", "companies", "varchar", False, "crm_accounts", "companies", "external_id"),
    ),
)
PROPERTIES = Fields(
    parent_name="name",
    child_name="lastname",
    text="description",
    short=("country", 65_536),
    money="lifetime_value",
    number="order_count",
    day="first_order_date",
    moment="consent_at",
    flag="opted_out",
    lookup="companies",
    required=False,
    scale=None,
)


def salesforce(sandbox: Sandbox, folder: Path, collections_up_to: int) -> House:
    """A Salesforce org that takes everything by Collections, or everything by Bulk."""

    def over_limits() -> list[str]:
        return [
            f"{route}: {seen['max_records']} records in a request"
            for route, seen in sandbox.stats()["routes"].items()
            if "composite" in route and seen["max_records"] > 200
        ]

    return House(
        connection=sandbox.connection(collections_up_to=collections_up_to),
        unhurried=sandbox.connection(collections_up_to=collections_up_to, poll_seconds=0.25),
        pairs=OPPORTUNITIES,
        parents=ACCOUNTS,
        children=CONTACTS,
        fields=FIELDS,
        folder=folder,
        count=lambda name: len(sandbox.query(f"SELECT Id FROM {name}")),
        requests=lambda: int(sandbox.stats()["requests"]),
        over_limits=over_limits,
    )


class TestSalesforceByCollections(Contract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        return salesforce(sandbox, tmp_path, 1_000_000)


class TestSalesforceByBulk(Contract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        return salesforce(sandbox, tmp_path, 0)


def hubspot(sandbox: Sandbox, folder: Path, **changes: Any) -> House:
    """A HubSpot account, with the one property that the suite needs beside those that the sandbox has."""

    def over_limits() -> list[str]:
        return [
            f"{route}: {seen['max_records']} records in a request"
            for route, seen in sandbox.stats()["routes"].items()
            if ("/objects/" in route and seen["max_records"] > 100) or seen["max_records"] > 2000
        ]

    opted_out = {
        "name": "opted_out",
        "label": "Opted out",
        "groupName": "contactinformation",
        "type": "bool",
        "fieldType": "booleancheckbox",
        "options": [{"label": v, "value": v, "hidden": False, "displayOrder": 0} for v in ("true", "false")],
    }
    sandbox.crm("POST", "v3/properties/contacts", opted_out)
    before = int(sandbox.stats()["requests"])
    return House(
        connection=sandbox.hubspot(**changes),
        parents=COMPANIES,
        children=PEOPLE,
        fields=PROPERTIES,
        folder=folder,
        count=lambda name: len(sandbox.records(name)),
        requests=lambda: int(sandbox.stats()["requests"]) - before,
        over_limits=over_limits,
        cannot={
            "unique": "this account has no second unique property",
            "several": "this account has no property of several values",
            "long": "this account has no property that takes more",
            "self": "associations of an object type with itself need a type",
            "pairs": "two associations with one object type need a type",
        },
    )


class TestHubSpot(Contract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        return hubspot(sandbox, tmp_path)


class TestHubSpotByDatedPaths(Contract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        return hubspot(sandbox, tmp_path, paths="2026-03")
