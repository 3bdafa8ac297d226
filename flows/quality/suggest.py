"""A suite of expectations to begin with: a table of the warehouse is profiled in SQL, and what holds today is proposed.

A proposal is written with the numbers it comes from, for a person to edit. What dbt states already is left out and
named; of personal columns only lengths and shares of nulls are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Any

from flows.errors import ConfigError
from flows.gate import Suite, suites
from flows.quality.profile import Column, Profile, profile
from flows.quality.proposals import AFTER, Part, Proposal, Suggestion
from flows.quality.stated import Table
from flows.warehouse import Warehouse

OWN = ("sync", "quality", "ops", "information_schema")
"""Schemas of the flow's own tables."""
PROVES = 20
"""Fewer rows than this prove no uniqueness, no set and no shape."""
RECENT_DAYS = 30
"""A newest value that is older does not say how fresh a table is."""


def suggest(found: Profile, stated: Table | None) -> Suggestion:
    """Propose a suite that the profiled table passes.

    Args:
        found: what the table looks like (`flows.quality.profile.profile`).
        stated: what dbt states of it; None for a table that dbt does not know.

    Returns:
        The proposal; its first part is the table's own.
    """
    about = [f"{found.rows:,} rows"]
    if stated is not None and stated.loaded_at is not None:
        about.append(f"dbt sees to: freshness, by {stated.loaded_at}")
    parts = [Part(tuple(about), tuple(_table(found, stated)))]
    for column in found.columns:
        # Extraction sees to its own columns.
        if not column.name.startswith("_"):
            parts.append(Part(tuple(_comments(column, stated, found.rows)), tuple(_column(column, stated, found))))
    if found.table.startswith(f"{AFTER}."):
        parts = [replace(part, proposals=tuple(filter(_holds_of_some, part.proposals))) for part in parts]
    return Suggestion(
        table=found.table,
        rows=found.rows,
        owner=(stated.owner if stated else "") or "data-quality@example.com",
        pii=tuple(column.name for column in found.columns if column.personal),
        parts=tuple(parts),
    )


def _holds_of_some(proposal: Proposal) -> bool:
    """Whether it holds of some of the rows too: a night judges what it wrote alone, be it a single record."""
    shares = ("row_count", "proportion", "unexpected_rows")
    return "mostly" not in proposal.arguments and not any(word in proposal.name for word in shares)


def _table(found: Profile, stated: Table | None) -> Iterator[Proposal]:
    yield Proposal(
        "expect_table_row_count_to_be_between",
        {"min_value": max(1, found.rows // 2)},
        f"There were {found.rows:,} rows; half of them gone would be a loss on the way.",
        "critical",
    )
    if stated is not None and stated.loaded_at is not None:
        return
    recent = [c for c in found.columns if c.newest is not None and 0 <= c.age_days <= RECENT_DAYS]
    if recent:
        newest = min(recent, key=lambda column: column.age_days)
        days = max(2, 2 * ceil(newest.age_days) + 1)
        column = '"' + newest.name.replace('"', '""').replace("{", "{{").replace("}", "}}") + '"'
        yield Proposal(
            "unexpected_rows_expectation",
            {
                "unexpected_rows_query": f"select max({column}) as newest from {{batch}} "
                f"having max({column})::timestamp < now()::timestamp - interval '{days} days'"
            },
            f"The newest row was about {_days(newest.age_days)} old.",
        )


def _days(age: float) -> str:
    if age < 2:
        return f"{age * 24:.0f} hours" if age > 1 / 16 else "an hour"
    return f"{age:.0f} days"


def _comments(column: Column, stated: Table | None, rows: int) -> Iterator[str]:
    nulls = f"{column.nulls:,} null ({column.nulls / rows:.1%})" if column.nulls else "never null"
    told = [f"{column.name}: {column.type.lower()}", nulls]
    if column.personal:
        told.append("personal, so that only nulls and lengths are looked at")
    elif column.distinct is not None:
        told.append(f"{'' if column.exact else 'about '}{column.distinct:,} different")
    if column.low is not None:
        told.append(f"{_number(column.low)} to {_number(column.high)}")
    if column.longest is not None:
        told.append(f"{_lengths(column)} characters")
    if column.odd:
        told.append(f"{column.odd:,} are no finite numbers")
    yield ", ".join(told)
    if column.personal and column.seems:
        yield f"The values look like {column.seems}; if they are, mark the column in dbt: config.meta.pii: true"
    said = [f"{rule.name} ({rule.by})" for rule in (stated.rules.get(column.name.lower(), ()) if stated else ())]
    declared = next((t for name, t in (stated.types if stated else {}).items() if name == column.name and t), "")
    if declared and stated is not None and stated.complete:
        said.insert(0, f"data_type {declared}")
    if said:
        yield f"dbt sees to: {', '.join(said)}"


def _number(value: Decimal | int | None) -> str:
    if value is None:
        return ""
    text = f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _lengths(column: Column) -> str:
    alike = column.shortest == column.longest
    return f"{column.longest:,}" if alike else f"{column.shortest:,} to {column.longest:,}"


def _column(column: Column, stated: Table | None, found: Profile) -> Iterator[Proposal]:
    """What to expect of one column, beside what dbt sees to."""

    def said(name: str) -> bool:
        return stated is not None and stated.said(column.name, name) is not None

    of = {"column": column.name}
    filled = found.rows - column.nulls
    if not filled:
        return
    if not said("not_null"):
        yield _nulls(column, found.rows)
    unique = column.exact and column.distinct == filled and filled >= PROVES and not column.odd
    if unique and not said("unique"):
        yield Proposal("expect_column_values_to_be_unique", of, f"All {filled:,} values were different.")
    if said("accepted_values"):
        return
    if column.kind == "number" and column.low is not None and not column.odd and not unique:
        bounds = roomy(column.low, column.high, whole=column.whole)
        told = f"They were {_number(column.low)} to {_number(column.high)}."
        yield Proposal("expect_column_values_to_be_between", {**of, **bounds}, told)
    elif column.kind == "time" and column.first_year is not None:
        yield Proposal(
            "expect_column_values_to_be_between",
            {**of, "min_value": f"{column.first_year}-01-01"},
            f"The oldest was of {column.first_year}; an earlier one would be read wrongly.",
        )
    elif column.kind == "text":
        yield from _text(column, filled, related=said("relationships"))


def _nulls(column: Column, rows: int) -> Proposal:
    if not column.nulls:
        told = f"Every one of {rows:,} rows had a value."
        return Proposal("expect_column_values_to_not_be_null", {"column": column.name}, told)
    # Twice as many may be missing.
    share = Decimal(1) - min(Decimal(1), 2 * Decimal(column.nulls) / rows)
    filled = Decimal(rows - column.nulls) / rows
    least = max(share, filled / 2).quantize(Decimal("0.0001"), ROUND_FLOOR)
    return Proposal(
        "expect_column_proportion_of_non_null_values_to_be_between",
        {"column": column.name, "min_value": _plain(least)},
        f"{column.nulls / rows:.1%} had no value.",
    )


def _text(column: Column, filled: int, *, related: bool) -> Iterator[Proposal]:
    of = {"column": column.name}
    if related:
        return
    if column.values and filled >= PROVES:
        told = f"There were {len(column.values)} different values."
        yield Proposal("expect_column_values_to_be_in_set", {**of, "value_set": list(column.values)}, told)
        return
    fixed = column.shortest == column.longest
    if column.shape is not None and filled >= PROVES:
        name, pattern, count = column.shape
        if name == "digits" and fixed:
            pattern = f"^[0-9]{{{column.longest}}}$"
        arguments: dict[str, Any] = {**of, "regex": pattern}
        told = f"All are {name}."
        if count < filled:
            arguments["mostly"] = _plain((Decimal(count) / filled).quantize(Decimal("0.001"), ROUND_FLOOR))
            told = f"{count:,} of {filled:,} are {name}."
        yield Proposal("expect_column_values_to_match_regex", arguments, told)
        if fixed or name in ("dates", "moments", "UUIDs"):
            return
    if column.longest is not None and column.shortest is not None:
        most = int(_outward(Decimal(column.longest) * Decimal("1.25"), ROUND_CEILING, Decimal(1)))
        bounds = {"min_value": 1, "max_value": max(most, 1)} if column.shortest else {"max_value": max(most, 1)}
        told = f"They were {_lengths(column)} characters long."
        yield Proposal("expect_column_value_lengths_to_be_between", {**of, **bounds}, told)


def roomy(low: Decimal | int, high: Decimal | int | None, *, whole: bool) -> dict[str, int | float]:
    """Bounds around numbers that were seen: a quarter of their span wider, round, and not across zero.

    Args:
        low: the smallest.
        high: the largest.
        whole: whether they are whole numbers.
    """
    least, most = Decimal(low), Decimal(low if high is None else high)
    room = (most - least) / 4 or abs(most) / 4 or Decimal(1)
    step = Decimal(1) if whole else Decimal("1e-30")
    below = Decimal(0) if least >= 0 else _outward(least - room, ROUND_FLOOR, step)
    above = Decimal(0) if most <= 0 else _outward(most + room, ROUND_CEILING, step)
    return {"min_value": _plain(below), "max_value": _plain(above)}


def _outward(value: Decimal, rounding: str, smallest: Decimal) -> Decimal:
    """A number of two digits that lies beyond another one."""
    if not value:
        return value
    step = max(Decimal(1).scaleb(value.adjusted() - 1), smallest)
    return (value / step).to_integral_value(rounding) * step


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def for_table(db: Warehouse, tables: Mapping[str, Table], expectations: Path, words: str) -> Suggestion:
    """Profile the table that a person means, and propose its suite.

    Args:
        db: the warehouse.
        tables: what dbt states (`flows.quality.stated.tables`).
        expectations: the folder of suites; a table's suite may call columns personal.
        words: the table, with or without its schema, or as dbt calls it.

    Raises:
        ConfigError: there is no such table, it is the flow's own, or it holds no rows.
    """
    schema, table = _meant(db, tables, words)
    stated = tables.get(f"{schema}.{table}".lower()) if schema != AFTER else _given_back(tables, table)
    told = _suite_of(expectations, f"{schema}.{table}")
    personal = {*(stated.personal if stated else ()), *(c.lower() for c in (told.pii if told else ()))}
    found = profile(db, schema, table, personal)
    if not found.rows:
        raise ConfigError(
            f"{found.table} holds no rows, so that nothing can be suggested.", todo="Suggest once it holds some."
        )
    return suggest(found, stated)


def _given_back(tables: Mapping[str, Table], model: str) -> Table | None:
    """What is stated of what the CRM gave back: nothing but what is personal, as in its model."""
    sent = next((stated for stated in tables.values() if stated.key and stated.node == model), None)
    unfit = {"_unfit"} if sent and sent.personal & {column.lower() for column in sent.types} else set()
    return sent and replace(sent, types={}, rules={}, parents={}, complete=False, personal=sent.personal | unfit)


def write(found: Suggestion, expectations: Path) -> Path:
    """Write a suggestion to its place: raw, crm_after, or crm, whose suites may be on whatever dbt builds.

    Args:
        found: the suggestion.
        expectations: the folder of suites.

    Raises:
        ConfigError: the table has a suite already, or the file is there.
    """
    schema, _, name = found.table.partition(".")
    safe = "".join(c if c.isalnum() or c in "_-." else "_" for c in name)
    path = expectations / (schema if schema in ("raw", AFTER) else "crm") / f"{safe}.yml"
    suite = _suite_of(expectations, found.table)
    if suite is not None or path.exists():
        raise ConfigError(
            f"{found.table} has a suite already: {suite.path if suite else path}.",
            safe="Nothing was written.",
            todo="Without --write it is only shown; take from it what you need.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(found.as_yaml())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", safe="Nothing was written.") from error
    return path


def _suite_of(expectations: Path, table: str) -> Suite | None:
    """The suite that is kept for a table."""
    folders = [folder for stage in ("raw", "crm", AFTER) if (folder := expectations / stage).is_dir()]
    return next((s for folder in folders for s in suites(folder) if s.name.lower() == table.lower()), None)


def _meant(db: Warehouse, tables: Mapping[str, Table], words: str) -> tuple[str, str]:
    """The table that a person means: schema and name, as the warehouse spells them."""
    known = {
        f"{schema}.{table}": (str(schema), str(table))
        for schema, table in db.execute(
            "select table_schema, table_name from information_schema.tables where table_catalog = current_database() "
            "order by 1, 2"
        )
    }
    nodes = {stated.name.lower(): stated.node.lower() for stated in tables.values()}
    said = words.lower()
    found = [n for n, (_, table) in known.items() if said in (n.lower(), table.lower(), nodes.get(n.lower()))]
    # What came back of a model bears its name; who means that says so.
    found = [name for name in found if known[name][0] != AFTER] or found
    if len(found) == 1:
        schema, table = known[found[0]]
        if schema not in OWN:
            return schema, table
        raise ConfigError(f"{found[0]} is kept by Nightshift itself; suites are for sources and models.")
    if found:
        raise ConfigError(f"{words} may be {' or '.join(found)}.", todo="Name it with its schema.")
    near = get_close_matches(said, [n for n, (schema, _) in known.items() if schema not in OWN], n=1)
    near = near or get_close_matches(said, [table for schema, table in known.values() if schema not in OWN], n=1)
    raise ConfigError(
        f"The warehouse has no table {words}" + (f"; did you mean {near[0]}?" if near else "."),
        todo="nightshift plan extracts sources and builds models; then suggest again.",
    )
