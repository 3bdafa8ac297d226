"""Upserts to HubSpot: under its rate beside drt-core, and without a rate beside httpx posting the same bodies.

Each push is a process of its own. The rate is HubSpot's of 190 requests in any 10 seconds, which the sandbox enforces.
drt-core is installed into an environment of its own below var/, at the first time.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from bench import push
from bench.measure import Figure, run
from bench.world import PROJECT, Bench, home, sandbox

RECORDS = 100_000
PER_SECOND = 19.0
"""Requests: 190 in any 10 seconds."""
WINDOW_SECONDS = 10.0
DRT = "drt-core==1.2.1"
DRT_PYTHON = PROJECT / "var" / "bench" / "drt" / "bin" / "python"
DRT_SECONDS = 120.0
BATCH = 100
FIELDS = {column: column for column in push.COLUMNS}


def figures(bench: Bench) -> list[Figure]:
    """Measure under the rate once, since the clock decides there; without it as often as was asked for, in turn."""
    records = bench.records or RECORDS
    requests = records / BATCH
    installed = _install_drt()
    with home() as place:
        _write_rows(place, records)
        bench.load.look()
        with sandbox(place / "limited.sqlite", "--throttle", "real") as ready:
            limited = push.in_a_process("bench.hubspot", "limited", place, ready)
            seen = httpx.get(f"{ready['base_url']}/_sandbox/stats").json()["hubspot_requests"]
            time.sleep(WINDOW_SECONDS)  # so that drt begins with a whole window too
            drt = _drt(ready, DRT_SECONDS, "default") if installed else []
        free: dict[str, list[dict[str, float]]] = {"free": [], "bare": []}
        for turn in range(bench.runs):
            for way in free if turn % 2 == 0 else reversed(free):
                bench.load.look()
                with sandbox(place / f"{way}-{turn}.sqlite") as ready:
                    free[way].append(push.in_a_process("bench.hubspot", way, place, ready))
        with sandbox(place / "drt.sqlite") as ready:
            unpaced = _drt(ready, DRT_SECONDS / 4, "0") if installed else []
    for told in (limited, *free["free"], *free["bare"]):
        if told["applied"] != records:
            raise SystemExit(f"{told['applied']:,.0f} of {records:,} records were applied.")
    window = seen["window"]
    bench.notes += [
        f"{records:,} new companies of {1 + len(FIELDS)} properties, {BATCH} a request. The sandbox saw at most "
        f"{window['peak']} requests in {window['seconds']:g} s and refused {seen['refused']}.",
        "The ceiling is the rate held on average. A window is empty at first, so that a push may end a little before.",
        f"{DRT} writes one record a request, at most 9 requests a second; with requests_per_second: 0 (and no rate in "
        "the sandbox) as fast as it can."
        if installed
        else f"{DRT} could not be installed here, so that there is no peer.",
    ]
    free_rate, bare_rate = ([records / told["seconds"] for told in free[way]] for way in ("free", "bare"))
    return [
        Figure(f"{records:,} records under the rate", [limited["seconds"]]),
        Figure("the same, if the rate is used to the full", [requests / PER_SECOND], kind="floor"),
        Figure("share of the rate", [100 * requests / PER_SECOND / limited["seconds"]], "%", at_least=97),
        Figure("records under the rate", [records / limited["seconds"]], "records/s"),
        *(Figure("drt-core under the rate", [rate], "records/s", "peer") for rate in drt),
        *(Figure("drt-core without a rate", [rate], "records/s", "peer") for rate in unpaced),
        Figure("records without a rate", free_rate, "records/s"),
        Figure("httpx posting the same bodies", bare_rate, "records/s", "floor"),
        Figure("share of that", [100 * a / b for a, b in zip(free_rate, bare_rate, strict=True)], "%", at_least=85),
        Figure("CPU without a rate", [told["cpu"] for told in free["free"]], "s CPU"),
        Figure("CPU of httpx", [told["cpu"] for told in free["bare"]], "s CPU", "floor"),
    ]


def _write_rows(place: Path, records: int) -> None:
    """A plan's batches, and the same in one batch."""
    import duckdb

    from flows.crm.hubspot import BATCH as FILE

    with duckdb.connect() as db:
        push.write_batches(db, place, FIELDS, records, FILE)
        db.execute(f"copy ({push.rows_sql(FIELDS, 0, records)}) to '{place}/all.parquet' (format parquet)")


def _install_drt() -> bool:
    if DRT_PYTHON.exists():
        return True
    subprocess.run([sys.executable, "-m", "venv", str(DRT_PYTHON.parents[1])], check=True)
    done = subprocess.run([str(DRT_PYTHON), "-m", "pip", "install", "-q", DRT], check=False)
    if done.returncode:
        shutil.rmtree(DRT_PYTHON.parents[1])
    return done.returncode == 0


def _drt(ready: dict[str, str], seconds: float, rate: str) -> list[float]:
    """The one rate of records a second that drt-core reaches."""
    script = Path(__file__).with_name("drt_push.py")
    done = run([DRT_PYTHON, script, ready["base_url"], ready["hubspot_token"], str(seconds), rate], {})
    told = json.loads(done.out)
    return [told["written"] / told["seconds"]]


# What follows runs in a process of its own.


def _pushing(place: Path, ready: dict[str, str], rate: int, files: Sequence[Path]) -> Callable[[], int]:
    from pydantic import SecretStr

    from flows.project import HubSpotConnection

    token = SecretStr(ready["hubspot_token"])
    connection = HubSpotConnection(kind="hubspot", url=ready["base_url"], token=token, requests_per_10_seconds=rate)
    return push.pushing(connection, push.sync("companies", "external_id", FIELDS), files, place)


def _limited(place: Path, ready: dict[str, str]) -> Callable[[], int]:
    """A night's batches, which share the rate."""
    return _pushing(place, ready, 190, sorted((place / "plan").glob("*.parquet")))


def _free(place: Path, ready: dict[str, str]) -> Callable[[], int]:
    """One batch: one connector, with as many requests in flight as it allows itself."""
    return _pushing(place, ready, 0, [place / "all.parquet"])


def _bare(place: Path, ready: dict[str, str]) -> Callable[[], int]:
    """The very bodies that the connector posts, as many in flight; answers are read and not looked at."""
    from flows.crm.hubspot.client import IN_FLIGHT

    posts = _bodies(place, ready)
    headers = {"Authorization": f"Bearer {ready['hubspot_token']}", "Content-Type": "application/json"}

    async def all_of_them() -> int:
        waiting, written = iter(posts), 0

        async def one_after_the_other(client: httpx.AsyncClient) -> None:
            nonlocal written
            for path, body in waiting:
                answer = await client.post(path, content=body, headers=headers)
                answer.raise_for_status()
                written += BATCH if answer.status_code == 200 else 0

        async with httpx.AsyncClient(base_url=ready["base_url"], timeout=60) as client:
            await asyncio.gather(*(one_after_the_other(client) for _ in range(IN_FLIGHT)))
        return written

    return lambda: asyncio.run(all_of_them())


def _bodies(place: Path, ready: dict[str, str]) -> list[tuple[str, bytes]]:
    """What the connector posts: it is run once with its way out replaced, and told that all is well."""
    from flows.crm.hubspot.client import Client

    posts: list[tuple[str, bytes]] = []

    async def post(client: Client, path: str, body: str) -> dict[str, Any]:
        posts.append((path, body.encode()))
        traces = [one["objectWriteTraceId"] for one in json.loads(body)["inputs"]]
        return {"results": [{"id": str(len(posts)), "new": True, "objectWriteTraceId": trace} for trace in traces]}

    sent = Client.post
    Client.post = post  # type: ignore[method-assign]
    try:
        _free(place, ready)()
    finally:
        Client.post = sent  # type: ignore[method-assign]
    return posts


WAYS: dict[str, push.Way] = {"limited": _limited, "free": _free, "bare": _bare}


if __name__ == "__main__":
    import flows.push  # noqa: F401 - as the night has it loaded

    push.main(WAYS)
