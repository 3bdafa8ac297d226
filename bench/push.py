"""What the benchmarks of pushes share: the rows, batches of them, a push as a night does it, and its measure."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.measure import run

PUSHES = 8
"""Batches under way at once, as in `flows.tasks`, which is not imported here: it would import Prefect and dbt."""
COLUMNS = {
    "name": ("VARCHAR", """case when n % 50 = 0 then 'Miller, Sons & "Co" ' || n else 'Customer number ' || n end"""),
    "city": ("VARCHAR", "['Tōkyō', 'Manchester', 'Lyon', 'Porto', 'Malmö'][1 + n % 5]"),
    "country": ("VARCHAR", "['Japan', 'United Kingdom', 'France', 'Portugal', 'Sweden'][1 + n % 5]"),
    "first_order_date": ("DATE", "date '2009-12-01' + (n % 730)::integer"),
    "order_count": ("BIGINT", "(1 + n % 97)::bigint"),
    "lifetime_value": ("DECIMAL(14,2)", "((hash(n) % 100000000) / 100)::decimal(14,2)"),
    "segment": ("VARCHAR", "['Champions', 'Loyal', 'New', 'At Risk'][1 + n % 4]"),
}
"""Column -> its type, and its value in row n."""

Fields = Mapping[str, str]
"""Column -> the CRM's field."""
Way = Callable[[Path, dict[str, str]], Callable[[], int]]
"""Makes a push ready, of the rows in a folder to a sandbox; the push tells how many records were applied."""


def rows_sql(fields: Fields, first: int, end: int) -> str:
    """Rows as a plan's batches hold them."""
    names = ", ".join(f"'{field}'" for field in fields.values())
    values = ", ".join(f"{COLUMNS[column][1]} as {field}" for column, field in fields.items())
    return (
        "select 'E' || lpad(n::varchar, 9, '0') as external_id, null::varchar as crm_id, "
        f"[{names}] as changed, {values} from range({first}, {end}) as r(n)"
    )


def write_batches(db: Any, place: Path, fields: Fields, records: int, size: int) -> None:
    """Write a plan's batches of new records into ``plan/``."""
    (place / "plan").mkdir()
    for number, first in enumerate(range(0, records, size)):
        select = rows_sql(fields, first, min(first + size, records))
        db.execute(f"copy ({select}) to '{place}/plan/{number:03}-create.parquet' (format parquet)")


def in_a_process(module: str, way: str, place: Path, ready: dict[str, str]) -> dict[str, float]:
    """Push one way in a process of its own; ``module`` calls `main` there.

    Returns:
        ``applied`` records, ``seconds``, ``cpu`` (seconds), and ``peak_mb`` above what the process held before.
    """
    done = run([sys.executable, "-m", module, way, place, json.dumps(ready)], {})
    told: dict[str, float] = json.loads(done.out)
    return told


# What follows runs in a process of its own.


def sync(crm_object: str, external_id: str, fields: Fields) -> Any:
    """A sync of these fields."""
    from flows.project import Guard, MappedField, Sync

    return Sync(
        name=crm_object.lower(),
        relation=crm_object.lower(),
        crm="main",
        object=crm_object,
        external_id_column="external_id",
        external_id_field=external_id,
        mode="upsert",
        guard=Guard(),
        fields=tuple(MappedField(column, field, COLUMNS[column][0]) for column, field in fields.items()),
    )


def pushing(connection: Any, to: Any, files: Sequence[Path], place: Path) -> Callable[[], int]:
    """Make a push of these files ready, in threads as `flows.stages` pushes a wave."""
    from flows.push import push_batch
    from flows.records import Batch, Operation

    counts = [_count(file) for file in files]
    pairs = zip(files, counts, strict=True)
    batches = [Batch(file, to.name, Operation.CREATE, count, sum(counts)) for file, count in pairs]
    receipts = place / f"receipts-{time.time_ns()}"

    def push() -> int:
        with ThreadPoolExecutor(PUSHES) as pool:
            pushed = pool.map(lambda batch: push_batch(connection, to, batch, receipts), batches)
            return sum(done.applied for done in pushed)

    return push


def _count(file: Path) -> int:
    from flows import warehouse

    with warehouse.scratch() as db:
        (count,) = db.execute(f"select count(*) from read_parquet({warehouse.literal(str(file))})").fetchone() or (0,)
    return int(count)


def _kilobytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main(ways: Mapping[str, Way]) -> None:
    """Push one way and print what it took as JSON; what it imports is imported before."""
    way, place, ready = sys.argv[1:]
    gc.collect()
    baseline = _kilobytes("VmRSS:")
    push = ways[way](Path(place), json.loads(ready))
    cpu, clock = time.process_time(), time.perf_counter()
    applied = push()
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    peak = (_kilobytes("VmHWM:") - baseline) / 1024
    sys.stdout.write(json.dumps({"applied": applied, "seconds": seconds, "cpu": cpu, "peak_mb": peak}))
