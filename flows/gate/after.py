"""Suites on what the CRM gave back (``expectations/crm_after``): everything is written, so they tell, and seldom stop.

They judge ``crm_after.<model>`` (`flows.returned`), and of it what this run read back: the rows of other nights have
been judged then. What fails is reported, also where it is critical: nothing can be kept from the CRM any more, and
stopping would only keep people from their page. One that says ``on_fail: stop`` makes the run end as failed, after all
is written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from flows.errors import ConfigError, GateFailed
from flows.gate.declared import Suite
from flows.gate.results import GateReport
from flows.gate.suites import suites, with_keys
from flows.warehouse import quoted

SCHEMA = "crm_after"


def suites_after(folder: Path, models: Mapping[str, str]) -> list[Suite]:
    """Read the suites on what the CRM gave back.

    Args:
        folder: ``expectations/crm_after``; there need not be one.
        models: synced model -> the column that its sync knows a record by.

    Raises:
        ConfigError: lists the problems of all files; a table that no synced model has; rows that are to be held back.
    """
    if not folder.is_dir():
        return []
    found = with_keys(suites(folder), {})
    spelt = {f"{SCHEMA}.{model}".lower(): model for model in models}
    if strange := [suite for suite in found if suite.name.lower() not in spelt]:
        known = ", ".join(f"{SCHEMA}.{model}" for model in sorted(models))
        listed = "\n".join(f"  - {s.path}:{s.line}: table: found {s.name}, expected one of {known}" for s in strange)
        raise ConfigError(
            f"Suites on what the CRM gave back are for synced models:\n{listed}",
            safe="Nothing ran, nothing was sent.",
            todo="Correct the suites' tables.",
        )
    return [_telling(suite, model := spelt[suite.name.lower()], models[model]) for suite in found]


def _telling(suite: Suite, model: str, key: str) -> Suite:
    """A suite that tells, but where it says otherwise, and that looks at what was read back last."""
    return replace(
        suite,
        schema=SCHEMA,
        table=model,
        key=key,
        sent=True,
        only=f'"_read_at" = (select max("_read_at") from {quoted(SCHEMA)}.{quoted(model)})',
        expectations=tuple(replace(each, on_fail=each.on_fail or "report") for each in suite.expectations),
    )


def verdict_after(reports: Iterable[GateReport]) -> None:
    """Let the run end as done, or as failed where a suite asks for it.

    Raises:
        GateFailed: lists what failed and says ``on_fail: stop``.
    """
    failed = [
        f"{report.table}: {result}"
        for report in reports
        for result in report.results
        if not result.passed and result.on_fail == "stop"
    ]
    if failed:
        listed = "\n".join(f"  - {line}" for line in failed)
        raise GateFailed(
            f"What the CRM gave back is not as it must be:\n{listed}",
            safe="Everything is written, and the ledger knows it; what the CRM made of it stays as it is.",
            todo="Look for an automation, a rule or a field that is too short in the CRM, which changes what was sent. "
            "nightshift revert takes a run back.",
        )
