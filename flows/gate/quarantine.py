"""Rows of a synced model that are held back one by one, all in SQL: since when, with what value, and how it ended.

A row is held for as long as it fails. One that a person released goes out for as long as what failed stays the same.
An expectation that could not be judged changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from flows.gate.declared import AT_LEAST, Expectation, Suite
from flows.gate.failing import KEY, Failing
from flows.gate.results import HeldRow, Quarantine
from flows.records import MASK
from flows.warehouse import Warehouse, literal, quoted

LONGEST = 200
"""Characters of an offending value that are kept."""
MOST_SHOWN = 50
"""Held rows of a table that its report shows."""

_FAILING = "temp.failing_rows"
_OPEN = "table_name = $table and ended_at is null"


def begin(db: Warehouse) -> None:
    """Forget what was collected for another table."""
    db.execute(
        f"create or replace temp table {_FAILING} (expectation_id varchar, key varchar, value varchar, "
        "fingerprint varchar)"
    )


def collect(db: Warehouse, expectation_id: str, failing: Failing, hidden: Collection[str]) -> None:
    """Find the rows that fail an expectation, with what fails of them.

    Args:
        db: the warehouse.
        expectation_id: the expectation.
        failing: the rows.
        hidden: columns whose values are not kept, only what tells that they changed.

    Raises:
        Error: the query fails.
    """
    parts = ", ".join(f"{quoted(label)}::varchar" for label in failing.columns)
    fingerprint = f"md5(to_json([{parts}]::varchar[])::varchar)"
    # A key that stands twice is told by the plan, which stops; here it is one row.
    db.execute(
        f"insert into {_FAILING} select {literal(expectation_id)}, {_key(KEY)}, "
        f"left(any_value({_value(failing.columns, hidden)}), {LONGEST}), min({fingerprint}) "
        f"from (\n{failing.sql}\n) where {_key(KEY)} is not null group by {_key(KEY)}",
        failing.parameters,
    )


def _key(column: str) -> str:
    """A row's key as the plan knows it, as SQL."""
    return f"nullif({quoted(column)}::varchar, '')"


def _value(columns: Mapping[str, str], hidden: Collection[str]) -> str:
    """What failed, as SQL: the value of one column, or several with their names."""

    def shown(label: str, column: str) -> str:
        text = f"{quoted(label)}::varchar"
        return f"if({quoted(label)} is null, null, {literal(MASK)})" if column in hidden else text

    if len(columns) == 1:
        return shown(*next(iter(columns.items())))
    named = [f"{literal(column + '=')} || coalesce({shown(label, column)}, '')" for label, column in columns.items()]
    return f"concat_ws(', ', {', '.join(named)})" if named else "null"


def hold(
    db: Warehouse,
    suite: Suite,
    run_id: str,
    at: datetime,
    judged: Mapping[str, Expectation],
    unjudged: Collection[str],
) -> Quarantine:
    """Hold back the rows that were collected, and let go those that no longer fail.

    Where more rows would be held than the suite allows nothing is changed: the run stops, and a model that has gone
    wrong as a whole is no quarantine.

    Args:
        db: the warehouse.
        suite: the suite; its table has a key.
        run_id: the run.
        at: when, UTC without a time zone.
        judged: the ids of the expectations that hold rows back, and were judged.
        unjudged: the ids of those that could not be judged; what they hold stays held.

    Returns:
        What is held now.
    """
    relation = f"{quoted(suite.schema)}.{quoted(suite.table)}"
    known = {"table": suite.name}
    # What a person released goes out as long as it is as it was.
    db.execute(
        f"delete from {_FAILING} f using quality.quarantine q where q.table_name = $table and q.ended_as = 'released' "
        "and f.expectation_id = q.expectation_id and f.key = q.key and f.fingerprint = q.fingerprint",
        known,
    )
    rows = int(db.scalar(f"select count(*) from {relation}"))
    staying = f"expectation_id in ({_listed(unjudged)})"
    held = int(
        db.scalar(
            f"select count(distinct key) from (select key from {_FAILING} union all select key from "
            f"quality.quarantine where {_OPEN} and {staying})",
            known,
        )
    )
    if _too_many(held, rows, suite.max_quarantined):
        return replace(_report(db, suite, run_id, at, rows), refused=held)
    with db.transaction():
        _let_go(db, suite, at, judged, unjudged, f"select {_key(str(suite.key))} from {relation}")
        for expectation_id, expectation in judged.items():
            _hold(db, suite, run_id, at, expectation_id, expectation)
    return _report(db, suite, run_id, at, rows)


def _too_many(held: int, rows: int, most: float | int) -> bool:
    if isinstance(most, float):
        return held >= AT_LEAST and held > most * rows
    return held > most


def told(most: float | int) -> str:
    """A limit as people write it."""
    return f"{most:.2%}".replace(".00%", "%") if isinstance(most, float) else f"{most:,}"


def _listed(texts: Collection[str]) -> str:
    return ", ".join(map(literal, texts)) or "null"


def _let_go(
    db: Warehouse, suite: Suite, at: datetime, judged: Collection[str], unjudged: Collection[str], keys: str
) -> None:
    """End what no longer fails, has left the model, or is held by an expectation that is no longer there."""
    db.execute(
        f"update quality.quarantine q set ended_at = $at, ended_as = if(key in ({keys}), 'passed', 'gone') "
        f"where {_OPEN} and expectation_id in ({_listed(judged)}) and not exists "
        f"(from {_FAILING} f where f.expectation_id = q.expectation_id and f.key = q.key)",
        {"table": suite.name, "at": at},
    )
    known = _listed([*judged, *unjudged])
    db.execute(
        f"update quality.quarantine set ended_at = $at, ended_as = 'withdrawn' "
        f"where {_OPEN} and coalesce(expectation_id not in ({known}), true)",
        {"table": suite.name, "at": at},
    )


def _hold(
    db: Warehouse, suite: Suite, run_id: str, at: datetime, expectation_id: str, expectation: Expectation
) -> None:
    """Note that what is held still fails, and begin to hold what is new."""
    known = {"table": suite.name, "id": expectation_id, "run": run_id, "severity": expectation.severity}
    db.execute(
        f"update quality.quarantine q set last_run_id = $run, value = f.value, fingerprint = f.fingerprint, "
        f"severity = $severity, detail = $detail from {_FAILING} f "
        f"where {_OPEN} and q.expectation_id = $id and f.expectation_id = $id and f.key = q.key",
        {**known, "detail": expectation.description},
    )
    db.execute(
        "insert into quality.quarantine (table_name, key, expectation_id, expectation, column_name, value, "
        "fingerprint, severity, detail, since_run_id, since_at, last_run_id) "
        "select $table, key, $id, $expectation, $column, value, fingerprint, $severity, $detail, $run, $at, $run "
        f"from {_FAILING} where expectation_id = $id and key not in "
        f"(select key from quality.quarantine where {_OPEN} and expectation_id = $id)",
        {
            **known,
            "at": at,
            "expectation": expectation.kind.name,
            "column": ", ".join(expectation.columns) or None,
            "detail": expectation.description,
        },
    )


def withdraw(db: Warehouse, tables: Collection[str]) -> None:
    """Let go what is held in tables that no suite judges any more.

    Args:
        db: the warehouse.
        tables: those that have a suite, as ``<schema>.<table>``.
    """
    db.execute(
        "update quality.quarantine set ended_at = now()::timestamp, ended_as = 'withdrawn' "
        f"where ended_at is null and coalesce(table_name not in ({_listed(tables)}), true)"
    )


def _report(db: Warehouse, suite: Suite, run_id: str, at: datetime, rows: int) -> Quarantine:
    """Count the rows that are held now, and those that are so no longer; show some of each expectation."""
    # Held before tonight: what is open since an earlier run, or was until a moment ago.
    [(held, new, released)] = db.execute(
        "select count(*) filter (now), count(*) filter (now and not before), count(*) filter (before and not now) "
        "from (select key, bool_or(ended_at is null) as now, bool_or(since_run_id <> $run and (ended_at is null or "
        "(ended_at = $at and ended_as <> 'released'))) as before from quality.quarantine "
        "where table_name = $table group by key)",
        {"table": suite.name, "run": run_id, "at": at},
    )
    by = db.execute(
        f"select expectation_id, count(*) from quality.quarantine where {_OPEN} group by all", {"table": suite.name}
    )
    return Quarantine(
        suite.name,
        rows=rows,
        held=held,
        new=new,
        released=released,
        released_by_hand=_by_hand(db, suite, run_id),
        most=told(suite.max_quarantined),
        held_by=dict(by),
        shown=_shown(db, suite),
    )


def _by_hand(db: Warehouse, suite: Suite, run_id: str) -> int:
    """Rows that people released since the run before this one judged the table."""
    return int(
        db.scalar(
            "select count(distinct key) from quality.quarantine where table_name = $table and ended_as = 'released' "
            "and ended_at > coalesce((select max(checked_at) from quality.results where table_name = $table "
            "and run_id <> $run), '-infinity'::timestamp)",
            {"table": suite.name, "run": run_id},
        )
    )


def _shown(db: Warehouse, suite: Suite) -> tuple[HeldRow, ...]:
    found = db.rows(
        "select * from (select *, row_number() over (partition by expectation_id order by since_at desc, key) as turn "
        f"from quality.quarantine where {_OPEN}) order by turn, expectation_id limit {MOST_SHOWN}",
        {"table": suite.name},
    )
    return tuple(
        HeldRow(
            key=row["key"],
            expectation=row["expectation"],
            column=row["column_name"],
            value=row["value"],
            detail=row["detail"] or "",
            since=row["since_at"],
        )
        for row in found
    )
