"""A rejection is open while its record is refused and wanted, whatever keeps it from being sent tonight."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import plan
from flows.project import FilesExtract, MappedField, Source
from flows.records import Operation, Receipt, Record
from tests.plan.world import SYNC, TYPES, Answer, Row, World, applied, money, rejected

EMPTY: Row = (None,) * len(TYPES)
ONE: Row = ("one", money("1.20"), *EMPTY[2:])
TWO: Row = ("two", *ONE[1:])


def refuses(*keys: str) -> Answer:
    """The CRM takes all records but these."""

    def answer(operation: Operation, record: Record) -> Receipt:
        return (rejected if record.external_id in keys else applied)(operation, record)

    return answer


@pytest.fixture
def refused(world: World) -> World:
    """A record that the CRM refused twice, beside one that it took."""
    world.model({"bad": ONE, "good": ONE})
    for _ in range(2):
        world.push(refuses("bad"))
    assert world.open_rejections() == {"bad": 2}
    return world


def hold(world: World, key: str) -> None:
    world.db.execute(
        "insert into quality.quarantine (table_name, key, expectation_id, expectation, fingerprint, severity, "
        "since_run_id, since_at, last_run_id) values ('crm.crm_things', ?, 'e', 'e', 'f', 'critical', 'r', now(), 'r')",
        (key,),
    )


def test_it_stays_open_where_the_nights_requests_are_not_enough(refused: World) -> None:
    refused.model({"aaa": ONE, "bad": ONE, "good": ONE})
    refused.most = 1
    refused.push()
    assert refused.open_rejections() == {"bad": 2}
    refused.push()
    assert refused.open_rejections() == {}


@pytest.mark.parametrize("only", [None, "rejections"])
def test_it_stays_open_while_its_row_is_held_back(refused: World, only: plan.Only | None) -> None:
    hold(refused, "bad")
    made = refused.plan(only)
    refused.answer(made)
    refused.merge(made)
    assert (made.operations, refused.open_rejections()) == (0, {"bad": 2})
    refused.db.execute("delete from quality.quarantine")
    refused.push(rejected)
    assert refused.open_rejections() == {"bad": 3}, "the same rejection goes on"


def test_it_stays_open_while_it_waits_for_a_parent(world: World) -> None:
    world.declare(fields=(*SYNC.fields[:-1], replace(SYNC.fields[-1], parent=SYNC.name)))
    world.model({"bad": (*EMPTY[:-1], "parent"), "parent": EMPTY})
    world.push(rejected)
    hold(world, "parent")
    assert world.push().syncs[0].waiting == 1
    assert set(world.open_rejections()) == {"bad", "parent"}


def test_it_stays_open_while_archives_are_withheld(world: World) -> None:
    extract = FilesExtract(kind="files", path="*.csv")
    world.sources = [Source(name="shop.things", table="shop__things", columns={"x": "bigint"}, extract=extract)]
    world.declare(sources=("shop.things",))
    world.db.execute("create or replace table raw.shop__things as select range as x from range(100)")
    world.model({"bad": ONE, "good": ONE})
    world.push()
    world.model({"good": ONE})
    world.push(rejected)
    world.db.execute("create or replace table raw.shop__things as select range as x from range(10)")
    assert world.push().syncs[0].withheld == 1
    assert world.open_rejections() == {"bad": 1}


def test_a_revert_closes_none_that_it_did_not_mend(refused: World) -> None:
    refused.model({"bad": ONE, "good": TWO})
    edit = refused.push(refuses("bad"))
    run = f"run-{next(refused.runs):04d}"
    made = plan.revert(refused.db, run, [refused.sync], refused.folder / run, refused.crm, of=edit.run_id)
    assert made.operations == 1
    refused.answer(made)
    refused.merge(made)
    assert refused.open_rejections() == {"bad": 3}


def test_it_closes_where_a_person_has_the_last_word(world: World) -> None:
    """The field that was refused is filled by now: by its policy nothing is to be sent any more."""
    careful: MappedField = replace(SYNC.fields[0], policy="if_empty")
    world.declare(fields=(careful, *SYNC.fields[1:]))
    world.model({"bad": EMPTY})
    world.push()
    world.there = {"bad": EMPTY}
    world.model({"bad": ("one", *EMPTY[1:])})
    world.push(rejected)
    world.push(rejected)
    assert world.open_rejections() == {"bad": 2}
    world.there = {"bad": ("theirs", *EMPTY[1:])}
    assert world.push().syncs[0].kept == {"Name__c": 1}
    assert world.open_rejections() == {}


def test_a_run_that_died_closes_what_it_knew_to_be_settled(world: World) -> None:
    world.model({"a": ONE, "b": ONE})
    world.push()
    world.model({"a": TWO, "b": TWO})
    world.push(rejected)
    world.model({"a": ONE, "b": TWO})
    made = world.plan()
    (made.folder / "receipts").mkdir(parents=True)
    world.merge(plan.load(made.folder))
    assert world.open_rejections() == {"b": 1}
