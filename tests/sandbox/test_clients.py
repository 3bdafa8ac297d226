"""The versions of other people's clients in docs/how-to/sandbox.md are those that the tests use."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import PROJECT
from tests.sandbox.npm import CLIENTS

GUIDE = (PROJECT / "docs" / "how-to" / "sandbox.md").read_text(encoding="utf-8")
PACKAGES = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CLIENTS.glob("*/package.json"))]
FROM_NPM = {name: version for package in PACKAGES for name, version in package["dependencies"].items()}


@pytest.mark.parametrize("name", FROM_NPM)
def test_clients_from_npm(name: str) -> None:
    version = FROM_NPM[name]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version), "an exact version"
    said = name.removeprefix("@stoplight/").removesuffix("-cli").capitalize() if "prism" in name else name
    assert re.search(rf"{re.escape(said)} \(npm(\) \| |, ){re.escape(version)}\b", GUIDE), f"{name} {version}"


@pytest.mark.parametrize("name", ["simple-salesforce", "hubspot-api-client", "schemathesis"])
def test_clients_from_pypi(name: str) -> None:
    locked = re.search(rf"^{name}==(\S+)", (PROJECT / "requirements-dev.lock").read_text(encoding="utf-8"), re.M)
    assert locked is not None
    assert re.search(rf"(?i){name} \(PyPI(\) \| |, ){re.escape(locked[1])}\b", GUIDE), f"{name} {locked[1]}"


def test_no_lock_file_of_npm_is_kept() -> None:
    assert [path for path in CLIENTS.rglob("*") if path.name in {"package-lock.json", "node_modules"}] == []
