"""The connector and the sandbox talk through `prism proxy --errors`: not one violation of HubSpot's OpenAPI files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from flows.crm.hubspot.scopes import PATH
from flows.project import HubSpotConnection, MappedField
from flows.records import Operation, Outcome, Record
from flows.sandbox.server import SandboxConfig, start
from tests.crm.contract import House
from tests.crm.test_contract import COMPANIES, PEOPLE, PROPERTIES
from tests.sandbox.hubspot_client import SPECS
from tests.sandbox.test_hubspot_prism import VIOLATION, prism

pytestmark = pytest.mark.skipif(
    not SPECS.is_dir(), reason="HubSpot's OpenAPI files are not there (CONTRIBUTING.md says where)"
)

FILES = {
    "v3": {
        "/crm/v3/objects/companies": "companies.v3.json",
        "/crm/v3/objects/contacts": "contacts.v3.json",
        "/crm/v4/associations": "associations.v4.json",
        "/crm/v3/properties": "properties.v3.json",
    },
    "2026-03": {
        "/crm/objects/2026-03/companies": "companies.2026-03.json",
        "/crm/objects/2026-03/contacts": "contacts.2026-03.json",
        "/crm/associations/2026-03": "associations.2026-03.json",
    },
}
"""Paths -> beginning of a path -> the file that judges it."""
UNJUDGED = ("/labels", "/crm/properties/2026-03", PATH)
"""What these files say nothing about: ends and beginnings of paths."""


class Router:
    """Leads each request to the Prism that has the file for its path, and notes what Prism holds against it."""

    def __init__(self, judges: dict[str, httpx.Client], plain: httpx.Client) -> None:
        self.violations: list[str] = []
        self.seen: set[str] = set()
        router = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                judge = plain
                if not any(self.path.startswith(path) or self.path.endswith(path) for path in UNJUDGED):
                    judge = next(client for start, client in judges.items() if self.path.startswith(start))
                headers = {name: self.headers[name] for name in ("Content-Type", "Authorization") if self.headers[name]}
                answer = judge.request(self.command, self.path, content=body, headers=headers)
                router.seen.add(f"{self.path.partition('?')[0]} {answer.status_code}")
                if VIOLATION in answer.text:
                    router.violations.append(f"{self.command} {self.path}: {answer.text}")
                self.send_response(answer.status_code)
                self.send_header("Content-Type", "application/json")
                if answer.status_code != 204:
                    self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture(params=FILES)
def judged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Router, House]]:
    with ExitStack() as stack:
        sandbox = stack.enter_context(start(SandboxConfig(hubspot_as_published=True)))
        judges = {
            path: stack.enter_context(prism(file, sandbox, tmp_path)) for path, file in FILES[request.param].items()
        }
        plain = stack.enter_context(httpx.Client(base_url=sandbox.base_url))
        router = Router(judges, plain)  # type: ignore[arg-type]
        stack.callback(router.close)
        connection = HubSpotConnection(
            kind="hubspot", url=router.url, token=SecretStr(sandbox.ready.hubspot_token), paths=request.param
        )
        house = House(connection, COMPANIES, PEOPLE, PROPERTIES, tmp_path, lambda _: 0, lambda: 0, list)
        yield router, house


def test_everything_that_the_connector_does_is_as_published(judged: tuple[Router, House]) -> None:
    router, crm = judged
    people = replace(PEOPLE, fields=tuple(f for f in PEOPLE.fields if f.crm_field != "opted_out"))
    segment = replace(COMPANIES, fields=(*COMPANIES.fields, MappedField("segment", "segment", "varchar")))
    assert crm.run(lambda connector: connector.describe("companies")).updateable
    parents = crm.create(segment, {f"p{i}": {"name": f"P{i}", "order_count": None} for i in range(120)})
    refused = crm.write(segment, Operation.CREATE, [Record(k, None, {"segment": "Gold"}) for k in ("p1", "q")])
    assert {r.code for r in refused.values()} == {"INVALID_OPTION"}

    ids = crm.create(people, {f"c{i}": {"lastname": "C", "companies": f"p{i}"} for i in range(5)})
    moves = [Record("c0", ids["c0"], {"companies": "p1"}), Record("c1", ids["c1"], {"companies": None})]
    changed = crm.write(people, Operation.UPDATE, [*moves, Record("gone", "7", {"lastname": "G"})])
    assert [changed[k].outcome for k in ("c0", "c1", "gone")] == [Outcome.APPLIED, Outcome.APPLIED, Outcome.REJECTED]
    found = crm.read(people, {**ids, "absent": None})
    assert {key: values["companies"] for key, values in found.items()} == {
        "c0": "p1", "c1": None, "c2": "p2", "c3": "p3", "c4": "p4"
    }  # fmt: skip

    primary, field = "Primary", "companies: Primary"
    typed = tuple(replace(f, crm_field=field, association=primary) if f.parent else f for f in people.fields)
    people = replace(people, fields=typed)
    crm.write(people, Operation.UPDATE, [Record("c2", ids["c2"], {field: "p9"})])
    assert crm.read(people, {"c2": ids["c2"]})["c2"][field] == "p9"
    crm.write(people, Operation.UPDATE, [Record("c2", ids["c2"], {field: None})])

    archived = crm.write(segment, Operation.ARCHIVE, [Record(key, crm_id) for key, crm_id in parents.items()])
    assert {r.outcome for r in archived.values()} == {Outcome.APPLIED}
    assert crm.read(segment, parents) == {}
    assert router.violations == []
    assert len(router.seen) > 10
    assert f"{PATH} 200" in router.seen
