"""A running sandbox, and a client that speaks to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from flows.sandbox.server import Running, SandboxConfig, start

V = "/services/data/v62.0"


class Api(httpx.Client):
    """An HTTP client with a session in the sandbox, and what the tests do again and again."""

    def __init__(self, sandbox: Running) -> None:
        headers = {"Authorization": f"Bearer {sandbox.ready.access_token}"}
        super().__init__(base_url=sandbox.base_url, headers=headers, timeout=30, verify=False)
        self.sandbox = sandbox

    def upsert(self, kind: str, *records: dict[str, Any], **body: Any) -> list[dict[str, Any]]:
        """Upsert by External_Id__c through Collections; answers the results."""
        full = [{"attributes": {"type": kind}, **record} for record in records]
        response = self.patch(f"{V}/composite/sobjects/{kind}/External_Id__c", json={"records": full, **body})
        assert response.status_code == 200, response.text
        return list(response.json())

    def soql(self, query: str) -> list[dict[str, Any]]:
        """The records of one page, without their attributes."""
        response = self.get(f"{V}/query", params={"q": query})
        assert response.status_code == 200, response.text
        return [
            {name: value for name, value in record.items() if name != "attributes"}
            for record in response.json()["records"]
        ]

    def faults(self, *rules: dict[str, Any]) -> None:
        """Set the script of faults."""
        assert self.post("/_sandbox/faults", json=list(rules)).status_code == 200

    def job(self, **body: Any) -> str:
        """Make an ingest job; answers its id."""
        response = self.post(f"{V}/jobs/ingest", json={"object": "Account", "contentType": "CSV", **body})
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def upload(self, job: str, text: str) -> None:
        """Give a job its data and let it run."""
        path = f"{V}/jobs/ingest/{job}"
        headers = {"Content-Type": "text/csv"}
        assert self.put(f"{path}/batches", content=text.encode(), headers=headers).status_code == 201
        assert self.patch(path, json={"state": "UploadComplete"}).json()["state"] == "UploadComplete"

    def ended(self, path: str) -> dict[str, Any]:
        """Poll a job until it ends; answers its details."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            details: dict[str, Any] = self.get(path).json()
            if details["state"] in {"JobComplete", "Failed", "Aborted"}:
                return details
            time.sleep(0.01)
        raise AssertionError(f"{path} did not end")

    def results(self, job: str, which: str) -> str:
        """One of a job's files of results."""
        response = self.get(f"{V}/jobs/ingest/{job}/{which}")
        assert response.status_code == 200, response.text
        return response.text


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig()) as running:
        yield running


@pytest.fixture
def api(sandbox: Running) -> Iterator[Api]:
    with Api(sandbox) as client:
        yield client
        client.faults()
