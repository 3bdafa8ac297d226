"""Values that the CRM will not take are counted before they are sent, and the CRM refuses exactly those rows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from flows.crm.base import FieldInfo, ObjectInfo
from flows.preflight import Described, describe, model_values, planned_values
from flows.project import MappedField, Sync
from flows.push import push_batch
from flows.records import MASK, Batch, Operation, Record, Value, write_batch
from flows.summary.findings import FindingSummary
from flows.warehouse import Error, Warehouse, write_parquet
from tests.push.world import ACCOUNTS, World

KEY = FieldInfo("External_Id__c", "string", length=8, external_id=True)


def sync_of(*fields: MappedField, mode: str = "upsert") -> Sync:
    return replace(ACCOUNTS, fields=fields, mode=mode)


def described(*fields: FieldInfo) -> Described:
    return Described({("main", "Account"): ObjectInfo("Account", {f.name: f for f in (KEY, *fields)})})


class Rows:
    """Batches of one sync, written as a plan writes them."""

    def __init__(self, folder: Path, sync: Sync) -> None:
        self.folder, self.sync = folder, sync
        self.batches: list[Batch] = []

    def add(self, operation: Operation, **rows: dict[str, Value]) -> Rows:
        records = [Record(key, None, values) for key, values in rows.items()]
        path = self.folder / f"{len(self.batches)}.parquet"
        self.batches.append(write_batch(path, self.sync.name, operation, records, self.sync.types))
        return self


def told(findings: tuple[FindingSummary, ...]) -> list[tuple[str | None, str, int, list[tuple[str, str | None]]]]:
    return [(f.field, f.what, f.rows, [(e.external_id, e.value) for e in f.examples]) for f in findings]


def test_each_thing_that_is_wrong_is_counted_with_its_rows(warehouse: Warehouse, tmp_path: Path) -> None:
    sync = sync_of(
        MappedField("name", "Name", "varchar"),
        MappedField("value", "Value", "decimal(14,2)"),
        MappedField("staff", "Staff", "bigint"),
        MappedField("ratio", "Ratio", "double"),
        MappedField("segment", "Segment", "varchar"),
        MappedField("tags", "Tags", "varchar[]"),
        MappedField("more", "More", "varchar"),
    )
    crm = described(
        FieldInfo("Name", "string", nullable=False, length=5),
        FieldInfo("Value", "currency", precision=6, scale=1),
        FieldInfo("Staff", "int", precision=3, scale=0),
        FieldInfo("Ratio", "double", precision=20, scale=0),
        FieldInfo("Segment", "picklist", length=255, picklist=("New", "Lost")),
        FieldInfo("Tags", "multipicklist", length=4099, picklist=("a", "b")),
        FieldInfo("More", "multipicklist", length=4099, picklist=("a", "b")),
    )
    rows = Rows(tmp_path, sync)
    rows.add(
        Operation.CREATE,
        k1={"Name": "exact", "Value": Decimal("99999.90"), "Staff": 999, "Segment": "New", "Tags": ["a", "b"]},
        k2={"Name": "longer", "Value": Decimal("100000"), "Staff": 1000, "Segment": "Old", "Tags": ["a", "x"]},
        k3={"Value": Decimal("-1.25"), "Ratio": 0.5, "Segment": "", "Tags": [], "More": "a;y"},
        far_too_long={"Name": "ok", "Segment": "Old", "Tags": ["x", "z", "x"], "More": "b;a"},
    )
    rows.add(Operation.UPDATE, k4={"Name": None, "Ratio": 3.0}, k5={"Segment": "Odd"}, a_long_key={"Staff": 1})

    assert told(planned_values(warehouse, crm, [sync], rows.batches)) == [
        ("Name", "no value, and the field is required", 2, [("k3", None), ("k4", None)]),
        ("Segment", "not in the picklist: Old", 2, [("far_too_long", "Old"), ("k2", "Old")]),
        ("Tags", "not in the picklist: x", 2, [("far_too_long", "x"), ("k2", "x")]),
        ("External_Id__c", "longer than 8 characters", 1, [("far_too_long", "far_too_long")]),
        ("Name", "longer than 5 characters", 1, [("k2", "longer")]),
        ("Value", "more than 5 digits before the point", 1, [("k2", "100000.00")]),
        ("Value", "more than 1 digits after the point", 1, [("k3", "-1.25")]),
        ("Staff", "more than 3 digits before the point", 1, [("k2", "1000")]),
        ("Ratio", "not a whole number", 1, [("k3", "0.5")]),
        ("Segment", "not in the picklist: Odd", 1, [("k5", "Odd")]),
        ("Tags", "not in the picklist: z", 1, [("far_too_long", "z")]),
        ("More", "not in the picklist: y", 1, [("k3", "y")]),
    ]


def test_the_least_integers_of_their_types_are_judged(warehouse: Warehouse, tmp_path: Path) -> None:
    """They have no counterpart above zero in their own type."""
    sync = sync_of(*(MappedField(kind, kind.title(), kind) for kind in ("tinyint", "smallint", "integer", "bigint")))
    crm = described(*(FieldInfo(f.crm_field, "int", precision=3, scale=0) for f in sync.fields))
    least: dict[str, Value] = {"Tinyint": -(2**7), "Smallint": -(2**15), "Integer": -(2**31), "Bigint": -(2**63)}
    rows = Rows(tmp_path, sync).add(Operation.CREATE, least=least, fits=dict.fromkeys(least, -100))
    found = told(planned_values(warehouse, crm, [sync], rows.batches))
    what = "more than 3 digits before the point"
    assert found == [(name, what, 1, [("least", str(least[name]))]) for name in ("Smallint", "Integer", "Bigint")]


def test_what_is_not_sent_is_not_judged(warehouse: Warehouse, tmp_path: Path) -> None:
    sync = sync_of(MappedField("name", "Name", "varchar"), MappedField("segment", "Segment", "varchar"))
    crm = described(
        FieldInfo("Name", "string", nullable=False, length=3), FieldInfo("Segment", "picklist", picklist=("New",))
    )
    types = {"external_id": "VARCHAR", "crm_id": "VARCHAR", "changed": "VARCHAR[]", **sync.types}
    path = tmp_path / "u.parquet"
    write_parquet(path, types, [("1", "x", ["Segment"], "far too long", "New"), ("2", "x", [], None, "Odd")])
    batch = Batch(path, sync.name, Operation.UPDATE, 2, 2)
    archive = Rows(tmp_path, sync).add(Operation.ARCHIVE, k={"Name": "far too long"}).batches

    assert planned_values(warehouse, crm, [sync], [batch, *archive]) == ()
    assert planned_values(warehouse, crm, [sync], []) == ()


def test_personal_values_are_masked_and_picklists_of_them_are_not_listed(warehouse: Warehouse, tmp_path: Path) -> None:
    sync = sync_of(MappedField("name", "Name", "varchar", pii=True), MappedField("seg", "Segment", "varchar", pii=True))
    crm = described(FieldInfo("Name", "string", length=3), FieldInfo("Segment", "picklist", picklist=("New",)))
    rows = Rows(tmp_path, sync).add(Operation.CREATE, k1={"Name": "Jane", "Segment": "Ill"}, k2={"Segment": "Rich"})

    found = planned_values(warehouse, crm, [sync], rows.batches)

    assert told(found) == [
        ("Segment", "not in the picklist", 2, [("k1", MASK), ("k2", MASK)]),
        ("Name", "longer than 3 characters", 1, [("k1", MASK)]),
    ]
    assert not {"Jane", "Ill", "Rich"} & set(str(found).replace("'", " ").split())


def test_many_unknown_values_are_told_together(warehouse: Warehouse, tmp_path: Path) -> None:
    sync = sync_of(MappedField("tags", "Tags", "varchar[]"))
    crm = described(FieldInfo("Tags", "multipicklist", picklist=("a",)))
    many: dict[str, dict[str, Value]] = {f"k{n:02}": {"Tags": [f"v{n:02}", f"v{n // 2:02}"]} for n in range(20)}
    found = planned_values(warehouse, crm, [sync], Rows(tmp_path, sync).add(Operation.CREATE, **many).batches)

    assert {f.what for f in found if "other" not in f.what} == {f"not in the picklist: v{n:02}" for n in range(10)}
    # v10 to v19 stand in one row each.
    assert [(f.what, f.rows) for f in found if "other" in f.what] == [("not in the picklist: 10 other values", 10)]


def test_names_that_need_quotes(warehouse: Warehouse, tmp_path: Path) -> None:
    name = 'companies: O\'Hare "Ltd"'
    sync = sync_of(MappedField("name", name, "varchar"))
    rows = Rows(tmp_path, sync).add(Operation.CREATE, k={name: "it's"})
    crm = described(FieldInfo(name, "picklist", picklist=("it''s", "'")))
    assert told(planned_values(warehouse, crm, [sync], rows.batches)) == [
        (name, "not in the picklist: it's", 1, [("k", "it's")])
    ]


def test_the_whole_model(warehouse: Warehouse) -> None:
    sync = sync_of(MappedField("name", "Name", "varchar"), MappedField("country", "Country", "varchar"))
    crm = described(
        FieldInfo("Name", "string", nullable=False, length=4),
        FieldInfo("Country", "string", nullable=False, defaulted=True),
    )
    with pytest.raises(Error):
        model_values(warehouse, crm, [sync])
    warehouse.execute("create schema crm")
    warehouse.execute(
        "create table crm.crm_accounts as select * from (values "
        "(1, 'Anna', 'F'), (2, null, null), (3, 'Berta', '')) t(account_id, name, country)"
    )
    assert told(model_values(warehouse, crm, [sync])) == [
        ("Name", "no value, and the field is required", 1, [("2", None)]),
        ("Name", "longer than 4 characters", 1, [("3", "Berta")]),
    ]
    updates = replace(sync, mode="update_only")
    assert told(model_values(warehouse, crm, [updates]))[0] == (
        *("Country", "no value, and the field is required", 2),
        [("2", None), ("3", "")],
    )


TEXTS = ["", "x", "x" * 40, "é" * 255, "x" * 256, "👍🏽" * 127, "👍🏽" * 128, "Champions", "champions", "Lost;New"]
NUMBERS = [Decimal(n) for n in ("0", "-1", "99999999", "100000000", "-100000000", "999999999999999", "1E16", "1E18")]


@pytest.mark.parametrize("bulk", [False, True], ids=["collections", "bulk"])
def test_the_crm_refuses_exactly_the_rows_that_were_found(world: World, warehouse: Warehouse, bulk: bool) -> None:
    fields = (
        MappedField("name", "Name", "varchar"),
        MappedField("number", "AccountNumber", "varchar"),
        MappedField("segment", "Segment__c", "varchar"),
        MappedField("staff", "NumberOfEmployees", "decimal(38,0)"),
        MappedField("orders", "Order_Count__c", "decimal(38,0)"),
        MappedField("value", "Lifetime_Value__c", "decimal(38,2)"),
    )
    world.sync = sync_of(*fields)
    world.settings["collections_up_to"] = 0 if bulk else 2000
    values: list[tuple[str, Value]] = [
        *((f.crm_field, text) for f in fields[:3] for text in TEXTS),
        *((f.crm_field, number) for f in fields[3:] for number in NUMBERS),
    ]
    records: dict[str, dict[str, Value]] = {f"{n:03}": {"Name": "x", name: v} for n, (name, v) in enumerate(values)}
    records["x" * 65] = {"Name": "x"}
    records["nameless"] = {"AccountNumber": "1"}
    batch = world.batch(Operation.CREATE, records)

    crm = describe({"main": world.connection}, [world.sync])
    found = planned_values(warehouse, crm, [world.sync], [batch])
    world.receipts.mkdir()
    push_batch(world.connection, world.sync, batch, world.receipts, lambda count: None)

    refused = {key for key, outcome in world.outcomes(batch).items() if outcome == "rejected"}
    assert {example.external_id for finding in found for example in finding.examples} == refused
    assert sum(finding.rows for finding in found) == len(refused) > 15
