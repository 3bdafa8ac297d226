"""Great Expectations' Data Docs of one run, of the very results that the gates have kept.

Its site builder copies 4 MB of fonts and pictures for every site and its pages ask seven other hosts for the rest, so
only its renderers are used: they say what was expected and what was found, in its own words. Those trust every text
that they are given; here each one is escaped (`rendering.View`), and the pages allow no script.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows import gate
from flows.errors import ConfigError
from flows.summary import GateSummary, RunSummary

TEMPLATES = Path(__file__).parent / "templates"


def build(summary: RunSummary, expectations: Path, folder: Path) -> None:
    """Write the site: an index, and one page for each table that was judged.

    Args:
        summary: the run; values that it masks, or does not hold, are in no page.
        expectations: the folder of suites, which know the expectations' arguments.
        folder: where the site goes; it is made if absent, and its pages are replaced as wholes.
    """
    known = _declared(expectations)
    pages: list[dict[str, Any]] = []
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        from flows.docs_sites.rendering import View

        view = View()
        by_table = groupby(summary.gates, key=lambda found: (found.stage, _name(found)))
        for (stage, table), gates in by_table:
            found = list(gates)
            name = f"{stage}-{table}.html".replace(os.sep, "_")
            text = view.text(_document(summary, table, found, known), run=summary, version=_version())
            _write(folder / name, text)
            failed = sum(not one.passed for one in found)
            pages.append({"stage": stage, "table": table, "page": name, "count": len(found), "failed": failed})
    ours = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    _write(folder / "index.html", ours.get_template("index.html").render(run=summary, pages=pages, version=_version()))


def _name(found: GateSummary) -> str:
    return found.table if "." in found.table else f"{found.stage}.{found.table}"


def _declared(expectations: Path) -> Mapping[str, gate.Expectation]:
    """Every expectation by its id; a suite that does not load any more costs its arguments, not the site."""
    found: dict[str, gate.Expectation] = {}
    for folder in sorted(expectations.iterdir()) if expectations.is_dir() else ():
        if folder.is_dir():
            try:
                suites = gate.suites(folder)
            except ConfigError:
                continue
            found.update({suite.id(each): each for suite in suites for each in suite.expectations})
    return found


def _document(
    summary: RunSummary, table: str, gates: Sequence[GateSummary], known: Mapping[str, gate.Expectation]
) -> Any:
    """One table's results, as Great Expectations lays them out."""
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult

    from flows.docs_sites.rendering import Page

    passed = sum(found.passed for found in gates)
    judged = ExpectationSuiteValidationResult(
        success=passed == len(gates),
        results=[_result(found, known.get(found.id)) for found in gates],
        suite_name=table,
        statistics={
            "evaluated_expectations": len(gates),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(gates) - passed,
            "success_percent": 100 * passed / len(gates),
        },
        meta={
            # A name that can be read as a time is taken for one, and the end of a run's id for hours beside UTC.
            "run_id": {"run_name": f"run {summary.run_id}", "run_time": summary.started_at.isoformat()},
            "great_expectations_version": _version(),
        },
    )
    document = Page().render(judged)
    # Its header links to a page of the suite, which stands in expectations/ and not in this site, and names an asset.
    header = document.sections[0].content_blocks[0].subheader.string_template
    header["template"] = "${suite_title} ${expectation_suite_name}\n ${status_title} ${html_success_icon}"
    del header["styling"]["params"]["expectation_suite_name"]
    document.page_title = table
    return document


def _result(found: GateSummary, declared: gate.Expectation | None) -> Any:
    """One result as Great Expectations had it, but for what the run's summary does not show to people."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    plain = {"column": found.column} if found.column and ", " not in found.column else {}
    arguments = deepcopy(dict(declared.arguments)) if declared else plain
    held = f", {found.quarantined_rows:,} rows held" if found.quarantined_rows else ""
    beside = [found.severity, f"{found.on_fail}{held}", _judged(declared), found.detail, found.owner]
    result: dict[str, Any] = {"observed_value": found.observed} if found.observed else {}
    if found.unexpected_rows is not None and found.evaluated_rows is not None:
        share = 100 * found.unexpected_rows / found.evaluated_rows if found.evaluated_rows else 0.0
        result |= {"element_count": found.evaluated_rows, "unexpected_count": found.unexpected_rows}
        result |= {"unexpected_percent": share, "unexpected_percent_nonmissing": share, "missing_count": 0}
    if found.samples:
        result |= {"partial_unexpected_list": list(found.samples), "unexpected_count": found.unexpected_rows or 0}
    return ExpectationValidationResult(
        success=found.passed,
        expectation_config=ExpectationConfiguration(
            type=found.expectation,
            kwargs=arguments,
            meta={"beside": beside},
        ),
        result=result,
    )


def _judged(declared: gate.Expectation | None) -> str:
    """Which rows were judged, in words."""
    if declared is None:
        return ""
    said = [f"where {declared.row_condition}"] if declared.row_condition else []
    return ", ".join([*said, "new rows only"] if declared.rows == "new" else said) or "all rows"


def _version() -> str:
    from great_expectations import __version__

    return str(__version__)


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8", errors="replace")
    os.replace(draft, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Renderers log what they cannot show; the page then shows the rest."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
