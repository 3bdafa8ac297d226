"""Two sites beside a run's morning page: Great Expectations' Data Docs, and dbt's docs of the project that ran.

Both are files that need nothing beside themselves and ask nothing of the network. Neither is worth a night: what goes
wrong while they are built is told and fails nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from flows.docs_sites import data_docs, dbt_docs
from flows.settings import Settings
from flows.summary import RunSummary
from flows.summary.story import AFTER
from flows.warehouse import Warehouse

WHEN = "NIGHTSHIFT_DOCS"
"""The environment variable that says when the sites are built; see `When`."""

When = Literal["always", "changed", "never"]
"""``changed`` builds dbt's docs where project or tables differ from the last ones, which a run else shares."""

DATA_DOCS, DBT_DOCS = "data-docs", "dbt-docs"
"""The sites' folders beside the morning page; each has an ``index.html``."""


@dataclass(frozen=True, slots=True)
class Sites:
    """What there is beside a run's morning page.

    Attributes:
        data_docs: the first page of the Data Docs; None where there are none.
        dbt_docs: dbt's docs; None where there are none.
        problems: what went wrong, in words.
    """

    data_docs: Path | None = None
    dbt_docs: Path | None = None
    problems: tuple[str, ...] = ()


def build(settings: Settings, summary: RunSummary, db: Warehouse) -> Sites:
    """Build a run's sites, as `WHEN` says. Raises nothing: what goes wrong is among the problems.

    Args:
        settings: the target.
        summary: the run; what is shown of its results is what it holds, masked where it is masked there.
        db: the warehouse, which knows the tables' columns.
    """
    when, problems = _when()
    folder = settings.reports / summary.run_id
    if when != "never":
        site = folder / DATA_DOCS
        # A run that goes on after a person's decision has its Data Docs, and no reason to import Great Expectations;
        # but where it has judged since what the CRM gave back, that belongs to them.
        since = any(gate.stage == AFTER for gate in summary.gates)
        if summary.gates and (since or not (site / "index.html").exists()):
            problems += _try("Data Docs", lambda: data_docs.build(summary, settings.expectations, site))
        if summary.models:
            page = folder / DBT_DOCS / "index.html"
            problems += _try("dbt docs", lambda: dbt_docs.build(settings, db, page, shared=when != "always"))
    data, dbt = (folder / name / "index.html" for name in (DATA_DOCS, DBT_DOCS))
    return Sites(data if data.exists() else None, dbt if dbt.exists() else None, tuple(problems))


def _when() -> tuple[When, list[str]]:
    said = os.environ.get(WHEN) or "changed"
    if said in get_args(When):
        return cast(When, said), []
    return "changed", [f"{WHEN} is {said!r}, expected {', '.join(get_args(When))}; it was taken as changed"]


def _try(name: str, make: Callable[[], None]) -> list[str]:
    try:
        make()
    except Exception as error:  # other people's renderers, over whatever a project holds: no reason to fail a night
        return [f"{name} could not be built: {type(error).__name__}: {' '.join(str(error).split())[:300]}"]
    return []
