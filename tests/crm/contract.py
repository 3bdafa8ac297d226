"""What every connector must do, whatever the CRM: one suite, run for each connector and each of its ways to write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from flows.errors import ConfigError, PushError
from flows.project import Connection, Sync
from flows.reconcile import same
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
        requests: how many requests came in so far, with as many looks at bulk jobs as are reckoned.
        batch_limit: how many records one batch may carry, of so many that get an operation in a plan.
        over_limits: names each of the CRM's published limits that a request has gone over.
        unhurried: a connection that looks at jobs so seldom that it can be foretold how often; None where that does
            not matter.
        pairs: a sync of an object with two lookups to the parents; see `Fields`.
        cannot: name of an ability that the CRM lacks -> why.
    """

    connection: Connection
    parents: Sync
    children: Sync
    fields: Fields
    folder: Path
    count: Callable[[str], int]
    requests: Callable[[], int]
    over_limits: Callable[[], list[str]]
    batch_limit: Callable[[int], int] | None = None
    unhurried: Connection | None = None
    pairs: Sync | None = None
    cannot: Mapping[str, str] = field(default_factory=dict)

    def needs(self, ability: str) -> None:
        """Skip the test where the CRM lacks an ability."""
        if ability in self.cannot:
            pytest.skip(self.cannot[ability])

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

    def write_until(self, why: str, sync: Sync, operation: Operation, records: Sequence[Record]) -> list[Receipt]:
        """Write records until that fails for a reason.

        Returns:
            The receipts that came before.
        """
        batch = self.batch(sync, operation, records)
        receipts: list[Receipt] = []

        async def work(connector: Connector) -> None:
            async for some in connector.write(sync, batch):
                receipts.extend(some)

        with pytest.raises(PushError, match=why):
            self.run(work)
        return receipts

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
        unique: a text of the parents that no two of them may share.
        several: a picklist of the parents that takes several values, and three values that it offers.
        long: a text of the parents that takes more than 32,000 characters.
        self: the parents' lookup to one of themselves.
        pair: the two lookups of the pairs to the parents.
        pair_values: what a new one of the pairs needs.
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
    unique: str = ""
    several: tuple[str, tuple[str, str, str]] = ("", ("", "", ""))
    long: str = ""
    self: str = ""
    pair: tuple[str, str] = ("", "")
    pair_values: Mapping[str, Value] = field(default_factory=dict)


_letters = st.characters(exclude_categories=["Cc", "Cs", "Cn"]) | st.sampled_from("\r\n\t\",;'\\ #é€😀")
ODD_TEXTS = (
    "#N/A",
    "null",
    "NULL",
    "true",
    "007",
    "1e5",
    "=1+1",
    '@SUM(1);"x"',
    '"',
    '""',
    "',;|\\",
    "a\nb\r\nc\rd",
    "é is not e\u0301",
    "שלום, \u202eolleh\u202c مرحبا",
    "👩‍👩‍👧 🇫🇷 𐍈",
    "a\u00a0b\u200bc\ufeffd",
    "<b>&amp;</b>",
    "{{ x }} %s $1",
)
"""Texts that mean something to one format or another, and must arrive as they are."""
# No CRM promises to keep what stands around a text, and to most an empty text is no value.
texts = st.text(_letters, min_size=1, max_size=60).filter(lambda t: t == t.strip()) | st.sampled_from(ODD_TEXTS)
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

    def test_an_update_of_a_record_that_was_deleted_is_refused_as_gone(self, house: House) -> None:
        name, (short, most) = house.fields.parent_name, house.fields.short
        ids = house.create(house.parents, {k: {name: k} for k in ("a", "b", "c")})
        house.write(house.parents, Operation.ARCHIVE, [Record("a", ids["a"])])
        news: dict[str, Value] = {"a": "x", "b": "x", "c": "x" * (most + 1)}
        changed = [Record(key, ids[key], {short: news[key]}) for key in ids]
        receipts = house.write(house.parents, Operation.UPDATE, changed)
        assert {k: (r.outcome, r.gone) for k, r in receipts.items()} == {
            "a": (Outcome.REJECTED, True),
            "b": (Outcome.APPLIED, False),
            "c": (Outcome.REJECTED, False),
        }

    def test_a_child_whose_parent_was_deleted_is_not_gone(self, house: House) -> None:
        f = house.fields
        parents = house.create(house.parents, {"p": {f.parent_name: "P"}})
        ids = house.create(house.children, {"c": {f.child_name: "C"}})
        house.write(house.parents, Operation.ARCHIVE, [Record("p", parents["p"])])
        receipts = house.write(house.children, Operation.UPDATE, [Record("c", ids["c"], {f.lookup: "p"})])
        assert (receipts["c"].outcome, receipts["c"].gone) == (Outcome.REJECTED, False)

    def test_a_duplicate_is_refused_with_the_other_records_id(self, house: House) -> None:
        house.needs("unique")
        name, unique = house.fields.parent_name, house.fields.unique
        ids = house.create(house.parents, {"a": {name: "A", unique: "one"}, "b": {name: "B", unique: "two"}})
        receipts = house.write(
            house.parents,
            Operation.CREATE,
            [Record("c", None, {name: "C", unique: "one"}), Record("d", None, {name: "D", unique: "three"})],
        )
        assert {k: r.outcome for k, r in receipts.items()} == {"c": Outcome.REJECTED, "d": Outcome.APPLIED}
        assert (receipts["c"].other_id, receipts["d"].other_id) == (ids["a"], None)
        receipts = house.write(house.parents, Operation.UPDATE, [Record("b", ids["b"], {unique: "one"})])
        assert (receipts["b"].outcome, receipts["b"].other_id) == (Outcome.REJECTED, ids["a"])

    def test_a_picklist_of_several_values(self, house: House) -> None:
        house.needs("several")
        f = house.fields
        field, (one, two, three) = f.several
        info = house.run(lambda connector: connector.describe(house.parents.object))
        assert {one, two, three} <= set(info.fields[field].picklist or ())
        sent: dict[str, Value] = {"a": [three, one], "b": [two], "c": None, "d": [], "e": [one, "absent"]}
        receipts = house.write(
            house.parents, Operation.CREATE, [Record(k, None, {f.parent_name: k, field: v}) for k, v in sent.items()]
        )
        assert [k for k, r in receipts.items() if r.outcome is not Outcome.APPLIED] == ["e"]
        assert receipts["e"].fields == (field,)
        ids = {key: r.crm_id for key, r in receipts.items() if key != "e"}
        found = {key: values[field] for key, values in house.read(house.parents, ids).items()}
        assert found == {"a": found["a"], "b": [two], "c": None, "d": None}
        assert same(found["a"], sent["a"])
        changed = [Record("a", ids["a"], {field: [two, three]}), Record("b", ids["b"], {field: []})]
        house.write(house.parents, Operation.UPDATE, changed)
        found = {key: values[field] for key, values in house.read(house.parents, ids).items()}
        assert same(found["a"], [three, two])
        assert found["b"] is None

    def test_lookups_to_the_object_itself(self, house: House) -> None:
        house.needs("self")
        f = house.fields
        ids = house.create(house.parents, {"top": {f.parent_name: "T"}})
        for level in (("m1", "top"), ("m2", "top")), (("leaf", "m1"),):
            ids |= house.create(house.parents, {key: {f.parent_name: key, f.self: above} for key, above in level})
        above = {key: values[f.self] for key, values in house.read(house.parents, ids).items()}
        assert above == {"top": None, "m1": "top", "m2": "top", "leaf": "m1"}
        moves: dict[str, Value] = {"leaf": "m2", "m1": None}
        moved = [Record(key, ids[key], {f.self: parent}) for key, parent in moves.items()]
        receipts = house.write(house.parents, Operation.UPDATE, moved)
        assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
        above = {key: values[f.self] for key, values in house.read(house.parents, ids).items()}
        assert above == {"top": None, "m1": None, "m2": "top", "leaf": "m2"}

    def test_two_lookups_to_one_object(self, house: House) -> None:
        house.needs("pairs")
        f, pairs = house.fields, house.pairs
        assert pairs is not None
        one, two = f.pair
        house.create(house.parents, {"p1": {f.parent_name: "P1"}, "p2": {f.parent_name: "P2"}})
        sent = {"d1": ("p1", "p2"), "d2": ("p2", None), "d3": (None, "p1"), "d4": ("p1", "p1")}
        ids = house.create(pairs, {k: {**f.pair_values, one: a, two: b} for k, (a, b) in sent.items()})
        found = house.read(pairs, ids)
        assert {key: (values[one], values[two]) for key, values in found.items()} == sent
        changed: list[Record] = [
            Record("d1", ids["d1"], {one: "p2", two: "p1"}),
            Record("d2", ids["d2"], {one: None, two: "p2"}),
            Record("d3", ids["d3"], {one: "p2"}),
            Record("d4", ids["d4"], {one: None}),
        ]
        receipts = house.write(pairs, Operation.UPDATE, changed)
        assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
        found = house.read(pairs, ids)
        assert {key: (values[one], values[two]) for key, values in found.items()} == {
            "d1": ("p2", "p1"),
            "d2": (None, "p2"),
            "d3": ("p2", "p1"),
            "d4": (None, "p1"),
        }

    def test_texts_that_mean_something_elsewhere_arrive_as_they_are(self, house: House) -> None:
        f = house.fields
        sent: dict[str, dict[str, Value]] = {
            f"t{i}": {f.parent_name: text, f.text: text} for i, text in enumerate(ODD_TEXTS)
        }
        ids = house.create(house.parents, sent)
        found = house.read(house.parents, ids)
        assert {key: {name: found[key][name] for name in (f.parent_name, f.text)} for key in found} == sent
        changed = {key: {f.text: f"{values[f.text]}!"} for key, values in sent.items()}
        house.write(house.parents, Operation.UPDATE, [Record(key, ids[key], new) for key, new in changed.items()])
        assert {key: {f.text: values[f.text]} for key, values in house.read(house.parents, ids).items()} == changed

    def test_external_ids_that_mean_something_elsewhere(self, house: House) -> None:
        f = house.fields
        keys = ("#N/A", "null", "a/b?c=d&e", "a,b;c", 'q"q', "é€😀")
        ids = house.create(house.parents, {key: {f.parent_name: key} for key in keys})
        house.create(house.children, {key: {f.child_name: key, f.lookup: key} for key in keys})
        assert {key: values[f.parent_name] for key, values in house.read(house.parents, ids).items()} == {
            key: key for key in keys
        }
        again = house.read(house.children, dict.fromkeys(keys))
        assert {key: values[f.lookup] for key, values in again.items()} == {key: key for key in keys}

    def test_long_texts(self, house: House) -> None:
        house.needs("long")
        f = house.fields
        sent: dict[str, dict[str, Value]] = {
            "a": {f.parent_name: "A", f.long: "é" * 32_000},
            "b": {f.parent_name: "B", f.long: "line\n" * 8_000 + "."},
            "c": {f.parent_name: "C", f.long: "short"},
        }
        ids = house.create(house.parents, sent)
        assert {key: values[f.long] for key, values in house.read(house.parents, ids).items()} == {
            key: values[f.long] for key, values in sent.items()
        }

    def test_the_requests_that_were_forecast_are_what_it_took(self, house: House) -> None:
        house.connection = house.unhurried or house.connection
        parents, name, count = house.parents, house.fields.parent_name, 1_001

        async def forecast(connector: Connector) -> int:
            assert connector.requests(parents, Operation.CREATE, 0) == 0
            await connector.describe(parents.object)
            return connector.requests(parents, Operation.CREATE, count)

        expected = house.run(forecast)
        before = house.requests()
        ids = house.create(parents, {f"p{i}": {name: "P"} for i in range(count)})
        assert len(house.read(parents, ids)) == count
        assert abs(expected / (house.requests() - before) - 1) <= 0.25

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
            assert 1 <= size <= house.batch_limit(count)
            batches = -(-count // size)
            assert batches == -(-count // house.batch_limit(count)), "no more batches than it takes"
            assert batches * size - count < batches or batches <= 1
