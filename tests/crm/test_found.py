"""A create that finds its record in the CRM: where the model has no value, the next plan empties what stands there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows import ledger, plan, returned
from flows.project import Connection, MappedField, Sync
from flows.reconcile import returned_file
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed, read
from tests.syncs import sync

PARENTS = sync("crm_parents", "Account", "id", (MappedField("name", "Name", "varchar"),))
CHILDREN = sync(
    "crm_children",
    "Contact",
    "id",
    (
        MappedField("name", "LastName", "varchar"),
        MappedField("title", "Title", "varchar"),
        MappedField("consent", "Consent_At__c", "timestamp"),
        MappedField("phone", "Phone", "varchar", policy="if_empty"),
        MappedField("email", "Email", "varchar", nulls="ignore"),
        MappedField("parent", "AccountId", "varchar", False, "crm_parents", "Account", "External_Id__c"),
    ),
    level=1,
)
IN_HUBSPOT = {
    **{"Name": "name", "LastName": "lastname", "Title": "jobtitle", "Consent_At__c": "consent_at"},
    **{"Phone": "phone", "Email": "email", "AccountId": "companies"},
}


def for_hubspot(declared: Sync) -> Sync:
    fields = tuple(
        replace(f, crm_field=IN_HUBSPOT[f.crm_field])
        if f.parent is None
        else replace(f, crm_field="companies", parent_object="companies", parent_external_id="external_id")
        for f in declared.fields
    )
    kind = {"Account": "companies", "Contact": "contacts"}[declared.object]
    return replace(declared, object=kind, external_id_field="external_id", fields=fields)


@dataclass
class Org:
    """A CRM that holds a contact whole, and what its nights send there."""

    db: Warehouse
    folder: Path
    connection: Connection
    syncs: tuple[Sync, ...]

    def night(self, run: str, meanwhile: Callable[[], object] = lambda: None) -> plan.SyncPlan:
        """Plan, push, merge and read back, with something between; returns the plan of the children."""
        made = planned(self.db, run, self.syncs, self.connection, self.folder)
        merged = pushed(self.db, made, self.syncs, self.connection)
        assert sum(one.applied for one in merged.values()) == made.operations
        meanwhile()
        read(made, self.syncs, self.connection)
        for wanted in self.syncs:
            batches = [batch.name for batch in made.batches if batch.sync == wanted.name]
            returned.keep(self.db, run, wanted, [returned_file(made.folder / "readback", name) for name in batches])
            returned.take_up(self.db, run, wanted)
        return made.syncs[-1]


@pytest.fixture(params=["collections", "bulk", "hubspot"])
def org(request: pytest.FixtureRequest, sandbox: Sandbox, db: Warehouse, tmp_path: Path) -> Org:
    syncs = (PARENTS, CHILDREN)
    if request.param == "hubspot":
        org = Org(db, tmp_path, sandbox.hubspot(), tuple(map(for_hubspot, syncs)))
    else:
        few = 0 if request.param == "bulk" else 2000
        org = Org(db, tmp_path, sandbox.connection(collections_up_to=few), syncs)
    db.execute("""
        alter table crm.crm_children rename to mine;
        create table crm.crm_children as select id, name, 'Boss' as title, timestamp '2011-12-09 12:50:01' as consent,
            '+44 20' as phone, id || '@x.org' as email, 'p' as parent from crm.mine where id <> 'new'
    """)
    assert org.night("theirs").creates == 2
    # Those were another one's nights, of which our ledger knows nothing.
    for wanted in org.syncs:
        db.execute(f"drop table {ledger.relation(wanted.name)}")
    db.execute("drop table crm.crm_children; alter table crm.mine rename to crm_children")
    return org


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as warehouse:
        warehouse.execute("""
            create schema crm;
            create table crm.crm_parents as select 'p' as id, 'Parent' as name;
            create table crm.crm_children as select id, 'Child ' || id as name, title, null::timestamp as consent,
                null::varchar as phone, null::varchar as email, null::varchar as parent
                from (values ('emptied', null), ('told', 'Clerk'), ('new', null)) t(id, title)
        """)
        yield warehouse


def held(org: Org, sandbox: Sandbox) -> dict[str, tuple[Any, ...]]:
    """The children's fields in the order of the model, by external id; a parent by its external id."""
    if org.syncs[-1].object == "Contact":
        names = "External_Id__c, Title, Consent_At__c, Phone, Email, Account.External_Id__c"
        rows = sandbox.query(f"SELECT {names} FROM Contact")
        return {
            row["External_Id__c"]: (
                *(row[name] for name in ("Title", "Consent_At__c", "Phone", "Email")),
                (row["Account"] or {}).get("External_Id__c"),
            )
            for row in rows
        }
    found = {}
    for record in sandbox.records("contacts", "external_id", "jobtitle", "consent_at", "phone", "email"):
        to = sandbox.crm("GET", f"v4/objects/contacts/{record['id']}/associations/companies")["results"]
        values = (record["properties"][name] or None for name in ("jobtitle", "consent_at", "phone", "email"))
        found[record["properties"]["external_id"]] = (*values, "p" if to else None)
    return found


def fill_in(org: Org, sandbox: Sandbox, key: str, title: str) -> None:
    """Give a record a title, as an automation of the CRM would."""
    if org.syncs[-1].object == "Contact":
        sandbox.salesforce("PATCH", f"sobjects/Contact/External_Id__c/{key}", {"Title": title})
    else:
        sandbox.crm("PATCH", f"v3/objects/contacts/{key}?idProperty=external_id", {"properties": {"jobtitle": title}})


def test_the_next_plan_empties_what_the_model_has_no_value_for(org: Org, sandbox: Sandbox) -> None:
    names = {f.column: f.crm_field for f in org.syncs[-1].fields}
    first = org.night("first", lambda: fill_in(org, sandbox, "new", "Trainee"))
    assert (first.creates, first.updates) == (3, 0)
    second = org.night("second")
    assert (second.creates, second.updates) == (0, 2)
    assert dict(second.fields) == {names["title"]: 1, names["consent"]: 2, names["parent"]: 2}
    gone = {(one.field, one.before, one.after) for one in second.samples}
    assert (names["parent"], "p", None) in gone, "people see what goes"
    found = held(org, sandbox)
    assert found["new"] == ("Trainee", None, None, None, None), "what the CRM fills in is its own"
    assert found["emptied"] == (None, None, "+44 20", "emptied@x.org", None), "as the policy and nulls: ignore say"
    assert found["told"] == ("Clerk", None, "+44 20", "told@x.org", None)
    assert org.night("third").operations == 0
