"""The documents say what the code does: links, commands, options, keys, defaults, variables and tables."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.cli import app
from flows.gate.suites import _EXPECTATION_KEYS, _SUITE_KEYS, load_suite
from flows.project import declared
from flows.sandbox import faults
from flows.summary import from_json, to_json
from tests.docs.documents import PROJECT, anchors, blocks, code_spans, documents, links, name, table

TEXTS = {path: path.read_text(encoding="utf-8") for path in documents()}
REFERENCE = TEXTS[PROJECT / "docs" / "reference.md"]


def _commands(group: Any, before: str = "") -> dict[str, Any]:
    """Every command by its words, such as ``quarantine list``."""
    found: dict[str, Any] = {}
    for word, command in group.commands.items():
        inner = _commands(command, f"{before}{word} ") if hasattr(command, "commands") else {}
        found |= inner or {f"{before}{word}": command}
    return found


COMMANDS = _commands(typer.main.get_command(app))
GROUPS = {words.split()[0] for words in COMMANDS if " " in words}
OURS = re.compile(r"\b(?:(?:NIGHTSHIFT|SANDBOX|SALESFORCE|RETAIL|SHOP)_[A-Z_]+|HUBSPOT_(?:URL|TOKEN))\b")
FOREIGN = {"PREFECT_API_URL", "PREFECT_HOME"}

every_document = pytest.mark.parametrize("path", TEXTS, ids=name)


def shell_lines(text: str) -> list[str]:
    """The lines of a document's shell blocks."""
    return [line for block in blocks(text) if block.language == "sh" for line in block.text.splitlines()]


COMMAND = re.compile(r"(?:^|[;&|] *|\bdo )(?:[A-Z_]+=\S+ +)*(?:\.venv/bin/)?nightshift((?: +[^\s;&|#>]+)+)")


def commands(text: str) -> Iterator[list[str]]:
    """Every ``nightshift …`` in a document's shell blocks and code spans, as words."""
    for line in [*shell_lines(text), *code_spans(text)]:
        yield from (found.split() for found in COMMAND.findall(line))


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(TEXTS[path]):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(TEXTS[target]), f"{link}: {name(target)} has no such heading"


@every_document
def test_blocks_parse(path: Path) -> None:
    for block in blocks(TEXTS[path]):
        if block.language in ("yaml", "yml"):
            assert yaml.safe_load(block.text) is not None
        elif block.language == "json":
            json.loads(block.text)


@every_document
def test_commands_exist_with_their_options(path: Path) -> None:
    for words in commands(TEXTS[path]):
        if words[0] in ("COMMAND", "--help"):
            continue
        if words in ([group] for group in GROUPS):
            continue
        said = 2 if words[0] in GROUPS else 1
        command = " ".join(words[:said])
        assert command in COMMANDS, f"nightshift {command}"
        if len(words) == said:
            continue  # a command that is only spoken of
        given = [word.replace("$day", "01") for word in words[said:]]
        # Reads the options and their values as the command itself would, and runs nothing.
        COMMANDS[command].make_context(command, given)


def test_every_command_and_option_is_in_the_reference() -> None:
    named = {row[0].strip("`") for row in table(REFERENCE, "Commands")}
    assert named == {f"nightshift {command}" for command in COMMANDS}
    documented = {
        (option, command)
        for cell, of, *_ in table(REFERENCE, "Commands", 1)
        for option in re.findall(r"`(-[^`]+)`", cell)
        for command in _commands_of(of)
    }
    real = {
        (option, command)
        for command, found in COMMANDS.items()
        for p in found.params
        if p.param_type_name == "option" and not p.hidden
        for option in (*p.opts, *p.secondary_opts)
    }
    assert documented == real


def _commands_of(cell: str) -> set[str]:
    named = set(re.findall(r"`([\w ]+)`", cell))
    return set(COMMANDS) - named if cell.startswith("all") else named


def test_every_make_target_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w./]+):", makefile, re.MULTILINE))
    used = {
        (name(path), found[1])
        for path, text in TEXTS.items()
        for line in [*shell_lines(text), *code_spans(text)]
        if (found := re.match(r"make ([\w./]+)(?=\s|$)", line.strip()))
    }
    assert used
    assert not {(where, target) for where, target in used if target not in targets}


def _variables_in_code() -> set[str]:
    files = [*(PROJECT / "flows").rglob("*.py"), *(PROJECT / "profiles").glob("*.yml")]
    files += [*(PROJECT / "dbt_project" / "models").rglob("*.yml"), *PROJECT.glob("prefect.yaml")]
    return {found for file in files for found in OURS.findall(file.read_text(encoding="utf-8"))}


def test_every_variable_of_the_code_is_in_the_reference() -> None:
    documented = {row[0].strip("`") for row in table(REFERENCE, "Environment variables")}
    assert documented == _variables_in_code() | FOREIGN


@every_document
def test_variables_exist(path: Path) -> None:
    profiles = [file.read_text(encoding="utf-8") for file in (PROJECT / "profiles").glob("*.yml")]
    own = {v for t in [*TEXTS.values(), *profiles] for v in re.findall(r"env_var\('(\w+)'", t)}
    known = _variables_in_code() | {"NIGHTSHIFT_SHARED", "ACCESS_TOKEN"} | FOREIGN | own
    said = set(OURS.findall(TEXTS[path]))
    said |= {v for b in blocks(TEXTS[path]) if b.language == "sh" for v in re.findall(r"\b([A-Z]+_[A-Z_]+)=", b.text)}
    assert said <= known


def test_every_table_is_described() -> None:
    schema = (PROJECT / "flows" / "schema.sql").read_text(encoding="utf-8")
    tables = set(re.findall(r"create table if not exists ([\w.]+)", schema))
    described = {
        row[0].strip("`") for row in table(TEXTS[PROJECT / "docs" / "design.md"], "What is stored, and where", 1)
    }
    assert tables
    assert described == tables | {"raw.<source>__<table>", "sync.ledger__<model>", "crm_after.<model>"}
    assert all(f"`{one}`" in REFERENCE for one in tables)


DECLARED: dict[str, type[BaseModel]] = {
    "Kind `files`": declared.FilesExtract,
    "Kind `rest`": declared.RestExtract,
    "Anomalies: `meta.anomalies`": declared.Anomalies,
    "The sync": declared.SyncMeta,
    "Guard": declared.Guard,
    "Target": declared.TargetConnections,
    "Connection of kind `salesforce`": declared.SalesforceConnection,
    "Connection of kind `hubspot`": declared.HubSpotConnection,
}


@pytest.mark.parametrize(("heading", "declared"), DECLARED.items(), ids=[kind.__name__ for kind in DECLARED.values()])
def test_keys_and_defaults_are_those_of_the_code(heading: str, declared: type[BaseModel]) -> None:
    rows = table(REFERENCE, heading)
    assert [row[0].strip("`") for row in rows] == list(declared.model_fields)
    for key, told, *_ in rows:
        field = declared.model_fields[key.strip("`")]
        assert _default(told) == _told(field.get_default(call_default_factory=True)), f"{heading}: {key}"


def _default(told: str) -> Any:
    words = {"required": PydanticUndefined, "none": None, "empty": [], "its defaults": declared.Guard()}
    if told in words:
        return words[told]
    value = yaml.safe_load(told.strip("`"))
    return float(value.rstrip("%")) / 100 if isinstance(value, str) and value.endswith("%") else value


def _told(default: Any) -> Any:
    return [] if default in ({}, []) else default


NESTED: list[type[BaseModel]] = [declared.ExternalId, declared.Lookup, declared.SourceConnection]


def test_every_declaration_is_compared() -> None:
    assert set(declared.Declared.__subclasses__()) == {*DECLARED.values(), *NESTED}


@pytest.mark.parametrize("declared", NESTED)
def test_nested_keys_are_in_the_reference(declared: type[BaseModel]) -> None:
    assert all(f"`{key}`" in REFERENCE for key in declared.model_fields)


def test_keys_of_columns_suites_and_faults_are_those_of_the_code() -> None:
    def keys(heading: str) -> list[str]:
        return [row[0].strip("`") for row in table(REFERENCE, heading)]

    assert keys("A suite") == list(_SUITE_KEYS)
    assert sorted(keys("An expectation")) == sorted(_EXPECTATION_KEYS)
    assert keys("Faults") == [*faults._CONDITIONS, *faults._ANSWERS, *faults._ROWS]


def test_examples_are_understood(tmp_path: Path) -> None:
    for path, text in TEXTS.items():
        for block in blocks(text):
            document = yaml.safe_load(block.text) if block.language == "yaml" else None
            if isinstance(document, dict) and "expectations" in document and "<" not in block.text:
                file = tmp_path / "suite.yml"
                file.write_text(block.text, encoding="utf-8")
                assert load_suite(file).expectations, name(path)
            elif isinstance(document, dict) and "rules" in document:
                assert faults.parse(document).rules
            elif isinstance(document, dict) and "sources" in document:
                for one in (t for source in document["sources"] for t in source["tables"]):
                    kinds = {"files": declared.FilesExtract, "rest": declared.RestExtract}
                    extract = one["config"]["meta"]["extract"]
                    kinds[extract["kind"]].model_validate(extract)
            elif isinstance(document, dict) and "models" in document:
                for model in document["models"]:
                    declared.SyncMeta.model_validate(model["config"]["meta"]["sync"])


def test_the_run_as_json_is_one() -> None:
    (example,) = (json.loads(block.text) for block in blocks(REFERENCE) if block.language == "json")
    assert to_json(from_json(example)) == example


def test_the_required_python_is_that_of_the_package() -> None:
    package = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["requires-python"] == ">=3.11,<3.14"
    assert "Python 3.11 to 3.13" in TEXTS[PROJECT / "README.md"]
    assert f"## [{package['version']}]" in TEXTS[PROJECT / "CHANGELOG.md"]


@every_document
def test_nothing_of_one_machine_is_named(path: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:work|home|root|Users|tmp)/\S+", TEXTS[path])
    assert not re.search(r"pypi\.org|pythonhosted|index-url", TEXTS[path])
