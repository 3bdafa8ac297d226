"""After adopting, the first plan holds no update for a value that the CRM merely keeps in a form of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flows import ledger, plan
from flows.project import Connection, MappedField, Sync
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed
from tests.syncs import sync

PARENT = ("crm_parents", "Account", "External_Id__c")
SALESFORCE = (
    sync(
        "crm_parents",
        "Account",
        "id",
        (MappedField("name", "Name", "varchar"), MappedField("sold_by", "Channels__c", "varchar")),
    ),
    sync(
        "crm_children",
        "Contact",
        "id",
        (
            MappedField("name", "LastName", "varchar"),
            MappedField("title", "Title", "varchar"),
            MappedField("at", "Consent_At__c", "timestamp"),
            MappedField("zoned", "Consent_At__c", "timestamp with time zone"),
            MappedField("parent", "AccountId", "varchar", False, *PARENT),
        ),
        level=1,
    ),
    sync(
        "crm_lists",
        "Account",
        "id",
        (MappedField("name", "Name", "varchar"), MappedField("list", "Channels__c", "varchar[]")),
    ),
)
HUBSPOT = (
    sync(
        "crm_parents",
        "companies",
        "id",
        (MappedField("name", "name", "varchar"), MappedField("domain", "domain", "varchar")),
        external_id_field="external_id",
    ),
    sync(
        "crm_children",
        "contacts",
        "id",
        (
            MappedField("name", "lastname", "varchar"),
            MappedField("email", "email", "varchar", pii=True),
            MappedField("phone", "own_phone", "varchar"),
            MappedField("text", "own_choices", "varchar"),
            MappedField("list", "own_others", "varchar[]"),
            MappedField("at", "consent_at", "timestamp"),
        ),
        external_id_field="external_id",
        level=1,
    ),
)
MODELS = """
    create schema crm;
    create table crm.crm_parents as select id, ' Näme ' || id || chr(10) as name, 'Web;Shop' as sold_by,
        'Shop-' || id || '.COM' as domain
        from (values ('p1'), ('P2')) t(id);
    create table crm.crm_children as select id, 'Child ' || id as name, '' as title,
        'Mixed.' || id || '@X.org' as email, '+44 (0)20 7946 ' || id as phone, 'b;a' as text, ['b', 'a', 'b'] as list,
        parent, timestamp '2011-12-09 12:50:01.987654' as at, timestamptz '2011-12-09 12:50:01.987654+01:00' as zoned
        from (values ('1', 'P1'), ('2', 'p2'), ('3', null)) t(id, parent);
    create table crm.crm_lists as select 'l' || id as id, 'List' as name, list
        from (values ('1', ['Web', 'Shop', 'Web']), ('2', [])) t(id, list);
"""


@dataclass
class Org:
    """A CRM that holds what an earlier ledger, which is lost, had sent there."""

    db: Warehouse
    folder: Path
    connection: Connection
    syncs: tuple[Sync, ...]

    @property
    def crm(self) -> plan.Crm:
        return plan.crm_of({"main": self.connection})

    def night(self, run: str, *syncs: Sync) -> plan.Plan:
        made = planned(self.db, run, syncs, self.connection, self.folder)
        pushed(self.db, made, syncs, self.connection)
        return made

    def lose_the_ledger(self) -> None:
        for wanted in self.syncs:
            self.db.execute(f"drop table {ledger.relation(wanted.name)}")

    def adopt(self, *syncs: Sync) -> None:
        found = plan.adopt(self.db, "adopt", syncs, self.crm)
        assert all(one.found == one.wanted > 0 for one in found.values())


@pytest.fixture(params=["salesforce", "salesforce's zones", "hubspot"])
def crm(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Org:
    kind, zones = request.param.partition("'")[::2]
    connection: Connection = sandbox.connection() if kind == "salesforce" else sandbox.hubspot()
    syncs = SALESFORCE if kind == "salesforce" else HUBSPOT
    if kind == "salesforce":
        left_out = "at" if zones else "zoned"
        syncs = tuple(replace(s, fields=tuple(f for f in s.fields if f.column != left_out)) for s in syncs)
    else:
        sandbox.make_property("contacts", "own_phone", "phone_number", "phonenumber")
        for name in ("own_choices", "own_others"):
            sandbox.make_property("contacts", name, "enumeration", "checkbox", options=("a", "b", "c"))
    db = request.getfixturevalue("db")
    org = Org(db, tmp_path, connection, syncs)
    assert org.night("first", *syncs).operations == sum(db.scalar(f"select count(*) from {s.relation}") for s in syncs)
    assert org.night("second", *syncs).operations == 0
    org.lose_the_ledger()
    return org


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as warehouse:
        warehouse.execute(MODELS)
        yield warehouse


def test_what_we_sent_ourselves_is_no_difference(crm: Org) -> None:
    crm.adopt(*crm.syncs)
    made = crm.night("after", *crm.syncs)
    assert {one.sync: dict(one.fields) for one in made.syncs if one.operations} == {}
    crm.db.execute("update crm.crm_parents set name = upper(name)")
    for column in ("at", "zoned"):
        crm.db.execute(f'update crm.crm_children set "{column}" = "{column}" + interval 1 millisecond')
    made = crm.night("changed", *crm.syncs)
    assert [one.updates for one in made.syncs[:2]] == [2, 3], "capitals and milliseconds count where the CRM keeps them"


@pytest.mark.parametrize("policy", ["if_empty", "if_unchanged"])
def test_it_is_nobodys_edit_either(crm: Org, policy: str) -> None:
    careful = [replace(s, fields=tuple(replace(f, policy=policy) for f in s.fields)) for s in crm.syncs]
    crm.adopt(*careful)
    for run in ("after", "later"):
        made = crm.night(run, *careful)
        assert {one.sync: (one.operations, dict(one.kept)) for one in made.syncs if one.operations or one.kept} == {}
    assert made.requests == 0, "what the CRM was found to hold is not asked for again"


def test_update_only_has_nothing_to_update(crm: Org) -> None:
    made = crm.night("after", *(replace(s, mode="update_only") for s in crm.syncs))
    assert {one.sync: (dict(one.fields), one.unmatched) for one in made.syncs if one.operations or one.unmatched} == {}
