"""Twenty expectations over five million rows beside the bare SQL they need; and what the import costs a night."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

from bench import world
from bench.measure import Figure, Process, run
from bench.world import Bench

ROWS = 5_000_000
FEW = 50_000
"""A table of so many rows shows what memory the judging takes by itself."""
BEFORE = ("configure", "extract")
"""The stages before the first gate."""

TABLE = """
    create or replace table crm.things as select
        'K' || lpad(i::varchar, 8, '0') as thing_id,
        'Company number ' || i as name,
        case when hash(i) % 100 = 0 then null else 'Country ' || hash(i) % 50 end as country,
        'person' || i || case when hash(i) % 300 = 0 then '' else '@example.com' end as email,
        '+44 ' || lpad((hash(i) % 1000000)::varchar, 6, '0') as phone,
        date '2010-01-01' + (hash(i) % 3000)::int as first_day,
        date '2010-01-01' + (hash(i) % 3000)::int + (hash(i + 1) % 900)::int as last_day,
        (hash(i) % 10000000)::decimal(14, 2) / 100 as amount,
        (hash(i) % 100)::bigint as orders,
        (hash(i + 7) % 10)::bigint as returns,
        'S' || hash(i) % 8 as segment
    from range({rows}) r(i)
"""

SUITE = r"""
table: crm.things
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_be_unique: {column: thing_id}
  - expect_column_values_to_match_regex: {column: thing_id, regex: '^K\d{8}$'}
  - expect_column_values_to_not_be_null: {column: name}
  - expect_column_value_lengths_to_be_between: {column: name, min_value: 1, max_value: 255}
  - expect_column_values_to_match_regex: {column: email, regex: '^[^@\s]+@[^@\s]+\.[^@\s.]+$'}
  - expect_column_value_lengths_to_be_between: {column: email, max_value: 80}
  - expect_column_values_to_match_regex: {column: phone, regex: '^\+?[0-9 ().\-/]{5,40}$'}
  - expect_column_values_to_not_be_null: {column: country}
    severity: warning
  - expect_column_values_to_not_be_in_set: {column: country, value_set: [Unspecified]}
  - expect_column_proportion_of_non_null_values_to_be_between: {column: country, min_value: 0.9}
  - expect_column_values_to_be_between: {column: amount, min_value: 0, max_value: 100000}
  - expect_column_mean_to_be_between: {column: amount, min_value: 10}
  - expect_column_values_to_be_between: {column: orders, min_value: 1}
    severity: warning
  - expect_column_sum_to_be_between: {column: orders, min_value: 10}
  - expect_column_values_to_be_between: {column: returns, min_value: 0, max_value: 1000}
    row_condition: orders > 50
  - expect_column_max_to_be_between: {column: returns, max_value: 10}
  - expect_column_values_to_be_in_set: {column: segment, value_set: [S0, S1, S2, S3, S4, S5, S6, S7]}
  - expect_column_values_to_be_between: {column: first_day, min_value: 2009-12-01}
  - expect_column_pair_values_a_to_be_greater_than_b: {column_A: last_day, column_B: first_day, or_equal: true}
"""

EMAIL = r"email is not null and not regexp_matches(email, '^[^@\s]+@[^@\s]+\.[^@\s.]+$')"
COUNTS = rf"""
    select
        count(*), count(country), avg(amount), sum(orders), max(returns),
        count(*) filter (not regexp_matches(thing_id, '^K\d{{8}}$')),
        count(*) filter (name is null),
        count(*) filter (length(name) not between 1 and 255),
        count(*) filter ({EMAIL}),
        count(*) filter (length(email) > 80),
        count(*) filter (not regexp_matches(phone, '^\+?[0-9 ().\-/]{{5,40}}$')),
        count(*) filter (country = 'Unspecified'),
        count(*) filter (amount not between 0 and 100000),
        count(*) filter (orders < 1),
        count(*) filter (orders > 50 and returns not between 0 and 1000),
        count(*) filter (segment not in ('S0', 'S1', 'S2', 'S3', 'S4', 'S5', 'S6', 'S7')),
        count(*) filter (first_day < date '2009-12-01'),
        count(*) filter (last_day < first_day),
        count(thing_id), count(email), count(phone), count(amount), count(orders), count(segment), count(first_day)
    from crm.things
"""
BARE = (
    COUNTS,
    "select coalesce(sum(n), 0) from (select count(*) as n from crm.things where thing_id is not null "
    "group by thing_id having count(*) > 1)",
    "select orders from crm.things where orders < 1 limit 20",
    f"select email from crm.things where {EMAIL} limit 20",
    f"create or replace table quality.bare as select thing_id, email, md5(email) from crm.things where {EMAIL}",
)
"""One scan for whatever one scan can count; doubled keys; the samples and the rows to hold back of what fails."""


def figures(bench: Bench) -> list[Figure]:
    """Measure the judging, its floor and its memory, each in a process of its own; then nights with and without it."""
    rows = bench.records or ROWS
    ours, floor, little = [], [], []
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        many, few = Path(folder) / "many.duckdb", Path(folder) / "few.duckdb"
        for path, count in ((many, rows), (few, FEW)):
            run([sys.executable, "-m", "bench.gate", "fill", path, str(count)], {})
        for _ in range(bench.runs):
            bench.load.look()
            ours.append(run([sys.executable, "-m", "bench.gate", "judge", many], {}))
            floor.append(run([sys.executable, "-m", "bench.gate", "bare", many], {}))
            little.append(run([sys.executable, "-m", "bench.gate", "judge", few], {}))
    taken, bare = _seconds(ours), _seconds(floor)
    return [
        Figure(f"20 expectations over {rows:,} rows", taken),
        Figure(
            "  times the bare SQL", [ours / least for ours, least in zip(taken, bare, strict=True)], "", at_most=1.5
        ),
        Figure("bare SQL for the same", bare, kind="floor"),
        Figure("peak memory", [p.peak_mb for p in ours], "MB"),
        Figure(f"  above that over {FEW:,} rows", _above(ours, little), "MB"),
        Figure("peak memory of the bare SQL", [p.peak_mb for p in floor], "MB", kind="floor"),
        *_nights(bench),
    ]


def _seconds(processes: list[Process]) -> list[float]:
    return [json.loads(p.out)["seconds"] for p in processes]


def _above(many: list[Process], few: list[Process]) -> list[float]:
    return [large.peak_mb - small.peak_mb for large, small in zip(many, few, strict=True)]


def _nights(bench: Bench) -> list[Figure]:
    """The stages before the first gate, as they are and with Great Expectations imported beside the extraction."""
    seconds: dict[str, list[dict[str, float]]] = {"late": [], "beside": []}
    for _ in range(bench.runs):
        for how, told in seconds.items():
            with world.home() as home:
                bench.load.look()
                done = run([sys.executable, "-m", "bench.gate", "night", how], bench.environment(home))
                told.append(world.seconds(json.loads(done.out.splitlines()[-1])))
    bench.notes.append(
        "The night imports Great Expectations when the first gate needs it; 'beside' is the same night importing it in "
        "a thread beside the extraction."
    )
    late, beside = ([sum(one[stage] for stage in BEFORE) for one in seconds[how]] for how in ("late", "beside"))
    return [
        Figure("stages before the first gate", late),
        Figure("  with the import beside them", beside),
        Figure("the first gate, with the import", [one["gate_raw"] for one in seconds["late"]]),
        Figure("  with the import beside the extraction", [one["gate_raw"] for one in seconds["beside"]]),
    ]


def _fill(path: Path, rows: int) -> None:
    from flows.warehouse import Warehouse

    with Warehouse.open(path) as db:
        db.execute("create schema crm")
        db.execute(TABLE.format(rows=rows))
        db.execute("checkpoint")


def _judge(path: Path) -> float:
    from flows import gate
    from flows.warehouse import Warehouse

    file = path.with_suffix(".yml")
    file.write_text(SUITE, encoding="utf-8")
    [suite] = gate.with_keys([gate.load_suite(file)], {"crm.things": "thing_id"})
    gate.warm_up()
    with Warehouse.open(path) as db:
        db.execute("delete from quality.quarantine")
        began = time.perf_counter()
        report = gate.check(suite, db, run_id="bench", stage="crm")
        taken = time.perf_counter() - began
        if len(report.results) != 20 or not all(result.evaluated for result in report.results):
            raise SystemExit(f"not all of the 20 were judged: {report}")
        held = db.scalar("select count(*) from quality.quarantine where ended_at is null")
        if held != db.scalar(f"select count(*) from crm.things where {EMAIL}"):
            raise SystemExit(f"{held} rows are held back")
    return taken


def _bare(path: Path) -> float:
    from flows.warehouse import Warehouse

    with Warehouse.open(path) as db:
        began = time.perf_counter()
        for statement in BARE:
            db.execute(statement)
        return time.perf_counter() - began


def _night(how: str) -> None:
    from flows import gate
    from flows.cli import main

    if how == "beside":
        from flows import stages

        extract_all = stages.extract_all

        def beside(*args: Any) -> None:
            Thread(target=gate.warm_up, daemon=True).start()
            extract_all(*args)

        stages.extract_all = beside
    sys.argv = ["nightshift", "run", "--output", "json"]
    main()


if __name__ == "__main__":
    what, *where = sys.argv[1:]
    if what == "night":
        _night(where[0])
    elif what == "fill":
        _fill(Path(where[0]), int(where[1]))
    else:
        sys.stdout.write(json.dumps({"seconds": _judge(Path(where[0])) if what == "judge" else _bare(Path(where[0]))}))
