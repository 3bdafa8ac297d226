"""Nights with values that are easily bent on their way: they arrive, read back as sent, and people's edits are seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows import plan
from flows.project import Connection, MappedField, Sync
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed, read
from tests.syncs import sync

PROPERTIES = {
    "BillingPostalCode": ("note_a", "string", "text"),
    "BillingCity": ("note_b", "string", "text"),
    "BillingState": ("note_c", "string", "text"),
    "AccountNumber": ("note_d", "string", "text"),
    "Description": ("note_e", "string", "text"),
    "Notes__c": ("note_f", "number", "number"),
    "Lifetime_Value__c": ("money", "number", "number"),
    "Channels__c": ("channels", "enumeration", "checkbox"),
}
"""Salesforce's field -> the property that HubSpot is given for it, its type and its field type."""


@dataclass
class Org:
    """A CRM, and one sync to it."""

    sandbox: Sandbox
    connection: Connection
    db: Warehouse
    folder: Path
    is_hubspot: bool
    runs: int = 0

    def accounts(self, *fields: MappedField) -> Sync:
        """A sync of these fields of Salesforce; where it is to HubSpot, of the properties that stand for them."""
        if not self.is_hubspot:
            return sync(
                "crm_accounts", "Account", "id", (MappedField("name", "Name", "varchar"), *fields), mode="upsert"
            )
        told = []
        for field in fields:
            name, type_, field_type = PROPERTIES[field.crm_field]
            options = ("Shop", "Web", "Phone") if type_ == "enumeration" else ()
            self.sandbox.make_property("companies", name, type_, field_type, options=options)
            told.append(MappedField(field.column, name, field.type, policy=field.policy))
        properties = (MappedField("name", "name", "varchar"), *told)
        return sync("crm_accounts", "companies", "id", properties, mode="upsert", external_id_field="external_id")

    def night(self, *syncs: Sync) -> plan.SyncPlan:
        """Plan, push and read back; nothing is refused, and everything reads back as it was sent."""
        self.runs += 1
        made = planned(self.db, f"run{self.runs}", syncs, self.connection, self.folder)
        merged = pushed(self.db, made, syncs, self.connection)
        assert sum(one.applied for one in merged.values()) == made.operations
        assert [back.mismatched for back in read(made, syncs, self.connection)] == [0] * len(made.batches)
        return made.syncs[-1]

    def edit(self, field: str, value: str) -> None:
        """A person changes a field of the account ``a``."""
        if self.is_hubspot:
            path = "v3/objects/companies/a?idProperty=external_id"
            self.sandbox.crm("PATCH", path, {"properties": {PROPERTIES[field][0]: value}})
        else:
            self.sandbox.salesforce("PATCH", "sobjects/Account/External_Id__c/a", {field: value})

    def held(self, field: str) -> Any:
        """What the CRM holds in a field of the account ``a``."""
        if self.is_hubspot:
            [record] = self.sandbox.records("companies", PROPERTIES[field][0])
            return record["properties"][PROPERTIES[field][0]] or None
        [row] = self.sandbox.query(f"SELECT {field} FROM Account")
        return row[field]


@pytest.fixture(params=["collections", "bulk", "hubspot"])
def org(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Any:
    is_hubspot = request.param == "hubspot"
    few = 0 if request.param == "bulk" else 2000
    connection = sandbox.hubspot() if is_hubspot else sandbox.connection(collections_up_to=few)
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as db:
        db.execute("create schema crm")
        yield Org(sandbox, connection, db, tmp_path, is_hubspot)


def model(org: Org, columns: str) -> None:
    org.db.execute(f"create or replace table crm.crm_accounts as select 'a' as id, 'A' as name, {columns}")


def test_what_is_no_text_goes_into_a_text(org: Org) -> None:
    accounts = org.accounts(
        MappedField("number", "AccountNumber", "integer"),
        MappedField("rate", "BillingPostalCode", "decimal(6,2)"),
        MappedField("day", "BillingCity", "date"),
        MappedField("known", "BillingState", "boolean"),
        MappedField("at", "Description", "timestamp"),
    )
    columns = "{} as number, 1.50::decimal(6,2) as rate, date '2020-01-02' as day, {} as known, {} as at"
    model(org, columns.format("12345", "true", "timestamp '2020-01-02 03:04:05'"))
    assert org.night(accounts).creates == 1
    names = ("AccountNumber", "BillingPostalCode", "BillingCity", "BillingState", "Description")
    found = [org.held(name) for name in names]
    assert found == ["12345", "1.50", "2020-01-02", "true", "2020-01-02T03:04:05.000Z"]
    model(org, columns.format("null::integer", "false", "null::timestamp"))
    assert org.night(accounts).updates == 1
    assert [org.held(name) for name in names] == [None, "1.50", "2020-01-02", "false", None]
    assert org.night(accounts).operations == 0


def test_a_day_goes_into_a_moment(org: Org, sandbox: Sandbox) -> None:
    name, at = ("lastname", "consent_at") if org.is_hubspot else ("LastName", "Consent_At__c")
    fields = (MappedField("name", name, "varchar"), MappedField("day", at, "date", policy="if_unchanged"))
    kind, key = ("contacts", "external_id") if org.is_hubspot else ("Contact", "External_Id__c")
    people = sync("crm_accounts", kind, "id", fields, mode="upsert", external_id_field=key)
    model(org, "date '2020-01-02' as day")
    assert org.night(people).creates == 1
    model(org, "date '2020-01-03' as day")
    assert org.night(people).updates == 1
    moment = "2020-01-03T10:00:00.000Z"
    if org.is_hubspot:
        sandbox.crm("PATCH", "v3/objects/contacts/a?idProperty=external_id", {"properties": {at: moment}})
    else:
        sandbox.salesforce("PATCH", "sobjects/Contact/External_Id__c/a", {at: moment})
    model(org, "date '2020-01-04' as day")
    assert (left := org.night(people)).operations == 0
    assert dict(left.kept) == {at: 1}, "a time of day is somebody's edit"


def test_a_list_is_sent_without_what_is_no_value(org: Org) -> None:
    """As DuckDB's list() gives it, which counts nulls in."""
    accounts = org.accounts(MappedField("channels", "Channels__c", "varchar[]"))
    model(org, "['Shop', null, ''] as channels")
    assert org.night(accounts).creates == 1
    assert org.held("Channels__c") == "Shop"
    assert org.night(accounts).operations == 0
    model(org, "[null]::varchar[] as channels")
    assert org.night(accounts).updates == 1
    assert org.held("Channels__c") is None


def test_several_values_in_a_text_are_the_same_in_any_order(org: Org) -> None:
    accounts = org.accounts(MappedField("channels", "Channels__c", "varchar", policy="if_unchanged"))
    model(org, "'Phone;Web' as channels")
    assert org.night(accounts).creates == 1
    if not org.is_hubspot:
        assert org.held("Channels__c") == "Web;Phone", "in the picklist's order"
    model(org, "'Phone;Shop' as channels")
    assert org.night(accounts).updates == 1, "nobody has edited it"
    org.edit("Channels__c", "Web")
    model(org, "'Shop' as channels")
    assert len(org.night(accounts).kept) == 1
    org.db.execute('drop table "sync"."ledger__crm_accounts"')
    model(org, "'Phone;Shop' as channels")
    org.edit("Channels__c", "Shop;Phone")
    plan.adopt(org.db, "adopting", [accounts], plan.crm_of({"main": org.connection}))
    assert org.night(accounts).operations == 0


def test_digits_that_a_column_has_no_room_for_are_somebodys(org: Org) -> None:
    accounts = org.accounts(MappedField("money", "Lifetime_Value__c", "decimal(14,1)", policy="if_unchanged"))
    model(org, "10.5::decimal(14,1) as money")
    org.night(accounts)
    org.edit("Lifetime_Value__c", "10.49")
    model(org, "11.5::decimal(14,1) as money")
    left = org.night(accounts)
    assert (left.operations, len(left.kept)) == (0, 1)
    assert float(org.held("Lifetime_Value__c")) == 10.49
    org.db.execute('drop table "sync"."ledger__crm_accounts"')
    model(org, "10.5::decimal(14,1) as money")
    accounts = replace(accounts, fields=tuple(replace(f, policy="always") for f in accounts.fields))
    plan.adopt(org.db, "adopting", [accounts], plan.crm_of({"main": org.connection}))
    assert org.night(accounts).updates == 1, "a true difference"
    assert float(org.held("Lifetime_Value__c")) == 10.5


def test_numbers_read_back_as_they_were_sent(org: Org) -> None:
    accounts = org.accounts(
        MappedField("wide", "Notes__c", "decimal(38,10)"), MappedField("single", "Lifetime_Value__c", "float")
    )
    model(org, "1234567890123456789012345678.1234567891::decimal(38,10) as wide, 0.1::float as single")
    assert org.night(accounts).creates == 1
    assert org.held("Notes__c") == "1234567890123456789012345678.1234567891"
    model(org, "-12345678901234567890.5::decimal(38,10) as wide, 3.3::float as single")
    assert org.night(accounts).updates == 1


def test_a_sync_of_keys_alone_is_adopted(org: Org) -> None:
    accounts = org.accounts()
    model(org, "null as nothing")
    org.night(accounts)
    org.db.execute('drop table "sync"."ledger__crm_accounts"')
    keys = replace(accounts, fields=())
    found = plan.adopt(org.db, "adopting", [keys], plan.crm_of({"main": org.connection}))
    assert found["crm_accounts"].found == 1
    assert org.night(keys).operations == 0


def test_an_empty_text_or_list_is_no_value_to_ignore_nulls(org: Org) -> None:
    declared = org.accounts(
        MappedField("city", "BillingCity", "varchar"), MappedField("channels", "Channels__c", "varchar[]")
    )
    accounts = replace(declared, fields=tuple(replace(f, nulls="ignore") for f in declared.fields))
    model(org, "'York' as city, ['Shop'] as channels")
    assert org.night(accounts).creates == 1
    model(org, "'' as city, []::varchar[] as channels")
    assert org.night(accounts).operations == 0
    assert (org.held("BillingCity"), org.held("Channels__c")) == ("York", "Shop")
    org.db.execute("update crm.crm_accounts set id = 'b'")
    org.night(accounts)
    assert org.night(accounts).operations == 0
