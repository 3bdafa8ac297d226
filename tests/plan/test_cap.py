"""Where the night's requests are not enough: what the guards judge, what goes first, and that all goes in the end."""

from __future__ import annotations

from typing import Any

import pytest

from flows.project import Guard
from flows.records import Operation
from tests.plan.test_order import EMPTY, rows
from tests.plan.world import World, records

NONE: dict[str, Any] = {"first_run": None, "max_archives": None}


@pytest.mark.parametrize("most", [None, 5])
@pytest.mark.parametrize(
    ("guard", "wanted", "said"),
    [
        ({"max_archives": 0.15}, rows(5), "35 records against guard max_archives of 15% of 40"),
        ({"max_archives": 20}, rows(5), "35 records against guard max_archives of 20"),
        ({"max_updates": 20}, rows(40, "edited"), "40 records against guard max_updates of 20"),
        ({"fields": {"Name__c": 20}}, rows(40, "edited"), "40 records against guard fields.Name__c of 20"),
        ({"max_changes": 20}, rows(20, "edited"), "40 records against guard max_changes of 20"),
        ({"max_creates": 20}, rows(80), "40 records against guard max_creates of 20"),
        ({}, {}, "the model is empty and would archive all 40 records; absence must be proven"),
    ],
)
def test_a_guard_judges_what_waits_for_another_night_too(
    world: World, most: int | None, guard: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    world.model(rows(40))
    world.push()
    world.declare(guard=Guard(**NONE | guard))
    world.most = most
    world.model(wanted)
    [sync] = world.plan().syncs
    left = "" if most is None else f"; left of this sync for another night: {sync.left}"
    assert sync.held == (f"crm_things: {said}{left}",)
    assert sync.operations == (most or sync.operations)


def test_what_waits_is_judged_anew_every_night(world: World) -> None:
    """An approval is of what is sent: the rest asks again, until it is below the guard."""
    world.model(rows(40))
    world.push()
    world.declare(guard=Guard(max_archives=12))
    world.most = 10
    world.model(rows(5))
    assert [bool(world.push().held) for _ in range(4)] == [True, True, True, False]
    assert world.held() == rows(5)


def test_a_first_run_lasts_until_nothing_of_it_waits(world: World) -> None:
    world.declare(guard=Guard(first_run=3))
    world.most = 4
    world.model(rows(10))
    assert [(bool(made.held), made.operations) for made in (world.push() for _ in range(3))] == [
        (True, 4),
        (True, 4),
        (False, 2),
    ]
    world.model(rows(20))
    assert world.plan().held == (), "this is no first run any more"


def test_the_rest_of_a_first_run_is_no_later_run(world: World) -> None:
    world.declare(guard=Guard(first_run=10, max_creates=1))
    world.most = 4
    world.model(rows(10))
    assert [world.push().held for _ in range(3)] == [(), (), ()]
    world.model(rows(12))
    assert world.plan().held == ("crm_things: 2 records against guard max_creates of 1",)


def test_a_first_run_beside_what_was_found_is_held_by_both_guards_to_its_end(world: World) -> None:
    world.declare(mode="create_only", guard=Guard(first_run=3, max_creates=2))
    world.there = {"0000": EMPTY}
    world.most = 4
    world.model(rows(9))
    assert [len(world.push().held) for _ in range(2)] == [2, 2]
    assert world.plan().held == ()


def test_a_retry_does_not_end_a_first_run(world: World) -> None:
    world.declare(guard=Guard(first_run=3))
    world.most = 4
    world.model(rows(10))
    world.push()
    again = world.plan(only="rejections")
    world.answer(again)
    world.merge(again)
    world.db.execute("update sync.plans set kind = 'retry' where run_id = ?", (again.run_id,))
    [sync] = world.plan().syncs
    assert [reason.partition(";")[0] for reason in sync.held] == ["crm_things: 6 records against guard first_run of 3"]
    assert len(records(world.plan().batches, Operation.CREATE)) == 4
