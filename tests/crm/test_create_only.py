"""A sync that only creates, on both CRMs: what a person has made there before is looked for, and left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.project import Connection, MappedField, Sync
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed
from tests.syncs import sync

ACCOUNTS = sync(
    "crm_accounts",
    "Account",
    "account_id",
    (MappedField("name", "Name", "varchar"),),
    relation='"main"."accounts"',
    mode="create_only",
    declared_in="models/crm/_crm__models.yml",
)
COMPANIES = replace(
    ACCOUNTS, object="companies", external_id_field="key", fields=(MappedField("name", "name", "varchar"),)
)


def prepared(sandbox: Sandbox, kind: str) -> tuple[Connection, Sync]:
    """A CRM in which a person has made the record p."""
    if kind == "salesforce":
        sandbox.salesforce("POST", "sobjects/Account", {"Name": "Theirs", "External_Id__c": "p"})
        return sandbox.connection(), ACCOUNTS
    sandbox.make_property("companies", "key", "string", "text", unique=True)
    sandbox.crm("POST", "v3/objects/companies", {"properties": {"name": "Theirs", "key": "p"}})
    return sandbox.hubspot(), COMPANIES


def held(sandbox: Sandbox, kind: str) -> dict[str, str]:
    if kind == "salesforce":
        return {r["External_Id__c"]: r["Name"] for r in sandbox.query("SELECT External_Id__c, Name FROM Account")}
    found = [record["properties"] for record in sandbox.records("companies", "key", "name")]
    return {properties["key"]: properties["name"] for properties in found}


@pytest.mark.parametrize("kind", ["salesforce", "hubspot"])
def test_create_only_never_writes_over_what_a_person_made(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    connection, sync = prepared(sandbox, kind)

    def night(db: Warehouse, run_id: str) -> tuple[int, int]:
        made = planned(db, run_id, [sync], connection, tmp_path)
        pushed(db, made, [sync], connection)
        return made.operations, made.requests

    with Warehouse.open(tmp_path / "warehouse.duckdb") as db:
        db.execute("create table accounts as from (values ('p', 'Ours'), ('n', 'New')) t(account_id, name)")
        assert night(db, "n1")[0] == 1
        assert held(sandbox, kind) == {"p": "Theirs", "n": "New"}
        db.execute("update accounts set name = 'Edited'")
        assert night(db, "n2") == (0, 0), "what is known is not looked for again"
    assert held(sandbox, kind) == {"p": "Theirs", "n": "New"}
