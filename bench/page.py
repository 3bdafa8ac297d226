"""The morning page of a run with 10,000 failing rows after 400 nights, and the index of all of them."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import Figure, run
from bench.world import Bench

NIGHTS = 400
ROWS = 10_000


def figures(bench: Bench) -> list[Figure]:
    """Measure, each time in a process of its own, as a night writes its page once."""
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        run([sys.executable, "-m", "bench.page", "fill", folder, str(bench.records or ROWS)], {})
        told = []
        for _ in range(bench.runs):
            bench.load.look()
            told.append(json.loads(run([sys.executable, "-m", "bench.page", "write", folder], {}).out))
    return [
        Figure(f"page with {bench.records or ROWS:,} failing rows", _all(told, "page"), "s", at_most=3.0),
        Figure("  its size", _all(told, "bytes"), "MB", at_most=2.0),
        Figure("  failing rows on it", _all(told, "rows"), "rows"),
        Figure(f"index of {NIGHTS} nights", _all(told, "index"), "s", at_most=1.0),
        Figure("  its size", _all(told, "index_bytes"), "MB"),
        Figure("imports of both", _all(told, "imports"), "s"),
        Figure("peak memory", _all(told, "peak"), "MB"),
    ]


def _all(told: list[dict[str, float]], name: str) -> list[float]:
    return [one[name] for one in told]


def _fill(folder: Path, rows: int) -> None:
    from flows.warehouse import Warehouse
    from tests.report.months import fill

    with Warehouse.open(folder / "w.duckdb") as db:
        counts = {"crm.crm_accounts": rows * 6 // 10, "crm.crm_contacts": rows * 4 // 10}
        last = fill(db, folder / "reports", NIGHTS, counts)
    (folder / "last").write_text(last.run_id)


def _write(folder: Path) -> None:
    began = time.perf_counter()
    from flows import journal
    from flows.report import index, write_page
    from flows.report.page import PAGE
    from flows.warehouse import Warehouse

    imported = time.perf_counter()
    with Warehouse.open(folder / "w.duckdb") as db:
        last = journal.load(db, (folder / "last").read_text())
        if last is None:
            raise SystemExit("The run is not in the warehouse.")
        reports = folder / "reports"
        start = time.perf_counter()
        page = write_page(last, reports / last.run_id, db)
        both = time.perf_counter() - start
        start = time.perf_counter()
        index.render(db, last, reports, PAGE)
        alone = time.perf_counter() - start
    told = {
        "imports": imported - began,
        "page": both,
        "index": alone,
        "bytes": page.stat().st_size / 1e6,
        "index_bytes": (reports / index.INDEX).stat().st_size / 1e6,
        "rows": page.read_text(encoding="utf-8").count('<tr><th scope="row">1'),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        _fill(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _write(Path(sys.argv[2]))
