"""The contract suite, for each connector and each of its ways to write."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flows.errors import ConfigError
from flows.project import MappedField, Sync
from tests.crm.conftest import Sandbox
from tests.crm.contract import Contract, Fields, House
from tests.syncs import sync

ACCOUNTS = sync(
    "crm_accounts",
    "Account",
    "account_id",
    (
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
CONTACTS = sync(
    "crm_contacts",
    "Contact",
    "contact_id",
    (
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
DEALS = replace(OPPORTUNITIES, object="deals", external_id_field="external_id", fields=())
SHIPMENTS = replace(
    ACCOUNTS,
    object="2-40000001",
    external_id_field="tracking_number",
    fields=(
        MappedField("name", "reference", "varchar"),
        MappedField("about", "note", "varchar"),
        MappedField("country", "city", "varchar"),
        MappedField("lifetime_value", "cost", "decimal(14,2)"),
        MappedField("order_count", "parcels", "bigint"),
        MappedField("first_order_date", "due_date", "date"),
    ),
)
VISITS = replace(
    CONTACTS,
    object="2-40000002",
    external_id_field="external_id",
    fields=(
        MappedField("last_name", "subject", "varchar"),
        MappedField("consent_at", "visited_at", "timestamp"),
        MappedField("opted_out", "was_announced", "boolean"),
        MappedField("account_id", "2-40000001", "varchar", False, "crm_accounts", "2-40000001", "tracking_number"),
    ),
)
CUSTOM = Fields(
    parent_name="reference",
    child_name="subject",
    text="note",
    short=("city", 65_536),
    money="cost",
    number="parcels",
    day="due_date",
    moment="visited_at",
    flag="was_announced",
    lookup="2-40000001",
    required=False,
    scale=None,
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
        unhurried=sandbox.connection(collections_up_to=collections_up_to, poll_seconds=0.5),
        pairs=OPPORTUNITIES,
        parents=ACCOUNTS,
        children=CONTACTS,
        fields=FIELDS,
        folder=folder,
        count=lambda name: len(sandbox.query(f"SELECT Id FROM {name}")),
        requests=sandbox.reckoned,
        over_limits=over_limits,
        batch_limit=lambda count: 2_000 if count <= collections_up_to else 100_000,
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

    sandbox.make_property("contacts", "opted_out", "bool", "booleancheckbox", options=("true", "false"))
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
        batch_limit=lambda count: 5_000,
    )


def association(column: str, parent: Sync, label: str | int) -> MappedField:
    """A lookup with an association's type, as the project makes it."""
    field = f"{parent.object}: {label}"
    return MappedField(column, field, "varchar", False, parent.name, parent.object, parent.external_id_field, label)


def with_more(sandbox: Sandbox, house: House, pairs: Sync, title: str) -> House:
    """A HubSpot account with what the suite asks of the parents, and labels for lookups.

    Args:
        sandbox: the account.
        house: the account as it is.
        pairs: a sync of the object that gets two lookups to the parents, without fields.
        title: a text of these.
    """
    kind, fields = house.parents.object, house.fields
    sandbox.make_property(kind, "vat_number", "string", "text", unique=True)
    sandbox.make_property(kind, "channels", "enumeration", "checkbox", options=("shop", "web", "phone"))
    sandbox.make_label(kind, kind, "Superior", "Inferior")
    for label in ("Buyer", "Payer"):
        sandbox.make_label(pairs.object, kind, label)
    above = association("parent_id", house.parents, "Superior")
    two = [association(label.lower(), house.parents, label) for label in ("Buyer", "Payer")]
    more = (
        MappedField("vat_number", "vat_number", "varchar"),
        MappedField("channels", "channels", "varchar[]"),
        above,
    )
    before = house.requests()
    requests = house.requests
    return replace(
        house,
        parents=replace(house.parents, fields=(*house.parents.fields, *more)),
        pairs=replace(pairs, fields=(MappedField("name", title, "varchar"), *two)),
        requests=lambda: requests() - before,
        fields=replace(
            fields,
            unique="vat_number",
            several=("channels", ("shop", "web", "phone")),
            long=fields.text,
            self=above.crm_field,
            pair=(two[0].crm_field, two[1].crm_field),
            pair_values={title: "O"},
        ),
    )


class HubSpotContract(Contract):
    def test_the_requests_that_were_forecast_are_what_it_took(self, house: House) -> None:
        # With a lookup, every record is taken to have a parent of its own: tests/crm/test_hubspot_requests.py.
        house.parents = replace(house.parents, fields=tuple(f for f in house.parents.fields if f.parent is None))
        super().test_the_requests_that_were_forecast_are_what_it_took(house)


class TestHubSpot(HubSpotContract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        return with_more(sandbox, hubspot(sandbox, tmp_path), DEALS, "dealname")


class TestHubSpotByDatedPaths(HubSpotContract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        return with_more(sandbox, hubspot(sandbox, tmp_path, paths="2026-03"), DEALS, "dealname")


class TestHubSpotCustomObjects(HubSpotContract):
    @pytest.fixture
    def house(self, sandbox: Sandbox, tmp_path: Path) -> House:
        custom = replace(hubspot(sandbox, tmp_path), parents=SHIPMENTS, children=VISITS, fields=CUSTOM)
        return with_more(sandbox, custom, VISITS, "subject")

    def test_an_unknown_object_is_a_mistake_in_the_configuration(self, house: House) -> None:
        # Numbers that look alike mean nothing, so none is proposed.
        with pytest.raises(ConfigError, match="has no object type '2-7'; it says"):
            house.run(lambda connector: connector.describe("2-7"))
