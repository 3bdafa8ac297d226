"""`prism proxy --errors` between a client and the sandbox: not one violation of HubSpot's published OpenAPI files.

Prism answers in the place of the sandbox where a request or an answer breaks the file that it was given.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.hubspot_client import SPECS
from tests.sandbox.npm import Client

VIOLATION = "stoplight.io/prism"

pytestmark = pytest.mark.skipif(
    not SPECS.is_dir(), reason="HubSpot's OpenAPI files are not there (CONTRIBUTING.md says where)"
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True)) as running:
        yield running


class Judged(httpx.Client):
    """A client that talks to the sandbox through Prism, and fails at the first violation."""

    def __init__(self, base_url: str, sandbox: Running) -> None:
        headers = {"Authorization": f"Bearer {sandbox.ready.hubspot_token}"}
        super().__init__(base_url=base_url, headers=headers, timeout=30, verify=False)
        self.exchanges = 0

    def ask(self, method: str, path: str, status: int, body: Any = None, **query: Any) -> Any:
        """Send a request; answers the body of the answer."""
        response = self.request(method, path, json=body, params=query or None)
        assert VIOLATION not in response.text, f"{method} {path}: {response.text}"
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        self.exchanges += 1
        return response.json() if response.content else None


@contextmanager
def prism(spec: str, sandbox: Running, home: Path) -> Iterator[Judged]:
    """Run Prism with one of the files in front of the sandbox.

    Args:
        spec: the file's name.
        sandbox: the running sandbox.
        home: a folder for what Prism writes.
    """
    client = Client("prism", home)
    log = home / f"{spec}.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["prism", "proxy", "--errors", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        command += [str(SPECS / spec), sandbox.base_url]
        process = client.start(*command, stdout=out)
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            with Judged(f"http://127.0.0.1:{port}", sandbox) as judged:
                yield judged
        finally:
            process.terminate()
            process.wait(20)
        client.stayed()


def records(root: str, kind: str, text: str) -> Callable[[Judged], None]:
    """All operations on one object type."""
    path = f"{root}/{kind}"

    def run(client: Judged) -> None:
        one, two = uuid4().hex, uuid4().hex
        create = {"properties": {"external_id": one, text: "A"}, "associations": [], "objectWriteTraceId": "1"}
        made = client.ask("POST", f"{path}/batch/create", 201, {"inputs": [create]})["results"][0]
        client.ask("POST", f"{path}/batch/create", 207, {"inputs": [create]})
        client.ask("POST", f"{path}/batch/create", 400, {"inputs": [create, create]})
        upsert = [
            {"id": key, "idProperty": "external_id", "properties": {text: value}, "objectWriteTraceId": key}
            for key, value in ((one, "B"), (two, ""))
        ]
        client.ask("POST", f"{path}/batch/upsert", 200, {"inputs": upsert})
        bad = upsert[0] | {"properties": {"nonsense": "x"}}
        client.ask("POST", f"{path}/batch/upsert", 207, {"inputs": [bad, upsert[1]]})
        client.ask("POST", f"{path}/batch/upsert", 400, {"inputs": [{**bad, "objectWriteTraceId": "t"}] * 101})
        client.ask("POST", f"{path}/batch/update", 200, {"inputs": [{"id": made["id"], "properties": {text: "C"}}]})
        client.ask("POST", f"{path}/batch/update", 207, {"inputs": [{"id": "7", "properties": {text: "C"}}]})
        read = {"properties": [text, "createdate"], "propertiesWithHistory": [], "inputs": [{"id": made["id"]}]}
        assert client.ask("POST", f"{path}/batch/read", 200, read)["results"][0]["properties"][text] == "C"
        client.ask("POST", f"{path}/batch/read", 207, read | {"inputs": [{"id": "7"}]})

        client.ask("GET", f"{path}/{made['id']}", 200, propertiesWithHistory=text)
        client.ask("GET", f"{path}/7", 404)
        client.ask("PATCH", f"{path}/{made['id']}", 200, {"properties": {text: "D"}})
        single = {"properties": {text: "E"}, "associations": []}
        other = client.ask("POST", path, 201, single)["id"]
        client.ask("POST", path, 400, {**single, "properties": {"nonsense": "x"}})
        assert "paging" in client.ask("GET", path, 200, limit=1)
        filters = [{"propertyName": "external_id", "operator": "IN", "values": [one, two]}]
        search = {
            "filterGroups": [{"filters": filters}],
            "sorts": [text],
            "properties": [text],
            "limit": 1,
            "after": "0",
        }
        assert client.ask("POST", f"{path}/search", 200, search)["total"] == 2
        client.ask("POST", f"{path}/search", 400, search | {"limit": 201})

        client.ask("POST", f"{path}/batch/archive", 204, {"inputs": [{"id": made["id"]}]})
        client.ask("GET", f"{path}/{made['id']}", 200, archived="true")
        client.ask("DELETE", f"{path}/{other}", 204)

    return run


def links(batches: str, single: str, gone: int) -> Callable[[Judged], None]:
    """All operations on associations."""

    def run(client: Judged) -> None:
        contact, company = client.contact, client.company  # type: ignore[attr-defined]
        path = f"{batches}/contacts/companies/batch"
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 1}]
        pair = {"from": {"id": contact}, "to": {"id": company}}
        lost = {"from": {"id": "7"}, "to": {"id": company}}
        client.ask("POST", f"{path}/create", 201, {"inputs": [pair | {"types": types}]})
        client.ask("POST", f"{path}/create", 207, {"inputs": [lost | {"types": types}]})
        client.ask("POST", f"{path}/associate/default", 200, {"inputs": [pair, lost]})
        client.ask("POST", f"{path}/read", 200, {"inputs": [{"id": contact}]})
        client.ask("POST", f"{path}/read", 207, {"inputs": [{"id": contact}, {"id": "7"}]})
        client.ask("POST", f"{path}/labels/archive", gone, {"inputs": [pair | {"types": types}]})
        client.ask("POST", f"{path}/archive", gone, {"inputs": [{"from": {"id": contact}, "to": [{"id": company}]}]})
        root = f"{single}/contacts/{contact}/associations"
        client.ask("PUT", f"{root}/default/companies/{company}", 200)
        client.ask("PUT", f"{root}/companies/{company}", 201, types)
        client.ask("GET", f"{root}/companies", 200)
        client.ask("DELETE", f"{root}/companies/{company}", 204)
        client.ask("PUT", f"{root}/default/companies/7", 400)

    return run


def properties(client: Judged) -> None:
    """The Properties API."""
    name = "p" + uuid4().hex
    body = {"name": name, "label": "L", "type": "string", "fieldType": "text", "groupName": "companyinformation"}
    path = "/crm/v3/properties/companies"
    client.ask("POST", path, 201, body | {"hasUniqueValue": True})
    client.ask("POST", path, 409, body)
    client.ask("POST", path, 400, body | {"name": "Not a name"})
    client.ask("PATCH", f"{path}/{name}", 200, {"label": "M"})
    for kind in ("companies", "contacts", "deals", "shipments"):
        client.ask("GET", f"/crm/v3/properties/{kind}", 200)
    client.ask("GET", f"{path}/segment", 200)
    client.ask("GET", f"{path}/groups", 200)
    client.ask("DELETE", f"{path}/{name}", 204)
    client.ask("GET", f"{path}/{name}", 404)


V3, DATED = "/crm/v3/objects", "/crm/objects/2026-03"
TEXTS = {"companies": ("companies", "name"), "contacts": ("contacts", "lastname"), "deals": ("0-3", "dealname")}
SCENARIOS: dict[str, Callable[[Judged], None]] = {
    **{f"{name}.v3.json": records(V3, *kind) for name, kind in TEXTS.items()},
    **{f"{name}.2026-03.json": records(DATED, *kind) for name, kind in TEXTS.items()},
    "objects.v3.json": records(V3, "companies", "name"),
    "objects.2026-03.json": records(DATED, "companies", "name"),
    "associations.v4.json": links("/crm/v4/associations", "/crm/v4/objects", 204),
    "associations.2026-03.json": links("/crm/associations/2026-03", DATED, 200),
    "properties.v3.json": properties,
}


@pytest.mark.parametrize("spec", SCENARIOS)
def test_not_one_violation(sandbox: Running, tmp_path: Path, spec: str) -> None:
    headers = {"Authorization": f"Bearer {sandbox.ready.hubspot_token}"}
    with prism(spec, sandbox, tmp_path) as client:
        with httpx.Client(base_url=sandbox.base_url, headers=headers, verify=False) as direct:
            for kind in ("contact", "company"):
                made = direct.post(f"{V3}/{kind}", json={"properties": {}}).json()
                setattr(client, kind, made["id"])
        SCENARIOS[spec](client)
        assert client.exchanges > 8


def test_prism_does_tell_violations(tmp_path: Path) -> None:
    with start(SandboxConfig()) as natural, prism("companies.v3.json", natural, tmp_path) as client:
        refused = client.post(f"{V3}/companies/batch/upsert", json={"inputs": [{"id": "1", "properties": {"x": 1}}]})
        assert VIOLATION in refused.text
        made = client.post(f"{V3}/companies", json={"properties": {"city": "Oslo"}, "associations": []}).json()
        nulls = client.get(f"{V3}/companies/{made['id']}", params={"properties": "name"})
        assert VIOLATION in nulls.text
