"""The same questions asked of HubSpot: what is found beforehand is what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flows import budget
from flows.errors import ConfigError
from flows.preflight import check, describe, planned_values
from flows.project import Connection, MappedField
from flows.push import push_batch
from flows.records import Operation, Record, Value, read_receipts, write_batch
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox, make_sandbox, sandbox
from tests.push.world import ACCOUNTS

__all__ = ["make_sandbox", "sandbox"]

SHIPMENTS = replace(
    ACCOUNTS,
    name="crm_shipments",
    object="2-40000001",
    external_id_field="tracking_number",
    fields=(
        MappedField("carrier", "carrier", "varchar"),
        MappedField("services", "services", "varchar[]"),
        MappedField("parcels", "parcels", "bigint"),
        MappedField("is_fragile", "is_fragile", "boolean"),
    ),
)
OPERATIONS = ("create", "update", "archive")


@pytest.fixture
def closing() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def test_the_crm_refuses_exactly_the_rows_that_were_found(
    sandbox: Sandbox, warehouse: Warehouse, tmp_path: Path
) -> None:
    rows: dict[str, dict[str, Value]] = {
        "good": {"carrier": "road", "services": ["signed", "express"], "parcels": 2, "is_fragile": True},
        "empty": {"carrier": "", "services": [], "parcels": None},
        "carrier": {"carrier": "balloon"},
        "one of two": {"services": ["signed", "sung"]},
    }
    records = [Record(key, None, values) for key, values in rows.items()]
    batch = write_batch(tmp_path / "b.parquet", SHIPMENTS.name, Operation.CREATE, records, SHIPMENTS.types)
    connection = sandbox.hubspot()

    described = describe({"main": connection}, [SHIPMENTS])
    check(described, [SHIPMENTS])
    found = planned_values(warehouse, described, [SHIPMENTS], [batch])
    push_batch(connection, SHIPMENTS, batch, tmp_path / "receipts", lambda count: None)

    receipts = list(read_receipts(tmp_path / "receipts" / "b.jsonl"))
    assert {r.external_id for r in receipts if r.outcome == "rejected"} == {"carrier", "one of two"}
    assert [(f.field, f.what, f.rows, [e.external_id for e in f.examples]) for f in found] == [
        ("carrier", "not in the picklist: balloon", 1, ["carrier"]),
        ("services", "not in the picklist: sung", 1, ["one of two"]),
    ]


def test_an_association_that_does_not_exist_is_listed_with_everything_else(sandbox: Sandbox) -> None:
    lookup = MappedField("boss", "companies: Boss", "varchar", False, "crm_a", "companies", "external_id", "Boss")
    sync = replace(
        ACCOUNTS,
        object="companies",
        external_id_field="external_id",
        fields=(MappedField("tags", "industry", "varchar[]"), lookup, MappedField("x", "nmae", "varchar")),
    )
    with pytest.raises(ConfigError) as raised:
        check(describe({"main": sandbox.hubspot()}, [sync]), [sync])
    assert "in 3 places" in raised.value.what
    assert "a varchar[] does not fit companies.industry (enumeration)" in raised.value.what
    assert "companies has no field nmae; did you mean name?" in raised.value.what
    assert "companies has no association 'Boss' with companies; known:" in raised.value.what


def test_a_scope_that_is_missing_is_listed_with_everything_else(make_sandbox: Callable[..., Sandbox]) -> None:
    crm = make_sandbox(hubspot_scopes=frozenset(("crm.objects.contacts.read", "crm.objects.contacts.write")))
    people = replace(
        ACCOUNTS,
        name="crm_people",
        object="contacts",
        external_id_field="external_id",
        fields=(
            MappedField("x", "lastnmae", "varchar"),
            MappedField("works_at", "companies", "varchar", False, "crm_a", "companies", "external_id"),
        ),
    )
    mirrored = replace(SHIPMENTS, mode="mirror", fields=(MappedField("parcels", "parcels", "varchar"),))
    with pytest.raises(ConfigError) as raised:
        check(describe({"main": crm.hubspot()}, [people, mirrored]), [people, mirrored])
    where = f"{ACCOUNTS.declared_in}: "
    write, read = "it lacks crm.objects.custom.write", "it lacks crm.objects.custom.read"
    assert [line.removeprefix("  - ") for line in raised.value.what.splitlines()[1:]] == [
        f"{where}crm_people.x: contacts has no field lastnmae; did you mean lastname?",
        f"{where}crm_people: this login may not read companies records: it lacks crm.objects.companies.read",
        f"{where}crm_shipments.parcels: a varchar does not fit 2-40000001.parcels (number)",
        *(f"{where}crm_shipments: this login may not {op} 2-40000001 records: {write}" for op in OPERATIONS),
        f"{where}crm_shipments: this login may not read 2-40000001 records: {read}",
    ]
    assert "permission" in raised.value.todo
    assert crm.requests("objects") == 0


def test_the_day_and_the_rate(make_sandbox: Callable[..., Sandbox]) -> None:
    crm = make_sandbox(hubspot_daily_requests=1_000)
    connections: dict[str, Connection] = {"main": crm.hubspot(requests_per_10_seconds=100)}
    forecast = budget.forecast(connections, [SHIPMENTS], {SHIPMENTS.name: {Operation.CREATE: [4_000]}})

    [asked], requests = budget.ask(connections, forecast)

    assert (asked.requests, asked.most, requests) == (80, 1_000, 1)
    assert asked.seconds == pytest.approx(8.0)
    assert asked.left in (999, 1_000)
