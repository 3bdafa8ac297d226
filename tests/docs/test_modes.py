"""The page on syncs is complete: every choice, guard, state and code of the code has a row, and a test that exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from flows.crm import hubspot, retry, salesforce
from flows.crm.hubspot import batch
from flows.crm.salesforce import collections
from flows.project import declared
from flows.summary import PlanState
from tests.docs.documents import PROJECT, links, table

PAGE = PROJECT / "docs" / "sync.md"
TEXT = PAGE.read_text(encoding="utf-8")
HEADINGS = [heading for heading in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)]
ROWS = {heading: table(TEXT, heading) for heading in HEADINGS}
CODE = re.compile(r"[A-Z]{2,}[A-Z0-9]*(?:_[A-Z0-9]+)+_?|DAILY|SECONDLY")
LINK = re.compile(r"\[(\w+)\]\(([^)\s]+)\)")


def words(*headings: str) -> set[str]:
    """What stands in backticks in the first cells of these tables."""
    return {word for heading in headings for row in ROWS[heading] for word in re.findall(r"`([^`]+)`", row[0])}


def choices(model: type[BaseModel]) -> Iterator[str]:
    """``key: value`` for every value that a key may have."""
    for key, field in model.model_fields.items():
        for kind in (field.annotation, *typing.get_args(field.annotation)):
            if typing.get_origin(kind) is Literal:
                yield from (f"{key}: {value}" for value in typing.get_args(kind))


def test_every_choice_that_can_be_declared_has_a_row() -> None:
    models = declared.Declared.__subclasses__()
    declared_here = {choice for model in models for choice in choices(model)}
    declared_here |= {f"policy: {value}" for value in typing.get_args(declared.Policy)}
    told = {word for word in words(*HEADINGS) if ": " in word}
    assert {"mode: mirror", "nulls: clear", "deleted: forget", "kind: rest"} <= declared_here
    assert told == declared_here


def test_every_guard_has_a_row() -> None:
    assert words("Guards") == {f"guard.{key}" for key in declared.Guard.model_fields} | {"shrunken"}


def test_every_state_of_a_plan_has_a_row() -> None:
    assert words("States of a plan") == set(typing.get_args(PlanState))


def test_every_limit_of_a_connection_has_a_row() -> None:
    connections = (declared.SalesforceConnection, declared.HubSpotConnection)
    keys = {key for model in connections for key in model.model_fields}
    limits = {key for key in keys if re.search("requests|seconds|up_to", key)} - {"poll_seconds"}
    assert words("Budget") == limits


def codes(package: Any) -> set[str]:
    """The codes that stand in the strings of a connector's source, its docstrings apart."""
    folder = Path(package.__file__)
    files = sorted(folder.parent.glob("*.py")) if folder.name == "__init__.py" else [folder]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                found.add(node.value)
    return found


@pytest.mark.parametrize(
    ("package", "heading", "known"),
    [
        (salesforce, "Codes of Salesforce", "UNABLE_TO_LOCK_ROW"),
        (hubspot, "Codes of HubSpot", "OBJECT_NOT_FOUND"),
        (retry, "Codes of both CRMs", "NO_ANSWER"),
    ],
)
def test_every_code_that_a_connector_acts_on_has_a_row(package: Any, heading: str, known: str) -> None:
    told = words(heading, "Codes of both CRMs")
    acted_on = codes(package)
    assert known in told
    assert known in acted_on or package is retry
    # The end of a bulk job's state is put behind BULK_JOB_.
    assert not {code for code in acted_on if not any(word == code or word.startswith(code) for word in told)}


def test_every_status_that_a_connector_acts_on_has_a_row() -> None:
    both, by_hubspot = words("Codes of both CRMs"), words("Codes of HubSpot")
    assert {str(status) for status in retry.RETRYABLE | collections.SPLITTABLE} == {w for w in both if w.isdigit()}
    assert {str(status) for status in batch.SPLITTABLE} <= both | by_hubspot


def test_codes_of_the_page_stand_in_the_source() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in (PROJECT / "flows").rglob("*.py"))
    told = {word for word in words(*(h for h in HEADINGS if h.startswith("Codes"))) if CODE.fullmatch(word)}
    assert told
    assert not {word for word in told if word not in source and not word.startswith("BULK_JOB_")}


@pytest.fixture(scope="module")
def collected() -> Mapping[str, set[str]]:
    """Folder of tests -> the functions that pytest finds there."""
    folders = sorted({(PAGE.parent / link).resolve().parent for link in links(TEXT) if "/tests/" in link})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *map(str, folders)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        if "::" in line:
            file, *names = line.partition("[")[0].split("::")
            found.setdefault(Path(file).parent.name, set()).add(names[-1])
    return found


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_row_is_shown_by_tests_that_exist(heading: str, collected: Mapping[str, set[str]]) -> None:
    for first, what, shown in ROWS[heading]:
        tests = LINK.findall(shown)
        assert what, first
        assert tests, f"{first}: no test"
        for name, link in tests:
            file = (PAGE.parent / link).resolve()
            assert f"def {name}(" in file.read_text(encoding="utf-8"), f"{first}: {link} has no {name}"
            assert name in collected[file.parent.name], f"{first}: pytest does not find {name} in {file.parent.name}"
