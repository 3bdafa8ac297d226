"""Values of every type go to HubSpot and come back as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flows.project import MappedField
from flows.reconcile import same
from flows.records import Operation, Outcome, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.contract import House, days, moments, texts
from tests.crm.test_contract import COMPANIES, hubspot

SERVICES = ("express", "insured", "signed")
SHIPMENTS = replace(
    COMPANIES,
    object="2-40000001",
    external_id_field="tracking_number",
    fields=(
        MappedField("reference", "reference", "varchar(200)"),
        MappedField("note", "note", "text"),
        MappedField("cost", "cost", "decimal(38,9)"),
        MappedField("weight", "weight", "double"),
        MappedField("parcels", "parcels", "bigint"),
        MappedField("is_fragile", "is_fragile", "boolean"),
        MappedField("shipped_at", "shipped_at", "timestamp"),
        MappedField("seen_at", "seen_at", "timestamp with time zone"),
        MappedField("due_date", "due_date", "date"),
        MappedField("services", "services", "varchar[]"),
        MappedField("carrier", "carrier", "varchar"),
    ),
)
ZONES = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "reference": st.none() | texts,
    "note": st.none() | texts | texts.map(lambda text: text * (65_536 // (2 * len(text)))),
    "cost": st.none() | st.decimals(-(10**28), 10**28, places=9),
    "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "parcels": st.none() | st.integers(-(2**63), 2**63 - 1),
    "is_fragile": st.none() | st.booleans(),
    "shipped_at": st.none() | moments,
    "seen_at": st.none() | st.builds(lambda moment, zone: moment.replace(tzinfo=zone), moments, ZONES),
    "due_date": st.none() | days,
    "services": st.none() | st.lists(st.sampled_from(SERVICES), max_size=5),
    "carrier": st.none() | st.sampled_from(["road", "rail"]),
}


@pytest.fixture
def house(sandbox: Sandbox, tmp_path: Path) -> House:
    sandbox.make_property("shipments", "weight", "number", "number")
    sandbox.make_property("shipments", "seen_at", "datetime", "date")
    return hubspot(sandbox, tmp_path)


def differences(sent: dict[str, dict[str, Value]], found: dict[str, dict[str, Value]]) -> list[tuple[Value, Value]]:
    return [
        (value, found[key][name])
        for key, values in sent.items()
        for name, value in values.items()
        if not same(value, found[key][name]) or not isinstance(found[key][name], type(value) | None)
    ]


@given(data=st.data())
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # to shrink an example of so many fields takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
def test_what_is_created_and_then_changed_reads_back_equal(house: House, data: st.DataObject) -> None:
    records = data.draw(st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=5))
    sent: dict[str, dict[str, Value]] = {uuid4().hex: record for record in records}
    ids = house.create(SHIPMENTS, sent)
    assert differences(sent, house.read(SHIPMENTS, ids)) == []
    for key in sent:
        chosen = data.draw(st.sets(st.sampled_from(sorted(FIELDS)), min_size=1))
        sent[key] = {name: data.draw(FIELDS[name]) for name in sorted(chosen)}
    receipts = house.write(SHIPMENTS, Operation.UPDATE, [Record(key, ids[key], new) for key, new in sent.items()])
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    found = house.read(SHIPMENTS, ids)
    assert differences(sent, found) == []
    seen = [moment for values in found.values() if isinstance(moment := values["seen_at"], datetime)]
    assert {moment.tzinfo for moment in seen} <= {UTC}


REFUSED: dict[str, tuple[str, str, Value, str]] = {
    "no number": ("cost", "double", float("nan"), "INVALID_NUMBER"),
    "no day": ("due_date", "timestamp", datetime(2011, 12, 9, 1), "INVALID_DATE"),  # noqa: DTZ001 - naive UTC
    "no option": ("carrier", "varchar", "Road", "INVALID_OPTION"),
    "one of several that is none": ("services", "varchar[]", ["express", "Signed"], "INVALID_OPTION"),
    "too long": ("note", "varchar", "x" * 65_537, "PROPERTY_VALUE_TOO_LONG"),
    "no boolean": ("is_fragile", "varchar", "perhaps", "INVALID_OPTION"),
}


@pytest.mark.parametrize(("name", "data_type", "value", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_value_that_does_not_fit_is_refused_and_never_bent(
    house: House, name: str, data_type: str, value: Value, code: str
) -> None:
    sync = replace(SHIPMENTS, fields=(SHIPMENTS.fields[0], MappedField(name, name, data_type)))
    receipts = house.write(
        sync, Operation.CREATE, [Record("bad", None, {name: value}), Record("good", None, {"reference": "G"})]
    )
    assert (receipts["bad"].outcome, receipts["bad"].code, receipts["bad"].fields) == (Outcome.REJECTED, code, (name,))
    assert receipts["good"].outcome is Outcome.APPLIED


def test_values_in_an_order_of_hubspots_own_are_as_sent(sandbox: Sandbox, house: House) -> None:
    ids = house.create(SHIPMENTS, {"a": {"services": ["signed", "express"]}})
    path = f"v3/objects/shipments/{ids['a']}"
    sandbox.crm("PATCH", path, {"properties": {"services": "express;signed"}})

    def read(sync_type: str, sent: Value) -> Value:
        sync = replace(SHIPMENTS, fields=(MappedField("services", "services", sync_type),))

        async def work(connector: Any) -> Value:
            known = [Record("a", ids["a"], {"services": sent})]
            (record,) = [r async for some in connector.read(sync, known) for r in some]
            value: Value = record.values["services"]
            return value

        return house.run(work)

    assert read("varchar[]", ["signed", "express"]) == ["signed", "express"]
    assert read("varchar[]", ["signed"]) == ["express", "signed"]
    assert read("varchar", "signed;express") == "signed;express"
    assert read("varchar", "signed") == "express;signed"


def test_dates_and_decimals_on_the_wire(sandbox: Sandbox, house: House) -> None:
    house.create(SHIPMENTS, {"a": {"cost": Decimal("0.100000000"), "due_date": date(1900, 1, 1), "parcels": 2**63 - 1}})
    (found,) = sandbox.records("shipments", "cost", "due_date", "parcels")
    wire = {name: found["properties"][name] for name in ("cost", "due_date", "parcels")}
    assert wire == {"cost": "0.100000000", "due_date": "1900-01-01", "parcels": str(2**63 - 1)}
