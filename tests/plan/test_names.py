"""A CRM may call its fields as we call our own columns: HubSpot's contacts have a `message`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import approvals, plan
from flows.project import MappedField
from flows.project.syncs import RESERVED
from flows.records import Batch, Operation, Outcome, Receipt, Record
from flows.summary import Sample
from tests.plan.world import SYNC, World, applied, records

SEEN = (*"dlrktfcpevhsx", "id", "name", "values", "twice", "otherwise", "now")
"""What our queries call tables and columns besides."""


@pytest.fixture
def names(world: World) -> list[str]:
    """Every name that we give to a column, as the field of one sync."""
    kept = {name for (name,) in world.db.execute("select column_name from duckdb_columns() where not internal")}
    ours = {name for kind in (Receipt, Record, Batch, Sample) for name in kind.__dataclass_fields__}
    found = sorted(name for name in {*kept, *ours, *SEEN} - RESERVED if name.isidentifier() and name[0].isalpha())
    found = list({name.casefold(): name for name in found}.values())
    fields = tuple(MappedField(f"c{n}", name, "varchar", pii=name == "code") for n, name in enumerate(found))
    assert {"message", "code", "created", "outcome", "gone", "fields", "operation", "attempts"} <= set(found)
    world.declare(fields=fields, relation='"crm"."named"')
    world.model({})
    return found


def model(world: World, names: list[str], value: str) -> None:
    columns = "".join(f", '{value}-' || {n} as c{n}" for n in range(len(names)))
    world.db.execute(f"create or replace table crm.named as select 'x' as thing_id{columns}")


def values(names: list[str], value: str) -> dict[str, str]:
    return {name: f"{value}-{n}" for n, name in enumerate(names)}


def took(operation: Operation, record: Record) -> Receipt:
    return replace(applied(operation, record), created=operation is Operation.CREATE)


def test_every_name_of_ours_can_be_a_field_of_the_crm(world: World, names: list[str]) -> None:
    model(world, names, "one")
    world.push(took)
    model(world, names, "two")
    edit = world.push(took)
    assert world.plan().operations == 0
    told = world.db.execute("select field, before, after from sync.changes where run_id = ?", (edit.run_id,))
    one, two = values(names, "one"), values(names, "two")
    assert {field: (before, after) for field, before, after in told} == {n: (one[n], two[n]) for n in names}
    run = f"run-{next(world.runs):04d}"
    back = plan.revert(world.db, run, [world.sync], world.folder / run, world.crm, of=edit.run_id)
    assert dict(records(back.batches, Operation.UPDATE)["x"].values) == one
    model(world, names, "three")
    refusal = Receipt("x", Outcome.REJECTED, code="NO", message="refused", fields=("message",), other_id="o", gone=True)
    world.push(lambda operation, record: refusal)
    [told] = world.db.rows("select * from sync.rejections")
    assert told["sent"] == {**values(names, "three"), "code": "•••"}
    assert (told["code"], told["message"], told["fields"], told["other_id"], told["gone"]) == (
        "NO",
        "refused",
        ["message"],
        "o",
        True,
    )
    world.declare(mode="mirror")
    world.db.execute("delete from crm.named")
    gone = world.push(took)
    run = f"run-{next(world.runs):04d}"
    back = plan.revert(world.db, run, [world.sync], world.folder / run, world.crm, of=gone.run_id)
    assert dict(records(back.batches, Operation.CREATE)["x"].values) == two


def test_an_approved_plan_with_such_names_is_compared(world: World, names: list[str]) -> None:
    model(world, names, "one")
    approved = world.plan()
    standing = approvals.file(
        world.db, approved.run_id, target="t", kind="night", reverts=None, flow_run_id=None, send=True
    )
    assert approvals.moved(world.db, standing, approved, world.plan()) == []
    model(world, names, "two")
    [why] = approvals.moved(world.db, standing, approved, world.plan())
    assert why == f"{SYNC.name}: the model moved for 1 record (1 create approved, 1 create now)"
