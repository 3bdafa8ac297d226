"""The short summary at the end of ``nightshift run``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.summary import ErrorSummary, RunSummary
from flows.summary.story import Attention, attention, budgeted, decision, duration, headline, remarks, was_sent
from flows.summary.writing import printable

_STYLES = {"done": "green", "failed": "red", "held": "yellow", "running": "blue"}
_COUNTS = ("creates", "updates", "archives", "applied", "rejected", "unknown", "reconciled", "mismatched")
_RARE = frozenset({"unknown", "mismatched"})
_BAD = frozenset({"rejected", "unknown", "mismatched"})
WIDE = 100
"""Characters that a terminal needs for every column."""
MOST_LINES = 5
"""Most things to look at that are listed, remarks among them where there is room; the page has them all."""


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print how a run went: what was read, what was sent, what to look at, how long it took and where the page is.

    Args:
        summary: the run.
        console: where to print; nothing is marked up that came from data.
    """
    style = _STYLES[summary.state]
    as_of = f" as of {summary.as_of}" if summary.as_of else ""
    _say(
        console, Text.assemble((printable(headline(summary)), f"bold {style}"), (f"  ({summary.target}{as_of})", "dim"))
    )
    if summary.error:
        console.print(_indented(_error(summary.error, style)))
    if decided := decision(summary):
        _say(console, Text(printable(f"  {decided}")))
    if summary.sources:
        console.print(_indented(_sources(summary)))
    if any(sync.adopted for sync in summary.syncs):
        console.print(_indented(_adopted(summary)))
    elif summary.total("operations"):
        console.print(_indented(_syncs(summary, wide=console.width >= WIDE)))
    items = [item for item in attention(summary) if item.section != "error"]
    for item in items[:MOST_LINES]:
        _say(console, _marked(item))
    if len(items) > MOST_LINES:
        _say(console, Text(f"    and {len(items) - MOST_LINES} more on the page", "dim"))
    for remark in [remark for sync in summary.syncs for remark in remarks(sync)][: max(0, MOST_LINES - len(items))]:
        _say(console, Text(printable(f"  {remark}"), "dim"))
    if summary.forecast:
        told = "; ".join(budgeted(item) for item in summary.forecast)
        _say(console, Text.assemble("  Forecast ", (told, "bold")))
    _say(console, Text.assemble("  Took ", (duration(summary.seconds), "bold"), _stages(summary)))
    if summary.page:
        _say(console, Text.assemble("  Page ", (summary.page, "bold")))


def _say(console: Console, text: Text) -> None:
    """Print one line as it is: a path that is wrapped cannot be clicked or copied."""
    console.print(text, soft_wrap=True, highlight=False)


def _marked(item: Attention) -> Text:
    """What is to be looked at, behind a mark."""
    return Text.assemble("  ", ("! ", "red" if item.level == "bad" else "yellow"), printable(item.text, keep="\n"))


def _indented(table: Table) -> Padding:
    return Padding(table, (0, 0, 0, 2), expand=False)


def _error(error: ErrorSummary, style: str) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, text in (("What", error.what), ("Safe", error.safe), ("Next", error.todo)):
        if text:
            table.add_row(Text(name, style), Text(printable(text, keep="\n"), "bold" if name == "Next" else ""))
    return table


def print_error(error: ErrorSummary, console: Console) -> None:
    """Print an error that ended a command before there was a run to tell of."""
    console.print(_error(error, "red"))


def print_runs(runs: Sequence[RunSummary], console: Console) -> None:
    """Print one line for each run, newest first, and what is to be looked at in the newest.

    Args:
        runs: newest first; a run that only planned is told as such.
        console: where to print.
    """
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("run", "what", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("took", "changes", "applied", "rejected"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            Text(run.run_id),
            Text(str(run.as_of or run.kind)),
            Text(_state(run), _STYLES[run.state]),
            Text(duration(run.seconds)),
            *(_count(name, run.total(name)) for name in ("operations", "applied", "rejected")),
        )
    console.print(table)
    for item in attention(runs[0]) if runs and runs[0].state != "held" else ():
        _say(console, _marked(item))


def _state(run: RunSummary) -> str:
    """A run's state, as its plan makes it more exact."""
    if run.state == "held" and run.plan:
        return run.plan.state
    return "planned" if run.state == "done" and run.kind != "adopt" and not was_sent(run) else run.state


def _sources(summary: RunSummary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for source in summary.sources:
        table.add_row(Text(printable(source.name)), Text(f"{source.rows:,} rows" if source.rows != 1 else "1 row"))
    return table


def _syncs(summary: RunSummary, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    # What only a bad night counts is told below in words, too: it gets columns where there is room for them.
    counts = [count for count in _COUNTS if count not in _RARE or (wide and summary.total(count))]
    for count in counts:
        table.add_column(count, justify="right", overflow="fold")
    for sync in summary.syncs:
        table.add_row(Text(printable(sync.name)), *(_count(name, getattr(sync, name)) for name in counts))
    return table


def _adopted(summary: RunSummary) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    for name in ("records", "known before", "found", "not found"):
        table.add_column(name, justify="right")
    for sync in summary.syncs:
        if sync.adopted:
            wanted, known, found = sync.adopted.wanted, sync.adopted.known, sync.adopted.found
            counts = (wanted, known, found, wanted - known - found)
            table.add_row(Text(printable(sync.name)), *(Text(f"{count:,}", "" if count else "dim") for count in counts))
    return table


def _count(name: str, value: int) -> Text:
    if not value:
        return Text("0", "dim")
    return Text(f"{value:,}", "bold red" if name in _BAD else "")


def _stages(summary: RunSummary) -> Text:
    ran = [f"{stage.name} {stage.seconds:.1f}" for stage in summary.stages]
    return Text(f" ({', '.join(ran)})" if ran else "", "dim")
