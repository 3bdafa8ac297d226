"""The plan as algebra: whatever the model and the ledger hold, applying the difference makes them equal."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flows import plan
from flows.records import Operation
from tests.plan.world import CRM_FIELD, NAMES, PAIRS, ROWS, Rows, World, records

# Not shrunk: the rows are few as they are, and each try is a plan and a merge in a real warehouse.
often = settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MODES = ("mirror", "upsert", "create_only", "update_only")


def start(world: World, known: Rows) -> None:
    world.reset()
    world.model(known)
    world.push()
    assert world.held() == known


@often
@given(pair=PAIRS, mode=st.sampled_from(MODES))
def test_applying_the_difference_makes_the_ledger_what_the_mode_promises(
    world: World, pair: tuple[Rows, Rows], mode: str
) -> None:
    known, wanted = pair
    start(world, known)
    world.declare(mode=mode)
    world.model(wanted)

    made = world.push()

    assert (
        world.held()
        == {
            "mirror": wanted,
            "upsert": {**known, **wanted},
            "create_only": {**wanted, **known},
            "update_only": {key: wanted.get(key, row) for key, row in known.items()},
        }[mode]
    )
    assert world.replayed() == world.as_text()
    again = world.plan()
    assert again.operations == 0
    assert again.batches == ()
    assert made.syncs[0].unchanged == len(known) - made.syncs[0].updates - made.syncs[0].archives


@often
@given(pair=PAIRS)
def test_batches_hold_exactly_what_differs_and_the_counts_are_theirs(world: World, pair: tuple[Rows, Rows]) -> None:
    known, wanted = pair
    start(world, known)
    world.model(wanted)

    made = world.plan()

    [sync] = made.syncs
    creates, updates, archives = (records(made.batches, operation) for operation in Operation)
    assert {key: dict(record.values) for key, record in creates.items()} == {
        key: {name: value for name, value in zip(NAMES, row, strict=True) if value is not None}
        for key, row in wanted.items()
        if key not in known
    }
    differs = {
        key: {n: new for n, old, new in zip(NAMES, known[key], row, strict=True) if old != new}
        for key, row in wanted.items()
        if key in known
    }
    assert {key: dict(record.values) for key, record in updates.items()} == {k: v for k, v in differs.items() if v}
    assert set(archives) == known.keys() - wanted.keys()
    assert (sync.creates, sync.updates, sync.archives) == (len(creates), len(updates), len(archives))
    assert sync.fields == Counter(name for fields in differs.values() for name in fields)
    assert all(record.crm_id == f"crm-{key}" for key, record in (updates | archives).items())
    assert all(record.crm_id is None for record in creates.values())
    for batch in made.batches:
        assert len(list(batch.records())) == batch.count <= world.size
        assert (
            batch.total == {"create": sync.creates, "update": sync.updates, "archive": sync.archives}[batch.operation]
        )


@often
@given(pair=PAIRS, seed=st.integers(0, 9))
def test_the_order_of_rows_does_not_matter(world: World, pair: tuple[Rows, Rows], seed: int) -> None:
    known, wanted = pair
    start(world, known)
    world.model(wanted)
    one = world.plan()
    shuffled = list(wanted.items())
    random.Random(seed).shuffle(shuffled)
    world.model(shuffled)
    other = world.plan()
    assert other.hash == one.hash
    assert other.syncs[0].samples == one.syncs[0].samples


@often
@given(rows=ROWS)
def test_a_plan_read_back_is_the_plan(world: World, rows: Rows) -> None:
    world.reset()
    world.model(rows)
    made = world.plan()
    assert plan.load(made.folder) == made


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_does_all_that_it_may(world: World, mode: str) -> None:
    """The property above would hold for a plan that never does anything in a mode nobody drew."""
    row = (None,) * len(CRM_FIELD)
    start(world, {"stays": row, "goes": row})
    world.declare(mode=mode)
    world.model({"stays": ("edited", *row[1:]), "comes": row})
    [sync] = world.plan().syncs
    may = {"mirror": (1, 1, 1), "upsert": (1, 1, 0), "create_only": (1, 0, 0), "update_only": (0, 1, 0)}
    assert (sync.creates, sync.updates, sync.archives) == may[mode]
