"""Nulls, policies and modes that ask the CRM: what is sent, what stays a person's, what the ledger learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from flows import plan
from flows.errors import ConfigError
from flows.project import Guard, MappedField, Sync
from flows.records import Operation, Record, Value
from tests.plan.world import NAMES, SYNC, Row, Rows, World, money, records

ONE: Row = ("one", money("1.00"), None, None, True, 1, None)


def row(name: Value = "one", amount: Value = None, at: Value = None) -> Row:
    return (name, amount, None, at, None, None, None)


def fields(**settings: Any) -> tuple[MappedField, ...]:
    """The world's fields, with these settings on the first."""
    return (replace(SYNC.fields[0], **settings), *SYNC.fields[1:])


def sent(made: plan.Plan, operation: Operation = Operation.UPDATE) -> dict[str, dict[str, Value]]:
    return {key: dict(record.values) for key, record in records(made.batches, operation).items()}


def known(world: World, rows: Rows, **settings: Any) -> None:
    """The ledger and the CRM hold these rows."""
    world.declare(fields=fields(**settings))
    world.model(rows)
    world.push()
    world.there = dict(rows)


def test_no_value_clears_unless_it_is_ignored(world: World) -> None:
    known(world, {"a": ONE})
    world.model({"a": row(None)})
    cleared = {"Name__c": None, "Amount__c": None, "Active__c": None, "Orders__c": None}
    assert sent(world.plan()) == {"a": cleared}
    world.declare(fields=fields(nulls="ignore"))
    del cleared["Name__c"]
    made = world.push()
    assert sent(made) == {"a": cleared}
    assert made.syncs[0].fields == dict.fromkeys(cleared, 1)
    assert world.held()["a"][0] == "one", "what was not sent stays what it was"
    assert world.plan().operations == 0


def test_an_empty_lookup_leads_to_no_parent(world: World) -> None:
    world.model({"a": (*ONE[:6], "")})
    made = world.push()
    assert "Parent__c" not in sent(made, Operation.CREATE)["a"]
    assert world.plan().operations == 0
    world.model({"a": (*ONE[:6], "p")})
    assert sent(world.push()) == {"a": {"Parent__c": "p"}}
    world.model({"a": (*ONE[:6], "")})
    assert sent(world.push()) == {"a": {"Parent__c": None}}, "a bulk CSV says that otherwise than an empty text"


def test_an_ignored_null_is_not_sent_to_a_record_in_doubt_either(world: World) -> None:
    world.declare(fields=fields(nulls="ignore"))
    world.model({"a": row(None, money("2.00"))})
    made = world.plan()
    world.answer(made, lambda operation, record: None)
    world.merge(made)
    again = sent(world.plan(), Operation.CREATE)["a"]
    assert "Name__c" not in again
    assert again["Amount__c"] == money("2.00")
    assert again["Active__c"] is None, "others are told, since the record may be there"


@pytest.mark.parametrize("policy", ["always", "if_empty", "if_unchanged"])
@pytest.mark.parametrize(
    ("there", "who"),
    [("one", "nobody"), ("edited", "a person"), (None, "cleared"), ("two", "the same"), ("", "empty text")],
)
def test_an_update_under_each_policy(world: World, policy: str, there: str | None, who: str) -> None:
    """The ledger says one; the model wants two; the CRM holds what somebody left there."""
    known(world, {"a": row("one", money("1.00"))}, policy=policy)
    world.model({"a": row("two", money("2.00"))})
    world.there["a"] = row(there, money("1.00"))
    made = world.push()
    goes = {
        "always": True,
        "if_empty": who in ("cleared", "empty text"),
        "if_unchanged": who == "nobody",
    }[policy]
    assert sent(made) == {"a": ({"Name__c": "two"} if goes else {}) | {"Amount__c": money("2.00")}}
    stays = policy != "always" and not goes and who != "the same"
    assert made.syncs[0].kept == ({"Name__c": 1} if stays else {})
    learned = goes or (policy != "always" and who == "the same")
    assert world.held()["a"][:2] == ("two" if learned else "one", money("2.00"))
    world.there["a"] = row("two" if goes else there, money("2.00"))
    again = world.plan()
    assert again.operations == 0
    assert again.syncs[0].kept == made.syncs[0].kept, "it is told every night"
    assert again.requests == (1 if stays else 0), "only where something is still wanted is the CRM asked"


@pytest.mark.parametrize("policy", ["if_empty", "if_unchanged"])
@pytest.mark.parametrize(("there", "goes"), [(None, True), ("theirs", False), ("one", False)])
def test_a_create_that_finds_the_record_leaves_a_persons_value(
    world: World, policy: str, there: str | None, goes: bool
) -> None:
    world.declare(fields=fields(policy=policy))
    world.there = {"found": row(there)}
    world.model({"found": row("one", money("1.00")), "new": row("one", money("1.00"))})
    made = world.push()
    creates = sent(made, Operation.CREATE)
    assert creates["new"] == {"Name__c": "one", "Amount__c": money("1.00")}
    assert ("Name__c" in creates["found"]) is goes
    assert world.held()["found"][0] == ("one" if goes else None), "the ledger holds what was sent, and nothing else"
    world.there = {"found": row("one" if goes else there), "new": row("one")}
    again = world.plan()
    assert again.operations == 0
    assert again.syncs[0].kept == ({"Name__c": 1} if there == "theirs" else {})
    assert world.held()["found"][0] == ("one" if there != "theirs" else None)


def test_a_value_without_an_answer_is_sent_again_whatever_the_crm_holds(world: World) -> None:
    """What the CRM holds may be our own value: to leave it would be to lose the next one."""
    known(world, {"a": row("one")}, policy="if_unchanged")
    world.model({"a": row("two")})
    made = world.plan()
    world.answer(made, lambda operation, record: None)
    world.merge(made)
    world.there["a"] = row("two")
    world.model({"a": row("three")})
    assert sent(world.plan()) == {"a": {"Name__c": "three"}}


def test_a_time_is_unchanged_to_the_millisecond(world: World) -> None:
    exact, kept = datetime(2011, 1, 1, 10, 0, 0, 123456), datetime(2011, 1, 1, 10, 0, 0, 123000)  # noqa: DTZ001
    at = next(n for n, f in enumerate(SYNC.fields) if f.column == "at")
    careful = replace(SYNC.fields[at], policy="if_unchanged")
    world.declare(fields=(*SYNC.fields[:at], careful, *SYNC.fields[at + 1 :]))
    world.model({"a": row(at=exact)})
    world.push()
    world.there = {"a": row(at=kept)}
    later = exact.replace(year=2012)
    world.model({"a": row(at=later)})
    assert sent(world.plan()) == {"a": {"At__c": later}}


def test_a_record_that_is_not_there_any_more_is_sent_and_the_crm_says_so(world: World) -> None:
    known(world, {"a": row("one")}, policy="if_unchanged")
    world.there = {}
    world.model({"a": row("two")})
    assert sent(world.plan()) == {"a": {"Name__c": "two"}}


def test_update_only_matches_first_and_never_creates(world: World) -> None:
    world.declare(mode="update_only")
    world.there = {"found": row("theirs", money("5.00")), "equal": row("one", money("1.00"))}
    world.model({key: row("one", money("1.00")) for key in ("found", "equal", "absent")})
    made = world.plan()
    assert sent(made) == {"found": {"Name__c": "one", "Amount__c": money("1.00")}}
    assert sent(made, Operation.CREATE) == {}
    [sync] = made.syncs
    assert (sync.unmatched, sync.unchanged, made.requests) == (1, 1, 3)
    assert records(made.batches, Operation.UPDATE)["found"].crm_id == "crm-found"
    world.answer(made)
    world.merge(made)
    world.there["found"] = world.there["equal"]
    again = world.plan()
    assert (again.operations, again.requests) == (0, 1), "only who was not found is looked for again"
    world.there["absent"] = row("late")
    assert sent(world.plan())["absent"]["Name__c"] == "one"


def test_update_only_leaves_alone_what_left_the_model_and_came_back(world: World) -> None:
    world.declare(mode="update_only")
    world.there = {"a": row("theirs")}
    world.model({"a": row("one")})
    world.push()
    world.model({})
    assert world.plan().operations == 0


def test_create_only_looks_first_and_leaves_alone_what_is_there(world: World) -> None:
    world.declare(mode="create_only", fields=fields(policy="if_empty"))
    world.there = {"theirs": row(None, money("5.00"))}
    world.model({"theirs": row("one"), "new": row("one")})
    made = world.push()
    assert sent(made, Operation.CREATE) == {"new": {"Name__c": "one"}}
    assert made.requests == 2, "each is looked for once, whatever the policies"
    assert made.syncs[0].notes == ("crm_things: the CRM holds 1 of the model's records already; they stay as they are",)
    world.model({"theirs": row("two"), "new": row("two")})
    again = world.plan()
    assert (again.operations, again.requests, again.syncs[0].notes) == (0, 0, ())


def test_create_only_completes_what_it_sent_without_an_answer(world: World) -> None:
    world.declare(mode="create_only")
    world.model({"a": row("one")})
    made = world.plan()
    world.answer(made, lambda operation, record: None)
    world.merge(made)
    world.there = {"a": row(None)}
    assert sent(world.push(), Operation.CREATE)["a"]["Name__c"] == "one", "it is our own, and may be half written"
    assert world.plan().operations == 0


def test_a_first_run_that_finds_records_is_a_first_run_still(world: World) -> None:
    world.declare(mode="create_only", guard=Guard(first_run=1))
    world.there = {"theirs": row()}
    world.model({key: row() for key in ("theirs", "b", "c")})
    why = "crm_things: 2 records against guard first_run of 1"
    assert (world.plan().held, world.plan().held) == ((why,), (why,))
    world.declare(guard=Guard(first_run=None, max_creates=1))
    assert world.plan().held == ("crm_things: 2 records against guard max_creates of 1",)


def asked(world: World) -> Sequence[str]:
    """The keys that the plan asks the CRM for."""
    seen: list[str] = []

    def read(sync: Sync, wanted: Sequence[Record], sink: Any) -> int:
        seen.extend(record.external_id for record in wanted)
        return 0

    crm = replace(world.crm, read=read)
    plan.make(world.db, "run-asked", [world.sync], world.folder / "asked", crm)
    return sorted(seen)


def test_only_records_whose_careful_fields_differ_are_asked_for(world: World) -> None:
    known(world, {"a": row("one"), "b": row("one"), "c": row("one")}, policy="if_unchanged")
    world.model(
        {"a": row("two"), "b": row("one", money("3.00")), "c": row("one"), "new": row("one"), "none": row(None)}
    )
    assert asked(world) == ["a", "new"]


def test_adopting_makes_the_first_plan_a_true_difference(world: World) -> None:
    world.there = {"equal": ONE, "other": row("theirs", money("1.00")), "stranger": ONE}
    world.model({"equal": ONE, "other": ONE, "new": ONE})
    found = plan.adopt(world.db, "run-adopt", [world.sync], world.crm)[SYNC.name]
    assert (found.wanted, found.known, found.found, found.requests) == (3, 0, 2, 3)
    made = world.plan()
    assert sent(made) == {"other": {"Name__c": "one", "Active__c": True, "Orders__c": 1}}
    assert set(sent(made, Operation.CREATE)) == {"new"}
    again = plan.adopt(world.db, "run-again", [world.sync], world.crm)[SYNC.name]
    assert (again.known, again.found) == (2, 0)


@pytest.mark.parametrize("mode", ["mirror", "create_only", "update_only"])
def test_an_external_id_that_several_records_have_is_refused_before_any_is_taken_up(world: World, mode: str) -> None:
    world.declare(mode=mode)
    world.model({"a": ONE, "b": ONE})

    def read(sync: Sync, wanted: Sequence[Record], sink: Any) -> int:
        sink([Record(key, crm_id, {}) for key, crm_id in (("a", "7"), ("a", "5"), ("b", "6"))])
        return 1

    crm = replace(world.crm, read=read)
    with pytest.raises(ConfigError) as raised:
        plan.adopt(world.db, "run-adopt", [world.sync], crm)
    assert "crm_things: Thing.External_Id__c is no key in the CRM" in raised.value.what
    assert raised.value.what.endswith("\n  - a: 5 and 7")
    assert world.held() == {}
    if mode != "mirror":
        with pytest.raises(ConfigError, match="a: 5 and 7"):
            plan.make(world.db, "run-twice", [world.sync], world.folder / "twice", crm)


def test_what_was_only_found_is_never_archived(world: World) -> None:
    world.there = {"found": ONE, "written": row("theirs")}
    world.model({"found": ONE, "written": ONE})
    plan.adopt(world.db, "run-adopt", [world.sync], world.crm)
    world.push()
    world.model({})
    assert set(sent(world.plan(), Operation.ARCHIVE)) == {"written"}


def test_adopting_leaves_a_persons_value_in_a_field_that_must_be_unchanged(world: World) -> None:
    world.declare(fields=fields(policy="if_unchanged"))
    world.there = {"a": row("theirs", money("1.00"))}
    world.model({"a": row("one", money("2.00"))})
    plan.adopt(world.db, "run-adopt", [world.sync], world.crm)
    made = world.plan()
    assert sent(made) == {"a": {"Amount__c": money("2.00")}}
    assert made.syncs[0].kept == {"Name__c": 1}


def test_a_value_that_does_not_fit_is_still_somebodys(world: World) -> None:
    """The CRM holds a text in what we take for a number."""
    orders = next(n for n, f in enumerate(SYNC.fields) if f.column == "orders")
    careful = replace(SYNC.fields[orders], policy="if_empty")
    world.declare(fields=(*SYNC.fields[:orders], careful, *SYNC.fields[orders + 1 :]))
    theirs = list(row("one"))
    theirs[NAMES.index("Orders__c")] = "many"
    world.there = {"a": tuple(theirs)}
    world.model({"a": (*row("one")[:5], 5, None)})
    made = world.plan()
    assert sent(made, Operation.CREATE) == {"a": {"Name__c": "one"}}
    assert made.syncs[0].kept == {"Orders__c": 1}
