"""What a table of the warehouse looks like: one scan for everything, and one more for what looks unique or like a set.

Nothing of the table but counts, bounds and the values of small sets comes to Python; of personal columns, no value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from flows.warehouse import Warehouse, literal, quoted

Kind = Literal["text", "number", "time", "other"]

FEW = 20
"""Most values of what is taken for a set."""
OFTEN = 5
"""How often each value of a set stands there, on average."""
LONGEST = 60
"""Characters of the longest value of a set."""
SHAPE_SHARE = 0.99
"""The least share of values that has a shape."""

SHAPES: Mapping[str, str] = {
    "digits": r"^[0-9]+$",
    "numbers": r"^[+-]?[0-9]+[.,][0-9]+$",
    "dates": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "moments": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}",
    "UUIDs": r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.[^@\s.]+$",
    "telephone numbers": r"^[+(]?[0-9][0-9 ().\-/]{5,39}$",
    "web addresses": r"^https?://[^\s]+$",
    "capital letters": r"^[A-Z]+$",
}
"""What texts may look like, in RE2; a value is of the first that it matches."""
PRIVATE = ("e-mail addresses", "telephone numbers")
"""Shapes of values that are taken for personal ones."""

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: as the table spells it.
        type: its DuckDB type.
        kind: what can be asked of it.
        nulls: rows without a value.
        distinct: different values; None where they are not comparable or personal.
        exact: whether ``distinct`` was counted, not estimated.
        low: the smallest of its finite numbers.
        high: the largest.
        whole: whether its numbers are whole by type.
        odd: values that are no finite numbers.
        first_year: the year of the oldest moment.
        newest: the newest finite moment, in seconds since 1970 UTC.
        age_days: how old that is, in days.
        shortest: characters of the shortest text.
        longest: of the longest.
        shape: what nearly all texts look like: name, RE2, how many do.
        values: the values of a small set, in order.
        personal: whether no value may be shown.
        seems: the shape for which it is taken for personal although nobody says so.
    """

    name: str
    type: str
    kind: Kind
    nulls: int
    distinct: int | None = None
    exact: bool = False
    low: Decimal | int | None = None
    high: Decimal | int | None = None
    whole: bool = False
    odd: int = 0
    first_year: int | None = None
    newest: float | None = None
    age_days: float = -1.0
    shortest: int | None = None
    longest: int | None = None
    shape: tuple[str, str, int] | None = None
    values: tuple[str, ...] = ()
    personal: bool = False
    seems: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A table: its name as ``<schema>.<table>``, its rows, its columns in order."""

    table: str
    rows: int
    columns: tuple[Column, ...]


def profile(db: Warehouse, schema: str, table: str, personal: Collection[str] = ()) -> Profile:
    """Look at a table.

    Args:
        db: the warehouse.
        schema: the table's schema.
        table: its name, as the warehouse spells it.
        personal: columns in lower case whose values are not looked at.
    """
    relation = f"{quoted(schema)}.{quoted(table)}"
    types = db.columns(relation)
    asked = {(name, what): sql for name, dtype in types.items() for what, sql in _asked(name, dtype, personal).items()}
    [answers] = db.execute(f"select count(*), {', '.join(asked.values())} from {relation}")
    rows = int(answers[0])
    seen: dict[str, dict[str, Any]] = {name: {} for name in types}
    for (name, what), value in zip(asked, answers[1:], strict=True):
        seen[name][what] = value
    columns = [_column(name, types[name], found, rows, name.lower() in personal) for name, found in seen.items()]
    return Profile(f"{schema}.{table}", rows, tuple(_counted(db, relation, columns, rows)))


def kind(data_type: str) -> Kind:
    """What can be asked of a column of a DuckDB type."""
    if data_type == "VARCHAR":
        return "text"
    if data_type in (*_NUMBERS, "UHUGEINT", "FLOAT", "DOUBLE") or (
        data_type.startswith("DECIMAL") and not data_type.endswith("]")
    ):
        return "number"
    return "time" if data_type == "DATE" or (data_type.startswith("TIMESTAMP") and "[" not in data_type) else "other"


def _asked(name: str, data_type: str, personal: Collection[str]) -> dict[str, str]:
    """What is asked of one column, as SQL aggregates."""
    column, of, hidden = quoted(name), kind(data_type), name.lower() in personal
    asked = {"filled": f"count({column})"}
    if of == "text":
        asked |= {"shortest": f"min(length({column}))", "longest": f"max(length({column}))"}
        if not hidden:
            shapes = " ".join(
                f"when regexp_matches({column}, {literal(pattern)}) then {literal(shape)}"
                for shape, pattern in SHAPES.items()
            )
            asked["shapes"] = f"histogram(case {shapes} end)"
    if hidden:
        return asked
    if of != "other":
        asked["distinct"] = f"approx_count_distinct({column})"
    if of == "number":
        finite = f" filter (isfinite({column}))" if data_type in ("FLOAT", "DOUBLE") else ""
        asked |= {"low": f"min({column}){finite}", "high": f"max({column}){finite}"}
        if finite:
            asked["odd"] = f"count(*) filter (not isfinite({column}))"
    if of == "time":
        finite = f"filter (isfinite({column}))"
        asked |= {
            "first_year": f"year(min({column}) {finite})",
            "newest": f"epoch(cast(max({column}) {finite} as timestamp))",
            "age_days": f"(epoch(now()) - epoch(cast(max({column}) {finite} as timestamp))) / 86400",
        }
    return asked


def _column(name: str, data_type: str, found: Mapping[str, Any], rows: int, personal: bool) -> Column:
    filled = int(found["filled"])
    shapes: Mapping[str, int] = found.get("shapes") or {}
    shape = max(((count, shape) for shape, count in shapes.items()), default=None)
    # Many addresses among other things are addresses all the same: what they are is not shown either.
    seems = next((shape for shape in PRIVATE if filled and shapes.get(shape, 0) >= 0.2 * filled), "")
    year = found.get("first_year")
    column = Column(
        name=name,
        type=data_type,
        kind=kind(data_type),
        nulls=rows - filled,
        whole=data_type in (*_NUMBERS, "UHUGEINT"),
        odd=int(found.get("odd") or 0),
        shortest=found.get("shortest"),
        longest=found.get("longest"),
        personal=personal or bool(seems),
        seems="" if personal else seems,
        low=_exact(found.get("low")),
        high=_exact(found.get("high")),
        first_year=year if year is not None and 1000 <= year <= 9999 else None,
        newest=found.get("newest"),
        age_days=float(found["age_days"]) if found.get("age_days") is not None else -1.0,
    )
    if column.personal:
        return column
    common = shape is not None and filled and shape[0] >= SHAPE_SHARE * filled
    return replace(
        column,
        distinct=min(found["distinct"], filled) if "distinct" in found else None,  # an estimate may be above it
        shape=(shape[1], SHAPES[shape[1]], shape[0]) if shape is not None and common else None,
    )


def _exact(value: object) -> Decimal | int | None:
    if value is None or isinstance(value, int | Decimal):
        return value
    return Decimal(str(value))


def _counted(db: Warehouse, relation: str, columns: Sequence[Column], rows: int) -> list[Column]:
    """Count exactly where the estimate says unique, and fetch the values where it says few; one scan for all."""
    asked: dict[tuple[int, str], str] = {}
    for at, column in enumerate(columns):
        filled, name = rows - column.nulls, quoted(column.name)
        if column.distinct is None or not filled:
            continue
        if column.distinct >= 0.8 * filled and column.kind in ("text", "number"):
            asked[at, "distinct"] = f"count(distinct {name})"
        elif column.kind == "text" and column.distinct <= 2 * FEW and (column.longest or 0) <= LONGEST:
            asked[at, "values"] = f"list_sort(list(distinct {name}))"
    if not asked:
        return list(columns)
    [answers] = db.execute(f"select {', '.join(asked.values())} from {relation}")
    counted = list(columns)
    for (at, what), answer in zip(asked, answers, strict=True):
        if what == "distinct":
            counted[at] = replace(counted[at], distinct=int(answer), exact=True)
            continue
        values = [value for value in answer if value is not None]
        is_set = len(values) <= FEW and (rows - counted[at].nulls) >= OFTEN * len(values)
        counted[at] = replace(
            counted[at], distinct=len(values), exact=True, values=tuple(values) if is_set and all(values) else ()
        )
    return counted
