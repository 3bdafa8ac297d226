"""Bulk API 2.0 jobs, of both kinds: made, watched until they end, aborted when nothing moves any more.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from flows.crm.salesforce.client import Client, Refused

LONGEST_PAUSE = 10.0
ENDED = frozenset({"JobComplete", "Failed", "Aborted"})


async def create(client: Client, kind: str, job: Mapping[str, str]) -> str:
    """Make a job.

    Args:
        client: the requests' way out.
        kind: ``ingest`` or ``query``.
        job: what it is to do.

    Returns:
        The job's id.
    """
    answer = await client.request("POST", f"jobs/{kind}", content=json.dumps(job).encode())
    return str(answer.json()["id"])


async def set_state(client: Client, kind: str, job_id: str, state: str) -> None:
    """Move a job on; a repeat after a lost answer is refused, so what counts is the state that it is in.

    Raises:
        Refused: the job stayed where it was.
    """
    try:
        await client.request("PATCH", f"jobs/{kind}/{job_id}", content=json.dumps({"state": state}).encode())
    except Refused:
        now = await info(client, kind, job_id)
        if now["state"] == "Open":
            raise


async def info(client: Client, kind: str, job_id: str) -> dict[str, Any]:
    """Look at a job."""
    found: dict[str, Any] = (await client.request("GET", f"jobs/{kind}/{job_id}")).json()
    return found


async def ended(client: Client, kind: str, job_id: str, records: int | None = None) -> dict[str, Any]:
    """Wait until a job has ended, with growing pauses, but no longer than it seems to need.

    A job that made no progress for the connection's deadline is aborted: what it did by then stands.

    Args:
        client: the requests' way out.
        kind: ``ingest`` or ``query``.
        job_id: the job.
        records: how many records it has to do; None where that is not known.

    Returns:
        The job's last state, as Salesforce describes it; ``stalled`` says that we aborted it.
    """
    began = time.monotonic()
    pause = client.connection.poll_seconds
    seen: tuple[Any, ...] = ()
    moved = time.monotonic()
    stalled = False
    while True:
        now = await info(client, kind, job_id)
        if now["state"] in ENDED:
            return {**now, "stalled": stalled}
        progress = (now["state"], now.get("numberRecordsProcessed"), now.get("numberRecordsFailed"))
        if progress != seen:
            seen, moved = progress, time.monotonic()
        elif not stalled and time.monotonic() - moved > client.connection.deadline_seconds:
            stalled = True
            await set_state(client, kind, job_id, "Aborted")
            continue
        elif stalled and time.monotonic() - moved > 2 * client.connection.deadline_seconds:
            return {**now, "stalled": stalled}
        # What grows unseen is half of the time waited so far; a job that tells how far it is need not wait so long.
        done = int(now.get("numberRecordsProcessed") or 0)
        left = (time.monotonic() - began) * (records / done - 1) if records and done else pause
        await asyncio.sleep(min(pause, max(left, client.connection.poll_seconds)))
        pause = _longer(pause)


def _longer(pause: float) -> float:
    return max(pause, min(pause * 1.5, LONGEST_PAUSE))


def looks(seconds: float, pause: float) -> int:
    """How often a job is looked at that takes so many seconds.

    Args:
        seconds: from its start to its end.
        pause: seconds of the first pause between two looks.
    """
    count, waited = 1, 0.0
    while waited < seconds:
        count, waited, pause = count + 1, waited + pause, _longer(pause)
    return count
