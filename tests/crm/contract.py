"""What every connector must do, whatever the CRM: one suite, run for each connector and each of its ways to write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.crm import connect
from flows.crm.base import Connector
from flows.errors import ConfigError
from flows.project import Connection, Sync
from flows.records import Batch, Operation, Outcome, Receipt, Record, Value, write_batch

T = TypeVar("T")


@dataclass
class House:
    """A CRM for the suite.

    Attributes:
        connection: how to reach it.
        parents: a sync of an object that needs no other; see `Fields`.
        children: a sync of an object with a lookup to the parents.
        fields: which fields of these objects take which kind of value.
        folder: where batch files may lie.
        count: how many live records of an object the CRM holds, asked behind the connector's back.
        requests: how many requests came in so far.
        over_limits: names each of the CRM's published limits that a request has gone over.
    """

    connection: Connection
    parents: Sync
    children: Sync
    fields: Fields
    folder: Path
    count: Callable[[str], int]
    requests: Callable[[], int]
    over_limits: Callable[[], list[str]]
    ids: dict[str, str] = field(default_factory=dict)

    def run(self, work: Callable[[Connector], Awaitable[T]]) -> T:
        async def session() -> T:
            async with connect(self.connection) as connector:
                return await work(connector)

        return asyncio.run(session())

    def batch(self, sync: Sync, operation: Operation, records: Sequence[Record]) -> Batch:
        path = self.folder / f"{sync.name}-{operation}-{uuid4().hex}.parquet"
        return write_batch(path, sync.name, operation, records, sync.types)

    def write(self, sync: Sync, operation: Operation, records: Sequence[Record]) -> dict[str, Receipt]:
        """Write records and check that there is exactly one receipt for each."""
        batch = self.batch(sync, operation, records)

        async def work(connector: Connector) -> list[Receipt]:
            return [receipt async for receipts in connector.write(sync, batch) for receipt in receipts]

        receipts = self.run(work)
        assert sorted(r.external_id for r in receipts) == sorted(r.external_id for r in records)
        assert all((r.outcome is Outcome.APPLIED) == (not r.code) for r in receipts)
        return {r.external_id: r for r in receipts}

    def create(self, sync: Sync, values: dict[str, dict[str, Value]]) -> dict[str, str]:
        """Create records that the CRM accepts.

        Returns:
            External id -> CRM id.
        """
        receipts = self.write(sync, Operation.CREATE, [Record(key, None, sent) for key, sent in values.items()])
        assert {r.outcome for r in receipts.values()} <= {Outcome.APPLIED}, receipts
        return {key: str(r.crm_id) for key, r in receipts.items()}

    def read(self, sync: Sync, ids: dict[str, Any]) -> dict[str, dict[str, Value]]:
        async def work(connector: Connector) -> list[Record]:
            known = [Record(key, crm_id) for key, crm_id in ids.items()]
            return [record async for records in connector.read(sync, known) for record in records]

        records = self.run(work)
        assert len({r.external_id for r in records}) == len(records)
        assert all(ids[r.external_id] in (None, r.crm_id) for r in records)
        return {r.external_id: dict(r.values) for r in records}


@dataclass(frozen=True)
class Fields:
    """Mapped fields by the kind of value that they take. All but the names belong to the parents or the children.

    Attributes:
        parent_name: the parents' required text.
        child_name: the children's required text.
        text: a long text of the parents; lines, quotes and commas are kept.
        short: a text of the parents, and the most characters that it takes.
        money: decimal(14,2) of the parents.
        number: bigint of the parents.
        day: date of the parents.
        moment: timestamp of the children.
        flag: boolean of the children.
        lookup: the children's lookup to the parents.
        required: whether the CRM itself demands the parents' name.
        scale: digits that the CRM keeps behind the point of ``money``; None where it has no such limit.
    """

    parent_name: str
    child_name: str
    text: str
    short: tuple[str, int]
    money: str
    number: str
    day: str
    moment: str
    flag: str
    lookup: str
    required: bool = True
    scale: int | None = 2


_letters = st.characters(exclude_categories=["Cc", "Cs", "Cn"]) | st.sampled_from("\n\t\",;'\\ #é€😀")
# No CRM promises to keep what stands around a text, and to most an empty text is no value.
texts = st.text(_letters, min_size=1, max_size=60).filter(lambda t: t == t.strip() and t != "#N/A")
money = st.decimals(min_value=-(10**11), max_value=10**11, places=2)
days = st.dates(date(1900, 1, 1), date(2999, 12, 31))
moments = st.datetimes(datetime(1900, 1, 1), datetime(2999, 12, 31)).map(  # noqa: DTZ001 - naive UTC, as DuckDB gives
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


class Contract:
    """The suite. A subclass in a test module gives the fixture ``house``."""

    def test_an_empty_batch_sends_nothing(self, house: House) -> None:
        for operation in Operation:
            assert house.write(house.parents, operation, []) == {}
        assert house.read(house.parents, {}) == {}
        assert house.requests() == 0

    def test_creating_twice_equals_creating_once(self, house: House) -> None:
        values: dict[str, dict[str, Value]] = {f"p{i}": {house.fields.parent_name: f"Parent {i}"} for i in range(230)}
        first = house.create(house.parents, values)
        second = house.write(house.parents, Operation.CREATE, [Record(k, None, v) for k, v in values.items()])
        assert {key: r.crm_id for key, r in second.items()} == first
        assert {r.created for r in second.values()} == {False}
        assert house.count(house.parents.object) == 230

    def test_created_is_told(self, house: House) -> None:
        name = house.fields.parent_name
        receipts = house.write(house.parents, Operation.CREATE, [Record("p1", None, {name: "A"})])
        assert receipts["p1"].created is True
        assert receipts["p1"].crm_id

    def test_limits_are_kept(self, house: House) -> None:
        values: dict[str, dict[str, Value]] = {f"p{i}": {house.fields.parent_name: "P"} for i in range(1, 1002)}
        ids = house.create(house.parents, values)
        house.write(house.parents, Operation.UPDATE, [Record(k, v, {house.fields.number: 1}) for k, v in ids.items()])
        assert len(house.read(house.parents, ids)) == 1001
        house.write(house.parents, Operation.ARCHIVE, [Record(k, v) for k, v in ids.items()])
        assert house.count(house.parents.object) == 0
        assert house.over_limits() == []

    def test_a_bad_record_is_refused_alone(self, house: House) -> None:
        name, (short, most) = house.fields.parent_name, house.fields.short
        records = [Record(f"p{i}", None, {name: "P", short: "x" * (most + (i % 7 == 3))}) for i in range(40)]
        receipts = house.write(house.parents, Operation.CREATE, records)
        refused = {key: r for key, r in receipts.items() if r.outcome is Outcome.REJECTED}
        assert sorted(refused) == sorted(f"p{i}" for i in range(40) if i % 7 == 3)
        assert all(r.code and r.message for r in refused.values())
        assert {r.fields for r in refused.values()} == {(short,)}
        assert house.count(house.parents.object) == 40 - len(refused)

    def test_only_what_is_sent_changes(self, house: House) -> None:
        name, money, number = house.fields.parent_name, house.fields.money, house.fields.number
        ids = house.create(house.parents, {k: {name: k, money: Decimal("1.50"), number: 7} for k in ("a", "b", "c")})
        # Each record sends other fields, in one batch.
        house.write(
            house.parents,
            Operation.UPDATE,
            [
                Record("a", ids["a"], {money: Decimal("2.25")}),
                Record("b", ids["b"], {number: 8}),
                Record("c", ids["c"]),
            ],
        )
        found = house.read(house.parents, ids)
        assert [(found[k][name], found[k][money], found[k][number]) for k in ("a", "b", "c")] == [
            ("a", Decimal("2.25"), 7),
            ("b", Decimal("1.50"), 8),
            ("c", Decimal("1.50"), 7),
        ]

    @pytest.mark.parametrize("empty", [None, ""])
    def test_null_clears(self, house: House, empty: Value) -> None:
        f = house.fields
        cleared = [f.money, f.number, f.day, f.text]
        full: dict[str, Value] = {f.money: Decimal("1.00"), f.number: 1, f.day: date(2011, 2, 3), f.text: "text"}
        ids = house.create(house.parents, {k: {f.parent_name: k, **full} for k in ("a", "b")})
        nothing: dict[str, Value] = {name: empty if name == f.text else None for name in cleared}
        house.write(house.parents, Operation.UPDATE, [Record("a", ids["a"], nothing)])
        found = house.read(house.parents, ids)
        assert [found["a"][name] for name in cleared] == [None] * 4
        assert [found["b"][name] for name in cleared] == list(full.values())

    @given(data=st.data())
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        # The house may be shared, since every example makes records of its own; and each subclass has its own house.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    def test_what_was_written_reads_back_equal(self, house: House, data: st.DataObject) -> None:
        f = house.fields
        fields: dict[str, st.SearchStrategy[Any]] = {
            f.parent_name: texts,
            f.text: st.none() | texts,
            f.money: st.none() | money,
            f.number: st.none() | st.integers(-(10**15), 10**15),
            f.day: st.none() | days,
        }
        records = data.draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=8))
        sent: dict[str, dict[str, Value]] = {f"{uuid4().hex}": record for record in records}
        ids = house.create(house.parents, sent)
        found = house.read(house.parents, ids)
        assert {key: {name: found[key][name] for name in fields} for key in found} == sent
        assert {type(found[key][f.money]) for key in found} <= {Decimal, type(None)}
        child = {f.child_name: texts, f.moment: st.none() | moments, f.flag: st.booleans()}
        records = data.draw(st.lists(st.fixed_dictionaries(child), min_size=1, max_size=8))
        parent = data.draw(st.sampled_from([*sent, None]))
        sent = {f"{uuid4().hex}": {**record, f.lookup: parent} for record in records}
        ids = house.create(house.children, sent)
        found = house.read(house.children, ids)
        assert {key: {name: found[key][name] for name in (*child, f.lookup)} for key in found} == sent

    def test_times_are_utc_and_end_at_milliseconds(self, house: House) -> None:
        f = house.fields
        moment = datetime(2011, 12, 9, 12, 50, 1, 987654)  # noqa: DTZ001 - naive UTC, as DuckDB gives
        ids = house.create(house.children, {"c": {f.child_name: "C", f.moment: moment}})
        found = house.read(house.children, ids)["c"][f.moment]
        assert isinstance(found, datetime)
        assert found.tzinfo is None
        assert timedelta(0) <= moment - found < timedelta(milliseconds=1)
        assert found.replace(tzinfo=UTC).isoformat() == "2011-12-09T12:50:01.987000+00:00"

    def test_lookups_by_external_id(self, house: House) -> None:
        f = house.fields
        house.create(house.parents, {"p'1": {f.parent_name: "One"}, "p,2": {f.parent_name: "Two"}})
        children: dict[str, dict[str, Value]] = {
            "c1": {f.child_name: "C", f.lookup: "p'1"},
            "c2": {f.child_name: "C", f.lookup: "p,2"},
            "c3": {f.child_name: "C", f.lookup: "absent"},
            "c4": {f.child_name: "C", f.lookup: None},
        }
        receipts = house.write(house.children, Operation.CREATE, [Record(k, None, v) for k, v in children.items()])
        assert {k: str(r.outcome) for k, r in receipts.items()} == {
            "c1": "applied",
            "c2": "applied",
            "c3": "rejected",
            "c4": "applied",
        }
        assert "absent" in receipts["c3"].message
        ids = {key: r.crm_id for key, r in receipts.items() if r.crm_id}
        found = house.read(house.children, ids)
        assert {key: v[f.lookup] for key, v in found.items()} == {"c1": "p'1", "c2": "p,2", "c4": None}
        # One child changes its parent, one loses it, one is given one, in one batch.
        moves: dict[str, Value] = {"c1": "p,2", "c2": None, "c4": "p'1"}
        moved = [Record(key, ids[key], {f.lookup: parent}) for key, parent in moves.items()]
        receipts = house.write(house.children, Operation.UPDATE, moved)
        assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
        assert {key: v[f.lookup] for key, v in house.read(house.children, ids).items()} == moves

    def test_archiving(self, house: House) -> None:
        name = house.fields.parent_name
        ids = house.create(house.parents, {k: {name: k} for k in ("a", "b", "c")})
        gone = [Record(key, ids[key]) for key in ("a", "b")]
        for _ in range(2):
            receipts = house.write(house.parents, Operation.ARCHIVE, gone)
            assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
        assert sorted(house.read(house.parents, ids)) == ["c"]
        assert house.count(house.parents.object) == 1

    def test_an_update_of_an_archived_record_is_refused(self, house: House) -> None:
        name = house.fields.parent_name
        ids = house.create(house.parents, {k: {name: k} for k in ("a", "b")})
        house.write(house.parents, Operation.ARCHIVE, [Record("a", ids["a"])])
        changed = [Record(key, ids[key], {name: "new"}) for key in ids]
        receipts = house.write(house.parents, Operation.UPDATE, changed)
        assert {k: r.outcome for k, r in receipts.items()} == {"a": Outcome.REJECTED, "b": Outcome.APPLIED}

    def test_read_finds_by_external_id_where_the_crm_id_is_not_known(self, house: House) -> None:
        name = house.fields.parent_name
        ids = house.create(house.parents, {k: {name: k} for k in ("a", "it's\\b", "c")})
        found = house.read(house.parents, {"a": ids["a"], "it's\\b": None, "absent": None})
        assert {key: values[name] for key, values in found.items()} == {"a": "a", "it's\\b": "it's\\b"}

    def test_describe(self, house: House) -> None:
        info = house.run(lambda connector: connector.describe(house.parents.object))
        f = house.fields
        key = info.fields[house.parents.external_id_field]
        assert key.external_id
        assert info.fields[f.short[0]].length == f.short[1]
        assert info.fields[f.parent_name].createable
        assert info.fields[f.parent_name].nullable is not f.required
        assert info.fields[f.money].scale == f.scale
        children = house.run(lambda connector: connector.describe(house.children.object))
        assert children.fields[f.lookup].references == (house.parents.object,)

    def test_an_unknown_object_is_a_mistake_in_the_configuration(self, house: House) -> None:
        name = house.parents.object[:-1]
        with pytest.raises(ConfigError, match=f"{name}.*did you mean.*{house.parents.object}"):
            house.run(lambda connector: connector.describe(name))

    def test_batches_are_of_even_size_and_hold_all(self, house: House) -> None:
        async def sizes(connector: Connector) -> list[tuple[int, int]]:
            return [(n, connector.batch_size(Operation.CREATE, n)) for n in (0, 1, 199, 2_000, 2_001, 1_000_003)]

        for count, size in house.run(sizes):
            assert size >= 1
            batches = -(-count // size)
            assert batches * size - count < batches or batches <= 1
