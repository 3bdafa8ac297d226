"""What the CRM gave back is kept in tables, one for each synced model: the last read-back of every record."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flows import returned
from flows.project import MappedField, Sync
from flows.push import push_batch
from flows.reconcile import read_back, returned_file
from flows.records import Operation, Record, Value
from flows.warehouse import Warehouse
from tests.push.world import ACCOUNTS, World, rows

ROWS = rows(3)
TABLE = returned.relation("crm_accounts")


def came_back(world: World, db: Warehouse, run_id: str, operation: Operation, rows: Any, **ids: str) -> None:
    """Push, read back, and take up what was found."""
    batch = world.batch(operation, rows, **ids)
    push_batch(world.connection, world.sync, batch, world.receipts)
    folder = world.folder / run_id
    read_back(world.connection, world.sync, batch, world.receipts, folder)
    returned.keep(db, run_id, world.sync, [returned_file(folder, batch.name)])


def test_what_the_crm_holds_is_kept_in_the_models_columns(world: World, warehouse: Warehouse) -> None:
    came_back(world, warehouse, "one", Operation.CREATE, ROWS)
    ids = world.ids()
    assert warehouse.columns(TABLE) == {
        **{"account_id": "VARCHAR", "name": "VARCHAR", "country": "VARCHAR", "orders": "BIGINT"},
        **{"value": "DECIMAL(14,2)", "first": "DATE"},
        **{"_crm_id": "VARCHAR", "_run_id": "VARCHAR", "_read_at": "TIMESTAMP", "_unfit": "VARCHAR"},
    }
    assert warehouse.execute(f"select * exclude (_read_at) from {TABLE} order by account_id") == [
        (key, row["Name"], "France", row["Order_Count__c"], Decimal("10.50"), date(2010, 12, 1), ids[key], "one", None)
        for key, row in ROWS.items()
    ]
    assert warehouse.scalar(f"select count(distinct _read_at) from {TABLE}") == 1
    assert returned.tables(warehouse, "one", ["crm_accounts", "crm_contacts"]) == {"crm_accounts"}
    assert returned.tables(warehouse, "two", ["crm_accounts", "crm_contacts"]) == set()


@pytest.mark.parametrize("bulk", [False, True], ids=["collections", "bulk"])
def test_what_the_crm_made_of_it_is_seen(world: World, warehouse: Warehouse, bulk: bool) -> None:
    world.settings["collections_up_to"] = 0 if bulk else 2000
    world.crm.faults(
        {"path": "composite|jobs", "change": {"field": "Name", "truncate": 3}},
        {"path": "composite|jobs", "change": {"field": "BillingCountry", "case": "upper"}},
        {"path": "composite|jobs", "change": {"field": "Lifetime_Value__c", "to": 12}},
    )
    came_back(world, warehouse, "one", Operation.CREATE, ROWS)
    assert warehouse.execute(f"select distinct name, country, value from {TABLE}") == [
        ("Näm", "FRANCE", Decimal("12.00")),
    ]


def test_the_last_read_back_of_each_record_stays_and_what_is_gone_goes(world: World, warehouse: Warehouse) -> None:
    came_back(world, warehouse, "one", Operation.CREATE, ROWS)
    ids = world.ids()
    world.crm.update("Account", ids["k1"], {"BillingCountry": "Spain"})
    came_back(world, warehouse, "two", Operation.UPDATE, {"k1": {"Name": "New"}}, k1=ids["k1"])
    came_back(world, warehouse, "three", Operation.ARCHIVE, {"k2": {}}, k2=ids["k2"])
    assert warehouse.execute(f"select account_id, name, country, _run_id from {TABLE} order by 1") == [
        ("k0", "Näme 0", "France", "one"),
        ("k1", "New", "Spain", "two"),  # also the fields that were not sent
    ]


def test_nothing_that_was_read_back_makes_no_table(warehouse: Warehouse, tmp_path: Path) -> None:
    assert returned.keep(warehouse, "one", ACCOUNTS, []) == 0
    (tmp_path / "empty.jsonl").touch()
    assert returned.keep(warehouse, "one", ACCOUNTS, [tmp_path / "empty.jsonl", tmp_path / "none.jsonl"]) == 0
    assert not warehouse.exists("crm_after", "crm_accounts")


TYPED: dict[str, str] = {
    "Text": "varchar",
    "Whole": "bigint",
    "Money": "decimal(14,2)",
    "Share": "double",
    "Yes": "boolean",
    "Day": "date",
    "Moment": "timestamp",
    "Zoned": "timestamptz",
    "Many": "varchar[]",
}
FITS: dict[str, Value] = {
    "Text": 'a "b"\n小林, {}',
    "Whole": -5,
    "Money": Decimal("-0.10"),
    "Share": 1e20,
    "Yes": False,
    "Day": date(2010, 12, 1),
    "Moment": datetime(2010, 12, 1, 8, 0, 0, 120000),  # noqa: DTZ001
    "Zoned": datetime.fromisoformat("2010-12-01T08:00:00+00:00"),
    "Many": ["a,b", 'c"d', "[e]"],
}


@pytest.fixture
def typed() -> Sync:
    fields = tuple(MappedField(name.lower() + "_", name, kind) for name, kind in TYPED.items())
    return replace(ACCOUNTS, fields=fields)


def kept(db: Warehouse, sync: Sync, folder: Path, values: dict[str, Value], run_id: str = "one") -> dict[str, Any]:
    path = folder / "batch.returned.jsonl"
    with returned.Writer(path) as writer:
        writer.write("k", Record("k", "001", values))
    returned.keep(db, run_id, sync, [path])
    (row,) = db.rows(f"select * from {TABLE}")
    return row


def test_values_of_every_type_come_through(warehouse: Warehouse, typed: Sync, tmp_path: Path) -> None:
    row = kept(warehouse, typed, tmp_path, FITS)
    assert row["_unfit"] is None
    zoned = row.pop("zoned_")
    assert zoned == FITS["Zoned"]
    assert {f.crm_field: row.get(f.column, zoned) for f in typed.fields} == FITS


def test_nothing_is_null_and_fits(warehouse: Warehouse, typed: Sync, tmp_path: Path) -> None:
    row = kept(warehouse, typed, tmp_path, dict.fromkeys(TYPED))
    assert (row["_unfit"], {row[f.column] for f in typed.fields}) == (None, {None})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Whole", Decimal("10.5")),
        ("Whole", "many"),
        ("Money", Decimal("10.499")),
        ("Money", Decimal("1234567890123.00")),
        ("Money", "1,5"),
        ("Share", "half"),
        ("Yes", "yes"),
        ("Day", "31.12.2010"),
        ("Moment", "soon"),
        ("Zoned", "soon"),
    ],
)
def test_what_does_not_fit_stays_visible(
    warehouse: Warehouse, typed: Sync, tmp_path: Path, field: str, value: Value
) -> None:
    row = kept(warehouse, typed, tmp_path, {**FITS, field: value})
    assert row[f"{field.lower()}_"] is None
    assert json.loads(row["_unfit"]) == {field: str(value)}
    assert row["text_"] == FITS["Text"]


def test_the_table_follows_the_model(warehouse: Warehouse, typed: Sync, tmp_path: Path) -> None:
    kept(warehouse, typed, tmp_path, {**FITS, "Text": "12"})
    other = [MappedField("text_", "Text", "integer"), MappedField("new_", "New", "varchar")]
    path = tmp_path / "other.jsonl"
    with returned.Writer(path) as writer:
        writer.write("l", Record("l", "002", {"Text": 5, "New": "x"}))
    returned.keep(warehouse, "two", replace(typed, fields=tuple(other)), [path])
    assert warehouse.execute(f"select account_id, text_, new_, _run_id from {TABLE} order by 1") == [
        ("k", 12, None, "one"),
        ("l", 5, "x", "two"),
    ]


def test_a_model_without_a_single_mapped_column_is_kept_too(warehouse: Warehouse, tmp_path: Path) -> None:
    row = kept(warehouse, replace(ACCOUNTS, fields=()), tmp_path, {})
    assert (row["account_id"], row["_crm_id"], row["_unfit"]) == ("k", "001", None)
