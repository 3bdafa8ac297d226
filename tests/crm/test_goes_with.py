"""Salesforce deletes other records with one: what people made there, or is wanted still, is never taken along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import plan
from flows.errors import PushError
from flows.plan import Plan, SyncPlan
from flows.project import Connection, MappedField, Sync
from flows.sandbox import org
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed
from tests.crm.test_contract import COMPANIES
from tests.syncs import sync

KEY = "External_Id__c"
ACCOUNTS = sync("crm_accounts", "Account", "id", [MappedField("name", "Name", "varchar")])
CONTACTS = sync(
    *("crm_contacts", "Contact", "id"),
    [
        MappedField("name", "LastName", "varchar"),
        MappedField("account", "AccountId", "varchar", False, "crm_accounts", "Account", KEY),
    ],
    level=1,
)
SYNCS = [ACCOUNTS, CONTACTS]
DEAL = {"Name": "Deal", "StageName": "Prospecting", "CloseDate": "2030-01-01"}


class Nights:
    """Nights of one warehouse over one CRM."""

    def __init__(self, db: Warehouse, folder: Path, connection: Connection, syncs: Sequence[Sync] = SYNCS) -> None:
        self.db, self.folder, self.connection, self.syncs, self.runs = db, folder, connection, syncs, count(1)
        db.execute("create schema crm; create table crm.crm_contacts (id varchar, name varchar, account varchar)")
        db.execute("create table crm.crm_accounts as select 'a' || i as id, 'A' as name from range(4) r(i)")

    def plan(self) -> Plan:
        return planned(self.db, f"n{next(self.runs)}", self.syncs, self.connection, self.folder)

    def push(self, made: Plan) -> Plan:
        assert plan.load(made.folder) == made
        merged = pushed(self.db, made, self.syncs, self.connection)
        assert sum(done.applied for done in merged.values()) == made.operations
        return made

    def night(self) -> SyncPlan:
        """A whole night; returns what it did with the accounts."""
        return self.push(self.plan()).syncs[0]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Nights]]:
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as db:
        yield lambda connection, syncs=SYNCS: Nights(db, tmp_path, connection, syncs)


Start = Callable[..., Nights]


def keys(sandbox: Sandbox, kind: str) -> list[str]:
    return sorted(row[KEY] for row in sandbox.query(f"SELECT {KEY} FROM {kind}"))


def make(sandbox: Sandbox, kind: str, account: str, **values: object) -> str:
    """A person makes a record at an account."""
    body = {"AccountId": crm_id(sandbox, account), KEY: f"{account}-{kind}", **values}
    return str(sandbox.salesforce("POST", f"sobjects/{kind}", body)["id"])


def crm_id(sandbox: Sandbox, account: str) -> str:
    [row] = sandbox.query(f"SELECT Id FROM Account WHERE {KEY} = '{account}'")
    return str(row["Id"])


@pytest.mark.parametrize("up_to", [1_000_000, 0], ids=["collections", "bulk"])
def test_an_account_stays_while_it_has_what_the_plan_does_not_archive(
    sandbox: Sandbox, start: Start, up_to: int
) -> None:
    nights = start(sandbox.connection(collections_up_to=up_to))
    nights.db.execute("insert into crm.crm_contacts values ('c0', 'C', 'a0'), ('c1', 'C', 'a1'), ('c3', 'C', 'a3')")
    nights.night()
    contact = make(sandbox, "Contact", "a1", LastName="Theirs")
    deal = make(sandbox, "Opportunity", "a1", **DEAL)
    nights.db.execute("delete from crm.crm_accounts where id < 'a3'; delete from crm.crm_contacts where id < 'c3'")

    accounts = nights.night()

    assert (accounts.archives, accounts.withheld, accounts.attached) == (2, 1, {"Contact": 1, "Opportunity": 1})
    assert accounts.such_as == ("a1",)
    assert keys(sandbox, "Account") == ["a1", "a3"]
    assert keys(sandbox, "Contact") == ["a1-Contact", "c3"], "our own contact of it is archived"
    assert nights.night() == replace(accounts, archives=0, unchanged=2, samples=(), batches=())

    sandbox.salesforce("DELETE", f"sobjects/Contact/{contact}")
    sandbox.salesforce("PATCH", f"sobjects/Opportunity/{deal}", {"AccountId": crm_id(sandbox, "a3")})
    done = nights.night()
    assert (done.archives, done.withheld, done.attached) == (1, 0, {})
    assert (keys(sandbox, "Account"), keys(sandbox, "Opportunity")) == (["a3"], ["a1-Opportunity"])


def test_what_the_model_still_wants_keeps_its_account(sandbox: Sandbox, start: Start) -> None:
    nights = start(sandbox.connection())
    nights.db.execute("insert into crm.crm_contacts values ('stays', 'C', 'a0'), ('moves', 'C', 'a1')")
    nights.night()
    nights.db.execute("delete from crm.crm_accounts where id < 'a2'")
    nights.db.execute("update crm.crm_contacts set account = 'a2' where id = 'moves'")
    assert (nights.night().withheld, nights.night().archives) == (2, 1), "what moves away has moved by the next night"
    assert (keys(sandbox, "Account"), keys(sandbox, "Contact")) == (["a0", "a2", "a3"], ["moves", "stays"])


def test_a_revert_takes_along_nothing_either(sandbox: Sandbox, start: Start) -> None:
    nights = start(sandbox.connection())
    first = nights.push(nights.plan())
    make(sandbox, "Contact", "a1", LastName="Theirs")
    crm = plan.crm_of({"main": nights.connection})
    made = nights.push(plan.revert(nights.db, "back", SYNCS, nights.folder / "back", crm, of=first.run_id))
    assert (made.syncs[0].archives, made.syncs[0].attached) == (3, {"Contact": 1})
    assert (keys(sandbox, "Account"), keys(sandbox, "Contact")) == (["a1"], ["a1-Contact"])


def test_a_record_that_may_have_been_written_is_looked_up_first(sandbox: Sandbox, start: Start) -> None:
    nights = start(sandbox.connection(deadline_seconds=1))
    sandbox.faults({"method": "PATCH", "path": "composite/sobjects", "drop": "after"})
    made = nights.plan()
    assert pushed(nights.db, made, SYNCS, nights.connection)["crm_accounts"].unknown == 4
    sandbox.faults()
    make(sandbox, "Contact", "a1", LastName="Theirs")
    nights.db.execute("delete from crm.crm_accounts where id < 'a3'")
    accounts = nights.night()
    assert (accounts.archives, accounts.attached) == (2, {"Contact": 1})
    assert (keys(sandbox, "Account"), keys(sandbox, "Contact")) == (["a1", "a3"], ["a1-Contact"])


def test_only_a_plan_that_archives_asks(sandbox: Sandbox, start: Start) -> None:
    nights = start(sandbox.connection())
    assert nights.push(nights.plan()).requests == 0
    nights.db.execute("update crm.crm_accounts set name = 'B'")
    assert nights.push(nights.plan()).requests == 0
    nights.db.execute("delete from crm.crm_accounts where id = 'a0'")
    before = sandbox.stats()["requests"]
    made = nights.plan()
    # Contacts and opportunities; what an account is, is known since the push.
    assert (made.requests, sandbox.stats()["requests"] - before) == (2, 2)


@pytest.mark.parametrize("up_to", [1_000_000, 0], ids=["collections", "bulk"])
def test_where_a_login_may_not_look_nothing_is_archived(sandbox: Sandbox, start: Start, up_to: int) -> None:
    nights = start(sandbox.connection(collections_up_to=up_to))
    nights.night()
    nights.db.execute("delete from crm.crm_accounts where id = 'a0'")
    refusal = [{"errorCode": "INVALID_TYPE", "message": "sObject type 'Opportunity' is not supported."}]
    how: dict[str, Any] = (
        {"path": "query[?]q=SELECT.Id.*Opportunity"} if up_to else {"method": "POST", "path": "jobs/query", "nth": 2}
    )
    sandbox.faults({**how, "status": 400, "body": refusal})
    accounts = nights.night()
    assert sandbox.acted() == [1]
    assert (accounts.archives, accounts.withheld, accounts.attached) == (0, 1, {"Opportunity": 0})
    assert "a0" in keys(sandbox, "Account")

    sandbox.faults({**how, "status": 403, "body": [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}]})
    with pytest.raises(PushError, match="Opportunity records cannot be looked for"):
        nights.plan()


def test_what_stays_keeps_what_it_would_go_with(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, start: Start
) -> None:
    """A contact that has a badge by hand stays, and so does its account."""
    objects = yaml.safe_load(org.BUILT_IN.read_text())
    badges = {"Of__c": {"type": "reference", "reference_to": "Contact", "cascade": True}}
    objects["Badge__c"] = {"prefix": "a00", "fields": badges}
    (tmp_path / "org.yml").write_text(yaml.safe_dump(objects))
    sandbox = make_sandbox(org=tmp_path / "org.yml")
    nights = start(sandbox.connection())
    nights.db.execute("insert into crm.crm_contacts values ('c0', 'C', 'a0'), ('c1', 'C', 'a1')")
    nights.night()
    [contact] = sandbox.query("SELECT Id FROM Contact WHERE External_Id__c = 'c0'")
    sandbox.salesforce("POST", "sobjects/Badge__c", {"Of__c": contact["Id"]})
    nights.db.execute("delete from crm.crm_accounts where id < 'a2'; delete from crm.crm_contacts")

    made = nights.push(nights.plan())

    assert [(s.archives, s.attached) for s in made.syncs] == [(1, {"Contact": 1}), (1, {"Badge__c": 1})]
    assert (keys(sandbox, "Account"), keys(sandbox, "Contact")) == (["a0", "a2", "a3"], ["c0"])


def test_a_person_account_and_its_contact_are_one_record(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, start: Start
) -> None:
    objects = yaml.safe_load(org.BUILT_IN.read_text())
    for kind in ("Account", "Contact"):
        objects[kind]["fields"]["IsPersonAccount"] = {"type": "boolean", "nillable": False, "default": False}
    (tmp_path / "org.yml").write_text(yaml.safe_dump(objects))
    sandbox = make_sandbox(org=tmp_path / "org.yml")
    nights = start(sandbox.connection())
    nights.night()
    make(sandbox, "Contact", "a0", LastName="Its other face", IsPersonAccount=True)
    make(sandbox, "Contact", "a1", LastName="Theirs")
    nights.db.execute("delete from crm.crm_accounts where id < 'a2'")
    assert (nights.night().archives, keys(sandbox, "Contact")) == (1, ["a1-Contact"])


def test_what_went_with_an_account_by_hand(sandbox: Sandbox, start: Start) -> None:
    """What stays in the model is refused as gone when it next changes; what left it is archived already."""
    contacts = replace(CONTACTS, deleted="recreate")
    nights = start(sandbox.connection(), [replace(ACCOUNTS, deleted="recreate"), contacts])
    nights.db.execute("insert into crm.crm_contacts values ('stays', 'C', 'a0'), ('leaves', 'C', 'a0')")
    nights.night()
    sandbox.salesforce("DELETE", f"sobjects/Account/{crm_id(sandbox, 'a0')}")
    assert keys(sandbox, "Contact") == []
    assert nights.plan().operations == 0, "what does not change is not asked for"

    nights.db.execute("delete from crm.crm_contacts where id = 'leaves'")
    nights.db.execute("update crm.crm_accounts set name = 'B'; update crm.crm_contacts set name = 'B'")
    made = nights.plan()
    merged = pushed(nights.db, made, nights.syncs, nights.connection)
    assert [(s.updates, s.archives) for s in made.syncs] == [(4, 0), (1, 1)]
    assert [(done.applied, done.rejected) for done in merged.values()] == [(3, 1), (1, 1)]
    gone = nights.db.execute("select sync, external_id, gone from sync.rejections order by sync")
    assert gone == [("crm_accounts", "a0", True), ("crm_contacts", "stays", True)]

    assert (nights.night().creates, keys(sandbox, "Contact")) == (1, ["stays"])
    [led] = sandbox.query("SELECT AccountId FROM Contact")
    assert led["AccountId"] == crm_id(sandbox, "a0")
    assert nights.plan().operations == 0


def test_hubspot_leaves_the_contacts_of_a_company_and_is_not_asked(sandbox: Sandbox, start: Start) -> None:
    companies = replace(
        COMPANIES,
        name="crm_accounts",
        relation='"crm"."crm_accounts"',
        external_id_column="id",
        fields=(MappedField("name", "name", "varchar"),),
    )
    nights = start(sandbox.hubspot(), [companies])
    nights.night()
    [company] = [r["id"] for r in sandbox.records("companies", companies.external_id_field)
                 if r["properties"][companies.external_id_field] == "a0"]  # fmt: skip
    contact = sandbox.crm("POST", "v3/objects/contacts", {"properties": {"lastname": "Theirs"}})["id"]
    sandbox.crm("PUT", f"v4/objects/contacts/{contact}/associations/default/companies/{company}")
    nights.db.execute("delete from crm.crm_accounts where id = 'a0'")
    made = nights.push(nights.plan())
    assert (made.syncs[0].archives, made.requests) == (1, 0)
    assert [r["id"] for r in sandbox.records("contacts")] == [contact]
