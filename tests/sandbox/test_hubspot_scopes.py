"""The private app's scopes: what the token is told to have is what it may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.hubspot_client import Hub

INFO = "/oauth/v2/private-apps/get/access-token-info"
HAS = frozenset(("crm.objects.companies.read", "crm.objects.contacts.write", "crm.objects.custom.write"))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True, hubspot_scopes=HAS)) as running:
        yield running


@pytest.fixture
def hub(sandbox: Running) -> Iterator[Hub]:
    with Hub(sandbox, judged=False) as client:  # most requests are only refused
        yield client


def info(hub: Hub, token: str) -> httpx.Response:
    return hub.post(INFO, json={"tokenKey": token})


def test_a_token_tells_its_scopes(sandbox: Running, hub: Hub) -> None:
    told = info(hub, sandbox.ready.hubspot_token).json()
    assert sorted(told) == ["appId", "hubId", "scopes", "userId"]
    assert set(told["scopes"]) == HAS
    assert info(hub, "pat-of-somebody").status_code == 404
    assert hub.post(INFO, json={}).status_code == 400
    del hub.headers["Authorization"]
    assert info(hub, sandbox.ready.hubspot_token).status_code == 401


def test_an_app_has_all_scopes_unless_it_is_told_which() -> None:
    with start(SandboxConfig()) as running, Hub(running, judged=False) as hub:
        told = info(hub, running.ready.hubspot_token).json()["scopes"]
    kinds = ("companies", "contacts", "custom", "deals")
    assert told == [f"crm.objects.{kind}.{verb}" for kind in kinds for verb in ("read", "write")]


WRITES: dict[str, Callable[[Hub, str], httpx.Response]] = {
    "upsert": lambda hub, path: hub.post(f"{path}/batch/upsert", json={"inputs": []}),
    "update": lambda hub, path: hub.post(f"{path}/batch/update", json={"inputs": []}),
    "create": lambda hub, path: hub.post(f"{path}/batch/create", json={"inputs": []}),
    "archive": lambda hub, path: hub.post(f"{path}/batch/archive", json={"inputs": []}),
    "create one": lambda hub, path: hub.post(path, json={"properties": {}}),
    "update one": lambda hub, path: hub.patch(f"{path}/1", json={"properties": {}}),
    "delete one": lambda hub, path: hub.delete(f"{path}/1"),
}
READS: dict[str, Callable[[Hub, str], httpx.Response]] = {
    "read": lambda hub, path: hub.post(f"{path}/batch/read", json={"inputs": []}),
    "search": lambda hub, path: hub.post(f"{path}/search", json={}),
    "list": lambda hub, path: hub.get(path),
    "read one": lambda hub, path: hub.get(f"{path}/1"),
}


@pytest.mark.parametrize("root", ["/crm/v3/objects", "/crm/objects/2026-03"])
@pytest.mark.parametrize("verb", ["read", "write"])
def test_what_takes_a_scope_that_is_missing_is_refused(hub: Hub, root: str, verb: str) -> None:
    kinds = {"companies": "companies", "0-2": "companies", "contacts": "contacts", "2-40000001": "custom"}
    for kind, family in kinds.items():
        scope = f"crm.objects.{family}.{verb}"
        for name, ask in (READS if verb == "read" else WRITES).items():
            answer = ask(hub, f"{root}/{kind}")
            refused = answer.status_code == 403
            assert refused is (scope not in HAS), f"{name} {kind}: {answer.text}"
            if refused:
                body = answer.json()
                assert body["category"] == "MISSING_SCOPES"
                assert body["errors"][0]["context"] == {"requiredGranularScopes": [scope]}
