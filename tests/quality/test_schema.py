"""The JSON schema of suites is the generated one, takes every suite that loads, and refuses what does not load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from flows import gate
from flows.gate import schema
from flows.gate.catalogue import catalogue
from flows.gate.suites import _EXPECTATION_KEYS, _SUITE_KEYS, _Loader
from tests.gate import test_catalogue, test_suites
from tests.gate.conftest import SHIPPED

FILE = SHIPPED / "suite.schema.json"
VALIDATOR = Draft7Validator(json.loads(FILE.read_text(encoding="utf-8")))
LINE = "# yaml-language-server: $schema=../suite.schema.json"


def read(text: str) -> Any:
    """A suite as an editor reads it: dates stay texts."""
    return yaml.load(text, Loader=_Loader)


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_text(encoding="utf-8") == schema.text(), "python -m flows.gate.schema > " + str(FILE)
    Draft7Validator.check_schema(VALIDATOR.schema)


def test_it_knows_every_key_expectation_and_argument_and_says_what_it_is_for() -> None:
    suite = VALIDATOR.schema["properties"]
    items = suite["expectations"]["items"]
    assert set(suite) == set(_SUITE_KEYS)
    assert set(items["properties"]) == {*_EXPECTATION_KEYS, *catalogue()}
    assert all(told["description"] for told in [*suite.values(), *items["properties"].values()])
    for name, kind in catalogue().items():
        told = items["properties"][name]
        assert set(told["properties"]) == set(kind.arguments)
        assert set(told["required"]) == kind.required


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/*.yml")), ids=lambda path: path.stem)
def test_every_shipped_suite_names_the_schema_and_fits_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == LINE
    assert (path.parent / "../suite.schema.json").resolve() == FILE
    assert [error.message for error in VALIDATOR.iter_errors(read(text))] == []


def test_all_that_the_gate_takes_fits(tmp_path: Path) -> None:
    cases = [{name: arguments} for name, arguments, *_ in [*test_catalogue.ROWS, *test_catalogue.TABLE]]
    text = yaml.safe_dump({"table": "raw.lines", "expectations": cases}, sort_keys=False)
    path = tmp_path / "all.yml"
    path.write_text(text, encoding="utf-8")
    assert len(gate.load_suite(path).expectations) == len(cases)
    assert [error.message for error in VALIDATOR.iter_errors(read(text))] == []


@pytest.mark.parametrize("most", ["5%", "0.5 %", 0.05, 7, 0])
def test_a_share_or_a_count_fits(tmp_path: Path, most: object) -> None:
    text = f"max_quarantined: {most}\n{test_suites.GOOD}"
    (tmp_path / "a.yml").write_text(text, encoding="utf-8")
    gate.load_suite(tmp_path / "a.yml")
    assert VALIDATOR.is_valid(read(text))


BAD = next(
    mark for mark in test_suites.test_what_is_wrong_is_named_with_its_line.pytestmark if mark.name == "parametrize"
)
NOT_A_SCHEMAS = ("stands already in line", "on_fail: quarantine: expect_")
"""What only the loader sees: the same twice with other words around it, and what depends on the expectation's kind."""


@pytest.mark.parametrize(("text", "said"), [(text, said) for text, _, said in BAD.args[1]])
def test_what_does_not_load_does_not_fit(text: str, said: str) -> None:
    try:
        document = read(text)
    except yaml.YAMLError:
        return  # an editor says so by itself
    assert VALIDATOR.is_valid(document) is any(beyond in said for beyond in NOT_A_SCHEMAS)


def test_the_whole_same_twice_does_not_fit() -> None:
    document = read(test_suites.GOOD)
    assert VALIDATOR.is_valid(document)
    document["expectations"] *= 2
    assert not VALIDATOR.is_valid(document)
