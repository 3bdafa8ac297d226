"""The ``nightshift`` command. Heavy imports happen inside the commands, so that help is quick."""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from flows import orchestration
from flows.errors import ConfigError, NightshiftError
from flows.settings import Settings

if TYPE_CHECKING:
    from flows.summary import RunSummary
    from flows.warehouse import Warehouse

app = typer.Typer(
    help="Nightshift updates your CRM while you sleep.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class Output(StrEnum):
    """How a command answers."""

    text = "text"
    json = "json"


class Throttle(StrEnum):
    """Whether the sandbox enforces the CRM's rates."""

    off = "off"
    real = "real"


class PlanOutput(StrEnum):
    """How ``nightshift plan`` answers."""

    text = "text"
    json = "json"
    markdown = "markdown"


TargetOption = Annotated[
    str | None, typer.Option("--target", "-t", help="dbt target; else NIGHTSHIFT_TARGET, else sandbox.")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]
AsOfOption = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="Take only what had arrived by the end of this day (UTC)."),
]


def main() -> None:
    """Run the command; an error of Nightshift is told in three lines and gives its own exit code."""
    try:
        app(standalone_mode=True)
    except NightshiftError as error:
        _tell(error)
        sys.exit(error.exit_code)
    finally:
        # Python would look through all that was imported once more before it ends: nearly two seconds for nothing.
        gc.disable()
        gc.freeze()


def _tell(error: NightshiftError) -> None:
    from flows.journal import told
    from flows.report.terminal import print_error

    print_error(told(error), Console(stderr=True))


@app.command(epilog="Example: nightshift run --as-of 2010-12-01")
def run(target: TargetOption = None, as_of: AsOfOption = None, output: OutputOption = Output.text) -> None:
    """Run the whole night: extract, gate, transform, gate, plan, push, reconcile, report, notify.

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 held for approval.
    """
    from flows.report.terminal import print_summary

    summary, code = _nightly(target, as_of, send=True)
    if output is Output.json:
        _print_json(summary)
    else:
        print_summary(summary, Console())
    raise typer.Exit(code)


@app.command(epilog="Example: nightshift plan --output markdown")
def plan(
    target: TargetOption = None,
    as_of: AsOfOption = None,
    output: Annotated[PlanOutput, typer.Option("--output", "-o", help="text, json or markdown.")] = PlanOutput.text,
) -> None:
    """Do everything up to the plan and show what a run would change in the CRM. Nothing is sent."""
    from rich.markdown import Markdown

    from flows.report.plan import plan_markdown
    from flows.report.terminal import print_summary

    summary, code = _nightly(target, as_of, send=False)
    if output is PlanOutput.json:
        _print_json(summary)
    elif output is PlanOutput.markdown:
        sys.stdout.write(plan_markdown(summary))
    elif summary.state == "failed":
        print_summary(summary, Console())
    else:
        Console().print(Markdown(plan_markdown(summary)))
    raise typer.Exit(code)


def _nightly(target: str | None, as_of: datetime | None, *, send: bool) -> tuple[RunSummary, int]:
    """Run the flow with a Prefect API and, on the sandbox, a staging world around it."""
    from flows import progress, staging

    _silence()
    settings = Settings.load(target)
    _writable(settings.home)
    with (
        orchestration.stoppable(),
        orchestration.api(settings.home) as server,
        staging.sandbox(settings.home, settings.target),
    ):
        from flows import transform
        from flows.nightly import NightFailed, nightly
        from flows.summary import from_json

        transform.warm_up()  # while the server starts
        with server.ready(), progress.shown(Console(stderr=True)):
            state = nightly(settings.target, as_of.date() if as_of else None, send, return_state=True)
            raw: Any = state.result(raise_on_failure=False)
        if isinstance(raw, NightFailed):
            raw = raw.summary
        if isinstance(raw, BaseException):
            raise raw
        summary = from_json(raw)
    return summary, summary.error.exit_code if summary.error else 0


def _silence() -> None:
    """Keep the noise of libraries from people; errors come through the run's own summary."""
    import logging

    warnings.simplefilter("ignore")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    os.environ.setdefault("PYTHONWARNINGS", "ignore")


def _writable(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{home} cannot be made: {error.strerror}.",
            safe="Nothing ran.",
            todo="Set NIGHTSHIFT_HOME to a folder of yours.",
        ) from error


def _print_json(summary: RunSummary) -> None:
    from flows.summary import to_json

    sys.stdout.write(json.dumps(to_json(summary), ensure_ascii=False) + "\n")


@contextmanager
def _warehouse(settings: Settings) -> Iterator[Warehouse]:
    """The warehouse, where there is one; a command that only looks makes none."""
    from flows.warehouse import Warehouse

    if not settings.warehouse.exists():
        raise ConfigError(
            f"{settings.warehouse} does not exist: target {settings.target!r} has not run yet.",
            todo=f"nightshift run --target {settings.target}",
        )
    with Warehouse.open(settings.warehouse) as db:
        yield db


RunArgument = Annotated[str | None, typer.Argument(help="A run's id; the latest where absent.")]


@app.command(epilog="Example: nightshift status --output json")
def status(
    run_id: RunArgument = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many runs to list.")] = 10,
) -> None:
    """List the last runs; with --output json, or a run's id, tell one run's whole summary."""
    from flows import journal
    from flows.report.terminal import print_runs, print_summary

    settings = Settings.load(target)
    with _warehouse(settings) as db:
        if run_id is None and output is Output.text:
            print_runs(journal.latest(db, limit), Console())
            return
        summary = journal.load(db, run_id)
    if summary is None:
        raise ConfigError(f"No run {run_id or ''} is known.", todo="nightshift status lists the runs.")
    if output is Output.json:
        _print_json(summary)
    else:
        print_summary(summary, Console())


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
    with _warehouse(settings) as db:
        summary = journal.load(db, run_id)
    if summary is None:
        raise ConfigError(f"No run {run_id or ''} is known.", todo="nightshift status lists the runs.")
    page = write_page(summary, settings.reports / summary.run_id)
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

    _silence()
    settings = Settings.load(target)
    _writable(settings.home)
    os.environ.update(orchestration.quiet_environment(settings.home))
    console = Console()
    findings = []
    with staging.sandbox(settings.home, settings.target):
        from flows.doctor import examine

        for finding in examine(settings):
            findings.append(finding)
            if output is Output.text:
                mark = "[green]ok[/]  " if finding.ok else "[red]bad[/] "
                console.print(mark + f"[bold]{escape(finding.check)}[/]  {escape(finding.found)}", highlight=False)
    if output is Output.json:
        sys.stdout.write(
            json.dumps({"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}) + "\n"
        )
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 2)


@app.command(epilog="Example: nightshift sandbox --port 8765 --store /tmp/crm.sqlite --throttle real")
def sandbox(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    store: Annotated[Path | None, typer.Option(help="SQLite file that keeps the records; else memory.")] = None,
    throttle: Annotated[Throttle, typer.Option(help="real enforces the CRM's rates.")] = Throttle.off,
    faults: Annotated[Path | None, typer.Option(help="A script of faults; see docs/how-to/sandbox.md.")] = None,
    output: OutputOption = Output.text,
    end_with_stdin: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run a staging world on this machine: a Salesforce, and the sources that the sample project reads."""
    from dataclasses import asdict

    from flows.sandbox.config import Ready, SandboxConfig
    from flows.sandbox.faults import BadScript
    from flows.sandbox.server import serve

    def ready(told: Ready) -> None:
        if output is Output.json:
            sys.stdout.write(json.dumps(asdict(told)) + "\n")
        else:
            for name, value in asdict(told).items():
                sys.stdout.write(f"{name:<14} {value}\n")
            sys.stdout.write("Ctrl-C stops it.\n")
        sys.stdout.flush()

    if end_with_stdin:
        orchestration.end_with(sys.stdin.buffer)
    config = SandboxConfig(
        store=store, throttle=throttle.value, faults=faults, retail_files=os.environ.get("RETAIL_FILES") or None
    )
    try:
        serve(config, port=port, on_ready=ready)
    except BadScript as error:
        raise ConfigError(
            f"{faults}: {error}", todo="docs/how-to/sandbox.md has the form of a script of faults."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"The sandbox cannot use {error.filename or f'port {port}'}: {error.strerror}.",
            todo="Name a file that is there, or another --port (0 takes a free one).",
        ) from error


if __name__ == "__main__":
    main()
