"""What the page tells beside the run itself, read from the warehouse: trends, and every row that is held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flows.report.charts import Point
from flows.summary import RunSummary
from flows.warehouse import Warehouse

TREND = 30
"""Runs that a trend looks back over, this one among them."""
MOST_HELD = 10_000
"""Most held rows on a page, shared out among their reasons; the counts beside them stay whole."""
MOST_HELD_TEXT = 600_000
"""Most characters of keys and values in them: long values must not make a page that nobody can open."""
LONGEST_HELD = 120
"""Characters of a key or an offending value that are read at all."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One row that is held back: its key, what failed (masked where it is personal), and since when (UTC)."""

    key: str
    value: str | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """Rows of one table that one expectation holds back.

    Attributes:
        table: the model, as ``<schema>.<table>``.
        expectation: what they fail.
        column: the column or columns that show why; None for a query.
        severity: of the expectation.
        detail: why the expectation is there.
        owner: whom to ask; empty where nobody is named.
        count: how many there are.
        new: of those, held since this run; None where that is not known.
        week: of those, held since less than seven days, without the new; None likewise.
        rows: those that are shown, the oldest first.
    """

    table: str
    expectation: str
    column: str | None
    severity: str
    detail: str
    owner: str
    count: int
    new: int | None
    week: int | None
    rows: tuple[HeldRow, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure over the last runs, in words and as points, oldest first."""

    points: tuple[Point, ...]
    told: str
    failed: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """What the warehouse tells of a run and of those before it.

    Attributes:
        trends: expectation id -> how it went.
        loads: source -> rows that came.
        held: what is held back after this run, most rows first; None where the warehouse was not asked.
        guards: what the run's plan went over.
        void_because: what moved, so that the plan can no longer be pushed.
        previous: the run before this one that has a page, and its day.
    """

    trends: Mapping[str, Trend] = field(default_factory=dict)
    loads: Mapping[str, Trend] = field(default_factory=dict)
    held: tuple[HeldGroup, ...] | None = None
    guards: tuple[str, ...] = ()
    void_because: str = ""
    previous: str | None = None


def read(db: Warehouse, run: RunSummary) -> History:
    """Read what there is to tell of a run beside its summary.

    Args:
        db: the warehouse.
        run: the run; what came after it is left out.
    """
    began = _naive(run.started_at)
    plan = db.rows("select held, void_because from sync.plans where run_id = ?", (run.run_id,))
    previous = "select run_id from ops.runs where started_at < ? and run_id <> ? order by started_at desc limit 1"
    return History(
        trends=_trends(db, began),
        loads=_loads(db, began),
        held=_held(db, run),
        guards=tuple(plan[0]["held"] or ()) if plan else (),
        void_because=(plan[0]["void_because"] or "") if plan else "",
        previous=db.scalar(previous, (began, run.run_id)),
    )


def _trends(db: Warehouse, began: datetime) -> dict[str, Trend]:
    """How each expectation went; the share of unexpected rows, or what it found where that is a number."""
    runs = """
        select run_id from ops.runs where started_at <= ? and run_id in (select run_id from quality.results)
        order by started_at desc limit ?
    """
    places = {row[0]: at for at, row in enumerate(reversed(db.execute(runs, (began, TREND))))}
    found: dict[str, dict[int, tuple[float | None, str, str]]] = {}
    for run_id, key, passed, severity, unexpected, evaluated, observed in db.execute(
        """
        select run_id, expectation_id, passed, severity, unexpected_rows, evaluated_rows,
            try_cast(replace(observed, ',', '') as double)
        from quality.results
        where expectation_id is not null and list_contains($runs, run_id)
        order by checked_at
        """,
        {"runs": list(places)},
    ):
        if unexpected is not None and evaluated:
            value, told = unexpected / evaluated, f"{100 * unexpected / evaluated:.3g} %"
        elif unexpected is not None:
            value, told = float(unexpected), f"{unexpected:,}"
        elif observed is not None:
            value, told = observed, f"{observed:,.6g}"
        else:
            value, told = float(not passed), "failed" if not passed else "passed"
        found.setdefault(key, {})[places[run_id]] = (value, "" if passed else severity, told)
    return {key: _trend(runs, len(places)) for key, runs in found.items()}


def _loads(db: Warehouse, began: datetime) -> dict[str, Trend]:
    """How many rows each source brought."""
    found: dict[str, list[tuple[float | None, str, str]]] = {}
    for source, rows in db.execute(
        """
        select source, rows_loaded from ops.extracts join ops.runs using (run_id) where started_at <= ?
        qualify row_number() over (partition by source order by started_at desc) <= ? order by started_at
        """,
        (began, TREND),
    ):
        found.setdefault(source, []).append((float(rows), "", f"{rows:,}"))
    return {source: _trend(dict(enumerate(runs)), len(runs)) for source, runs in found.items()}


def _trend(runs: Mapping[int, tuple[float | None, str, str]], length: int) -> Trend:
    """Points for every run, and the same in words."""
    points = tuple(Point(runs[at][0], runs[at][1]) if at in runs else Point(None) for at in range(length))
    by_value = sorted(runs.values(), key=lambda one: one[0] or 0.0)
    failed = sum(bool(point.mark) for point in points)
    last = runs[max(runs)]
    told = f"{len(runs)} runs: lowest {by_value[0][2]}, highest {by_value[-1][2]}, last {last[2]}"
    return Trend(points, told + (f"; failed in {failed}" if failed else ""), failed)


def _held(db: Warehouse, run: RunSummary) -> tuple[HeldGroup, ...]:
    """Every row that was held back when the run ended, by what it fails."""
    ended = _naive(run.ended_at or datetime.now(UTC))
    owners = {gate.id: gate.owner for gate in run.gates if gate.id}
    groups = db.rows(
        """
        select table_name, expectation_id, any_value(expectation) as expectation, any_value(column_name) as column_name,
            any_value(severity) as severity, any_value(detail) as detail, count(*) as held,
            count(*) filter (since_run_id = $run_id) as new,
            count(*) filter (since_run_id <> $run_id and since_at > $ended - interval 7 day) as week
        from quality.quarantine where since_at <= $ended and (ended_at is null or ended_at > $ended)
        group by table_name, expectation_id order by table_name, held desc, expectation_id
        """,
        {"ended": ended, "run_id": run.run_id},
    )
    shown: dict[tuple[str, str], list[HeldRow]] = {}
    room = MOST_HELD_TEXT
    shares = _shares([group["held"] for group in groups])
    for table, expectation_id, key, value, since in db.execute(
        """
        select table_name, expectation_id, left(key, $longest), left(value, $longest), since_at
        from quality.quarantine
        join (select unnest($tables) as table_name, unnest($ids) as expectation_id, unnest($shares) as share)
            using (table_name, expectation_id)
        where since_at <= $ended and (ended_at is null or ended_at > $ended)
        qualify row_number() over (partition by table_name, expectation_id order by since_at, key) <= share
        order by since_at, key
        """,
        {
            **{"ended": ended, "longest": LONGEST_HELD, "shares": shares},
            **{
                "tables": [group["table_name"] for group in groups],
                "ids": [group["expectation_id"] for group in groups],
            },
        },
    ):
        room -= len(key) + len(value or "")
        if room >= 0:
            shown.setdefault((table, expectation_id), []).append(HeldRow(key, value, since))
    return tuple(
        HeldGroup(
            *(group["table_name"], group["expectation"], group["column_name"], group["severity"]),
            *(group["detail"] or "", owners.get(group["expectation_id"], "")),
            *(group["held"], group["new"], group["week"]),
            tuple(shown.get((group["table_name"], group["expectation_id"]), ())),
        )
        for group in groups
    )


def _shares(counts: Sequence[int]) -> list[int]:
    """How many rows of each reason are shown: small ones whole, and what they leave is shared by the large."""
    shares, room = [0] * len(counts), MOST_HELD
    for done, at in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
        shares[at] = min(counts[at], room // (len(counts) - done))
        room -= shares[at]
    return shares


def of_summary(run: RunSummary) -> tuple[HeldGroup, ...]:
    """What the summary itself keeps of the rows that are held back, where no warehouse is at hand."""
    made = []
    for table in run.quarantine:
        kept: dict[tuple[str, str | None, str], list[HeldRow]] = {}
        for row in table.rows:
            held = HeldRow(row.key, row.value, row.since)
            kept.setdefault((row.expectation, row.column, row.detail), []).append(held)
        for (expectation, column, detail), rows in kept.items():
            count = table.causes.get(f"{expectation}({column})" if column else expectation, len(rows))
            made.append(
                HeldGroup(table.name, expectation, column, "critical", detail, "", count, None, None, tuple(rows))
            )
    return tuple(made)


def _naive(moment: datetime) -> datetime:
    """A moment as the warehouse keeps it: UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)
