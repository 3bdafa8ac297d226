"""``nightshift quarantine`` and ``suggest``: what reviewers of data quality do by day."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.common import Output, OutputOption, TargetOption, app, warehouse
from flows.cli.decisions import ByOption, _login_name
from flows.settings import Settings

quarantine = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List the rows that the gate holds back, look at one, or let some go.",
    epilog="Example: nightshift quarantine list --table crm_accounts",
)
app.add_typer(quarantine, name="quarantine")


class SuiteOutput(StrEnum):
    """How a suite is given."""

    yaml = "yaml"
    json = "json"


class ListOutput(StrEnum):
    """How the list of held rows is given."""

    text = "text"
    json = "json"
    csv = "csv"


TableOption = Annotated[str | None, typer.Option(help="The model, such as crm_accounts or crm.crm_accounts.")]


@quarantine.command("list", epilog="Example: nightshift quarantine list --table crm_accounts --output csv > held.csv")
def list_(
    table: TableOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was let go, and how.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many entries to list.")] = None,
    target: TargetOption = None,
    output: Annotated[
        ListOutput, typer.Option("--output", "-o", help="text for people, json for programs, csv for spreadsheets.")
    ] = ListOutput.text,
) -> None:
    """List what is held back, by which expectation, since when, and whom to ask; as text, 50 entries."""
    from flows.quality import quarantine as held
    from flows.report import quarantine as shown

    if limit is None and output is ListOutput.text:
        limit = 50
    with warehouse(Settings.load(target)) as db:
        found = held.listed(db, table=table, ended=everything, limit=limit)
    if output is ListOutput.text:
        shown.print_listed(found, Console(), ended=everything)
    elif output is ListOutput.json:
        _print_json(shown.listed_json(found))
    else:
        # Lines end as CSV's do, on every machine and through every pipe.
        sys.stdout.buffer.write(shown.listed_csv(found).encode())
        sys.stdout.buffer.flush()


@quarantine.command(epilog="Example: nightshift quarantine show 12349")
def show(
    key: Annotated[str, typer.Argument(help="The row's external id.")],
    table: TableOption = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Tell all of one row: what it fails, its values, whom it waits for, who waits for it, and what was before."""
    from flows.quality import quarantine as held
    from flows.quality import stated
    from flows.report import quarantine as shown

    settings = Settings.load(target)
    with warehouse(settings) as db:
        tables = stated.tables(stated.manifest(settings))
        found = held.row(db, key, table=table, tables=tables, pii=_personal(settings))
    if output is Output.json:
        _print_json(shown.row_json(found))
    else:
        shown.print_row(found, Console(), settings.target)


@quarantine.command(epilog="Example: nightshift quarantine release 12349 --table crm_accounts --reason 'name is right'")
def release(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The rows' external ids.")],
    table: Annotated[str, typer.Option(help="The model, such as crm_accounts.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the rows.")],
    by: ByOption = None,
    expectation: Annotated[
        str | None, typer.Option(help="Only this expectation, by name or id; else all that the rows fail.")
    ] = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Let rows go although they fail: the next night sends them, while what fails stays as it is now."""
    from flows.quality import quarantine as held
    from flows.report import quarantine as shown

    with warehouse(Settings.load(target)) as db:
        who = _login_name() if by is None else by
        ended = held.release(db, keys, table=table, reason=reason, by=who, expectation=expectation)
        name = ended[0].table
        stay = held.held_of(db, name, keys)
    free = [key for key in dict.fromkeys(keys) if key not in stay]
    if output is Output.json:
        released = [shown.entry(one) for one in ended]
        _print_json({"table": name, "released": free, "still_held": sorted(stay), "entries": released})
        return
    console = Console()
    if free:
        it = "it" if len(free) == 1 else "them"
        said = (
            f"{name}: {shown.counted(len(free), 'row')} released by {who}. The next night plans {it} as the model has "
        )
        said += f"{it}, and holds {it} back again only where a value changes and still fails."
        console.print(shown.plain(said), soft_wrap=True)
    if stay:
        fail = "fails another expectation too and stays" if len(stay) == 1 else "fail other expectations too and stay"
        said = f"{name}: {shown.counted(len(stay), 'row')} {fail} held: "
        console.print(shown.plain(said + ", ".join(sorted(stay))), soft_wrap=True)


@app.command(epilog="Example: nightshift suggest raw.shop__customers --write")
def suggest(
    table: Annotated[
        str, typer.Argument(help="A table of the warehouse, such as crm_accounts or raw.shop__customers.")
    ],
    write: Annotated[bool, typer.Option("--write", help="Write the suite's file, where there is none yet.")] = False,
    target: TargetOption = None,
    output: Annotated[SuiteOutput, typer.Option("--output", "-o", help="yaml to edit, json for programs.")] = (
        SuiteOutput.yaml
    ),
) -> None:
    """Profile a table and propose a suite of expectations that it passes, to be edited."""
    from flows.quality import stated, suggest

    settings = Settings.load(target)
    with warehouse(settings) as db:
        found = suggest.for_table(db, stated.tables(stated.manifest(settings)), settings.expectations, table)
    path = suggest.write(found, settings.expectations) if write else None
    if output is SuiteOutput.json:
        written = str(path) if path else None
        _print_json({"table": found.table, "rows": found.rows, "suite": found.suite(), "written": written})
    elif path:
        sys.stdout.write(f"{path}\nEdit it, then nightshift doctor; it is judged from the next night on.\n")
    else:
        sys.stdout.write(found.as_yaml())


def _personal(settings: Settings) -> dict[str, frozenset[str]]:
    """Table in lower case -> the columns that its suite calls personal."""
    from flows import gate

    folder = settings.expectations / "crm"
    return {suite.name.lower(): suite.pii for suite in (gate.suites(folder) if folder.is_dir() else ())}


def _print_json(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
