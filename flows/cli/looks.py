"""``nightshift status``, ``report`` and ``doctor``: what only looks."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows import orchestration
from flows.cli.common import (
    Output,
    OutputOption,
    RunArgument,
    TargetOption,
    app,
    print_json,
    silence,
    warehouse,
    writable,
)
from flows.errors import ConfigError
from flows.settings import Settings


@app.command(epilog="Example: nightshift status --output json")
def status(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id: tell this run alone.")] = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many runs to list.")] = 10,
) -> None:
    """List the last runs, what the CRM refuses, and the plans that wait; or tell one run's whole summary."""
    from flows import journal
    from flows import status as looking
    from flows.report.status import print_status
    from flows.report.terminal import print_summary

    with warehouse(Settings.load(target)) as db:
        if run_id is None:
            found = looking.status(db, limit)
            if output is Output.json:
                sys.stdout.write(json.dumps(looking.to_json(found), ensure_ascii=False) + "\n")
            else:
                print_status(found, Console())
            return
        summary = journal.load(db, run_id)
    if summary is None:
        raise _unknown(run_id)
    if output is Output.json:
        print_json(summary)
    else:
        print_summary(summary, Console())


def _unknown(run_id: str | None) -> ConfigError:
    what = f"No run {run_id} is known." if run_id else "No run is known."
    return ConfigError(what, todo="nightshift status lists the runs.")


@app.command(epilog="Example: nightshift report --no-open")
def report(
    run_id: RunArgument = None,
    target: TargetOption = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    output: OutputOption = Output.text,
) -> None:
    """Build the morning page of a run anew, print its path and open it."""
    from flows import journal
    from flows.report import write_page

    settings = Settings.load(target)
    with warehouse(settings) as db:
        summary = journal.load(db, run_id)
        if summary is None:
            raise _unknown(run_id)
        page = write_page(summary, settings.reports / summary.run_id, db)
    sys.stdout.write(
        (json.dumps({"run_id": summary.run_id, "page": str(page)}) if output is Output.json else str(page)) + "\n"
    )
    if open_page and output is Output.text and sys.stdout.isatty():
        typer.launch(page.as_uri())


@app.command(epilog="Example: nightshift doctor --target prod")
def doctor(target: TargetOption = None, output: OutputOption = Output.text) -> None:
    """Check configuration, expectations, sources, CRM login and mappings. Nothing is changed anywhere."""
    from dataclasses import asdict

    from flows import staging

    silence()
    settings = Settings.load(target)
    writable(settings.home)
    os.environ.update(orchestration.quiet_environment(settings.home))
    console = Console()
    findings = []
    with staging.sandbox(settings.home, settings.target):
        from flows.doctor import examine
        from flows.summary.writing import printable

        for finding in examine(settings):
            findings.append(finding)
            if output is Output.text:
                mark = "[green]ok[/]  " if finding.ok else "[red]bad[/] "
                mark = "[yellow]hint[/] " if finding.hint else mark
                told = escape(printable(finding.found, keep="\n"))
                console.print(f"{mark}[bold]{escape(finding.check)}[/]  {told}", highlight=False, soft_wrap=True)
    if output is Output.json:
        sys.stdout.write(
            json.dumps({"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}) + "\n"
        )
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 2)
