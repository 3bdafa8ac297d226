"""What commands share: options, how they answer, how they fail, and a flow run with all that must be around it."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

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


class PlanOutput(StrEnum):
    """How a command that shows a plan answers."""

    text = "text"
    json = "json"
    markdown = "markdown"


TargetOption = Annotated[
    str | None, typer.Option("--target", "-t", help="dbt target; else NIGHTSHIFT_TARGET, else sandbox.")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]
PlanOutputOption = Annotated[PlanOutput, typer.Option("--output", "-o", help="text, json or markdown.")]
AsOfOption = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="Take only what had arrived by the end of this day (UTC)."),
]
RunArgument = Annotated[str | None, typer.Argument(help="A run's id; the latest where absent.")]


def tell(error: NightshiftError) -> None:
    """Print an error in three lines."""
    from flows.journal import told
    from flows.report.terminal import print_error

    print_error(told(error), Console(stderr=True))


def carried(target: str | None, flow: Callable[[str], Any]) -> RunSummary:
    """Run a flow with a Prefect API and, on the sandbox, a staging world around it.

    Args:
        target: the ``--target`` that was asked for.
        flow: takes the target, calls a flow with ``return_state=True`` and gives back its state.

    Returns:
        The run's summary.
    """
    from flows import progress, staging

    silence()
    settings = Settings.load(target)
    writable(settings.home)
    with (
        orchestration.stoppable(),
        orchestration.api(settings.home) as server,
        staging.sandbox(settings.home, settings.target),
    ):
        from flows import nightly, transform  # noqa: F401  # whatever flow it is, this imports what it needs
        from flows.frame import NightFailed
        from flows.summary import from_json

        transform.warm_up()  # while the server starts
        with server.ready(), progress.shown(Console(stderr=True)):
            raw: Any = flow(settings.target).result(raise_on_failure=False)
        if isinstance(raw, NightFailed):
            raw = raw.summary
        if isinstance(raw, BaseException):
            raise raw
        return from_json(raw)


def answer(summary: RunSummary, output: Output) -> NoReturn:
    """Say how a run went, and end with its exit code."""
    from flows.report.terminal import print_summary

    if output is Output.json:
        print_json(summary)
    else:
        print_summary(summary, Console())
    leave(summary)


def answer_plan(summary: RunSummary, output: PlanOutput) -> NoReturn:
    """Show a run's plan, and end with its exit code."""
    from rich.markdown import Markdown

    from flows.report.plan import plan_markdown
    from flows.report.terminal import print_summary

    if output is PlanOutput.json:
        print_json(summary)
    elif output is PlanOutput.markdown:
        sys.stdout.write(plan_markdown(summary))
    elif summary.state == "failed":
        print_summary(summary, Console())
    else:
        Console().print(Markdown(plan_markdown(summary)))
    leave(summary)


def leave(summary: RunSummary) -> NoReturn:
    """End the command with a run's exit code."""
    raise typer.Exit(summary.error.exit_code if summary.error else 0)


def print_json(summary: RunSummary) -> None:
    """Print a run's summary as one line of JSON."""
    from flows.summary import to_json

    sys.stdout.write(json.dumps(to_json(summary), ensure_ascii=False) + "\n")


def silence() -> None:
    """Keep the noise of libraries from people; errors come through the run's own summary."""
    import logging

    warnings.simplefilter("ignore")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    os.environ.setdefault("PYTHONWARNINGS", "ignore")


def writable(home: Path) -> None:
    """Make Nightshift's home.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{home} cannot be made: {error.strerror}.",
            safe="Nothing ran.",
            todo="Set NIGHTSHIFT_HOME to a folder of yours.",
        ) from error


@contextmanager
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    """The warehouse, where there is one; a command that only looks makes none.

    Raises:
        ConfigError: the target has not run yet.
    """
    from flows.warehouse import Warehouse

    if not settings.warehouse.exists():
        raise ConfigError(
            f"{settings.warehouse} does not exist: target {settings.target!r} has not run yet.",
            todo=f"nightshift run --target {settings.target}",
        )
    with Warehouse.open(settings.warehouse) as db:
        yield db
