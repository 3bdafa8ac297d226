"""Large Bulk uploads: several processes do together exactly what the sandbox does alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.sandbox.salesforce import crew
from flows.sandbox.server import SandboxConfig, start
from tests.sandbox.conftest import Api, V

HEADER = "External_Id__c,Name,Lifetime_Value__c,Parent.External_Id__c\n"
COUNT = 23_000


def line(n: int, name: str | None = None) -> str:
    return f"c{n},{name or f'Name {n}'},{n % 1000}.{n % 100:02d},{'c0' if n > 15_000 else ''}\n"


def plain() -> list[str]:
    return [line(n) for n in range(COUNT)]


def changed(at: int, text: str) -> list[str]:
    lines = plain()
    lines[at] = text
    return lines


def mixed() -> list[str]:
    """Rows that are refused, quoted, repeated within a batch and over batches, blank; a record over two lines."""
    lines = plain()
    lines[5] = line(4)
    lines[12_000] = 'c4,"again, in the second batch",1.00,\n'
    lines[700] = f"c700,{'x' * 256},1.00,\n"
    lines[12_700] = "c12700,,,\n"
    lines[20_700] = "c20700,child,1.00,nobody\n"
    lines[20_800] = "c20800,child,much,c0\n"
    lines[300] = '\nc300,"a name, ""so\nto say""",3.00,\n\n'
    lines[COUNT - 1] = 'c22999,"müßig ✓",1.5,c0'
    return lines


UPLOADS: dict[str, Callable[[], list[str]]] = {
    "plain": plain,
    "mixed": mixed,
    "a row without a value": lambda: changed(12_345, "c12345\n"),
    "a quote in the middle of a value": lambda: changed(12_345, 'c12345,6" nails,1.00,\n'),
    "two of them": lambda: [*changed(12_345, 'c12345,6" nails,1.00,\n')[:-1], 'c22999,9" nails,1.00,\n'],
    "a quotation without an end": lambda: changed(12_345, 'c12345,"6 nails,1.00,\n'),
    "a carriage return between rows": lambda: changed(12_345, "c12345,a,1.00,\rcx,b,1.00,\n"),
    "a value that is too long": lambda: changed(12_345, f"c12345,{'x' * 32_001},1.00,\n"),
    "a text that is not UTF-8": lambda: changed(12_345, "c12345,\udce9,1.00,\n"),
}


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")


@dataclass
class Pair:
    """A sandbox that works alone, and one that has processes to work with."""

    alone: Api
    together: Api

    def do(self, what: Callable[[Api], Any]) -> Any:
        """Do the same with both, and see that the same comes of it."""
        alone, together = what(self.alone), what(self.together)
        assert together == alone
        return alone


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with (
        pytest.MonkeyPatch.context() as patch,
        start(SandboxConfig()) as memory,
        start(SandboxConfig(store=tmp_path_factory.mktemp("crew") / "crm.sqlite")) as file,
        Api(memory) as alone,
        Api(file) as together,
    ):
        patch.setattr(crew, "LARGE", 100_000)
        yield Pair(alone, together)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A sandbox of its own that has processes to work with."""
    monkeypatch.setattr(crew, "LARGE", 100_000)
    with start(SandboxConfig(store=tmp_path / "crm.sqlite")) as running, Api(running) as client:
        yield client


def members() -> list[int]:
    """The processes that this one has started for large uploads."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and crew.__name__.encode() in (place / "cmdline").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:  # it is gone
            continue
    return found


def push(api: Api, content: bytes, **job: str) -> dict[str, Any]:
    """Push an upload; answers what became of the job and of each row, whatever order the results are in."""
    key = api.job(**{"operation": "upsert", "externalIdFieldName": "External_Id__c", **job})
    path = f"{V}/jobs/ingest/{key}"
    assert api.put(f"{path}/batches", content=content).status_code == 201
    api.patch(path, json={"state": "UploadComplete"})
    details = api.ended(path)
    told = {
        name: details.get(name) for name in ("state", "numberRecordsProcessed", "numberRecordsFailed", "errorMessage")
    }
    results = {name: api.results(key, name) for name in ("successfulResults", "failedResults", "unprocessedRecords")}
    return told | {name: (text.split("\n")[0], sorted(text.split("\n"))) for name, text in results.items()}


def held(api: Api) -> list[tuple[Any, ...]]:
    names = ("External_Id__c", "Name", "Lifetime_Value__c", "ParentId", "Id")
    path = f"{V}/query"
    page = api.get(path, params={"q": f"SELECT {', '.join(names)} FROM Account"}).json()
    records = list(page["records"])
    while not page["done"]:
        page = api.get(page["nextRecordsUrl"]).json()
        records += page["records"]
    return sorted(tuple(record[name] for name in names) for record in records)


@pytest.mark.parametrize("name", UPLOADS)
def test_together_is_as_alone(pair: Pair, name: str) -> None:
    content = (HEADER + "".join(UPLOADS[name]())).encode("utf-8", "surrogateescape")
    pair.do(lambda api: push(api, content))
    assert members(), "nobody helped"
    ids = [row[-1] for row in pair.do(held)]
    assert ids
    pair.do(lambda api: push(api, ("Id\n" + "\n".join(ids)).encode(), operation="delete"))


def test_other_operations_delimiters_and_line_endings(pair: Pair) -> None:
    content = "\ufeff" + (HEADER + "".join(mixed())).replace(",", ";").replace("\n", "\r\n")
    style = {"columnDelimiter": "SEMICOLON", "lineEnding": "CRLF"}
    told = pair.do(lambda api: push(api, content.encode(), **style))
    assert told["state"] == "JobComplete"
    pair.do(lambda api: push(api, content.encode(), **style))  # what was created is updated now
    ids = [row[-1] for row in pair.do(held)]
    updates = "Id,Name\n" + "".join(f"{key},renamed\n" for key in ids[:15_000])
    assert pair.do(lambda api: push(api, updates.encode(), operation="update"))["numberRecordsFailed"] == 0
    deletes = "Id\n" + "".join(f"{key}\n" for key in [*ids, *ids[:10]])
    assert pair.do(lambda api: push(api, deletes.encode(), operation="delete"))["numberRecordsFailed"] == 10
    assert pair.do(held) == []


def test_faults_of_rows_are_drawn_as_ever(pair: Pair) -> None:
    content = (HEADER + "".join(plain())).encode()
    rule = {"path": "jobs/ingest/", "method": "PATCH", "lock_rows": 0.3}
    for api in (pair.alone, pair.together):
        api.faults(rule)
    assert pair.do(lambda api: push(api, content))["numberRecordsFailed"] > COUNT / 4
    for api in (pair.alone, pair.together):
        api.faults()


@pytest.mark.parametrize("limit", [{"daily_batches": 2}, {"daily_bulk_records": 22_000}])
def test_the_day_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]) -> None:
    monkeypatch.setattr(crew, "LARGE", 100_000)
    with start(SandboxConfig(store=tmp_path / "crm.sqlite", **limit)) as running, Api(running) as api:
        told = push(api, (HEADER + "".join(plain())).encode())
    assert (told["state"], told["numberRecordsProcessed"]) == ("Failed", 20_000)
    assert "ExceededQuota" in told["errorMessage"]


def test_several_jobs_at_once_one_of_them_aborted(api: Api) -> None:
    jobs = [api.job(operation="upsert", externalIdFieldName="External_Id__c") for _ in range(3)]
    for number, job in enumerate(jobs):
        text = HEADER + "".join(f"j{number}-{n},Name,1.00,\n" for n in range(30_000))
        api.put(f"{V}/jobs/ingest/{job}/batches", content=text.encode())
    for job in jobs:
        api.patch(f"{V}/jobs/ingest/{job}", json={"state": "UploadComplete"})
    aborted = f"{V}/jobs/ingest/{jobs[2]}"
    api.patch(aborted, json={"state": "Aborted"})
    for job in jobs[:2]:
        assert api.ended(f"{V}/jobs/ingest/{job}")["numberRecordsProcessed"] == 30_000
    kinds = ("successfulResults", "failedResults", "unprocessedRecords")
    deadline = time.monotonic() + 20
    while sum(counts := [len(api.results(jobs[2], kind).splitlines()) - 1 for kind in kinds]) != 30_000:
        assert time.monotonic() < deadline, f"rows are missing: {counts}"
        time.sleep(0.05)
    written = api.get(f"{V}/query", params={"q": "SELECT count() FROM Account WHERE External_Id__c LIKE 'j2-%'"})
    assert (written.json()["totalSize"], counts[1]) == (counts[0], 0)


def test_a_process_that_is_gone_is_done_without(pair: Pair) -> None:
    content = (HEADER + "".join(plain())).encode()
    pair.do(lambda api: push(api, content))
    for one in members():
        os.kill(one, signal.SIGKILL)
    pair.do(lambda api: push(api, content))
    assert not members()
    assert len(pair.do(held)) >= COUNT
