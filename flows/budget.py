"""What pushing a plan will ask of each CRM: requests, time, and whether that fits into what is left of the day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from flows.crm import connect
from flows.crm.base import Limits
from flows.errors import ConfigError, PlanHeld
from flows.project import Connection, Sync
from flows.records import Batch, Operation
from flows.summary import RunSummary
from flows.summary.findings import ForecastSummary
from flows.summary.story import budgeted

Counts = Mapping[str, Mapping[Operation, Sequence[int]]]
"""Sync -> operation -> records that get it, of each depth."""
Forecast = tuple[ForecastSummary, ...]
"""One for each connection that the plan writes to."""
RUNS = 10
"""The last runs in which is looked how long a request takes."""


def check_most(connections: Mapping[str, Connection], syncs: Sequence[Sync]) -> None:
    """See that every connection's ``max_requests`` lets at least one record of each of its syncs go.

    Else that record, and all behind it, would wait for a night that never comes.

    Args:
        connections: CRM connections by name.
        syncs: the syncs.

    Raises:
        ConfigError: lists every sync of which none could go.
    """
    wrong, least = [], 0
    for sync in syncs:
        most = connections[sync.crm].max_requests
        # No operation takes more than a create.
        dearest = Operation.UPDATE if sync.mode == "update_only" else Operation.CREATE
        one = connect(connections[sync.crm]).requests(sync, dearest, 1)
        if most is not None and most < one:
            wrong.append(f"{sync.crm}: max_requests is {most}, and one record of {sync.name} takes {one}, read back")
            least = max(least, one)
    if wrong:
        raise ConfigError(
            "max_requests is too little for any record to go:\n" + "\n".join(f"  - {line}" for line in wrong),
            safe="Nothing ran, nothing was sent.",
            todo=f"Set it to at least {least} in connections.yml, or leave it out.",
        )


def counts(batches: Iterable[Batch]) -> Counts:
    """What a plan's batches count."""
    found: dict[tuple[str, Operation], dict[int, int]] = {}
    for batch in batches:
        depths = found.setdefault((batch.sync, batch.operation), {})
        depths[batch.depth] = depths.get(batch.depth, 0) + batch.count
    told: dict[str, dict[Operation, Sequence[int]]] = {}
    for (sync, operation), depths in found.items():
        told.setdefault(sync, {})[operation] = list(depths.values())
    return told


def pace(runs: Iterable[RunSummary]) -> float | None:
    """How long a request took in earlier pushes, reading back and all waiting included: the median of these runs'.

    Returns:
        Seconds; None where none of them pushed anything to its end.
    """
    found = []
    for run in runs:
        seconds = {stage.name: stage.seconds for stage in run.stages if stage.state == "done"}
        requests = sum(item.requests for item in run.forecast)
        if requests and {"push", "reconcile"} <= seconds.keys():
            found.append((seconds["push"] + seconds["reconcile"]) / requests)
    return median(found) if found else None


def forecast(
    connections: Mapping[str, Connection], syncs: Sequence[Sync], counts: Counts, pace: float | None = None
) -> Forecast:
    """Forecast the requests of a plan, reading back included, and their time. Nothing is asked of any CRM.

    Args:
        connections: CRM connections by name.
        syncs: the syncs.
        counts: the plan's.
        pace: seconds a request, as `pace` says.

    Returns:
        A forecast for each connection that has anything to write.
    """
    found = []
    for name, connection in connections.items():
        crm = connect(connection)
        requests = sum(
            crm.requests(sync, operation, *depths)
            for sync in syncs
            if sync.crm == name
            for operation, depths in counts.get(sync.name, {}).items()
        )
        if requests:
            seconds = None if pace is None else requests * pace
            found.append(ForecastSummary(name, requests, seconds, seconds_by="pushes"))
    return tuple(found)


def ask(connections: Mapping[str, Connection], forecast: Forecast) -> tuple[Forecast, int]:
    """Ask each CRM what is left of its day, and reckon the time from the rate that is allowed, where there is one.

    Args:
        connections: CRM connections by name.
        forecast: what `forecast` said.

    Returns:
        The forecast with seconds, left and most; and the HTTP requests that it took to ask.

    Raises:
        ConfigError: a login is refused.
        PushError: a CRM did not answer.
    """
    asked, requests = [], 0
    for item in forecast:
        limits, sent = asyncio.run(_limits(connections[item.name]))
        if limits.per_second:
            item = replace(item, seconds=item.requests / limits.per_second, seconds_by="rate")
        asked.append(replace(item, left=limits.left, most=limits.most))
        requests += sent
    return tuple(asked), requests


async def _limits(connection: Connection) -> tuple[Limits, int]:
    async with connect(connection) as crm:
        return await crm.limits(), crm.usage.requests


def over(forecast: Forecast) -> list[str]:
    """Say of each connection whose day has too few requests left what the plan takes, and what is left.

    Args:
        forecast: what `ask` said.
    """
    return [budgeted(item) for item in forecast if item.left is not None and item.requests > item.left]


def check(forecast: Forecast, *, approved: bool = False) -> None:
    """Hold a plan that does not fit into what is left of the day.

    Args:
        forecast: what `ask` said.
        approved: whether a person approved the plan as it is: it is pushed as far as it goes.

    Raises:
        PlanHeld: the plan does not fit.
    """
    short = over(forecast)
    if short and not approved:
        raise PlanHeld(
            "The plan does not fit into what is left of today's requests:\n"
            + "\n".join(f"  - {line}" for line in short),
            safe="Nothing was sent to the CRM; the ledger is as it was.",
            todo="Run again when the day's requests are there again. Or set max_requests on the connection: each night "
            "then sends what fits. Or approve the plan: it is pushed as far as it goes.",
        )
