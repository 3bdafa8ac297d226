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
from tests.crm.test_contract import PEOPLE, hubspot

PAGE = b"<html><h1>Blocked</h1> by the proxy of the office</html>"


class Proxy(BaseHTTPRequestHandler):
    """Lets nobody through, and says so to people."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(405)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    """The address of something that is no CRM."""
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["salesforce", "hubspot"])
def test_an_answer_of_somebody_elses_is_told(sandbox: Sandbox, proxy: str, kind: str) -> None:
    connection: Connection = sandbox.hubspot(url=proxy) if kind == "hubspot" else sandbox.connection(url=proxy)

    async def describe() -> None:
        async with connect(connection) as crm:
            await crm.describe("companies")

    with pytest.raises(NightshiftError, match=r"HTTP 405 NOT_JSON: <html><h1>Blocked</h1> by the proxy"):
        asyncio.run(describe())


def test_a_parent_that_hubspot_does_not_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    person = Record("c", None, {"lastname": "Child", "companies": "absent"})
    receipt = crm.write(PEOPLE, Operation.CREATE, [person])["c"]
    assert (receipt.outcome, receipt.code, receipt.fields) == (Outcome.REJECTED, "PARENT_NOT_FOUND", ("companies",))
    assert "absent" in receipt.message
    assert sandbox.records("contacts", "lastname") == []
