"""HubSpot's own SDK for Node (@hubspot/api-client from npm), unchanged, against the sandbox."""

from __future__ import annotations

from pathlib import Path

from flows.sandbox.server import SandboxConfig, start
from tests.sandbox.npm import Client


def test_everything_that_a_sync_needs(tmp_path: Path) -> None:
    sdk = Client("hubspot", tmp_path)
    with start(SandboxConfig()) as running:
        seen = sdk.script("sdk.mjs", url=running.base_url, token=running.ready.hubspot_token)
    assert set(seen["kinds"]) == {"companies", "contacts", "deals"}
    for kind in seen["kinds"].values():
        assert (kind["born"], kind["again"]) == ([True, True], [False])
        assert (kind["updated"], kind["created"]) == ("C", "3")
        assert kind["read"] == {"0": "B", "1": "C"}
        assert kind["found"] == [3, ["B", "C"], "2"]
        assert (kind["page"], kind["all"]) == (2, 3)
        assert (kind["gone"]["status"], kind["gone"]["category"]) == (404, "OBJECT_NOT_FOUND")
        assert kind["missing"] == 1

    conflict = seen["conflict"]
    assert (conflict["status"], conflict["category"]) == (409, "CONFLICT")
    assert conflict["message"] == f"Contact already exists. Existing ID: {seen['contact']}"
    assert seen["partly"] == [1, "CONFLICT", ["t"]]
    assert (seen["stranger"]["status"], seen["stranger"]["category"]) == (401, "INVALID_AUTHENTICATION")
    assert seen["custom"] == "2"
    assert seen["property"] == ["a", True]
    assert (seen["made"], seen["linked"]) == (True, True)
    assert {number: seen["labels"][number] for number in ("1", "279")} == {"1": "Primary", "279": None}
    assert seen["left"] == 0
