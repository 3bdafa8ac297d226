"""What is unusual: a table's figures against those of the same weekday before. It warns, and never stops a run.

`measure` takes the figures of one table by one query and writes them into ``quality.metrics``:

- ``rows``; of a column its ``nulls`` (their share of the rows), its ``sum`` where it is a number, and its ``age`` where
  it is a day or a time: days from its newest value to the end of the run's day;
- of a source also the ``age`` of the table: days since its newest row was extracted.

A source is measured by the rows that came on the run's day, whichever run of that day brought them; one that is
replaced as a whole, like a model, by all that it holds. Where there are no rows, that is the only figure.

`outside` compares them with the last days of the same weekday, one figure a day: the last. Outside of the band, which
is the median and to each side ``width`` times the spread, a figure is unusual; an age only where it is higher. The
spread is 1.4826 times the median of the distances from the median (MAD), which for normal noise is the standard
deviation, and which a single odd day does not move. A band is never narrower than `_floor` says: what has always been
the same may differ a little.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Literal

from flows.project import Source, Sync
from flows.project.declared import Anomalies
from flows.summary.findings import AnomalySummary
from flows.warehouse import Warehouse, quoted

Stage = Literal["raw", "crm"]
Metric = Literal["rows", "nulls", "sum", "age"]

AT_LEAST = 4
"""Fewer days than this say nothing."""
NORMAL = 1.4826
"""Standard deviations in a MAD, where the noise is normal."""

_SMALL = {4: 1.363, 5: 1.206, 6: 1.2, 7: 1.14, 8: 1.129, 9: 1.107}
"""The MAD of few values is too small by this; Croux and Rousseeuw, Time-efficient algorithms for two highly robust
estimators of scale, 1992."""

_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\([\d,]+\)|DOUBLE|FLOAT")
_TIME = re.compile(r"DATE|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?")
"""The whole of a type's name: of a list of numbers there is no sum."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to measure.

    Attributes:
        stage: raw (a source) or crm (a model).
        name: ``<schema>.<table>``.
        relation: quoted for SQL.
        settings: what its YAML says.
        daily: whether only the rows of the run's day are measured.
        personal: columns, in lower case, of whose values nothing is told but how many there are.
    """

    stage: Stage
    name: str
    relation: str
    settings: Anomalies = field(default_factory=Anomalies)
    daily: bool = False
    personal: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a table; of the table as such where there is no column."""

    metric: Metric
    value: float
    column: str | None = None


def of_sources(sources: Iterable[Source]) -> list[Table]:
    """The raw tables of those sources that are to be watched."""
    return [
        Table(
            "raw",
            f"raw.{source.table}",
            source.relation,
            source.anomalies,
            daily=source.extract.strategy != "replace",
            personal=frozenset(column.lower() for column in source.pii),
        )
        for source in sources
        if source.anomalies is not None
    ]


def of_models(syncs: Iterable[Sync]) -> list[Table]:
    """The synced models that are to be watched."""
    return [
        Table("crm", sync.relation.replace('"', ""), sync.relation, sync.anomalies, personal=sync.personal)
        for sync in syncs
        if sync.anomalies is not None
    ]


def look(db: Warehouse, run_id: str, tables: Iterable[Table], day: date) -> tuple[AnomalySummary, ...]:
    """Measure tables, keep their figures, and tell which are unusual.

    Args:
        db: the warehouse; the run is in ``ops.runs`` already.
        run_id: the run.
        tables: what to measure; one that does not exist is left out.
        day: the run's: the one that it takes the inputs of, else the one that it began (UTC).

    Returns:
        What is unusual, table by table.
    """
    found: list[AnomalySummary] = []
    for table in tables:
        found.extend(outside(table, measure(db, run_id, table, day), _before(db, table, day)))
    return tuple(found)


def measure(db: Warehouse, run_id: str, table: Table, day: date) -> list[Figure]:
    """Take a table's figures, by one query, and write them into ``quality.metrics``.

    Args:
        db: the warehouse.
        run_id: the run.
        table: the table.
        day: the run's day.

    Returns:
        The figures; none of a table that does not exist.
    """
    schema, _, name = table.name.partition(".")
    if not db.exists(schema, name):
        return []
    figures = _figures(db, table, day)
    rows = [(run_id, day, table.stage, table.name, f.column, f.metric, f.value) for f in figures]
    with db.transaction():
        db.execute(
            "delete from quality.metrics where run_id = ? and stage = ? and table_name = ?",
            (run_id, table.stage, table.name),
        )
        db.execute(
            f"insert into quality.metrics values {', '.join(['(?, ?, ?, ?, ?, ?, ?, now())'] * len(rows))}",
            [value for row in rows for value in row],
        )
    return figures


def _figures(db: Warehouse, table: Table, day: date) -> list[Figure]:
    # What begins with _ is kept by ourselves (which run, which file) and means nothing to people.
    columns = {
        column: data_type
        for column, data_type in db.columns(table.relation).items()
        if not column.startswith("_") and column not in table.settings.ignore
    }
    asked: list[tuple[Metric, str | None, str]] = [("rows", None, "count(*)")]
    for column, data_type in columns.items():
        asked.append(("nulls", column, f"1 - count({quoted(column)}) / count(*)"))
        if column.lower() in table.personal:
            continue  # The sum and the newest value of a few people's are nearly a value.
        if _NUMBER.fullmatch(data_type):
            asked.append(("sum", column, f"sum({quoted(column)}::double)"))
        elif _TIME.fullmatch(data_type):
            # What is no moment (an infinity, a day that no timestamp holds) has no age, and must not hide the others'.
            moment = f"try_cast({quoted(column)} as timestamp)"
            newest = f"max({moment}) filter (isfinite({moment}))"
            asked.append(("age", column, f"(epoch($end::timestamp) - epoch({newest})) / 86400"))
    if table.stage == "raw":
        newest = f"(select max(_extracted_at) from {table.relation})"
        asked.append(("age", None, f"epoch(now()::timestamp - {newest}) / 86400"))
    came = "where _run_id in (select run_id from ops.runs where coalesce(as_of, started_at::date) = $day)"
    (values,) = db.execute(
        f"select {', '.join(sql for _, _, sql in asked)} from {table.relation} {came if table.daily else ''}",
        # DuckDB refuses parameters that a query does not use.
        {
            **({"day": day} if table.daily else {}),
            **({"end": day + timedelta(days=1)} if any("$end" in sql for _, _, sql in asked) else {}),
        },
    )
    # Of no rows there is no share, no sum and no newest value.
    return [
        Figure(metric, float(value), column)
        for (metric, column, _), value in zip(asked, values, strict=True)
        if value is not None and math.isfinite(value)
    ]


def outside(
    table: Table, figures: Iterable[Figure], before: Mapping[tuple[str, str | None], Sequence[float]]
) -> list[AnomalySummary]:
    """Compare figures with those of earlier days.

    Args:
        table: the table that they are of.
        figures: the run's.
        before: metric and column -> the figures of the days to compare with, in any order.

    Returns:
        Those outside of their band. Where there are unusually many or few rows, sums are not told: they follow.
    """
    figures = list(figures)
    rows = next((figure.value for figure in figures if figure.metric == "rows"), 0.0)
    unusual: list[AnomalySummary] = []
    for figure in figures:
        past = before.get((figure.metric, figure.column), ())
        if len(past) < AT_LEAST:
            continue
        middle = median(past)
        low, high = _band(figure, past, middle, table.settings.width, rows)
        if not low <= figure.value <= high:
            named = (figure.metric, figure.value, low, high, middle, len(past), figure.column)
            unusual.append(AnomalySummary(table.stage, table.name, *named))
    follows = any(anomaly.metric == "rows" for anomaly in unusual)
    return [anomaly for anomaly in unusual if not (follows and anomaly.metric == "sum")]


def _band(figure: Figure, past: Sequence[float], middle: float, width: float, rows: float) -> tuple[float, float]:
    spread = NORMAL * _SMALL.get(len(past), 1.0) * median([abs(value - middle) for value in past])
    half = max(width * spread, _floor(figure.metric, middle, rows, width))
    low, high = middle - half, middle + half
    if figure.metric == "age":
        low = min(low, figure.value)  # newer than usual is no harm
    return (max(low, 0.0) if figure.metric in ("rows", "nulls") else low), high


def _before(db: Warehouse, table: Table, day: date) -> dict[tuple[str, str | None], list[float]]:
    """The figures of earlier days of the same weekday: of each day the last, of the days the newest."""
    found = db.execute(
        "select metric, column_name, list(value) from ("
        "  select metric, column_name, value from ("
        "    select * from quality.metrics where table_name = $table and stage = $stage and day < $day "
        "    and isodow(day) = isodow($day::date) "
        "    qualify row_number() over (partition by metric, column_name, day order by measured_at desc) = 1"
        "  ) qualify row_number() over (partition by metric, column_name order by day desc) <= $days"
        ") group by all",
        {"table": table.name, "stage": table.stage, "day": day, "days": table.settings.runs},
    )
    return {(metric, column): values for metric, column, values in found}


def _floor(metric: Metric, middle: float, rows: float, width: float) -> float:
    """The least half width of a band.

    Counts and sums: a tenth, and of counts what chance alone does (a Poisson's deviation). Shares: three hundredths,
    and what chance does among so many rows. Ages: three hours.
    """
    if metric == "age":
        return 3 / 24
    if metric == "nulls":
        return max(0.03, width * math.sqrt(max(middle * (1 - middle), 0.0) / max(rows, 1.0)))
    chance = width * math.sqrt(middle) if metric == "rows" and middle > 0 else 0.0
    return max(0.1 * abs(middle), chance)
