"""Rows of a synced model that are held back one by one, all in SQL: since when, with what value, and how it ended.

A row is held for as long as it fails. One that a person released goes out for as long as what failed stays the same.
An expectation that could not be judged changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from flows.gate.declared import AT_LEAST, Expectation, Suite
from flows.gate.failing import KEY, Failing
from flows.gate.results import Quarantine
from flows.project.declared import part
from flows.records import MASK
from flows.summary.held import HeldSummary
from flows.warehouse import Warehouse, literal, quoted

LONGEST = 200
"""Characters of an offending value that are kept."""
MOST_SHOWN = 50
"""Held rows of a table that its report shows."""

_FAILING = "temp.failing_rows"
_TONIGHT = "temp.held_tonight"
_SEVERAL = "temp.found_several_times"
_OPEN = "table_name = $table and ended_at is null"


def begin(db: Warehouse) -> None:
    """Make room for what will be collected."""
    failing = "key varchar, value varchar, fingerprint varchar"
    db.execute(f"create or replace temp table {_FAILING} (expectation_id varchar, {failing})")
    tonight = "since_run_id varchar, since_at timestamp, last_run_id varchar, ended_at timestamp"
    db.execute(f"create or replace temp table {_TONIGHT} ({failing}, {tonight})")


def end(db: Warehouse) -> None:
    """Forget what was collected, which may be much."""
    for table in (_FAILING, _TONIGHT):
        db.execute(f"drop table {table}")


def collect(db: Warehouse, expectation_id: str, failing: Failing, hidden: Collection[str]) -> None:
    """Find the rows that fail an expectation, with what fails of them.

    Args:
        db: the warehouse.
        expectation_id: the expectation.
        failing: the rows.
        hidden: columns whose values are not kept, only what tells that they changed; as people call them.

    Raises:
        Error: the query fails.
    """
    parts = ", ".join(f"{quoted(label)}::varchar" for label in failing.columns)
    fingerprint = f"md5(to_json([{parts}]::varchar[])::varchar)"
    db.execute(
        f"insert into {_FAILING} select {literal(expectation_id)}, {_key(KEY)}, "
        f"left({_value(failing.columns, hidden)}, {LONGEST}), {fingerprint} "
        f"from (\n{failing.sql}\n) where {_key(KEY)} is not null",
        failing.parameters,
    )
    mine = f"expectation_id = {literal(expectation_id)}"
    [(rows, keys)] = db.execute(f"select count(*), count(distinct key) from {_FAILING} where {mine}")
    if rows > keys:
        _once(db, mine)


def _once(db: Warehouse, mine: str) -> None:
    """Make one row of a key that stands several times: a query may find so, and a model's the plan tells, and stops.

    In whatever order they were found, they show the same value, and are known to change when any of them does.
    """
    whole = "md5(string_agg(distinct fingerprint, ' ' order by fingerprint))"
    db.execute(
        f"create or replace temp table {_SEVERAL} as select expectation_id, key, min(value), {whole} "
        f"from {_FAILING} where {mine} group by all having count(*) > 1"
    )
    db.execute(f"delete from {_FAILING} where {mine} and key in (select key from {_SEVERAL})")
    db.execute(f"insert into {_FAILING} from {_SEVERAL}")
    db.execute(f"drop table {_SEVERAL}")


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


def crowded(db: Warehouse, suite: Suite, run_id: str, at: datetime, failing: Mapping[str, int]) -> Quarantine | None:
    """Say by their mere number that too many rows would be held: millions of them need not be found for it.

    Args:
        db: the warehouse.
        suite: the suite; its table has a key.
        run_id: the run.
        at: when, UTC without a time zone.
        failing: the id of an expectation that holds rows back, and has failed -> rows that fail it.

    Returns:
        What is held, which stays as it is; None where the rows have to be looked at.
    """
    rows = _rows(db, suite)
    for expectation_id, count in failing.items():
        released = db.scalar(
            "select count(*) from quality.quarantine where table_name = ? and expectation_id = ? "
            "and ended_as = 'released'",
            (suite.name, expectation_id),
        )
        if _too_many(count - released, rows, suite.max_quarantined):
            return replace(_report(db, suite, run_id, at, rows), refused=count)
    return None


def _rows(db: Warehouse, suite: Suite) -> int:
    return int(db.scalar(f"select count(*) from {quoted(suite.schema)}.{quoted(suite.table)}"))


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
    known = {"table": suite.name}
    # What a person released goes out as long as it is as it was.
    db.execute(
        f"delete from {_FAILING} f using quality.quarantine q where q.table_name = $table and q.ended_as = 'released' "
        "and f.expectation_id = q.expectation_id and f.key = q.key and f.fingerprint = q.fingerprint",
        known,
    )
    rows = _rows(db, suite)
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
        db.execute(
            "update quality.quarantine set ended_at = $at, ended_as = 'withdrawn' "
            f"where {_OPEN} and coalesce(expectation_id not in ({_listed([*judged, *unjudged])}), true)",
            {**known, "at": at},
        )
        # Most expectations hold nothing, and held nothing before.
        any_rows = db.execute(
            f"select expectation_id from {_FAILING} union select expectation_id from quality.quarantine where {_OPEN}",
            known,
        )
        for (expectation_id,) in any_rows:
            if expectation_id in judged:
                _renew(db, suite, run_id, at, expectation_id, judged[expectation_id])
        _tell_what_is_gone(db, suite, at)
    return _report(db, suite, run_id, at, rows)


def _too_many(held: int, rows: int, most: float | int) -> bool:
    if isinstance(most, float):
        return held >= AT_LEAST and held > part(most, rows)
    return held > most


def told(most: float | int) -> str:
    """A limit as people write it."""
    return f"{most:.2%}".replace(".00%", "%") if isinstance(most, float) else f"{most:,}"


def _listed(texts: Collection[str]) -> str:
    return ", ".join(map(literal, texts)) or "null"


def _renew(
    db: Warehouse, suite: Suite, run_id: str, at: datetime, expectation_id: str, expectation: Expectation
) -> None:
    """Write anew what one expectation holds back: what still fails, what is new, and what ends since it passes.

    The rows are put in the place of the old ones: an update of millions of rows would be kept in memory.
    """
    mine = {"table": suite.name, "id": expectation_id}
    held = f"{_OPEN} and expectation_id = $id"
    db.execute(f"delete from {_TONIGHT}")
    db.execute(
        f"insert into {_TONIGHT} select coalesce(f.key, q.key), if(f.key is null, q.value, f.value), "
        "coalesce(f.fingerprint, q.fingerprint), coalesce(q.since_run_id, $run), coalesce(q.since_at, $at), "
        "if(f.key is null, q.last_run_id, $run), if(f.key is null, $at, null) "
        f"from (select key, value, fingerprint from {_FAILING} where expectation_id = $id) f full join "
        "(select key, value, fingerprint, since_run_id, since_at, last_run_id from quality.quarantine "
        f"where {held}) q on f.key = q.key",
        {**mine, "run": run_id, "at": at},
    )
    db.execute(f"delete from quality.quarantine where {held}", mine)
    db.execute(
        "insert into quality.quarantine (table_name, key, expectation_id, expectation, column_name, value, "
        "fingerprint, severity, detail, since_run_id, since_at, last_run_id, ended_at, ended_as) "
        "select $table, key, $id, $expectation, $column, value, fingerprint, $severity, $detail, since_run_id, "
        f"since_at, last_run_id, ended_at, if(ended_at is null, null, 'passed') from {_TONIGHT}",
        {
            **mine,
            "expectation": expectation.kind.name,
            "column": ", ".join(expectation.columns) or None,
            "severity": expectation.severity,
            "detail": expectation.description,
        },
    )


def _tell_what_is_gone(db: Warehouse, suite: Suite, at: datetime) -> None:
    """Of the rows that end tonight, tell those that are not in the model any more from those that pass."""
    ended = "table_name = $table and ended_at = $at and ended_as = 'passed'"
    known = {"table": suite.name, "at": at}
    if db.scalar(f"select 1 from quality.quarantine where {ended} limit 1", known):
        key = _key(str(suite.key))
        keys = f"select {key} from {quoted(suite.schema)}.{quoted(suite.table)} where {key} is not null"
        db.execute(f"update quality.quarantine set ended_as = 'gone' where {ended} and key not in ({keys})", known)


def withdraw(db: Warehouse, suites: Iterable[Suite]) -> None:
    """Let go what is held in tables that no suite judges row by row any more: it is gone, or they are not synced.

    Args:
        db: the warehouse.
        suites: those that are judged; without a key one holds no row, and would never let one go either.
    """
    tables = [suite.name for suite in suites if suite.key]
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


def _shown(db: Warehouse, suite: Suite) -> tuple[HeldSummary, ...]:
    found = db.rows(
        "select * from (select *, row_number() over (partition by expectation_id order by since_at desc, key) as turn "
        f"from quality.quarantine where {_OPEN}) order by turn, expectation_id limit {MOST_SHOWN}",
        {"table": suite.name},
    )
    return tuple(
        HeldSummary(
            key=row["key"],
            expectation=row["expectation"],
            column=row["column_name"],
            value=row["value"],
            detail=row["detail"] or "",
            since=row["since_at"].replace(tzinfo=UTC),
        )
        for row in found
    )
