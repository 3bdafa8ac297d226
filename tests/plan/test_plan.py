"""What a plan refuses, what it holds for a person, and what its hash stands for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from flows import plan
from flows.errors import ConfigError, GateFailed, NightshiftError, WarehouseError
from flows.project import Guard, MappedField
from flows.records import Operation
from tests.plan.world import NO_GUARD, SYNC, TYPES, Row, Rows, World, money, records

EMPTY: Row = (None,) * len(TYPES)


def rows(number: int, name: str = "n", *, start: int = 0) -> Rows:
    return {f"{i:04}": (name, *EMPTY[1:]) for i in range(start, start + number)}


def refused(world: World, kind: type[NightshiftError]) -> str:
    with pytest.raises(kind) as raised:
        world.plan()
    error = raised.value
    assert "_crm__models.yml: crm_things" in error.what
    assert error.safe
    assert error.todo
    return error.what


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["a", "b", "a"], "1 rows repeat an external id (such as a) in the column thing_id"),
        (["a", "a", "a", "b", "b", None], "3 rows repeat an external id (such as a, b)"),
        (["a", None, None], "2 rows have no external id"),
        (["a", ""], "1 rows have no external id"),
    ],
)
def test_an_external_id_that_is_no_key_is_refused(world: World, keys: list[str | None], said: str) -> None:
    world.model([(key, EMPTY) for key in keys])
    assert said in refused(world, GateFailed)


def test_a_model_that_was_never_built_is_refused(world: World) -> None:
    world.declare(relation='"crm"."nowhere"')
    assert '"crm"."nowhere" does not exist' in refused(world, ConfigError)


def test_columns_that_the_model_lacks_are_all_named(world: World) -> None:
    world.model({})
    more = (MappedField("colour", "Colour__c", "varchar"), MappedField("size", "Size__c", "varchar"))
    world.declare(fields=(*SYNC.fields, *more))
    assert "has no column colour, size" in refused(world, ConfigError)


def test_a_value_that_does_not_fit_its_declared_type_is_refused(world: World) -> None:
    world.model({"a": ("twelve", *EMPTY[1:])})
    world.declare(fields=(replace(SYNC.fields[0], type="bigint"), *SYNC.fields[1:]))
    assert "twelve" in refused(world, GateFailed)


def test_a_field_mapped_since_is_sent_where_it_holds_something(world: World) -> None:
    world.declare(fields=SYNC.fields[1:])
    world.model({"a": ("x", *EMPTY[1:]), "b": EMPTY})
    world.push()
    world.declare(fields=SYNC.fields)
    made = world.push()
    assert {k: dict(r.values) for k, r in records(made.batches, Operation.UPDATE).items()} == {"a": {"Name__c": "x"}}
    assert world.plan().operations == 0


def test_a_field_that_differs_only_in_the_case_of_its_letters_is_the_same_field(world: World) -> None:
    world.model({"a": ("x", *EMPTY[1:])})
    world.push()
    world.declare(fields=(replace(SYNC.fields[0], crm_field="NAME__c"), *SYNC.fields[1:]))
    assert world.plan().operations == 0


@pytest.mark.parametrize(
    ("old", "new", "was", "now", "sent"),
    [
        ("varchar", "bigint", "5", "5", {}),
        ("varchar", "bigint", "five", "5", {"Name__c": 5}),
        ("decimal(14,4)", "decimal(14,2)", "1.2345", "1.23", {"Name__c": money("1.23")}),
        ("decimal(14,4)", "decimal(14,2)", "1.2300", "1.23", {}),
        ("timestamp", "date", "2010-12-01 08:30:00", "2010-12-01", {"Name__c": date(2010, 12, 1)}),
        ("bigint", "varchar", "5", "5", {}),
        ("boolean", "varchar", "true", "true", {}),
    ],
)
def test_a_change_of_type_sends_what_the_ledger_can_no_longer_vouch_for(
    world: World, old: str, new: str, was: str, now: str, sent: dict[str, Any]
) -> None:
    def declared(kind: str) -> tuple[MappedField, ...]:
        return (replace(SYNC.fields[0], type=kind), *SYNC.fields[1:])

    world.model({"a": (was, *EMPTY[1:])})
    world.declare(fields=declared(old))
    world.push()
    world.model({"a": (now, *EMPTY[1:])})
    world.declare(fields=declared(new))
    made = world.push()
    found = {name: value for r in records(made.batches, Operation.UPDATE).values() for name, value in r.values.items()}
    assert found == sent
    assert world.plan().operations == 0


def test_two_types_may_change_in_one_night_and_again_while_receipts_are_merged(world: World) -> None:
    world.model({"a": ("1", money("2.00"), *EMPTY[2:])})
    world.push()
    edited = (replace(SYNC.fields[0], type="bigint"), replace(SYNC.fields[1], type="bigint"), *SYNC.fields[2:])
    world.declare(fields=edited)
    made = world.plan()
    world.answer(made)
    world.declare(fields=SYNC.fields)
    world.plan()  # another plan, of the old types, came between
    world.merge(made)
    assert world.held()["a"][:2] == (1, 2)


def test_a_field_that_is_not_mapped_any_more_is_left_alone(world: World) -> None:
    world.model({"a": ("x", money("1"), *EMPTY[2:])})
    world.push()
    world.declare(fields=SYNC.fields[1:])
    assert world.plan().operations == 0
    world.declare(fields=SYNC.fields)
    assert world.plan().operations == 0


def test_the_hash_is_over_every_byte_of_every_batch(world: World) -> None:
    world.model(rows(7))
    made = world.plan()
    assert [batch.count for batch in made.batches] == [3, 3, 1]
    seen = {made.hash}
    for batch in made.batches:
        data = bytearray(batch.path.read_bytes())
        for position in (0, len(data) // 2, len(data) - 1):
            data[position] ^= 1
            batch.path.write_bytes(data)
            seen.add(plan.hashed(made.syncs))
            data[position] ^= 1
        batch.path.write_bytes(data)
    assert len(seen) == 10
    assert plan.hashed(made.syncs) == made.hash


@pytest.mark.parametrize("spoil", ["change", "remove", "tear", "lose"])
def test_a_plan_that_somebody_changed_is_not_read_back(world: World, spoil: str) -> None:
    world.model(rows(2))
    made = world.plan()
    batch, told = made.batches[0].path, made.folder / "plan.json"
    if spoil == "change":
        batch.write_bytes(batch.read_bytes()[:-1] + b"x")
    elif spoil == "tear":
        told.write_bytes(told.read_bytes()[:-20])
    else:
        (batch if spoil == "remove" else told).unlink()
    with pytest.raises(WarehouseError, match=r"is not the plan that was made|plan.json is missing or torn") as raised:
        plan.load(made.folder)
    assert raised.value.safe
    assert raised.value.todo


def test_what_the_warehouse_remembers_of_a_plan_is_what_was_made(world: World) -> None:
    world.model({})
    world.declare(guard=Guard(max_archives=0))
    made = world.plan()
    assert world.db.execute("select run_id, hash, held, merged_at from sync.plans") == [
        (made.run_id, made.hash, [], None)
    ]


def held(world: World, known: int, wanted: Rows, guard: Guard) -> list[str]:
    """The guards, in short, that a plan from ``known`` records to the wanted ones goes over."""
    world.declare(guard=NO_GUARD)
    world.size = 1000
    world.model(rows(known))
    world.push()
    world.declare(guard=guard)
    world.model(wanted)
    return [reason.removeprefix("crm_things: ") for reason in world.plan().held]


def some_edited(number: int, of: int) -> Rows:
    return {**rows(of), **rows(number, "edited")}


@pytest.mark.parametrize(
    ("known", "wanted", "guard", "said"),
    [
        (200, rows(190), {}, []),
        (200, rows(189), {"at_least": 0}, ["11 records against guard max_archives of 5% of 200"]),
        (200, rows(190), {"at_least": 0}, []),
        (20, rows(11), {}, []),  # nine archives are an ordinary day
        (20, rows(10), {}, ["10 records against guard max_archives of 5% of 20"]),
        (100, rows(1), {"at_least": 1000}, ["99 records against guard max_archives of 5% of 100"]),
        (200, some_edited(99, 200), {"max_updates": 0.05, "max_changes": 0.05}, []),  # 99 are fewer than at_least
        (100, rows(71), {"max_archives": 0.29}, []),  # 29 of 100 are 29%, which floats do not know
        (100, rows(70), {"max_archives": 0.29}, ["30 records against guard max_archives of 29% of 100"]),
        (200, rows(100), {}, ["100 records against guard max_archives of 5% of 200"]),
        (20, rows(18), {"max_archives": 2}, []),
        (20, rows(17), {"max_archives": 2}, ["3 records against guard max_archives of 2"]),
        (20, rows(17), {"max_archives": None}, []),
        (20, rows(19), {"max_archives": 0}, ["1 records against guard max_archives of 0"]),
        (3, {}, {"max_archives": None}, ["the model is empty and would archive all 3 records; absence must be proven"]),
        (0, {}, {"max_archives": 0}, []),
        (0, rows(50), {"max_creates": 1}, []),  # a first night has a guard of its own
        (0, rows(50), {"first_run": 50}, []),
        (0, rows(50), {"first_run": 49}, ["50 records against guard first_run of 49"]),
        (1, rows(50), {"first_run": 0}, []),
        (1, rows(3), {"max_creates": 1}, ["2 records against guard max_creates of 1"]),
        (20, some_edited(3, 20), {"max_updates": 2}, ["3 records against guard max_updates of 2"]),
        (20, some_edited(2, 20), {"max_updates": 2}, []),
        (20, some_edited(2, 19), {"max_changes": 2}, ["3 records against guard max_changes of 2"]),
        (20, some_edited(3, 20), {"fields": {"Name__c": 2}}, ["3 records against guard fields.Name__c of 2"]),
        (20, some_edited(3, 20), {"fields": {"Amount__c": 0}}, []),
        (
            8,
            some_edited(2, 7),
            {"at_least": 1, "max_updates": 0.125, "max_archives": 0.1},
            ["2 records against guard max_updates of 12.50% of 8", "1 records against guard max_archives of 10% of 8"],
        ),
    ],
)
def test_guards(world: World, known: int, wanted: Rows, guard: dict[str, Any], said: list[str]) -> None:
    assert held(world, known, wanted, Guard(**guard)) == said


def test_a_value_that_does_not_fit_is_quoted_only_where_nothing_is_personal(world: World) -> None:
    listed = ", ".join(f'"{f.column}" varchar' for f in SYNC.fields)
    world.db.execute(f"create or replace table crm.crm_things (thing_id varchar, {listed})")
    world.db.execute("insert into crm.crm_things (thing_id, name, amount) values ('1', 'x', 'Mary Miller')")
    assert "Conversion Error: Could not convert string 'Mary Miller'" in refused(world, GateFailed).replace('"', "'")
    world.declare(personal=frozenset({"name"}))
    told = refused(world, GateFailed)
    assert "does not fit its column's data_type: Conversion Error in the column amount (its text is left out" in told
    assert "Miller" not in told


def test_samples_are_few_of_each_operation_and_personal_values_are_masked(world: World) -> None:
    world.size = 100
    world.model(rows(20))
    world.push()
    world.declare(fields=(replace(SYNC.fields[0], pii=True), *SYNC.fields[1:]))
    world.model({**rows(8, "edited"), **rows(8, "new", start=30)})
    [sync] = world.plan().syncs
    assert {(s.operation, s.before, s.after) for s in sync.samples} == {
        ("create", None, "•••"),
        ("update", "•••", "•••"),
        ("archive", "•••", None),
    }
    assert len({s.external_id for s in sync.samples}) == 3 * plan.SAMPLES
    assert "edited" not in (world.folder / f"run-{next(world.runs) - 1:04d}" / "plan.json").read_text()
