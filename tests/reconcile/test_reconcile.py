"""What the CRM holds is compared with what was sent, field by field, by reading it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from flows.push import push_batch
from flows.reconcile import ReadBack, compare, read_back, record_mismatches, same
from flows.records import Operation, Record, Value
from flows.warehouse import Warehouse
from tests.push.world import World, rows

ROWS = rows(4)


def pushed(world: World, meddle: Callable[[dict[str, str]], Any] = lambda ids: None) -> ReadBack:
    batch = world.batch(Operation.CREATE, ROWS)
    push_batch(world.connection, world.sync, batch, world.receipts)
    meddle(world.ids())
    return read_back(world.connection, world.sync, batch, world.receipts, world.folder / "readback")


def mismatches(world: World, done: ReadBack) -> list[tuple[str, str | None, str | None, str | None]]:
    lines = (world.folder / "readback" / f"{done.batch}.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return sorted((m["external_id"], m["field"], m["sent"], m["found"]) for m in found)


def test_what_is_as_it_was_sent_is_no_mismatch(world: World) -> None:
    done = pushed(world)
    assert (done.checked, done.mismatched) == (4, 0)
    assert mismatches(world, done) == []
    assert done.usage.requests > 0


def test_each_field_that_differs_is_told_with_what_was_sent_and_found(world: World) -> None:
    def meddle(ids: dict[str, str]) -> None:
        world.crm.update("Account", ids["k0"], {"Name": "Other", "Order_Count__c": None, "BillingCountry": "Spain"})
        world.crm.update("Account", ids["k1"], {"Lifetime_Value__c": 10.49, "First_Order_Date__c": "2010-12-02"})
        world.crm.delete("Account", ids["k2"])

    done = pushed(world, meddle)
    assert (done.checked, done.mismatched) == (4, 3)
    assert mismatches(world, done) == [
        ("k0", "BillingCountry", "•••", "•••"),
        ("k0", "Name", "Näme 0", "Other"),
        ("k0", "Order_Count__c", "0", None),
        ("k1", "First_Order_Date__c", "2010-12-01", "2010-12-02"),
        ("k1", "Lifetime_Value__c", "10.50", "10.49"),
        ("k2", None, "written", "not there"),
    ]


def test_what_was_not_acknowledged_is_not_looked_for(world: World) -> None:
    world.crm.faults(
        {"path": "composite", "reject": {"code": "NO", "message": "no", "where": {"External_Id__c": "k1"}}}
    )
    done = pushed(world)
    assert (done.checked, done.mismatched) == (3, 0)


def test_an_archived_record_that_is_still_there(world: World) -> None:
    pushed(world)
    ids = world.ids()
    batch = world.batch(Operation.ARCHIVE, {"k0": {}, "k1": {}}, k0=ids["k0"], k1=ids["k1"])
    push_batch(world.connection, world.sync, batch, world.receipts)
    done = read_back(world.connection, world.sync, batch, world.receipts, world.folder / "readback")
    assert (done.checked, done.mismatched) == (2, 0)
    there = compare(world.sync, Operation.ARCHIVE, Record("k2"), Record("k2", ids["k2"]))
    assert [(m.external_id, m.field, m.sent, m.found) for m in there] == [("k2", None, "archived", "still there")]


def test_mismatches_are_written_down_once(world: World, warehouse: Warehouse) -> None:
    done = pushed(world, lambda ids: world.crm.update("Account", ids["k0"], {"Name": 'a "b"\n小林'}))
    files = [world.folder / "readback" / f"{done.batch}.jsonl"]
    for _ in range(2):
        assert record_mismatches(warehouse, "run", files) == 1
    rows = warehouse.execute("select run_id, sync, external_id, field, sent, found from sync.mismatches")
    assert rows == [("run", "crm_accounts", "k0", "Name", "Näme 0", 'a "b"\n小林')]
    assert record_mismatches(warehouse, "other", []) == 0


@pytest.mark.parametrize(
    ("sent", "found", "are_same"),
    [
        (None, None, True),
        ("", None, True),
        (None, "", True),
        ("a", "A", False),
        ("a", "a ", False),
        (Decimal("1.20"), Decimal("1.2"), True),
        (Decimal("1.20"), Decimal("1.21"), False),
        (0, None, False),
        (False, None, False),
        (True, True, True),
        (datetime(2010, 12, 1, 8), datetime(2010, 12, 1, 8), True),  # noqa: DTZ001
        (datetime(2010, 12, 1, 8), datetime(2010, 12, 1, 9), False),  # noqa: DTZ001
        ("5", 5, False),
        (["b", "a", "a"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        ([], None, True),
        (["a"], "a", False),
    ],
)
def test_what_is_the_same_to_a_crm(sent: Value, found: Value, are_same: bool) -> None:
    assert same(sent, found) is are_same
