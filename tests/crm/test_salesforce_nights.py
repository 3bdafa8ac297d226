"""Plan, push, merge and read back, with lists and with lookups to the object itself: the second night is quiet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.project import MappedField
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed, read
from tests.crm.test_contract import ACCOUNTS, OPPORTUNITIES
from tests.syncs import sync

COMPANIES = replace(
    ACCOUNTS,
    relation='"main"."accounts"',
    guard=ACCOUNTS.guard.model_copy(update={"max_archives": None, "max_changes": None}),
    fields=(
        MappedField("name", "Name", "varchar"),
        MappedField("channels", "Channels__c", "varchar[]"),
        MappedField("parent_id", "ParentId", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
    ),
)
DEALS = replace(OPPORTUNITIES, relation='"main"."deals"', guard=COMPANIES.guard)
MODELS = """
    create or replace table accounts as from (values
        ('group', 'Group', ['Web', 'Shop'], null), ('north', 'North', ['Phone'], 'group'),
        ('south', 'South', [], 'group'), ('lyon', 'Lyon #N/A', null, 'south')) t(account_id, name, channels, parent_id);
    create or replace table deals as from (values
        ('d1', '#N/A', 'Closed Won', date '2011-01-02', 'lyon', 'group'),
        ('d2', 'D2', 'Closed Won', date '2011-01-02', null, 'north')) t(opportunity_id, name, stage, closed_on,
        account_id, partner_id)
"""
CHANGES = """
    update accounts set channels = ['Fair', 'Phone'] where account_id = 'north';
    update accounts set channels = [] where account_id = 'group';
    update accounts set parent_id = 'north' where account_id = 'lyon';
    insert into accounts values ('oslo', 'Oslo', ['Shop'], 'paris'), ('paris', 'Paris', ['Shop'], 'south');
    update deals set account_id = 'oslo', partner_id = null where opportunity_id = 'd2';
    delete from deals where opportunity_id = 'd1'
"""


@pytest.mark.parametrize("up_to", [1_000_000, 0], ids=["collections", "bulk"])
def test_nights(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    connection = sandbox.connection(collections_up_to=up_to)
    syncs = [COMPANIES, DEALS]

    def night(db: Warehouse, run_id: str) -> int:
        made = planned(db, run_id, syncs, connection, tmp_path)
        assert made.held == ()
        pushed(db, made, syncs, connection)
        back = [(done.checked, done.mismatched) for done in read(made, syncs, connection)]
        assert back == [(batch.count, 0) for batch in made.batches]
        return made.operations

    with Warehouse.open(tmp_path / "warehouse.duckdb") as db:
        db.execute(MODELS)
        assert night(db, "n1") == 6
        assert night(db, "n2") == 0
        db.execute(CHANGES)
        assert night(db, "n3") == 7
        assert night(db, "n4") == 0
    names = "External_Id__c, Channels__c, Parent.External_Id__c"
    found = sandbox.query(f"SELECT {names} FROM Account ORDER BY External_Id__c")
    assert [(r["External_Id__c"], r["Channels__c"], (r["Parent"] or {}).get("External_Id__c")) for r in found] == [
        ("group", None, None),
        ("lyon", None, "north"),
        ("north", "Phone;Fair", "group"),
        ("oslo", "Shop", "paris"),
        ("paris", "Shop", "south"),
        ("south", None, "group"),
    ]


@pytest.mark.parametrize("up_to", [1_000_000, 0], ids=["collections", "bulk"])
def test_blanks_around_an_external_id_make_no_other_record(sandbox: Sandbox, tmp_path: Path, up_to: int) -> None:
    connection = sandbox.connection(collections_up_to=up_to)
    sandbox.salesforce("POST", "sobjects/Account", {"External_Id__c": "theirs", "Name": "Theirs"})
    fields = [
        MappedField("name", "Name", "varchar"),
        MappedField("parent", "ParentId", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
    ]
    accounts = sync("crm_accounts", "Account", "id", fields, mode="create_only")
    with Warehouse.open(tmp_path / "warehouse.duckdb") as db:
        db.execute("create schema crm")
        db.execute(
            "create table crm.crm_accounts as "
            "from (values (' theirs ', 'N', null), (' ours', 'N', ' theirs')) t(id, name, parent)"
        )
        made = planned(db, "n1", [accounts], connection, tmp_path)
        pushed(db, made, [accounts], connection)
        assert made.syncs[0].creates == 1
        assert sum(done.mismatched for done in read(made, [accounts], connection)) == 0
    found = sandbox.query("SELECT Name, External_Id__c FROM Account ORDER BY External_Id__c")
    assert [(r["Name"], r["External_Id__c"]) for r in found] == [("N", "ours"), ("Theirs", "theirs")]


def test_a_record_whose_external_id_loses_its_blanks_is_not_archived(sandbox: Sandbox, tmp_path: Path) -> None:
    connection = sandbox.connection()
    accounts = sync("crm_accounts", "Account", "id", [MappedField("name", "Name", "varchar")])
    with Warehouse.open(tmp_path / "warehouse.duckdb") as db:
        db.execute("create schema crm; create table crm.crm_accounts as select ' a ' as id, 'A' as name")
        pushed(db, planned(db, "n1", [accounts], connection, tmp_path), [accounts], connection)
        db.execute("update crm.crm_accounts set id = trim(id), name = 'B'")
        made = planned(db, "n2", [accounts], connection, tmp_path)
        pushed(db, made, [accounts], connection)
        assert (made.syncs[0].creates, made.syncs[0].updates, made.syncs[0].archives) == (0, 1, 0)
    assert [r["Name"] for r in sandbox.query("SELECT Name FROM Account")] == ["B"]


@pytest.mark.parametrize("up_to", [1_000_000, 0], ids=["collections", "bulk"])
def test_what_salesforce_cuts_off_or_sorts_is_no_difference_and_nobodys_edit(
    sandbox: Sandbox, tmp_path: Path, up_to: int
) -> None:
    connection = sandbox.connection(collections_up_to=up_to)
    names = {"name": "Name", "about": "Description", "sold_by": "Channels__c"}
    fields = [MappedField(column, field, "varchar", policy="if_unchanged") for column, field in names.items()]
    accounts = sync("crm_accounts", "Account", "id", fields)

    with Warehouse.open(tmp_path / "warehouse.duckdb") as db:
        db.execute("create schema crm")
        db.execute(
            "create table crm.crm_accounts as "
            "from (values ('a', ' A ', chr(9), 'Web;Shop'), ('b', 'B', 'x' || chr(10), null)) "
            "t(id, name, about, sold_by)"
        )
        for run_id in ("n1", "n2"):
            made = planned(db, run_id, [accounts], connection, tmp_path)
            pushed(db, made, [accounts], connection)
            assert (made.operations, made.syncs[0].kept) == (2, {})
            assert [done.mismatched for done in read(made, [accounts], connection)] == [0]
            db.execute("update crm.crm_accounts set name = name || '2 ', about = about || '2 ', sold_by = 'Web;Fair'")
        found = sandbox.query("SELECT Name, Description, Channels__c FROM Account ORDER BY External_Id__c")
        assert [(r["Name"], r["Description"], r["Channels__c"]) for r in found] == [
            ("A 2", "2", "Web;Fair"), ("B2", "x\n2", "Web;Fair")
        ]  # fmt: skip
