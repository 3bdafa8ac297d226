"""A sandbox for each test, and a connection to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from flows.project import HubSpotConnection, SalesforceConnection
from flows.sandbox.server import Running, SandboxConfig, start


class Sandbox:
    """A running sandbox, and how a test talks to it behind the connector's back."""

    def __init__(self, running: Running) -> None:
        self.url = running.base_url
        self._ready = running.ready
        self._http = httpx.Client(base_url=self.url, timeout=30)

    def close(self) -> None:
        self._http.close()

    def connection(self, **changes: Any) -> SalesforceConnection:
        settings: dict[str, Any] = {
            "kind": "salesforce",
            "url": self.url,
            "client_id": self._ready.client_id,
            "client_secret": SecretStr(self._ready.client_secret),
            "poll_seconds": 0.01,
            "deadline_seconds": 20,
        }
        return SalesforceConnection(**{**settings, **changes})

    def hubspot(self, **changes: Any) -> HubSpotConnection:
        settings: dict[str, Any] = {
            "kind": "hubspot",
            "url": self.url,
            "token": SecretStr(self._ready.hubspot_token),
            "requests_per_10_seconds": 0,
            "deadline_seconds": 20,
        }
        return HubSpotConnection(**{**settings, **changes})

    def crm(self, method: str, path: str, body: Any = None, status: int | None = None) -> dict[str, Any]:
        """Ask HubSpot without the connector."""
        headers = {"Authorization": f"Bearer {self._ready.hubspot_token}"}
        answer = self._http.request(method, f"/crm/{path}", json=body, headers=headers)
        assert answer.status_code == status if status else answer.is_success, answer.text
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def make_property(
        self, kind: str, name: str, type: str, field_type: str, *, options: Sequence[str] = (), unique: bool = False
    ) -> None:
        """Add a property to a HubSpot object type."""
        body: dict[str, Any] = {"name": name, "label": name, "type": type, "fieldType": field_type, "groupName": "own"}
        choices = [{"label": v, "value": v, "hidden": False, "displayOrder": n} for n, v in enumerate(options)]
        self.crm("POST", f"v3/properties/{kind}", {**body, "options": choices, "hasUniqueValue": unique})

    def make_label(self, from_kind: str, to_kind: str, text: str, inverse: str | None = None) -> int:
        """Make a label for associations in HubSpot; answers its type's number."""
        body = {"label": text, "name": text.lower().replace(" ", "_")} | ({"inverseLabel": inverse} if inverse else {})
        made = self.crm("POST", f"v4/associations/{from_kind}/{to_kind}/labels", body)["results"]
        return int(made[0]["typeId"])

    def records(self, kind: str, *properties: str) -> list[dict[str, Any]]:
        """All live HubSpot records of an object type, asked for without the connector."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            query = f"limit=100&properties={','.join(properties)}" + (f"&after={after}" if after else "")
            page = self.crm("GET", f"v3/objects/{kind}?{query}")
            found += page["results"]
            after = page.get("paging", {}).get("next", {}).get("after", "")
            if not after:
                return found

    def faults(self, *rules: dict[str, Any]) -> None:
        self._http.post("/_sandbox/faults", json=list(rules)).raise_for_status()

    def acted(self) -> list[int]:
        """How often each rule of the script acted."""
        return [rule["acted"] for rule in self._http.get("/_sandbox/faults").json()]

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self._http.get("/_sandbox/stats").json()
        return stats

    def requests(self, part: str) -> int:
        """How many requests came to routes whose method and path hold this text."""
        return sum(seen["requests"] for route, seen in self.stats()["routes"].items() if part in route)

    def reckoned(self) -> int:
        """How many requests came in, with two looks at each bulk job: how often one is looked at tells its speed."""
        stats = self.stats()
        asked = {route: seen["requests"] for route, seen in stats["routes"].items() if "/jobs/" in route}
        looks = sum(count for route, count in asked.items() if route.startswith("GET ") and route.endswith("/{id}"))
        jobs = sum(count for route, count in asked.items() if route.startswith("POST "))
        return int(stats["requests"]) - looks + 2 * jobs

    def salesforce(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Salesforce without the connector."""
        headers = {"Authorization": f"Bearer {self._ready.access_token}"}
        answer = self._http.request(method, f"/services/data/v62.0/{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def query(self, soql: str) -> list[dict[str, Any]]:
        """Ask without the connector; for the sandbox's statistics this is one more request."""
        headers = {"Authorization": f"Bearer {self._ready.access_token}"}
        page = self._http.get("/services/data/v62.0/query", params={"q": soql}, headers=headers).json()
        records: list[dict[str, Any]] = page["records"]
        while not page["done"]:
            page = self._http.get(page["nextRecordsUrl"], headers=headers).json()
            records += page["records"]
        return records


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait as often as the connector does, only not as long."""
    monkeypatch.setattr("flows.crm.retry.BASE_SECONDS", 0.02)


@pytest.fixture(scope="session")
def closing() -> Iterator[Executor]:
    """Stops sandboxes while the next test runs already; all are stopped before the session ends."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def make_sandbox(closing: Executor) -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes, and stops them after the test."""
    started: list[tuple[Running, Sandbox]] = []

    def make(**config: Any) -> Sandbox:
        running = start(SandboxConfig(**config))
        started.append((running, Sandbox(running)))
        return started[-1][1]

    yield make
    for running, sandbox in started:
        sandbox.close()
        closing.submit(running.stop)


@pytest.fixture
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox()
