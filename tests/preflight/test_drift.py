"""What the CRM has changed in its objects since the last run is told once, with what was and what is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flows.crm.base import FieldInfo, ObjectInfo
from flows.preflight import Described, describe, drift, keep
from flows.preflight.drift import MOST_OF_AN_OBJECT
from flows.sandbox.org import BUILT_IN
from flows.warehouse import Warehouse
from tests.nightly.world import sandbox
from tests.push.world import ACCOUNTS, World

Told = list[tuple[str | None, str, str | None, str | None, str | None]]


def told(db: Warehouse, described: Described, run_id: str = "") -> Told:
    found = drift(db, described, [ACCOUNTS], run_id)
    assert all((f.kind, f.crm) == ("schema", "main") and (f.sync is None) == (f.column is None) for f in found)
    return [(f.field, f.what, f.before, f.after, f.column) for f in found]


def of(*fields: FieldInfo, **rights: bool) -> Described:
    return Described({("main", "Account"): ObjectInfo("Account", {f.name: f for f in fields}, **rights)})


def test_nothing_to_compare_with_and_nothing_changed(warehouse: Warehouse, world: World) -> None:
    first = describe({"main": world.connection}, [ACCOUNTS])
    assert drift(warehouse, first, [ACCOUNTS]) == ()
    keep(warehouse, "r1", first)
    assert drift(warehouse, first, [ACCOUNTS]) == ()
    keep(warehouse, "r2", first)
    assert warehouse.execute("select crm, object, run_id, last_run_id from sync.schemas") == [
        ("main", "Account", "r1", "r2")
    ]


def test_another_org_behind_the_same_connection(warehouse: Warehouse, world: World, tmp_path: Path) -> None:
    keep(warehouse, "r1", describe({"main": world.connection}, [ACCOUNTS]))
    org = yaml.safe_load(BUILT_IN.read_text())
    fields = org["Account"]["fields"]
    del fields["Website"], fields["Order_Count__c"]
    fields["Color__c"] = {"type": "string", "length": 20}
    fields["BillingCountry"]["length"] = 40
    fields["Name"]["updateable"] = False
    fields["Segment__c"]["picklist"] = ["Champions", "Stars", *fields["Segment__c"]["picklist"][2:]]
    fields["Lifetime_Value__c"] = {"type": "double", "precision": 12, "scale": 4}
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    crm = sandbox(tmp_path / "none", org=tmp_path / "org.yml")
    try:
        changed = describe({"main": World(crm, tmp_path / "run").connection}, [ACCOUNTS])
    finally:
        crm.close()

    found = told(warehouse, changed)

    assert sorted(map(str, found)) == sorted(
        map(
            str,
            [
                ("Name", "may be set by an update", "yes", "no", "name"),
                ("BillingCountry", "most characters", "80", "40", "country"),
                ("Lifetime_Value__c", "type", "currency", "double", "value"),
                ("Lifetime_Value__c", "digits in all", "18", "12", "value"),
                ("Lifetime_Value__c", "digits after the point", "2", "4", "value"),
                ("Order_Count__c", "gone", "double", None, "orders"),
                ("Website", "gone", "url", None, None),
                ("Color__c", "new", None, "string", None),
                ("Segment__c", "picklist", "Loyal", "Stars", None),
            ],
        )
    )
    assert [column is None for *_, column in found] == [False] * 6 + [True] * 3
    keep(warehouse, "r2", changed)
    assert told(warehouse, changed) == []
    assert told(warehouse, changed, "r2") == found, "a run that goes on later finds the same again"


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ({"createable": True}, {"createable": False}, [(None, "may be created", "yes", "no", None)]),
        ({"deletable": False}, {"deletable": True}, [(None, "may be deleted", "no", "yes", None)]),
        ({}, {}, []),
    ],
)
def test_what_the_login_may_do(
    warehouse: Warehouse, was: dict[str, bool], now: dict[str, bool], expected: Told
) -> None:
    keep(warehouse, "r1", of(**was))
    assert told(warehouse, of(**now)) == expected


def test_a_picklist_that_is_only_ordered_anew_and_one_that_is_lifted(warehouse: Warehouse) -> None:
    before = FieldInfo("A", "picklist", picklist=("x", "y", "z"))
    keep(warehouse, "r1", of(before))
    assert told(warehouse, of(replace(before, picklist=("z", "y", "x")))) == []
    assert told(warehouse, of(replace(before, picklist=("x", "y")))) == [("A", "picklist", "z", None, None)]
    assert told(warehouse, of(replace(before, picklist=None))) == [("A", "picklist", "3 values", "any value", None)]


def test_an_attribute_that_was_not_kept_is_no_difference(warehouse: Warehouse) -> None:
    described = of(FieldInfo("A", "string", length=5))
    keep(warehouse, "r1", described)
    warehouse.execute("""update sync.schemas set description = replace(description, '"length": 5, ', '')""")
    assert "length" not in warehouse.scalar("select description from sync.schemas")
    assert told(warehouse, described) == []


def test_a_great_change_is_bounded_and_what_is_mapped_comes_first(warehouse: Warehouse) -> None:
    names = [f"F{n}__c" for n in range(50)] + ["Name"]
    keep(warehouse, "r1", of(*(FieldInfo(name, "string") for name in names)))
    found = told(warehouse, of())
    assert len(found) == MOST_OF_AN_OBJECT + 1
    assert found[0] == ("Name", "gone", "string", None, "name")
    assert found[-1] == (None, "31 more differences", None, None, None)


def test_two_connections_and_two_objects_are_kept_apart(warehouse: Warehouse) -> None:
    a, b = FieldInfo("A", "string"), FieldInfo("A", "double")
    keep(
        warehouse,
        "r1",
        Described({("main", "X"): ObjectInfo("X", {"A": a}), ("other", "X"): ObjectInfo("X", {"A": b})}),
    )
    assert drift(warehouse, Described({("other", "X"): ObjectInfo("X", {"A": b})}), []) == ()
    [found] = drift(warehouse, Described({("main", "X"): ObjectInfo("X", {"A": b})}), [])
    assert (found.crm, found.object, found.before, found.after) == ("main", "X", "string", "double")
