"""Codes of our own: what is told where it was not the CRM that answered, or where it holds no such parent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.crm import connect
from flows.errors import NightshiftError
from flows.project import Connection
from flows.records import Operation, Outcome, Record
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import ACCOUNTS, COMPANIES, PEOPLE, hubspot, salesforce

PAGE = b"<html><h1>Blocked</h1> by the proxy of the office</html>"


class Proxy(BaseHTTPRequestHandler):
    """Lets nobody through, and says so to people."""

    status = 405

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    do_GET = do_PATCH = do_PUT = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Welcome(Proxy):
    """Has a page for every address, as the CRM's own pages for people have."""

    status = 200


@pytest.fixture(params=[Proxy])
def proxy(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of something that is no CRM."""
    with HTTPServer(("127.0.0.1", 0), request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("proxy", [Proxy, Welcome], indirect=True)
@pytest.mark.parametrize("kind", ["salesforce", "hubspot"])
def test_an_answer_of_somebody_elses_is_told(sandbox: Sandbox, proxy: str, kind: str) -> None:
    connection: Connection = sandbox.hubspot(url=proxy) if kind == "hubspot" else sandbox.connection(url=proxy)

    async def describe() -> None:
        async with connect(connection) as crm:
            await crm.describe("companies")

    with pytest.raises(NightshiftError, match=r"HTTP (405|200) NOT_JSON: <html><h1>Blocked</h1> by the proxy"):
        asyncio.run(describe())


@pytest.mark.parametrize("way", ["collections", "bulk", "results", "hubspot"])
def test_what_a_page_answered_may_be_written_or_not(sandbox: Sandbox, tmp_path: Path, way: str) -> None:
    crm = (
        hubspot(sandbox, tmp_path)
        if way == "hubspot"
        else salesforce(sandbox, tmp_path, 0 if way != "collections" else 9)
    )
    sync, name = (COMPANIES, "name") if way == "hubspot" else (ACCOUNTS, "Name")
    crm.run(lambda connector: connector.describe(sync.object))
    page = {"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<html>Back soon</html>"}
    paths = {"collections": "composite", "bulk": "jobs/ingest/[^/]+$", "results": "Results", "hubspot": "batch/upsert"}
    sandbox.faults({"path": paths[way], "after": True, **page})
    receipt = crm.write(sync, Operation.CREATE, [Record("a", None, {name: "A"})])["a"]
    assert (receipt.outcome, "NOT_JSON" in receipt.message) == (Outcome.UNKNOWN, True)
    sandbox.faults()
    assert crm.write(sync, Operation.CREATE, [Record("a", None, {name: "A"})])["a"].outcome is Outcome.APPLIED
    assert crm.count(sync.object) == 1


def test_a_parent_that_hubspot_does_not_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    person = Record("c", None, {"lastname": "Child", "companies": "absent"})
    receipt = crm.write(PEOPLE, Operation.CREATE, [person])["c"]
    assert (receipt.outcome, receipt.code, receipt.fields) == (Outcome.REJECTED, "PARENT_NOT_FOUND", ("companies",))
    assert "absent" in receipt.message
    assert sandbox.records("contacts", "lastname") == []
