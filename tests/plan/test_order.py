"""In which order records go, how far a night's requests go, and what is not archived."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import plan, push
from flows.project import FilesExtract, MappedField, Source
from flows.project.types import sendable
from flows.records import Operation, Outcome, Receipt, Record
from tests.plan.world import SYNC, TYPES, Row, Rows, World, records

EMPTY: Row = (None,) * len(TYPES)


def rows(number: int, name: str = "n") -> Rows:
    return {f"{i:04}": (name, *EMPTY[1:]) for i in range(number)}


def under(world: World, parents: dict[str, str | None]) -> None:
    """A model in which each record names its parent in the same model."""
    own = [f if f.column != "parent" else replace(f, parent=SYNC.name) for f in SYNC.fields]
    world.declare(fields=tuple(own))
    world.model({key: ("n", *EMPTY[1:-1], parent) for key, parent in parents.items()})


def waves(world: World, made: plan.Plan) -> list[list[str]]:
    return [
        sorted(record.external_id for _, batch in wave for record in batch.records())
        for wave in push.waves(made.batches, [world.sync])
    ]


def test_new_parents_go_before_their_children_however_deep(world: World) -> None:
    world.size = 2
    under(world, {"a": None, "b": "a", "c": "b", "d": "a", "e": None, "f": "c", "g": "elsewhere"})
    made = world.plan()
    assert waves(world, made) == [["a", "e", "g"], ["b", "d"], ["c"], ["f"]]
    assert plan.load(made.folder) == made
    assert all(batch.count <= 2 for batch in made.batches)


def test_an_update_goes_after_the_parents_that_it_may_point_to(world: World) -> None:
    under(world, {"old": None})
    world.push()
    under(world, {"old": "new", "new": "newer", "newer": None})
    assert waves(world, world.plan()) == [["newer"], ["new"], ["old"]]


def test_a_ring_is_left_to_the_crm(world: World) -> None:
    under(world, {"a": "b", "b": "a", "c": None, "d": "d"})
    assert waves(world, world.plan()) == [["c", "d"], ["a", "b"]]


def test_two_lookups_to_the_model_itself_both_count(world: World) -> None:
    own = MappedField("name", "Partner__c", "varchar", parent=SYNC.name)
    parent = replace(SYNC.fields[-1], parent=SYNC.name)
    world.declare(fields=(own, *SYNC.fields[1:-1], parent))
    world.model({"a": (None, *EMPTY[1:]), "b": ("a", *EMPTY[1:]), "c": (None, *EMPTY[1:-1], "b")})
    assert waves(world, world.plan()) == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(("most", "goes"), [(None, 8), (8, 8), (5, 5), (4, 4), (1, 1)])
def test_what_a_nights_requests_are_not_enough_for_waits(world: World, most: int | None, goes: int) -> None:
    """Creates, then updates, then archives; one request a record."""
    world.model(rows(5))
    world.push()
    world.most = most
    changed = {**{f"{i:04}": ("edited", *EMPTY[1:]) for i in range(3)}, **{f"new{i}": EMPTY for i in range(3)}}
    world.model(changed)
    made = world.plan()
    [sync] = made.syncs
    assert (made.operations, sync.left) == (goes, 8 - goes)
    planned = [record.external_id for op in Operation for record in records(made.batches, op).values()]
    assert planned == ["new0", "new1", "new2", "0000", "0001", "0002", "0003", "0004"][:goes]


def test_night_after_night_everything_goes(world: World) -> None:
    world.most = 4
    wanted = rows(10)
    world.model(wanted)
    assert [world.push().operations for _ in range(4)] == [4, 4, 2, 0]
    assert world.held() == wanted


def test_each_depth_of_a_sync_that_looks_up_itself_takes_requests_of_its_own(world: World) -> None:
    parent = replace(SYNC.fields[-1], parent=SYNC.name)
    world.declare(fields=(*SYNC.fields[:-1], parent))
    world.model({f"{i:02}": (*EMPTY[:-1], f"{i - 1:02}" if i else None) for i in range(9)})
    crm = replace(
        world.crm, requests=lambda sync, operation, counts: sum(map(bool, counts)), most_requests=lambda sync: 3
    )
    made = plan.make(world.db, "run-deep", [world.sync], world.folder / "deep", crm)
    assert [batch.depth for batch in made.batches] == [0, 1, 2]
    assert (made.operations, made.syncs[0].left) == (3, 6)


def source(shrunken: float = 0.8) -> Source:
    extract = FilesExtract(kind="files", path="*.csv", shrunken=shrunken)
    return Source(name="shop.things", table="shop__things", columns={"x": "bigint"}, extract=extract)


def fill(world: World, number: int) -> None:
    world.db.execute(f"create or replace table raw.shop__things as select range as x from range({number})")


def test_a_source_that_shrank_archives_nothing_until_it_is_back(world: World) -> None:
    world.declare(sources=("shop.things",))
    world.sources = [source()]
    fill(world, 100)
    world.model(rows(5))
    world.push()
    fill(world, 79)
    world.model(rows(4) | {"new": EMPTY})
    for _ in range(2):
        [sync] = world.plan().syncs
        assert (sync.creates, sync.archives, sync.withheld) == (1, 0, 1), "all but the archives goes on"
        [note] = sync.notes
        assert "1 records are not archived: shop.things shrank from 100 to 79 rows, which is below 80%" in note
    world.sources = [source(0.7)]
    assert world.plan().syncs[0].archives == 1, "somebody said that so many rows are enough"
    world.sources = [source()]
    assert world.plan().syncs[0].archives == 1, "and so many it has now"
    fill(world, 0)
    world.declare(sources=())
    assert world.plan().syncs[0].archives == 1, "a model that is not made of it minds nothing"


def gone(operation: Operation, record: Record) -> Receipt:
    """The CRM says that somebody deleted the record."""
    return Receipt(record.external_id, Outcome.REJECTED, record.crm_id, code="ENTITY_IS_DELETED", gone=True)


@pytest.mark.parametrize("deleted", ["report", "recreate", "forget"])
def test_a_record_that_somebody_deleted(world: World, deleted: str) -> None:
    world.declare(deleted=deleted)
    world.model(rows(2))
    world.push()
    world.model(rows(2, "edited"))
    made = world.plan()
    world.answer(
        made, lambda op, r: gone(op, r) if r.external_id == "0000" else Receipt(r.external_id, Outcome.APPLIED)
    )
    world.merge(made)
    again = world.plan()
    creates, updates = (records(again.batches, op) for op in (Operation.CREATE, Operation.UPDATE))
    if deleted == "report":
        assert (set(creates), set(updates)) == (set(), {"0000"})
        assert world.open_rejections() == {"0000": 1}
    elif deleted == "recreate":
        assert dict(creates["0000"].values) == {"Name__c": "edited"}, "whole, not what changed alone"
        assert creates["0000"].crm_id is None
        assert world.open_rejections() == {"0000": 1}, "open until it is there again"
        world.answer(again)
        world.merge(again)
        assert world.open_rejections() == {}
    else:
        assert again.operations == 0
        assert world.open_rejections() == {}
        world.model(rows(2, "edited again"))
        assert set(records(world.push().batches, Operation.UPDATE)) == {"0001"}
        world.model({"0001": rows(2)["0001"]})
        world.push()
        world.model(rows(2))
        assert set(records(world.plan().batches, Operation.CREATE)) == {"0000"}, "it left the model and came back"


def test_only_the_rejections_are_planned(world: World) -> None:
    world.model(rows(4))
    made = world.plan()
    world.answer(made, lambda op, r: Receipt(r.external_id, Outcome.REJECTED) if r.external_id < "0002" else None)
    world.merge(made)
    world.model({**rows(6, "edited"), "0000": rows(1)["0000"]})
    again = world.plan(only="rejections")
    assert set(records(again.batches, Operation.CREATE)) == {"0000", "0001", "0002", "0003"}, "doubts are open, too"
    world.answer(again)
    world.merge(again)
    assert world.open_rejections() == {}
    assert set(records(world.plan().batches, Operation.CREATE)) == {"0004", "0005"}


def test_a_hash_that_two_rows_share_by_chance_hides_no_change(world: World) -> None:
    """The edited row's hash is that of another row: the count of pairs gives it away, and all rows are compared."""
    world.model(rows(5))
    world.push()
    wanted = {**rows(5), "0003": ("edited", *EMPTY[1:])}
    world.model(wanted)
    by_chance = "case when name = 'edited' then 1 else cast(key as int) end"
    world.db.execute(f"create temp macro hash(key, name, c, d, e, f, g, h) as {by_chance}")
    try:
        made = world.push()
    finally:
        world.db.execute("drop macro temp.hash")
    assert set(records(made.batches, Operation.UPDATE)) == {"0003"}
    assert world.held() == wanted


def test_a_view_is_planned_as_its_table_would_be(world: World) -> None:
    world.model(rows(3))
    world.push()
    world.db.execute(
        'create or replace view crm.seen as select * replace (upper("name") as "name") from crm.crm_things'
    )
    world.declare(relation='"crm"."seen"')
    try:
        assert world.plan().syncs[0].updates == 3
    finally:
        world.db.execute("drop view crm.seen")


def test_a_refusal_keeps_what_was_sent_and_masks_what_is_personal(world: World) -> None:
    world.declare(fields=(replace(SYNC.fields[0], pii=True), *SYNC.fields[1:]))
    world.model({"a": ("secret", None, None, None, True, 7, None)})
    made = world.plan()
    refusal = Receipt("a", Outcome.REJECTED, code="DUPLICATES_DETECTED", message="another", other_id="003x")
    world.answer(made, lambda operation, record: refusal)
    world.merge(made)
    assert world.db.execute("select sent, other_id from sync.rejections") == [
        ({"Name__c": "•••", "Active__c": "true", "Orders__c": "7"}, "003x")
    ]


def test_a_sum_of_whole_numbers_is_not_rounded(world: World) -> None:
    """DuckDB's sum of bigints is of 128 bits, which Parquet does not know."""
    orders = next(n for n, f in enumerate(SYNC.fields) if f.column == "orders")
    huge = replace(SYNC.fields[orders], type=str(sendable("hugeint")))
    world.declare(fields=(*SYNC.fields[:orders], huge, *SYNC.fields[orders + 1 :]))
    world.model({"a": (*EMPTY[:orders], 2**53 + 1, *EMPTY[orders + 1 :])})
    made = world.push()
    assert records(made.batches, Operation.CREATE)["a"].values == {"Orders__c": 2**53 + 1}
    assert world.plan().operations == 0


def test_uuids_are_texts_as_keys_as_values_and_as_lookups(world: World) -> None:
    texts = {f.column: f.crm_field for f in SYNC.fields if f.column in ("name", "parent")}
    kept = tuple(replace(f, type=str(sendable("uuid"))) for f in SYNC.fields if f.column in texts)
    world.declare(fields=kept, relation='"crm"."uuids"')
    key = "0b5a2c4e-8d1f-4f0e-9a63-2f3b7c1d9e00"
    world.db.execute(
        f"create or replace table crm.uuids as select '{key}'::uuid as thing_id, '{key}'::uuid as name, "
        f"'{key}'::uuid as parent"
    )
    made = world.push()
    assert records(made.batches, Operation.CREATE)[key].values == dict.fromkeys(texts.values(), key)
    assert world.plan().operations == 0


def test_what_is_to_be_archived_and_is_gone_for_good_is_archived(world: World) -> None:
    world.model(rows(1))
    world.push()
    world.model({})
    made = world.plan()
    world.answer(made, gone)
    assert world.merge(made)[SYNC.name].applied == 1
    assert (world.held(), world.open_rejections()) == ({}, {})
    assert world.plan().operations == 0


def test_the_values_of_a_multi_picklist_have_no_order(world: World) -> None:
    tags = (replace(SYNC.fields[0], type="varchar[]"), *SYNC.fields[1:])
    world.declare(fields=tags, relation='"crm"."tagged"')

    def model(values: str) -> None:
        world.db.execute(
            f"create or replace table crm.tagged as select * replace ({values}::varchar[] as name) from crm.crm_things"
        )

    world.model({"a": EMPTY})
    model("['b', 'a']")
    world.push()
    model("['a', 'b']")
    assert world.plan().operations == 0
    model("['a', 'c']")
    assert records(world.push().batches, Operation.UPDATE)["a"].values == {"Name__c": ["a", "c"]}
    model("null")
    assert records(world.plan().batches, Operation.UPDATE)["a"].values == {"Name__c": None}


def test_children_of_a_recreated_parent_are_led_to_it(world: World) -> None:
    own = replace(SYNC.fields[-1], parent=SYNC.name)
    world.declare(deleted="recreate", fields=(*SYNC.fields[:-1], own))
    model = {"parent": EMPTY, "child": (*EMPTY[:-1], "parent"), "other": EMPTY}
    world.model(model)
    world.push()
    world.model({**model, "parent": ("edited", *EMPTY[1:])})
    made = world.plan()
    world.answer(made, gone)
    world.merge(made)
    again = world.push()
    assert set(records(again.batches, Operation.CREATE)) == {"parent"}
    assert {k: dict(r.values) for k, r in records(again.batches, Operation.UPDATE).items()} == {
        "child": {"Parent__c": "parent"}
    }
    assert world.plan().operations == 0
