"""Requests and time are forecast before a push; a plan that the day cannot take is held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flows import budget
from flows.crm import connect
from flows.errors import ConfigError, PlanHeld
from flows.project import Connection, MappedField
from flows.push import push_batch
from flows.reconcile import read_back
from flows.records import Operation
from flows.summary import RunSummary, StageState, StageSummary
from flows.summary.findings import ForecastSummary
from flows.summary.story import budgeted
from tests.nightly.world import sandbox
from tests.push.world import ACCOUNTS, World

NOW = datetime(2026, 11, 30, 2, tzinfo=UTC)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    """A CRM whose day has few requests."""
    crm = sandbox(tmp_path / "none", daily_requests=50)
    yield World(crm, tmp_path / "run")
    crm.close()


def test_the_forecast_is_what_push_and_read_back_take(world: World) -> None:
    rows = {str(n): {"Name": f"Account {n}"} for n in range(900)}
    batch = world.batch(Operation.CREATE, rows)
    connections: dict[str, Connection] = {"main": world.connection, "unused": world.connection}

    [forecast] = budget.forecast(connections, [ACCOUNTS], budget.counts([batch]))
    world.receipts.mkdir()
    pushed = push_batch(world.connection, ACCOUNTS, batch, world.receipts, lambda count: None)
    read = read_back(world.connection, ACCOUNTS, batch, world.receipts, world.folder / "readback")

    assert forecast.name == "main"
    assert forecast.requests == pytest.approx(pushed.usage.requests + read.usage.requests, rel=0.25)


def test_syncs_of_one_connection_are_added_and_those_of_another_are_not(world: World) -> None:
    connections: dict[str, Connection] = {"main": world.connection, "other": world.connection}
    syncs = [ACCOUNTS, replace(ACCOUNTS, name="second"), replace(ACCOUNTS, name="third", crm="other")]
    many = {name: {Operation.CREATE: [1000], Operation.ARCHIVE: [400]} for name in ("crm_accounts", "second", "third")}

    main, other = budget.forecast(connections, syncs, many)

    assert main.requests == 2 * other.requests > 0
    assert budget.forecast(connections, syncs, {"crm_accounts": {Operation.CREATE: [0]}}) == ()


def test_what_is_left_is_asked_and_time_is_reckoned_from_the_rate(small: World) -> None:
    small.settings["requests_per_second"] = 4
    forecast = (ForecastSummary("main", 20),)

    [asked], requests = budget.ask({"main": small.connection}, forecast)

    assert requests >= 1
    assert (asked.requests, asked.seconds, asked.most) == (20, 5.0, 50)
    assert asked.left is not None
    assert 40 < asked.left < 50
    budget.check((asked,))
    assert budgeted(asked) == f"main: 20 requests of {asked.left} left today, about 5.0 s at the allowed rate"


def test_without_a_rate_earlier_pushes_tell_the_time(small: World) -> None:
    def night(push: float, requests: int, state: StageState = "done") -> RunSummary:
        stages = (StageSummary("push", push, state, NOW), StageSummary("reconcile", 1.0, "done", NOW))
        return RunSummary("r", "prod", "done", NOW, stages=stages, forecast=(ForecastSummary("main", requests),))

    nothing, failed = night(0.0, 0), night(900.0, 10, "failed")
    pace = budget.pace([nothing, night(9.0, 20), failed, night(1.0, 20), night(99.0, 20)])
    many = {ACCOUNTS.name: {Operation.CREATE: [100]}}
    [told] = budget.forecast({"main": small.connection}, [ACCOUNTS], many, pace)
    [asked], _ = budget.ask({"main": small.connection}, (told,))

    assert pace == 0.5
    assert budget.pace([nothing, failed]) is None
    assert asked.seconds == told.seconds == told.requests * 0.5
    assert budgeted(asked).endswith(f"left today, about {told.seconds:.1f} s as earlier pushes took")


def test_a_plan_that_does_not_fit_is_held_unless_a_person_approved_it(small: World) -> None:
    asked, _ = budget.ask({"main": small.connection}, (ForecastSummary("main", 60),))
    with pytest.raises(PlanHeld) as held:
        budget.check(asked)
    assert f"main: 60 requests of {asked[0].left} left today" in held.value.what
    assert "Nothing was sent" in held.value.safe
    assert "max_requests" in held.value.todo
    budget.check(asked, approved=True)


def test_the_last_request_of_the_day_still_fits() -> None:
    budget.check((ForecastSummary("main", 7, left=7, most=10),))
    with pytest.raises(PlanHeld):
        budget.check((ForecastSummary("a", 7), ForecastSummary("main", 8, left=7, most=10)))


def test_a_crm_that_does_not_say_what_is_left_holds_nothing() -> None:
    budget.check((ForecastSummary("main", 10**9),))
    with pytest.raises(PlanHeld):
        budget.check((ForecastSummary("main", 10**9, left=10**9 - 1),))


SALESFORCE = {"kind": "salesforce", "url": "https://x", "client_id": "c"}
HUBSPOT = {"kind": "hubspot", "token": "t"}
LOOKUP = MappedField("parent", "ParentId", "varchar", parent=ACCOUNTS.name)


@pytest.mark.parametrize(
    ("declared", "changes", "least"),
    [
        (SALESFORCE, {}, 2),
        (SALESFORCE | {"collections_up_to": 0}, {}, 12),
        (HUBSPOT, {}, 2),
        (HUBSPOT, {"fields": (LOOKUP,)}, 6),
        (HUBSPOT, {"fields": (LOOKUP,), "mode": "update_only"}, 4),
    ],
)
def test_max_requests_that_let_no_record_go_are_refused(
    declared: dict[str, Any], changes: dict[str, Any], least: int
) -> None:
    def check(most: int | None) -> None:
        connection: Connection = TypeAdapter(Connection).validate_python(declared | {"max_requests": most})
        budget.check_most({"main": connection}, [replace(ACCOUNTS, **changes)])

    for enough in (None, least, 1000):
        check(enough)
    with pytest.raises(ConfigError) as refused:
        check(least - 1)
    assert refused.value.what == (
        f"max_requests is too little for any record to go:\n"
        f"  - main: max_requests is {least - 1}, and one record of crm_accounts takes {least}, read back"
    )
    assert f"at least {least}" in refused.value.todo


@pytest.mark.parametrize("declared", [SALESFORCE, SALESFORCE | {"collections_up_to": 0}, HUBSPOT])
def test_no_record_takes_more_than_one_that_is_created(declared: dict[str, Any]) -> None:
    crm = connect(TypeAdapter(Connection).validate_python(declared))
    takes = {op: crm.requests(replace(ACCOUNTS, fields=(LOOKUP,)), op, 1) for op in Operation}
    assert takes[Operation.ARCHIVE] <= takes[Operation.UPDATE] <= takes[Operation.CREATE]
