"""Rows in quarantine stay home, and so do the children of a new parent among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flows import plan
from flows.project import MappedField, Sync
from flows.records import Operation
from tests.plan.world import NO_GUARD, SYNC, TYPES, Row, Rows, World, records
from tests.syncs import sync

EMPTY: Row = (None,) * len(TYPES)
CHILDREN = sync(
    "crm_children",
    "Child",
    "child_id",
    (MappedField("thing_id", "Thing__c", "varchar", parent=SYNC.name),),
    mode="upsert",
    guard=NO_GUARD,
    level=1,
)


def rows(*keys: str, name: str = "n") -> Rows:
    return {key: (name, *EMPTY[1:]) for key in keys}


def quarantine(world: World, *keys: str, table: str = "crm.crm_things") -> None:
    world.db.execute("delete from quality.quarantine")
    for key in keys:
        world.db.execute(
            "insert into quality.quarantine (table_name, key, expectation_id, expectation, fingerprint, severity, "
            "since_run_id, since_at, last_run_id) values (?, ?, 'e', 'expect', 'f', 'critical', 'r', now(), 'r')",
            (table, key),
        )


def test_a_held_row_is_neither_created_nor_updated_nor_archived(world: World) -> None:
    quarantine(world)
    world.model(rows("old", "edited", "leaves"))
    world.push()
    quarantine(world, "edited", "new")
    world.model({**rows("old", "new", "other"), **rows("edited", name="x")})
    made = world.push()
    [sync] = made.syncs
    assert (set(records(made.batches, Operation.CREATE)), sync.updates, sync.archives) == ({"other"}, 0, 1)
    assert (sync.quarantined, sync.waiting) == (2, 0)
    assert world.held()["edited"][0] == "n"
    quarantine(world)
    made = world.plan()
    assert [set(records(made.batches, op)) for op in Operation] == [{"new"}, {"edited"}, set()]


def children(world: World, parents: dict[str, str | None], syncs: Sequence[Sync]) -> plan.Plan:
    listed = ", ".join(f"('{key}', {'null' if parent is None else repr(parent)})" for key, parent in parents.items())
    world.db.execute(f"create or replace table crm.crm_children as from (values {listed}) c(child_id, thing_id)")
    run = f"run-{next(world.runs):04d}"
    return plan.make(world.db, run, syncs, world.folder / run, world.crm)


def test_children_of_a_held_new_parent_wait_with_it(world: World) -> None:
    world.db.execute('drop table if exists sync."ledger__crm_children"')
    quarantine(world)
    world.model(rows("known"))
    world.push()
    quarantine(world, "known", "new")
    world.model({**rows("known", name="x"), **rows("new", "fit")})
    both = [SYNC, CHILDREN]
    parents = {"1": "known", "2": "new", "3": "fit", "4": None}
    made = children(world, parents, both)
    assert {r.external_id for b in made.batches if b.sync == CHILDREN.name for r in b.records()} == {"1", "3", "4"}
    assert (made.syncs[1].waiting, made.syncs[1].quarantined) == (1, 0)
    quarantine(world)
    made = children(world, parents, both)
    assert {r.external_id for b in made.batches if b.sync == CHILDREN.name for r in b.records()} == set("1234")


def test_in_a_sync_that_looks_up_itself_all_below_a_held_record_wait(world: World) -> None:
    own = replace(SYNC, fields=(*SYNC.fields[:-1], replace(SYNC.fields[-1], parent=SYNC.name)))
    world.declare(fields=own.fields)
    quarantine(world, "a")
    world.model({key: (*EMPTY[:-1], parent) for key, parent in {"a": None, "b": "a", "c": "b", "d": None}.items()})
    made = world.plan()
    assert set(records(made.batches, Operation.CREATE)) == {"d"}
    assert (made.syncs[0].quarantined, made.syncs[0].waiting) == (1, 2)
