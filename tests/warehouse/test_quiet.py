"""What the warehouse writes to standard output, which is for what a command prints: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LONG = """
from pathlib import Path
from flows.warehouse import Warehouse

with Warehouse.open(Path({path!r})) as db:
    for each in (db, db.cursor()):
        each.execute("select sum(hash(a.i + b.i)::hugeint) from range(20000) a (i), range(20000) b (i)")
"""


def test_a_long_query_draws_no_bar_where_a_command_prints_its_answer(tmp_path: Path) -> None:
    script = LONG.format(path=str(tmp_path / "w.duckdb"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
