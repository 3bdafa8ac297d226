"""Suites on what goes to the CRM: ``expectations/raw`` before the transform, ``expectations/crm`` before the push."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

from flows.gate.after import SCHEMA as AFTER
from flows.gate.declared import Suite
from flows.gate.results import Stage
from flows.gate.suites import SUFFIXES, fail, read, with_keys


def suites_before(
    folder: Path, tables: Mapping[str, bool], keys: Mapping[str, str] | None
) -> tuple[list[Suite], list[Suite]]:
    """Read the suites of both gates, each on its table as dbt spells it.

    Args:
        folder: ``expectations``.
        tables: ``<schema>.<table>`` as dbt spells it -> whether the transform builds it; empty where nobody knows.
        keys: see `flows.gate.with_keys`; None where nobody knows.

    Returns:
        Those of ``raw`` and those of ``crm``.

    Raises:
        ConfigError: lists the problems of all files; a table with two suites, or with one in the folder of another
            gate; a suite in no folder that is read; rows that are to be held back of a table that is not synced.
    """
    problems = list(_misplaced(folder))
    spelt = {name.lower(): name for name in tables}
    found = read([folder / "raw", folder / "crm"], problems)
    raw, crm = ([_spelt(suite, spelt.get(suite.name.lower())) for suite in suites] for suites in found)
    problems += [
        f"{suite.path}:{suite.line}: {suite.name} is what the CRM gave back: put the suite into {AFTER}/"
        for suite in (*raw, *crm)
        if suite.schema.lower() == AFTER
    ]
    problems += [
        f"{suite.path}:{suite.line}: {suite.name} is built by the transform, which comes after raw/ is judged: "
        "put the suite into crm/"
        for suite in raw
        if tables.get(suite.name)
    ]
    fail(problems)
    return (raw, crm) if keys is None else (with_keys(raw, keys), with_keys(crm, keys))


def _spelt(suite: Suite, name: str | None) -> Suite:
    if name is None:
        return suite
    schema, _, table = name.partition(".")
    return replace(suite, schema=schema, table=table)


def _misplaced(folder: Path) -> Iterator[str]:
    """YAML that no gate reads: a folder that is misspelt, or one inside another."""
    stages = get_args(Stage)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if path.parent not in [folder / stage for stage in stages] or path.suffix not in SUFFIXES:
            yield f"{path}: is not read: suites are the files *.yml in raw/, crm/ and crm_after/"
