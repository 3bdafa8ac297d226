"""Upserts by Bulk API 2.0, beside simple-salesforce's bulk2 doing the same rows, on a sandbox without limits.

Each push is a process of its own on a new, empty sandbox. Ours begins with a plan's Parquet files and ends with a
receipt for each record on the disk; simple-salesforce begins with a CSV file, or with dicts in memory, and ends with
each record's answer in memory. Its wait of 5 s before each look at a job is set to Nightshift's 0.5 s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import push
from bench.measure import Figure
from bench.world import Bench, home, sandbox

RECORDS = 1_000_000
POLL_SECONDS = 0.5
"""The pause before the first look at a job: Nightshift's default, given to the peer too (its own is 5 s)."""
FIELDS = {
    "name": "Name",
    "city": "BillingCity",
    "country": "BillingCountry",
    "first_order_date": "First_Order_Date__c",
    "order_count": "Order_Count__c",
    "lifetime_value": "Lifetime_Value__c",
    "segment": "Segment__c",
}


def figures(bench: Bench) -> list[Figure]:
    """Measure, in turn: ours, the peer from a CSV file, the peer from dicts, the sandbox with ready files."""
    records = bench.records or RECORDS
    told: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with home() as place:
        _write_rows(place, records)
        for turn in range(bench.runs):
            for way in WAYS if turn % 2 == 0 else reversed(WAYS):
                bench.load.look()
                told[way].append(_one(place, way, records))
    bench.notes.append(
        f"{records:,} new accounts of {1 + len(FIELDS)} fields; the sandbox shares the machine's cores. "
        "Peak memory is the process's own, less what it held after its imports."
    )
    ours, file, dicts, bare = ([one["rate"] for one in told[way]] for way in WAYS)
    memory = {way: [one["peak_mb"] for one in told[way]] for way in WAYS}
    cpu = {way: [one["cpu"] for one in told[way]] for way in WAYS}
    return [
        Figure("Nightshift's push, receipts on disk", ours, "records/s"),
        Figure("simple-salesforce bulk2, from a CSV file", file, "records/s", "peer"),
        Figure("simple-salesforce bulk2, from dicts", dicts, "records/s", "peer"),
        Figure("ready CSV files, uploaded and answered, no client", bare, "records/s", "floor"),
        Figure("faster than simple-salesforce from a file", _ratios(ours, file), "x", at_least=1),
        Figure("faster than simple-salesforce from dicts", _ratios(ours, dicts), "x", at_least=1),
        Figure("peak memory above the baseline", memory["ours"], "MB", at_most=500),
        Figure("the same, simple-salesforce from a file", memory["file"], "MB", "peer"),
        Figure("the same, simple-salesforce from dicts", memory["dicts"], "MB", "peer"),
        Figure("CPU", cpu["ours"], "s CPU"),
        Figure("CPU, simple-salesforce from a file", cpu["file"], "s CPU", "peer"),
        Figure("CPU, simple-salesforce from dicts", cpu["dicts"], "s CPU", "peer"),
    ]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _write_rows(place: Path, records: int) -> None:
    """The same rows as a plan's batches and as one CSV file."""
    import duckdb

    from flows.crm.salesforce import BULK_BATCH

    columns = ", ".join(["external_id as External_Id__c", *FIELDS.values()])
    with duckdb.connect() as db:
        push.write_batches(db, place, FIELDS, records, BULK_BATCH)
        rows = push.rows_sql(FIELDS, 0, records)
        db.execute(f"copy (select {columns} from ({rows})) to '{place}/rows.csv' (header)")


def _one(place: Path, way: str, records: int) -> dict[str, float]:
    store = place / "sandbox.sqlite"
    with sandbox(store) as ready:
        told = push.in_a_process("bench.bulk", way, place, ready)
    for file in place.glob("sandbox.sqlite*"):
        file.unlink()
    if told["applied"] != records:
        raise SystemExit(f"{way}: {told['applied']:,.0f} of {records:,} records were applied.")
    return {**told, "rate": records / told["seconds"]}


# What follows runs in a process of its own.


def _ours(place: Path, ready: dict[str, str]) -> Callable[[], int]:
    from pydantic import SecretStr

    from flows.project import SalesforceConnection

    connection = SalesforceConnection(
        kind="salesforce",
        url=ready["base_url"],
        client_id=ready["client_id"],
        client_secret=SecretStr(ready["client_secret"]),
        poll_seconds=POLL_SECONDS,
    )
    to = push.sync("Account", "External_Id__c", FIELDS)
    return push.pushing(connection, to, sorted((place / "plan").glob("*.parquet")), place)


def _peer(place: Path, ready: dict[str, str], from_dicts: bool) -> Callable[[], int]:
    import csv

    import requests
    from simple_salesforce.api import Salesforce

    from bench.first_night import Loopback

    session = requests.Session()
    session.mount("https://", Loopback(ready["base_url"]))
    host = ready["base_url"].removeprefix("http://")
    client = Salesforce(session_id=ready["access_token"], instance_url=f"https://{host}", session=session)
    source: dict[str, Any] = {"csv_file": str(place / "rows.csv")}
    if from_dicts:
        with (place / "rows.csv").open(encoding="utf-8", newline="") as file:
            source = {"records": list(csv.DictReader(file))}

    def send() -> int:
        accounts = client.bulk2.Account
        jobs = accounts.upsert(**source, external_id_field="External_Id__c", wait=POLL_SECONDS)
        for job in jobs:
            answers = [accounts.get_successful_records(job["job_id"]), accounts.get_failed_records(job["job_id"])]
            # A quoted name holds no line break here, so that lines are records.
            job["answered"] = sum(max(0, answer.count("\n") - 1) for answer in answers)
        return sum(min(job["numberRecordsProcessed"] - job["numberRecordsFailed"], job["answered"]) for job in jobs)

    return send


def _bare(place: Path, ready: dict[str, str]) -> Callable[[], int]:
    """Uploads ready bytes, ten jobs at once, and throws the answers away: what the sandbox and HTTP take."""
    import httpx

    lines = (place / "rows.csv").read_bytes().splitlines(keepends=True)
    step = max(1, len(lines[1:]) // 10)
    bodies = [b"".join([lines[0], *lines[at : at + step]]) for at in range(1, len(lines), step)]
    del lines
    client = httpx.Client(
        base_url=f"{ready['base_url']}/services/data/v62.0/",
        headers={"Authorization": f"Bearer {ready['access_token']}"},
        timeout=300,
    )
    wanted = {"object": "Account", "operation": "upsert", "externalIdFieldName": "External_Id__c", "lineEnding": "LF"}

    def job(body: bytes) -> int:
        path = f"jobs/ingest/{client.post('jobs/ingest', json=wanted).json()['id']}"
        client.put(f"{path}/batches", content=body, headers={"Content-Type": "text/csv"}).raise_for_status()
        client.patch(path, json={"state": "UploadComplete"}).raise_for_status()
        while (told := client.get(path).json())["state"] not in ("JobComplete", "Failed", "Aborted"):
            time.sleep(POLL_SECONDS / 2)
        with client.stream("GET", f"{path}/successfulResults") as answer:
            for _ in answer.iter_raw():
                pass
        return int(told["numberRecordsProcessed"] - told["numberRecordsFailed"])

    def send() -> int:
        with ThreadPoolExecutor(10) as pool:
            return sum(pool.map(job, bodies))

    return send


WAYS: dict[str, push.Way] = {
    "ours": _ours,
    "file": lambda place, ready: _peer(place, ready, False),
    "dicts": lambda place, ready: _peer(place, ready, True),
    "bare": _bare,
}


if __name__ == "__main__":
    if sys.argv[1] == "ours":  # what it takes from the library is loaded before the baseline, as the night has it
        import flows.push  # noqa: F401
    else:
        import requests  # noqa: F401
        import simple_salesforce  # noqa: F401
    push.main(WAYS)
