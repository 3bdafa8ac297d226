"""External ids that differ in capitals alone are one to a Salesforce whose field does not tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import plan
from flows.preflight import describe, model_values, planned_values
from flows.project import Guard, MappedField, Sync
from flows.sandbox import org
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed, read
from tests.syncs import sync

ACCOUNTS = sync(
    "crm_accounts",
    "Account",
    "id",
    (MappedField("name", "Name", "varchar"), MappedField("phone", "Phone", "varchar")),
    relation='"main"."accounts"',
    mode="upsert",
)
ACCOUNT = MappedField("account", "AccountId", "varchar", False, "crm_accounts", "Account", "External_Id__c")
CONTACTS = sync(
    "crm_contacts",
    "Contact",
    "id",
    (MappedField("name", "LastName", "varchar"), ACCOUNT),
    relation='"main"."contacts"',
    mode="upsert",
    level=1,
)
THEIRS = {"External_Id__c": "KEY1", "Name": "Human", "Phone": "PERSON"}


@dataclass
class Nights:
    """Nights of one org."""

    db: Warehouse
    folder: Path
    sandbox: Sandbox
    settings: dict[str, Any] = field(default_factory=dict)
    runs: count[int] = field(default_factory=lambda: count(1))

    def model(self, table: str, *rows: tuple[str, str, str]) -> None:
        last = "phone" if table == "accounts" else "account"
        listed = ", ".join(str(row) for row in rows)
        self.db.execute(f"create or replace table {table} as from (values {listed}) t(id, name, {last})")

    def plan(self, *syncs: Sync) -> plan.Plan:
        return planned(self.db, f"n{next(self.runs)}", syncs, self.connection, self.folder)

    def night(self, *syncs: Sync) -> tuple[plan.Plan, int]:
        """Plan, push, merge and read back; the plan, and how many records are not as they were sent."""
        made = self.plan(*syncs)
        pushed(self.db, made, syncs, self.connection)
        return made, sum(batch.mismatched for batch in read(made, syncs, self.connection))

    @property
    def connection(self) -> Any:
        return self.sandbox.connection(**self.settings)

    def held(self) -> list[tuple[str, str, str | None]]:
        found = self.sandbox.query("SELECT External_Id__c, Name, Phone FROM Account ORDER BY Name")
        return [(r["External_Id__c"], r["Name"], r["Phone"]) for r in found]


@pytest.fixture(params=[2000, 0], ids=["by query", "by bulk query"])
def nights(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Any:
    """An org in which a person has made the account KEY1, and a model that calls it key1."""
    sandbox.salesforce("POST", "sobjects/Account", THEIRS)
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as db:
        world = Nights(db, tmp_path, sandbox, {"collections_up_to": request.param})
        world.model("accounts", ("key1", "Ours", "111"))
        yield world


def careful(policy: Any) -> Sync:
    return replace(ACCOUNTS, fields=(ACCOUNTS.fields[0], replace(ACCOUNTS.fields[1], policy=policy)))


def test_create_only_leaves_alone_what_is_there_in_other_letters(nights: Nights) -> None:
    made, _ = nights.night(replace(ACCOUNTS, mode="create_only"))
    assert made.operations == 0
    assert nights.held() == [("KEY1", "Human", "PERSON")]


def test_update_only_finds_what_is_there_in_other_letters(nights: Nights) -> None:
    made, wrong = nights.night(replace(ACCOUNTS, mode="update_only"))
    assert (made.syncs[0].updates, made.syncs[0].unmatched, wrong) == (1, 0, 0)
    assert nights.held() == [("KEY1", "Ours", "111")]


@pytest.mark.parametrize("policy", ["if_empty", "if_unchanged"])
@pytest.mark.parametrize("adopted", [True, False])
def test_a_persons_value_stays_in_a_record_in_other_letters(nights: Nights, policy: str, adopted: bool) -> None:
    wanted = careful(policy)
    if adopted:
        found = plan.adopt(nights.db, "adopt", [wanted], plan.crm_of({"main": nights.connection}))
        assert found[wanted.name].found == 1
    made, wrong = nights.night(wanted)
    assert made.syncs[0].kept == {"Phone": 1}
    assert wrong == 0
    assert nights.held() == [("KEY1", "Ours", "PERSON")]
    assert nights.night(wanted)[0].operations == 0


def test_a_parent_in_other_letters_is_read_back_as_it_was_sent(nights: Nights) -> None:
    nights.model("contacts", ("c", "Child", "key1"))
    _, wrong = nights.night(CONTACTS)
    assert wrong == 0


def test_two_external_ids_that_are_one_to_the_crm_are_told_beforehand(nights: Nights) -> None:
    nights.model("accounts", ("a", "A", "1"), ("B", "B1", "2"), ("b", "B2", "3"))
    crm = describe({"main": nights.connection}, [ACCOUNTS])
    made = nights.plan(ACCOUNTS)
    for found in (planned_values(nights.db, crm, [ACCOUNTS], made.batches), model_values(nights.db, crm, [ACCOUNTS])):
        [finding] = found
        told = "the CRM takes it for another external id, in other letters: both write to one record"
        assert (finding.field, finding.column, finding.rows, finding.what) == ("External_Id__c", "id", 2, told)
        assert [(e.external_id, e.value) for e in finding.examples] == [("B", "b"), ("b", "B")]


def test_an_external_id_in_the_letters_of_one_that_was_sent_is_told_beforehand(nights: Nights) -> None:
    nights.night(ACCOUNTS)
    nights.model("accounts", ("Key1", "Again", "1"), ("other", "Other", "2"))
    crm = describe({"main": nights.connection}, [ACCOUNTS])
    [finding] = planned_values(nights.db, crm, [ACCOUNTS], nights.plan(ACCOUNTS).batches)
    assert (finding.rows, [(e.external_id, e.value) for e in finding.examples]) == (1, [("Key1", "key1")])


@pytest.fixture
def strict(make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> Sandbox:
    """An org whose accounts' external ids tell capitals from small letters."""
    declared = yaml.safe_load(Path(org.__file__).with_name("org.yml").read_text(encoding="utf-8"))
    declared["Account"]["fields"]["External_Id__c"]["case_sensitive"] = True
    (tmp_path / "org.yml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    return make_sandbox(org=tmp_path / "org.yml")


@pytest.mark.parametrize("few", [2000, 0])
def test_a_field_that_tells_capitals_from_small_letters_is_believed(strict: Sandbox, tmp_path: Path, few: int) -> None:
    strict.salesforce("POST", "sobjects/Account", THEIRS)
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as db:
        nights = Nights(db, tmp_path, strict, {"collections_up_to": few})
        nights.model("accounts", ("key1", "Ours", "1"), ("Key1", "Mine", "2"))
        crm = describe({"main": nights.connection}, [ACCOUNTS])
        assert model_values(db, crm, [ACCOUNTS]) == ()
        made, wrong = nights.night(replace(ACCOUNTS, mode="create_only"))
        assert (made.syncs[0].creates, wrong) == (2, 0)
        assert [key for key, *_ in nights.held()] == ["KEY1", "Key1", "key1"]
        nights.model("contacts", ("c", "Child", "key1"))
        assert nights.night(CONTACTS)[1] == 0


@pytest.mark.parametrize("respelt", ["key1", "KEY2"])
def test_a_record_whose_external_id_changes_its_capitals_is_not_archived(nights: Nights, respelt: str) -> None:
    mirror = replace(ACCOUNTS, mode="mirror", guard=Guard(max_archives=None))
    nights.model("accounts", ("KEY1", "Ours", "1"), ("key2", "Ours", "2"))
    nights.night(mirror)
    key = respelt.lower()
    others = [row for row in (("KEY1", "Ours", "1"), ("key2", "Ours", "2")) if row[0].lower() != key]
    nights.model("accounts", (respelt, "Respelt", "1"), *others)
    made, wrong = nights.night(mirror)
    assert (made.syncs[0].creates, made.syncs[0].updates, made.syncs[0].archives, wrong) == (0, 1, 0, 0)
    assert {(k.lower(), name) for k, name, _ in nights.held()} == {(key, "Respelt"), (others[0][0].lower(), "Ours")}
    nights.model("accounts", *others)
    assert nights.night(mirror)[0].syncs[0].archives == 1


def test_a_record_whose_external_id_changes_its_capitals_is_another_where_they_count(
    strict: Sandbox, tmp_path: Path
) -> None:
    mirror = replace(ACCOUNTS, mode="mirror", guard=Guard(max_archives=None))
    with Warehouse.open(tmp_path / "warehouse.duckdb", threads=2) as db:
        nights = Nights(db, tmp_path, strict)
        nights.model("accounts", ("KEY1", "Ours", "1"))
        nights.night(mirror)
        nights.model("accounts", ("key1", "Ours", "1"))
        made, _ = nights.night(mirror)
        assert (made.syncs[0].creates, made.syncs[0].archives) == (1, 1)
        assert [key for key, *_ in nights.held()] == ["key1"]
