"""What ``nightshift quarantine`` prints: tables and single rows for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.quality.quarantine import Held, Listed, Row
from flows.summary.writing import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the beginning of a formula, or may strip to find one; also in full width."""
_BEGINS = re.compile(rf"(?:^|(?<=[;\t\r\n]))(?=[{re.escape(''.join(FORMULA))}])")
WIDE = 120
"""Characters that a terminal needs for whom to ask, too."""
COLUMNS = (
    *("table", "key", "expectation", "column", "value", "severity", "since", "days", "owner", "detail"),
    *("ended", "ended_as", "released_by", "reason", "since_run", "last_run", "expectation_id"),
)
"""What an entry has in JSON and CSV, in this order."""


def counted(count: int, noun: str) -> str:
    """A count and its noun, such as ``1 row``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def entry(held: Held) -> dict[str, Any]:
    """An entry of the quarantine as JSON."""
    raw = asdict(held)
    times = {"since": _at(held.since_at), "ended": _at(held.ended_at), "days": held.days}
    runs = {"since_run": held.since_run_id, "last_run": held.last_run_id}
    return {name: {**raw, **times, **runs}[name] for name in COLUMNS}


def listed_json(found: Listed) -> dict[str, Any]:
    """What ``quarantine list --output json`` prints."""
    return {"rows": found.rows, "total": found.total, "entries": [entry(held) for held in found.entries]}


def row_json(found: Row) -> dict[str, Any]:
    """What ``quarantine show --output json`` prints."""
    return {
        "table": found.table,
        "key": found.key,
        "held": [entry(held) for held in found.held],
        "ended": [entry(held) for held in found.ended],
        "row": dict(found.values),
        "in_crm": found.in_crm,
        "waits_for": [{"table": table, "key": key} for table, key in found.parents],
        "children": [asdict(waiting) for waiting in found.children],
    }


def listed_csv(found: Listed) -> str:
    """What ``quarantine list --output csv`` prints: for a spreadsheet, in which no value becomes a formula.

    It begins with a byte order mark, without which Excel takes UTF-8 for the machine's own code page. Times are UTC,
    in a form that spreadsheets know as one.
    """
    written = io.StringIO()
    written.write("\ufeff")
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for held in found.entries:
        times = {"since": held.since_at, "ended": held.ended_at}
        told = {**entry(held), **{name: at and f"{at:%Y-%m-%d %H:%M:%S}" for name, at in times.items()}}
        writer.writerow("" if value is None else harmless(str(value)) for value in told.values())
    return written.getvalue()


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe goes before what may begin one.

    Also within the text, after what ends a cell for a spreadsheet that does not split at commas: where a comma is the
    decimal sign Excel splits at semicolons, and pays no heed to quotes that do not open a cell of its own.
    """
    return _BEGINS.sub("'", text)


def print_listed(found: Listed, console: Console, *, ended: bool) -> None:
    """Print what is held, a table for each model.

    Args:
        found: what was found.
        console: where to print; nothing is marked up that came from data.
        ended: whether what was let go is among it.
    """
    if not found.entries:
        console.print("Nothing was ever held back." if ended else "Nothing is held back.")
        return
    for number, (name, entries) in enumerate(groupby(found.entries, lambda held: held.table)):
        if number:
            console.print()
        console.print(Text(name, "bold"))
        console.print(_entries(list(entries), ended=ended, wide=console.width >= WIDE))
    shown, what = len(found.entries), "entry" if found.total == 1 else "entries"
    said = counted(found.rows, "row") + ("" if ended else f" {'is' if found.rows == 1 else 'are'} held")
    some = f"; {shown:,} of {found.total:,} {what} shown, --limit shows more" if shown < found.total else ""
    console.print()
    console.print(Text(said + some), soft_wrap=True, highlight=False)
    if not ended:
        console.print(Text("nightshift quarantine show KEY tells all of one", "dim"), soft_wrap=True, highlight=False)


def _entries(entries: Sequence[Held], *, ended: bool, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("key", overflow="fold")
    table.add_column("since", no_wrap=True)
    table.add_column("days", justify="right")
    if ended:
        table.add_column("ended", overflow="fold")
    table.add_column("column", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("expectation", overflow="fold")
    if asked := wide and any(held.owner for held in entries):
        table.add_column("owner", overflow="fold")
    for held in entries:
        table.add_row(
            plain(held.key),
            f"{held.since_at:%Y-%m-%d}",
            f"{held.days:,}",
            *([_how_it_ended(held)] if ended else []),
            plain(held.column or ""),
            plain(held.value),
            plain(held.expectation.removeprefix("expect_")),
            *([plain(held.owner)] if asked else []),
        )
    return table


def _how_it_ended(held: Held) -> Text:
    if held.ended_at is None:
        return Text("held", "yellow")
    return plain(f"{held.ended_at:%Y-%m-%d} {held.ended_as}" + (f" by {held.released_by}" if held.released_by else ""))


def print_row(found: Row, console: Console, target: str) -> None:
    """Print all that there is to say of one row.

    Args:
        found: the row.
        console: where to print; nothing is marked up that came from data.
        target: the target that was looked at.
    """
    console.print(Text.assemble((f"{found.table} ", "bold"), plain(found.key), ": ", _standing(found)), soft_wrap=True)
    for title, lines in (
        ("Fails", [line for held in found.held for line in _failing(held)]),
        ("Waits for", [Text.assemble(f"{table} ", plain(key)) for table, key in found.parents]),
        ("Wait for it", [line for waiting in found.children for line in _waiting(waiting.count, waiting)]),
        ("Before", [line for held in found.ended for line in _ended(held)]),
    ):
        if lines:
            console.print(Text(f"\n{title}", "bold"))
            for line in lines:
                console.print(Text.assemble("  ", line), soft_wrap=True, highlight=False)
    console.print(Text("\nThe row", "bold"))
    if not found.values:
        console.print("  is not in the model any more")
    grid = Table.grid(padding=(0, 2))
    for column, value in found.values.items():
        grid.add_row("", Text(printable(column), "dim"), plain(value))
    console.print(grid)
    if found.held:
        command = f"nightshift quarantine release {shlex.quote(found.key)} --table {found.table} --reason TEXT"
        command += "" if target == "sandbox" else f" --target {target}"
        console.print(
            Text.assemble("\nTo let it go all the same: ", (printable(command), "bold")),
            soft_wrap=True,
            highlight=False,
        )


def _standing(found: Row) -> Text:
    if found.held:
        first = min(found.held, key=lambda held: held.since_at)
        told = f"held since {first.since_at:%Y-%m-%d %H:%M} UTC ({_age(first)})"
    else:
        told = "not held itself, but it waits" if found.parents else "not held now"
    return Text(f"{told}; {'the CRM holds it' if found.in_crm else 'not in the CRM'}", "yellow" if found.held else "")


def _failing(held: Held) -> Iterator[Text]:
    yield Text.assemble((held.expectation, "red"), _failed(held))
    if held.detail:
        yield Text.assemble("  ", plain(held.detail))
    asked = f"; ask {held.owner}" if held.owner else ""
    yield Text(printable(f"  {held.severity}; since run {held.since_run_id}, {_age(held)}{asked}"), "dim")


def _waiting(count: int, waiting: Any) -> Iterator[Text]:
    more = f" and {count - len(waiting.keys):,} more" if count > len(waiting.keys) else ""
    yield Text(f"{waiting.table}, by {waiting.column}: {counted(count, 'record')}")
    yield Text.assemble("  ", plain(", ".join(waiting.keys)), more)


def _ended(held: Held) -> Iterator[Text]:
    ended = held.ended_at or held.since_at
    who = f" by {held.released_by}: {held.reason}" if held.released_by else ""
    yield Text.assemble(
        f"{held.since_at:%Y-%m-%d} to {ended:%Y-%m-%d}: {held.expectation}",
        _failed(held),
        plain(f"; {held.ended_as}{who}"),
    )


def _failed(held: Held) -> Text:
    return Text.assemble(" ", plain(held.column), " = ", plain(held.value)) if held.column else Text("")


def _age(held: Held) -> str:
    return counted(held.days, "day") if held.days else "less than a day"


def plain(value: str | None) -> Text:
    """A value as text that cannot steer a terminal; a null is told from an empty text."""
    if value is None:
        return Text("null", "dim")
    return Text(printable(value))


def _at(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()
