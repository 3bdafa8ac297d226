"""Schemathesis makes requests from HubSpot's OpenAPI files, right ones and wrong ones: never a server error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.hubspot_client import SPECS, Hub

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; pip install schemathesis")
requests = pytest.importorskip("requests", reason="requests, which schemathesis needs, is not installed")
if not SPECS.is_dir():
    pytest.skip("HubSpot's OpenAPI files (../shared/specs/hubspot) are not there", allow_module_level=True)

# One file of each shape: those of contacts and deals say of their paths what that of companies says of its own.
FILES = ("companies.v3", "objects.2026-03", "associations.v4", "associations.2026-03", "properties.v3")
KINDS = ["companies", "contacts", "0-3", "shipments"]
# Without these, next to nothing that is made up would name something that is there.
KEYS = {"enum": ["external_id", "email", "hs_object_id", "name"], "type": "string"}
NAMES = ("external_id", "email", "name", "order_count", "first_order_date", "consent_at", "segment", "amount")


def operations(name: str) -> list[Any]:
    """The batches and the search of a file, on objects and properties that the sandbox knows."""
    document = json.loads((SPECS / f"{name}.json").read_text(encoding="utf-8"))
    for operation in (one for path in document["paths"].values() for one in path.values()):
        operation.pop("security", None)
        for parameter in operation.get("parameters", []):
            if parameter["name"].lower().endswith("objecttype"):
                parameter["schema"]["enum"] = KINDS
    for body in document["components"]["schemas"].values():
        known = body.get("properties", {})
        if "idProperty" in known:
            known["idProperty"] = KEYS
        if "additionalProperties" in known.get("properties", {}):
            known["properties"]["properties"] = {key: {"type": "string"} for key in NAMES}
    schema = schemathesis.openapi.from_dict(document)
    known = [found.ok() for found in schema.get_all_operations()]
    return [one for one in known if "/batch/" in one.path or one.path.endswith("/search")]


OPERATIONS = {f"{one.method.upper()} {one.path}": one for name in FILES for one in operations(name)}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True)) as running, Hub(running, judged=False) as hub:
        for kind in KINDS[:3]:
            hub.upsert(kind, *({"id": str(number)} for number in range(20)))
        yield running


@pytest.fixture(scope="module")
def session(sandbox: Running) -> Iterator[Any]:
    with requests.Session() as opened:
        opened.headers["Authorization"] = f"Bearer {sandbox.ready.hubspot_token}"
        yield opened


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", OPERATIONS)
def test_no_server_error(sandbox: Running, session: Any, label: str, mode: Any) -> None:
    @settings(
        max_examples=8,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(OPERATIONS[label].as_strategy(generation_mode=mode))
        response = case.call(base_url=sandbox.base_url, session=session)
        assert response.status_code < 500, f"{case.as_curl_command()}: {response.text}"
        if response.status_code >= 400:
            assert {"category", "message", "correlationId"} <= set(response.json())

    fuzz()
