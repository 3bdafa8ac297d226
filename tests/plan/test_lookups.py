"""A parent that went and came back is another record in the CRM: its children are led to it, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import ledger, plan
from flows.project import MappedField
from flows.records import Operation, Outcome, Receipt, Record, Value
from tests.plan.world import NO_GUARD, SYNC, TYPES, Answer, Row, World, rejected
from tests.syncs import sync

EMPTY: Row = (None,) * len(TYPES)
PARENTS = sync(
    "crm_parents",
    "Parent",
    "parent_id",
    (MappedField("name", "Name", "varchar"),),
    guard=NO_GUARD,
)
BOTH = (PARENTS, replace(SYNC, level=1))
Sent = dict[str, tuple[str, dict[str, Value]]]


def took(operation: Operation, record: Record) -> Receipt:
    new = operation is Operation.CREATE
    return Receipt(record.external_id, Outcome.APPLIED, record.crm_id or f"crm-{record.external_id}", created=new)


def sent(made: plan.Plan) -> Sent:
    return {r.external_id: (b.operation.value, dict(r.values)) for b in made.batches for r in b.records()}


@pytest.fixture
def pair(world: World) -> World:
    """Two parents, and two children of the first."""
    world.db.execute(f"drop table if exists {ledger.relation(PARENTS.name)}")
    world.model({"child": (*EMPTY[:-1], "p"), "moves": (*EMPTY[:-1], "p"), "other": (*EMPTY[:-1], "q")})
    parents(world, "p", "q")
    night(world)
    return world


def parents(world: World, *keys: str) -> None:
    listed = ", ".join(f"('{key}', 'n')" for key in keys)
    world.db.execute(f"create or replace table crm.crm_parents as from (values {listed}) p(parent_id, name)")


def night(world: World, answer: Answer = took, only: plan.Only | None = None) -> Sent:
    run = f"run-{next(world.runs):04d}"
    made = plan.make(world.db, run, BOTH, world.folder / run, world.crm, only=only)
    world.answer(made, answer)
    world.merge(made)
    return sent(made)


LED_AGAIN = {"child": ("update", {"Parent__c": "p"})}
MADE_AGAIN = {"p": ("create", {"Name": "n"})}


def leaves(world: World, answer: Answer = took) -> None:
    """The parent leaves the model; one of its children goes over to the other parent."""
    parents(world, "q")
    world.model({"child": (*EMPTY[:-1], "p"), "moves": (*EMPTY[:-1], "q"), "other": (*EMPTY[:-1], "q")})
    assert night(world, answer) == {"p": ("archive", {}), "moves": ("update", {"Parent__c": "q"})}


def test_children_of_a_parent_that_we_archived_are_led_to_it_when_it_is_back(pair: World) -> None:
    leaves(pair)
    assert night(pair) == {}, "never while there is nobody to lead them to"
    parents(pair, "p", "q")
    assert night(pair) == MADE_AGAIN | LED_AGAIN
    assert night(pair) == {}
    assert pair.db.execute(
        "select before, after from sync.changes where external_id = 'child' order by run_id desc limit 1"
    ) == [(None, "p")]


def test_children_of_a_parent_whose_archive_had_no_answer_are_led_to_it_too(pair: World) -> None:
    leaves(pair, lambda operation, record: None if operation is Operation.ARCHIVE else took(operation, record))
    parents(pair, "p", "q")
    assert night(pair) == MADE_AGAIN | LED_AGAIN
    assert night(pair) == {}


def only_parents(operation: Operation, record: Record) -> Receipt | None:
    return took(operation, record) if record.external_id == "p" else None


def test_a_run_that_died_between_parent_and_child_forgets_no_child(pair: World) -> None:
    leaves(pair)
    parents(pair, "p", "q")
    run = f"run-{next(pair.runs):04d}"
    made = plan.make(pair.db, run, BOTH, pair.folder / run, pair.crm)
    pair.answer(made, only_parents)
    for path in (made.folder / "receipts").glob("1-*"):
        path.unlink()
    pair.merge(made)
    assert night(pair) == LED_AGAIN
    assert night(pair) == {}


def test_a_refused_child_is_led_to_it_the_next_night(pair: World) -> None:
    leaves(pair)
    parents(pair, "p", "q")
    night(pair, lambda operation, record: (took if record.external_id == "p" else rejected)(operation, record))
    assert night(pair) == LED_AGAIN
    assert night(pair) == {}


@pytest.mark.parametrize("led", [True, False])
def test_a_parent_that_was_made_without_an_answer_gets_its_children_once(pair: World, led: bool) -> None:
    leaves(pair)
    parents(pair, "p", "q")
    lost = {"p"} if led else {"p", "child"}
    again = night(pair, lambda operation, record: None if record.external_id in lost else took(operation, record))
    assert again == MADE_AGAIN | LED_AGAIN
    assert night(pair) == MADE_AGAIN | ({} if led else LED_AGAIN)
    assert night(pair) == {}


def test_children_that_lead_to_a_persons_record_are_not_sent_again_when_we_write_it(pair: World) -> None:
    parents(pair, "p", "q", "theirs")
    pair.model({"child": (*EMPTY[:-1], "theirs")})
    night(pair, lambda operation, record: (rejected if record.external_id == "theirs" else took)(operation, record))
    assert night(pair) == {"theirs": ("create", {"Name": "n"})}
    assert night(pair) == {}


def test_children_of_a_parent_that_a_revert_made_again_follow_the_next_night(pair: World) -> None:
    leaves(pair)
    run = f"run-{next(pair.runs):04d}"
    made = plan.revert(pair.db, run, BOTH, pair.folder / run, pair.crm, of=f"run-{int(run[4:]) - 1:04d}")
    assert sent(made) == MADE_AGAIN | {"moves": ("update", {"Parent__c": "p"})}
    pair.answer(made, took)
    pair.merge(made)
    parents(pair, "p", "q")
    assert night(pair) == LED_AGAIN | {"moves": ("update", {"Parent__c": "q"})}
    assert night(pair) == {}


def test_a_value_that_must_be_unchanged_is_empty_in_the_crm_by_then(pair: World) -> None:
    """What we last sent went with the record; that is no person's edit."""
    careful = replace(BOTH[1], fields=(*SYNC.fields[:-1], replace(SYNC.fields[-1], policy="if_unchanged")))
    leaves(pair)
    parents(pair, "p", "q")
    pair.there = {"child": EMPTY}
    run = f"run-{next(pair.runs):04d}"
    made = plan.make(pair.db, run, (PARENTS, careful), pair.folder / run, pair.crm)
    assert sent(made) == MADE_AGAIN | LED_AGAIN
    pair.there = {"child": (*EMPTY[:-1], "q")}
    made = plan.make(pair.db, f"{run}-b", (PARENTS, careful), pair.folder / f"{run}-b", pair.crm)
    assert (sent(made), made.syncs[1].kept) == (MADE_AGAIN, {"Parent__c": 1})


@pytest.mark.parametrize("comes", ["forgotten", "held back"])
def test_in_a_sync_that_looks_up_itself(world: World, comes: str) -> None:
    own = replace(SYNC.fields[-1], parent=SYNC.name)
    world.declare(fields=(*SYNC.fields[:-1], own), deleted="forget")
    both = {"p": EMPTY, "child": (*EMPTY[:-1], "p")}
    world.model(both)
    world.push(took)
    world.model({"child": both["child"]})
    assert sent(world.push(took)) == {"p": ("archive", {})}
    assert sent(world.push(took)) == {}
    world.model(both)
    if comes == "forgotten":
        world.db.execute("insert into sync.forgotten values (?, 'p', 'r', now())", (SYNC.name,))
    else:
        world.db.execute(
            "insert into quality.quarantine (table_name, key, expectation_id, expectation, fingerprint, severity, "
            "since_run_id, since_at, last_run_id) values ('crm.crm_things', 'p', 'e', 'e', 'f', 'critical', 'r', "
            "now(), 'r')"
        )
    assert sent(world.push(took)) == {}
    world.db.execute("delete from sync.forgotten; delete from quality.quarantine")
    assert sent(world.push(took)) == {"p": ("create", {}), **LED_AGAIN}
    assert world.plan().operations == 0
