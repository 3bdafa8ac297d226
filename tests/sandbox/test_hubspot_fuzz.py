"""Schemathesis makes requests from HubSpot's OpenAPI files, right ones and wrong ones: never a server error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flows.sandbox.server import Running, SandboxConfig, start
from tests.conftest import PROJECT
from tests.sandbox.hubspot_client import SPECS, Hub

pytestmark = [
    pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed"),
    pytest.mark.skipif(not SPECS.is_dir(), reason="HubSpot's OpenAPI files are not there (CONTRIBUTING.md says where)"),
]

# One file of each shape: those of contacts and deals say of their paths what that of companies says of its own.
FILES = ("companies.v3", "objects.2026-03", "associations.v4", "associations.2026-03")
KINDS = ["companies", "contacts", "0-3", "shipments"]
# Without these, next to nothing that is made up would name something that is there.
KEYS = {"enum": ["external_id", "email", "hs_object_id", "name"], "type": "string"}
NAMES = ("external_id", "email", "name", "order_count", "first_order_date", "consent_at", "segment", "amount")
CHECKS = "not_a_server_error,errors_are_hubspots"
EXAMPLES = 5
"""Made-up requests for each operation, besides the systematic ones for every part of every body."""


def batches(name: str) -> dict[str, Any]:
    """A file with nothing but its batches and its search, on objects and properties that the sandbox knows."""
    document: dict[str, Any] = json.loads((SPECS / f"{name}.json").read_text(encoding="utf-8"))
    paths = {path: one for path, one in document["paths"].items() if "/batch/" in path or path.endswith("/search")}
    for operation in (one for path in paths.values() for one in path.values()):
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
    return document | {"paths": paths}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with start(SandboxConfig(hubspot_as_published=True)) as running, Hub(running, judged=False) as hub:
        for kind in KINDS[:3]:
            hub.upsert(kind, *({"id": str(number)} for number in range(20)))
        yield running


@pytest.mark.parametrize("name", FILES)
def test_no_server_error(sandbox: Running, tmp_path: Path, name: str) -> None:
    document = batches(name)
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--no-color", "--checks", CHECKS]
    command += ["--url", sandbox.base_url, "-H", f"Authorization: Bearer {sandbox.ready.hubspot_token}"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--generation-deterministic"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "SCHEMATHESIS_HOOKS": "tests.sandbox.schemathesis_checks"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr

    operations = len(document["paths"])
    assert f"{operations} selected / {operations} total" in done.stdout
    cases = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert cases is not None, done.stdout
    assert int(cases[1]) == int(cases[2]) > 20 * operations
