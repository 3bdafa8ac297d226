"""How many requests a Salesforce plan takes, and how many are left of the day."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import budget
from flows.crm import connect
from flows.crm.base import Limits
from flows.errors import PushError
from flows.project import Connection, MappedField, SalesforceConnection
from flows.records import Operation, Value
from flows.warehouse import Warehouse
from tests.crm.conftest import Sandbox
from tests.crm.nights import planned, pushed, read
from tests.crm.test_contract import ACCOUNTS, salesforce


def forecast(count: int, **changes: int) -> int:
    settings = {"kind": "salesforce", "url": "https://x", "client_id": "c", **changes}
    return connect(SalesforceConnection.model_validate(settings)).requests(ACCOUNTS, Operation.CREATE, count)


def limits(connection: SalesforceConnection) -> Limits:
    async def ask() -> Limits:
        async with connect(connection) as crm:
            return await crm.limits()

    return asyncio.run(ask())


@given(st.integers(0, 300_000), st.integers(1, 5_000), st.sampled_from([0, 150, 2_000, 60_000, 10**9]))
def test_more_records_never_take_fewer_requests(count: int, more: int, collections_up_to: int) -> None:
    few = forecast(count, collections_up_to=collections_up_to)
    assert few <= forecast(count + more, collections_up_to=collections_up_to)
    assert (few == 0) == (count == 0)


def test_a_million_records_take_ten_jobs() -> None:
    # A job takes six requests and five to nine looks; reading it back one, as many looks, and two pages.
    assert 10 * (6 + 5 + 1 + 5 + 2) <= forecast(1_000_000) <= 10 * (6 + 9 + 1 + 9 + 2)


def test_reading_back_what_was_created_reads_little_else(sandbox: Sandbox, tmp_path: Path) -> None:
    house = salesforce(sandbox, tmp_path, 0)
    values: dict[str, dict[str, Value]] = {f"p{i}": {"Name": "N"} for i in range(30)}
    house.create(ACCOUNTS, {f"before {key}": sent for key, sent in values.items()})
    ids = house.create(ACCOUNTS, values)
    house.create(ACCOUNTS, {f"after {key}": sent for key, sent in values.items()})
    assert len(house.read(ACCOUNTS, ids)) == 30
    (read,) = (seen for route, seen in sandbox.stats()["routes"].items() if "jobs/query/{id}/results" in route)
    assert read["records"] == 30
    assert len(house.read(ACCOUNTS, dict.fromkeys(ids))) == 30


@pytest.mark.parametrize("collections_up_to", [1_000_000, 2_000])
def test_a_large_push_takes_the_requests_that_were_forecast(
    sandbox: Sandbox, tmp_path: Path, collections_up_to: int
) -> None:
    house = salesforce(sandbox, tmp_path, collections_up_to)
    house.connection = sandbox.connection(collections_up_to=collections_up_to, poll_seconds=1)
    house.run(lambda crm: crm.describe("Account"))
    for count in (1_999, 2_001, 6_500):
        before = house.requests()
        expected = forecast(count, collections_up_to=collections_up_to)
        size = connect(house.connection).batch_size(Operation.CREATE, count)
        for start in range(0, count, size):
            rows = range(start, min(start + size, count))
            ids = house.create(ACCOUNTS, {f"{count}-{i}": {"Name": "N"} for i in rows})
            assert len(house.read(ACCOUNTS, ids)) == len(rows)
        assert abs(expected / (house.requests() - before) - 1) <= 0.25, count


@pytest.mark.parametrize(("kind", "most"), [("collections", 16), ("bulk", 60), ("hubspot", 40)])
def test_a_chain_takes_the_requests_that_were_forecast_and_no_more_than_it_may(
    sandbox: Sandbox, tmp_path: Path, kind: str, most: int
) -> None:
    """Each depth is sent after the one above it, in requests of its own."""
    up_to = 0 if kind == "bulk" else 1_000_000
    connection: Connection = sandbox.connection(collections_up_to=up_to, poll_seconds=1, max_requests=most)
    target, name = ("Account", "External_Id__c", "ParentId"), "Name"
    if kind == "hubspot":
        sandbox.make_property("companies", "key", "string", "text", unique=True)
        connection = sandbox.hubspot(max_requests=most)
        target, name = ("companies", "key", "companies: 14"), "name"
    kind_of, key, parent = target
    label = 14 if kind == "hubspot" else None  # "Parent Company"
    lookup = MappedField("parent", parent, "varchar", False, "chain", kind_of, key, association=label)
    chain = replace(
        ACCOUNTS,
        name="chain",
        relation='"main"."chain"',
        object=kind_of,
        external_id_column="id",
        external_id_field=key,
        fields=(MappedField("name", name, "varchar"), lookup),
    )
    with Warehouse.open(tmp_path / "warehouse.duckdb") as db:
        db.execute(
            "create table chain as select 'a' || lpad(i::varchar, 2, '0') as id, id as name, "
            "case when i > 0 then 'a' || lpad((i - 1)::varchar, 2, '0') end as parent from range(40) r(i)"
        )
        made = planned(db, "run", [chain], connection, tmp_path)
        [expected] = budget.forecast({"main": connection}, [chain], budget.counts(made.batches))
        before = sandbox.reckoned()
        pushed(db, made, [chain], connection)
    back = [(done.checked, done.mismatched) for done in read(made, [chain], connection)]
    assert back == [(batch.count, 0) for batch in made.batches]
    assert 2 <= made.operations < 40
    assert expected.requests <= most
    assert sandbox.reckoned() - before == pytest.approx(expected.requests, rel=0.3), made.operations


def test_what_is_left_of_the_day(sandbox: Sandbox) -> None:
    used = int(sandbox.stats()["api_requests"]["used"])
    assert limits(sandbox.connection(requests_per_second=25)) == Limits(100_000 - used - 1, 100_000, 25)
    assert limits(sandbox.connection()).per_second is None


def test_a_login_that_may_not_see_the_limits_goes_by_what_every_answer_tells(sandbox: Sandbox) -> None:
    no_right = {"path": "/limits", "status": 403, "body": [{"errorCode": "FORBIDDEN", "message": "no"}]}
    sandbox.faults({**no_right, "headers": {"Sforce-Limit-Info": "api-usage=18/5000"}})
    assert limits(sandbox.connection()) == Limits(4982, 5000, None)
    sandbox.faults(no_right)
    with pytest.raises(PushError, match="its limits: HTTP 403 FORBIDDEN"):
        limits(sandbox.connection())
