"""All files as one first night, beside DuckDB reading the same files and simple-salesforce pushing the same plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce

from bench.measure import Figure, stopwatch
from bench.world import Bench, home, sandbox, seconds

POLL_SECONDS = 0.5
"""The pause between two looks at a job: Nightshift's default, given to the peer too (its own is 5 s)."""


def figures(bench: Bench) -> list[Figure]:
    """Measure, in turn: the night from nothing, the floor of reading, the peer's push."""
    nights, floors, peers = [], [], []
    for _ in range(bench.runs):
        with home() as place:
            nights.append(bench.night(place))
            floors.append(_read(bench.files))
            plan = place / "runs" / nights[-1][1]["run_id"] / "plan"
            with sandbox(place / "peer.sqlite") as ready:
                peers.append(_push(plan, ready))
    stages = [seconds(summary) for _, summary in nights]
    rows = [sum(s["rows_extracted"] for s in summary["sources"].values()) for _, summary in nights]
    sent = [sum(s["applied"] for s in summary["syncs"].values()) for _, summary in nights]
    last = nights[-1][1]["syncs"].values()
    bench.notes.append(f"{rows[-1]:,} rows -> " + ", ".join(f"{s['applied']:,} {s['object']}" for s in last))
    bad = sum(
        s["rejected"] + s["unknown"] + s["mismatched"] for _, summary in nights for s in summary["syncs"].values()
    )
    if bad:
        raise SystemExit(f"{bad} records were refused, unanswered or read back otherwise.")
    return [
        Figure("nightshift run, whole process", [done.wall for done, _ in nights]),
        *(Figure(f"  {name}", [stage[name] for stage in stages]) for name in stages[0]),
        Figure("extracted", _rates(rows, stages, "extract"), "rows/s"),
        Figure("DuckDB alone, the same files into a table", [n / s for n, s in floors], "rows/s", "floor"),
        Figure("pushed (whole push stage, ledger included)", _rates(sent, stages, "push"), "records/s", at_least=5000),
        Figure("simple-salesforce bulk2, the same plan", [n / s for n, s in peers], "records/s", "peer"),
        Figure("read back (reconcile stage)", _rates(sent, stages, "reconcile"), "records/s"),
        Figure("peak memory of the main process", [done.peak_mb for done, _ in nights], "MB", at_most=1024),
        Figure("peak memory with both servers (PSS)", [done.tree_mb for done, _ in nights], "MB"),
        Figure("CPU of nightshift run and its servers", [done.cpu for done, _ in nights], "s CPU"),
    ]


def _rates(counts: list[int], stages: list[dict[str, float]], stage: str) -> list[float]:
    return [count / taken[stage] for count, taken in zip(counts, stages, strict=True)]


def _read(files: str) -> tuple[int, float]:
    """Rows, and the seconds that DuckDB takes to put them as text into a table in memory."""
    with duckdb.connect() as db, stopwatch() as taken:
        db.execute("create table lines as select * from read_csv(?, all_varchar = true)", [files])
        (rows,) = db.execute("select count(*) from lines").fetchone() or (0,)
    return rows, taken[0]


_UPSERT: dict[str, Any] = {"external_id_field": "External_Id__c", "wait": POLL_SECONDS}


class Loopback(HTTPAdapter):
    """Delivers https requests to the sandbox: simple-salesforce knows no other scheme."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.base_url = base_url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = self.base_url + str(request.path_url)
        return super().send(request, *args, **kwargs)


def _push(plan: Path, ready: dict[str, str]) -> tuple[int, float]:
    """Records, and the seconds that simple-salesforce takes to upsert them and to fetch each record's answer."""
    objects = {"crm_accounts": "Account", "crm_contacts": "Contact", "crm_opportunities": "Opportunity"}
    pushed = 0
    with requests.Session() as session:
        session.mount("https://", Loopback(ready["base_url"]))
        host = ready["base_url"].removeprefix("http://")
        client = Salesforce(session_id=ready["access_token"], instance_url=f"https://{host}", session=session)
        with stopwatch() as taken:
            for batch in sorted(plan.glob("*.parquet")):
                handler = getattr(client.bulk2, objects[batch.name.split("-")[1]])
                for job in handler.upsert(records=list(_records(batch)), **_UPSERT):
                    if job["numberRecordsFailed"]:
                        raise SystemExit(handler.get_failed_records(job["job_id"])[:1000])
                    pushed += handler.get_successful_records(job["job_id"]).count("\n") - 1
    return pushed, taken[0]


def _records(batch: Path) -> Iterator[dict[str, str]]:
    """A plan's batch as simple-salesforce wants it: texts, and the parent by its external id."""
    with duckdb.connect() as db:
        found = db.execute("select * exclude (crm_id, changed) from read_parquet(?)", [str(batch)])
        renamed = {"external_id": "External_Id__c", "AccountId": "Account.External_Id__c"}
        names = [renamed.get(column[0], column[0]) for column in found.description or ()]
        for row in found.fetchall():
            texts = ("" if v is None else v.isoformat() if hasattr(v, "isoformat") else str(v) for v in row)
            yield dict(zip(names, texts, strict=True))
