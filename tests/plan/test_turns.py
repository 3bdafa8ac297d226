"""Records that the CRM refuses for ever keep nothing else from going, however few requests a night has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from flows import ledger, plan
from flows.project import MappedField
from flows.records import Operation, Receipt, Record
from tests.plan.test_lookups import PARENTS
from tests.plan.test_order import EMPTY, rows
from tests.plan.test_properties import often
from tests.plan.world import SYNC, Answer, World, applied, rejected

CHILDREN = replace(
    SYNC,
    level=1,
    fields=(
        MappedField("name", "Boss", "varchar", parent=SYNC.name),
        *(replace(f, parent=PARENTS.name) if f.column == "parent" else f for f in SYNC.fields[1:]),
    ),
)
Parents = Mapping[str, str]
"""External id -> name."""
Children = Mapping[str, tuple[str | None, str | None, int]]
"""External id -> boss, parent, orders."""


@dataclass
class Nights:
    """Parents and their children, some of whom have a boss among the children; and a CRM that refuses some of them.

    A request holds as many records as ``held_by_one``.
    """

    world: World
    bad: Set[str] = frozenset()
    held_by_one: int = 1
    there: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world.reset()
        self.world.db.execute(f"drop table if exists {ledger.relation(PARENTS.name)}")

    def model(self, parents: Parents, children: Children) -> None:
        self.world.model({key: (boss, *EMPTY[1:-2], n, parent) for key, (boss, parent, n) in children.items()})
        self.world.db.execute("create or replace table crm.crm_parents (parent_id varchar, name varchar)")
        for row in parents.items():
            self.world.db.execute("insert into crm.crm_parents values (?, ?)", row)

    def plan(self) -> plan.Plan:
        run = f"run-{next(self.world.runs):04d}"
        crm = replace(self.world.crm, requests=lambda sync, operation, counts: sum(map(self.requests, counts)))
        return plan.make(self.world.db, run, (PARENTS, CHILDREN), self.world.folder / run, crm)

    def requests(self, count: int) -> int:
        return math.ceil(count / self.held_by_one)

    def night(self) -> list[str]:
        made = self.plan()
        sent = [record.external_id for batch in made.batches for record in batch.records()]
        self.see_that_none_goes_without_its_parent(made, set(sent))
        self.world.answer(made, self.answer)
        self.world.merge(made)
        return sent

    def see_that_none_goes_without_its_parent(self, made: plan.Plan, sent: set[str]) -> None:
        for batch in made.batches:
            for record in batch.records():
                assert above(record) <= sent | self.there, (record, sent)

    def answer(self, operation: Operation, record: Record) -> Receipt:
        if record.external_id in self.bad or not above(record) <= self.there:
            return rejected(operation, record)
        if operation is Operation.ARCHIVE:
            self.there.discard(record.external_id)
        else:
            self.there.add(record.external_id)
        return applied(operation, record)

    def held(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for sync, names in ((PARENTS, '"Name"'), (CHILDREN, '"Boss", "Parent__c", "Orders__c"')):
            rows = self.world.db.execute(f"select _external_id, {names} from {ledger.relation(sync.name)}")
            found |= {key: tuple(values) for key, *values in rows}
        return found


def above(record: Record) -> set[str]:
    return {str(record.values[name]) for name in ("Boss", "Parent__c") if record.values.get(name)}


def refuses(*keys: str) -> Answer:
    return lambda operation, record: (rejected if record.external_id in keys else applied)(operation, record)


def test_what_is_refused_for_ever_keeps_no_good_record_from_going(world: World) -> None:
    world.model(rows(8))
    world.most = 4
    bad = [f"{i:04}" for i in range(5)]
    for _ in range(2):
        world.push(refuses(*bad))
    assert set(world.held()) == {"0005", "0006", "0007"}


def test_it_keeps_neither_updates_nor_archives_nor_children_from_going(world: World) -> None:
    nights = Nights(world)
    nights.model({"p1": "n", "p2": "n", "gone": "n"}, {"c1": (None, "p1", 1)})
    nights.night()
    nights.bad = {"new1", "new2", "new3"}
    world.most = 2
    new = dict.fromkeys(nights.bad, "n")
    nights.model({**new, "p1": "edited", "p2": "n"}, {"c1": (None, "p1", 2), "c2": (None, "p1", 2)})
    sent = [nights.night() for _ in range(4)]
    assert sent == [["new1", "new2"], ["new3", "p1"], ["c2", "c1"], ["new1", "gone"]], (
        "the refused ones after the archive"
    )
    assert set(nights.held()) == {"p1", "p2", "c1", "c2"}


def test_the_refused_ones_take_turns_so_that_a_mended_one_goes(world: World) -> None:
    world.model(rows(5))
    keys = list(rows(5))
    world.push(refuses(*keys))
    world.most = 2
    mended = refuses(*keys[:4])
    assert [[r.external_id for b in world.push(mended).batches for r in b.records()] for _ in range(3)] == [
        ["0000", "0001"],
        ["0002", "0003"],
        ["0000", "0004"],
    ]
    assert set(world.held()) == {"0004"}


def test_a_retry_takes_turns_too(world: World) -> None:
    world.model(rows(3))
    world.push(rejected)
    world.most = 2
    sent = []
    for _ in range(2):
        made = world.plan(only="rejections")
        sent.append([record.external_id for batch in made.batches for record in batch.records()])
        world.answer(made, rejected)
        world.merge(made)
    assert sent == [["0000", "0001"], ["0000", "0002"]]


def test_children_of_a_refused_new_parent_wait_for_its_turn(world: World) -> None:
    nights = Nights(world, bad={"bad"})
    nights.model({"bad": "n"}, {"a": (None, "bad", 1), "b": ("a", None, 1)})
    world.most = 1
    assert nights.night() == ["bad"]
    nights.model({"bad": "n", "good": "n"}, {"a": (None, "bad", 1), "b": ("a", None, 1), "c": (None, "good", 1)})
    assert [nights.night() for _ in range(3)] == [["good"], ["c"], ["bad"]]
    nights.bad = set()
    assert [nights.night() for _ in range(3)] == [["bad"], ["a"], ["b"]]


KEYS = [f"p{n}" for n in range(5)]
BELOW = [f"c{n}" for n in range(6)]


@st.composite
def wanted(draw: st.DrawFn) -> tuple[Parents, Children]:
    parents = draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from("ab")))
    children: dict[str, tuple[str | None, str | None, int]] = {}
    for key in sorted(draw(st.sets(st.sampled_from(BELOW)))):
        boss, parent = (draw(st.sampled_from([None, *sorted(known)])) for known in (children, parents))
        children[key] = (boss, parent, draw(st.integers(0, 1)))
    return parents, children


BAD = st.sets(st.sampled_from([*KEYS, *BELOW]), max_size=6)


@often
@given(before=wanted(), after=wanted(), bad=BAD, mended=BAD, most=st.integers(1, 4), held_by_one=st.integers(1, 3))
def test_whatever_is_refused_every_good_record_goes(
    world: World,
    before: tuple[Parents, Children],
    after: tuple[Parents, Children],
    bad: set[str],
    mended: set[str],
    most: int,
    held_by_one: int,
) -> None:
    nights = Nights(world, held_by_one=held_by_one)
    nights.model(*before)
    nights.night()
    nights.model(*after)
    world.most = most
    for refused in (bad, bad - mended):
        nights.bad = refused
        goal = possible(nights.held(), *after, refused)
        for _ in range(3 * (len(KEYS) + len(BELOW))):
            if nights.held() == goal:
                break
            nights.night()
        assert nights.held() == goal


def possible(
    held: Mapping[str, tuple[object, ...]], parents: Parents, children: Children, bad: Set[str]
) -> dict[str, tuple[object, ...]]:
    """What the CRM can be brought to: all that is wanted but what it refuses, and what is under such a new record."""
    goal: dict[str, tuple[object, ...]] = {}
    above: dict[str, tuple[str | None, ...]] = {key: () for key in parents}
    above |= {key: (boss, parent) for key, (boss, parent, _) in children.items()}
    rows: dict[str, tuple[object, ...]] = {key: (name,) for key, name in parents.items()}
    rows |= {key: (boss, parent, n) for key, (boss, parent, n) in children.items()}
    for key, row in rows.items():
        if key not in bad and all(name is None or name in goal for name in above[key]):
            goal[key] = row
        elif key in held:
            goal[key] = held[key]
    return goal | {key: row for key, row in held.items() if key not in rows and key in bad}
