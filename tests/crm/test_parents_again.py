"""A parent leaves the model and comes back, in both dialects: the CRM's new record gets its children again.

In Salesforce by a lookup with which nothing is deleted: an account that has opportunities of its own stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from flows.project import Connection, Guard, MappedField, Sync
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed
from tests.crm.test_contract import ACCOUNTS, COMPANIES, OPPORTUNITIES, PEOPLE

MODELS = """
    create or replace table parents as from (values ('p', 'P'), ('q', 'Q')) t(id, name);
    create or replace table children as select *, 'Prospecting' as stage, date '2030-01-01' as closed_on
        from (values ('child', 'Child', 'p'), ('other', 'Other', 'q')) t(id, name, parent)
"""


def syncs(parents: Sync, children: Sync, name: str, *fields: MappedField) -> list[Sync]:
    common = {"external_id_column": "id", "guard": Guard(max_archives=None)}
    *others, lookup = fields
    fields = (*others, replace(lookup, column="parent"))
    return [
        replace(parents, relation='"main"."parents"', fields=(MappedField("name", name, "varchar"),), **common),
        replace(children, relation='"main"."children"', fields=fields, level=1, **common),
    ]


SALESFORCE = syncs(ACCOUNTS, OPPORTUNITIES, "Name", *(f for f in OPPORTUNITIES.fields if f.crm_field != "AccountId"))
LASTNAME = MappedField("name", "lastname", "varchar")
HUBSPOT = syncs(COMPANIES, PEOPLE, "name", LASTNAME, next(f for f in PEOPLE.fields if f.parent))


class Nights:
    """Nights of one CRM."""

    def __init__(self, db: Warehouse, folder: Path, connection: Connection, declared: Sequence[Sync]) -> None:
        self.db, self.folder, self.connection, self.syncs, self.runs = db, folder, connection, declared, count(1)

    def night(self) -> list[tuple[int, int, int]]:
        """Plan, push and merge; returns creates, updates and archives of each sync."""
        made = planned(self.db, f"run-{next(self.runs):04d}", self.syncs, self.connection, self.folder)
        merged = pushed(self.db, made, self.syncs, self.connection)
        assert sum(done.applied for done in merged.values()) == made.operations
        return [(sync.creates, sync.updates, sync.archives) for sync in made.syncs]


def parent_in_salesforce(sandbox: Sandbox) -> str | None:
    lookups = "Partner_Account__c, Partner_Account__r.External_Id__c"
    [child] = sandbox.query(f"SELECT {lookups} FROM Opportunity WHERE External_Id__c = 'child'")
    [parent] = sandbox.query("SELECT Id FROM Account WHERE External_Id__c = 'p'")
    led = child["Partner_Account__c"] == parent["Id"]
    return str(child["Partner_Account__r"]["External_Id__c"]) if led else None


def parent_in_hubspot(sandbox: Sandbox) -> str | None:
    key = HUBSPOT[0].external_id_field
    parents = {r["id"]: r["properties"][key] for r in sandbox.records("companies", key)}
    [child] = [r["id"] for r in sandbox.records("contacts", "lastname") if r["properties"]["lastname"] == "Child"]
    found = sandbox.crm("GET", f"v4/objects/contacts/{child}/associations/companies")["results"]
    return next((parents.get(str(one["toObjectId"])) for one in found), None)


@pytest.mark.parametrize("dialect", ["salesforce", "hubspot"])
def test_a_parent_that_comes_back_gets_its_children(sandbox: Sandbox, tmp_path: Path, dialect: str) -> None:
    is_salesforce = dialect == "salesforce"
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as db:
        connection = sandbox.connection() if is_salesforce else sandbox.hubspot()
        nights = Nights(db, tmp_path, connection, SALESFORCE if is_salesforce else HUBSPOT)
        parent = parent_in_salesforce if is_salesforce else parent_in_hubspot
        db.execute(MODELS)
        assert nights.night() == [(2, 0, 0), (2, 0, 0)]
        assert parent(sandbox) == "p"
        db.execute("delete from parents where id = 'p'")
        assert nights.night() == [(0, 0, 1), (0, 0, 0)]
        assert nights.night() == [(0, 0, 0), (0, 0, 0)]
        db.execute("insert into parents values ('p', 'P')")
        assert nights.night() == [(1, 0, 0), (0, 1, 0)]
        assert parent(sandbox) == "p"
        assert nights.night() == [(0, 0, 0), (0, 0, 0)]
