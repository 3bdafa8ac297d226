"""The plan of ten million rows by twelve fields, 0.3 % of them changed, beside the bare full join of row hashes."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import Figure, Process, run
from bench.world import Bench

ROWS = 10_000_000
CHANGED = 333
"""One row of so many is changed."""
FIELDS = {
    "name": ("varchar", "'Company number ' || i"),
    "country": ("varchar", "case when i % 7 = 0 then null else 'Country ' || (i % 200) end"),
    "first_day": ("date", "date '2000-01-01' + (i % 9000)::int"),
    "last_day": ("date", "date '2001-01-01' + (i % 8000)::int"),
    "orders": ("bigint", "i % 100"),
    "returns": ("bigint", "i % 77"),
    "value": ("decimal(14,2)", "i * 1.37"),
    "credit": ("decimal(14,2)", "i * 0.11"),
    "active": ("boolean", "i % 2 = 0"),
    "seen_at": ("timestamp", "timestamp '2020-01-01' + interval (i % 1000000) second"),
    "segment": ("varchar", "'Segment ' || (i % 8)"),
    "token": ("varchar", "md5(i::varchar)"),
}


def figures(bench: Bench) -> list[Figure]:
    """Measure the plan and its floor, each in a process of its own on the same warehouse."""
    rows = bench.records or ROWS
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        path = Path(folder) / "plan.duckdb"
        run([sys.executable, "-m", "bench.plan", "fill", path, str(rows)], {})
        ours, floor = [], []
        for _ in range(bench.runs):
            bench.load.look()
            ours.append(run([sys.executable, "-m", "bench.plan", "plan", path], {}))
            floor.append(run([sys.executable, "-m", "bench.plan", "floor", path], {}))
    return [
        Figure(f"plan of {rows:,} rows, 0.3 % changed", _seconds(ours), "s", at_most=2.0),
        Figure("  peak memory", [p.peak_mb for p in ours], "MB", at_most=2048),
        Figure("bare full join on hash()", _seconds(floor), "s", kind="floor"),
        Figure("  peak memory of it", [p.peak_mb for p in floor], "MB", kind="floor"),
    ]


def _seconds(processes: list[Process]) -> list[float]:
    return [json.loads(p.out)["seconds"] for p in processes]


def _fill(path: Path, rows: int) -> None:
    from flows import ledger
    from flows.warehouse import Warehouse

    columns = ", ".join(f"({sql})::{kind} as {name}" for name, (kind, sql) in FIELDS.items())
    key = "'K' || lpad(i::varchar, 9, '0') as id"
    with Warehouse.open(path) as db:
        db.execute("create schema crm")
        db.execute(f"create table crm.things as select {key}, {columns} from range({rows}) r(i)")
        ledger.ensure(db, "things", {name: kind for name, (kind, _) in FIELDS.items()})
        old = f"replace (case when hash(id) % {CHANGED} = 0 then 'Old' else segment end as segment)"
        db.execute(
            f"insert into {ledger.relation('things')} by name select id as _external_id, 'crm' || id as _crm_id, "
            f"* exclude (id) {old}, now() as _acked_at, 'run' as _run_id from crm.things"
        )
        db.execute("checkpoint")


def _plan(path: Path) -> float:
    from flows import plan
    from flows.project import Guard, MappedField, Sync
    from flows.warehouse import Warehouse

    mapped = tuple(MappedField(name, name, kind) for name, (kind, _) in FIELDS.items())
    sync = Sync("things", '"crm"."things"', "main", "Thing", "id", "Id__c", "mirror", Guard(), mapped)
    crm = plan.Crm(
        batch_size=lambda sync, operation, count: 10_000,
        requests=lambda sync, operation, counts: sum(counts),
        most_requests=lambda sync: None,
        read=lambda sync, records, sink: 0,
    )
    with Warehouse.open(path) as db, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        db.scalar("select ?", (1,))  # DuckDB's first parameter imports pandas, which a night has long done
        began = time.perf_counter()
        made = plan.make(db, "bench", [sync], Path(folder), crm)
        taken = time.perf_counter() - began
        rows = int(db.scalar("select count(*) from crm.things"))
    [found] = made.syncs
    assert 0.0025 * rows < found.updates < 0.0035 * rows, found
    assert found.fields == {"segment": found.updates}
    assert found.samples
    return taken


def _floor(path: Path) -> float:
    from flows.warehouse import Warehouse

    names = ", ".join(FIELDS)
    with Warehouse.open(path) as db:
        began = time.perf_counter()
        db.execute(
            f"select count(*) from (select hash(id, {names}) as h from crm.things) a "
            f"full join (select hash(_external_id, {names}) as h from sync.ledger__things) b using (h) "
            "where a.h is null or b.h is null"
        )
        return time.perf_counter() - began


if __name__ == "__main__":
    _, what, file, *rest = sys.argv
    if what == "fill":
        _fill(Path(file), int(rest[0]))
    else:
        sys.stdout.write(json.dumps({"seconds": (_plan if what == "plan" else _floor)(Path(file))}))
