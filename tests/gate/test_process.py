"""What judging does to its process: memory, files, network, noise, and dbt beside it. Each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from flows.warehouse import Warehouse

PROJECT = Path(__file__).resolve().parents[2]

SUITE = """
table: raw.lines
expectations:
  - expect_table_row_count_to_be_between: {min_value: 1}
  - expect_column_values_to_match_regex: {column: a, regex: '^[0-7]'}
  - expect_column_values_to_be_unique: {column: position}
    severity: info
  - expect_column_value_lengths_to_equal: {column: b, value: 64}
    row_condition: position % 2 = 0
  - unexpected_rows_expectation: {unexpected_rows_query: "select * from {batch} where c < 'f'"}
    severity: info
"""


def ran(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh Python whose working folder, home and temporary folder are empty ones."""
    for name in ("home", "tmp", "work"):
        (folder / name).mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", dedent(code), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder / "work",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            **environment,
        },
    )


def test_a_large_table_is_not_loaded(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "large.duckdb") as large:
        # Texts that do not compress: 192 bytes a row, 384 MB; as objects of Python more than 700 MB.
        texts = ", ".join(f"sha256(i::varchar || '{name}') as {name}" for name in "abc")
        large.execute(f"create table raw.lines as select i as position, {texts} from range(2000000) as numbers (i)")
        large.execute("create table raw.few as select * from raw.lines limit 1000")
    (tmp_path / "suite.yml").write_text(SUITE, encoding="utf-8")
    done = ran(
        tmp_path,
        """
        import dataclasses, json, resource, sys
        from pathlib import Path
        from flows import gate
        from flows.warehouse import Warehouse

        folder = Path(sys.argv[1])
        suite = gate.load_suite(folder / "suite.yml")
        # DuckDB keeps what it has read in its own memory, up to a limit.
        with Warehouse.open(folder / "large.duckdb", memory="200MB", threads=2) as warehouse:
            gate.check(dataclasses.replace(suite, table="few"), warehouse, run_id="r", stage="raw")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            report = gate.check(suite, warehouse, run_id="r", stage="raw")
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        results = report.results
        print(json.dumps([grown // 1024, [r.unexpected_rows for r in results], [r.detail for r in results]]))
        """,
    )
    assert done.returncode == 0, done.stderr
    grown_mb, (count, regex, unique, lengths, query), details = json.loads(done.stdout)
    assert details == [""] * 5
    assert (count, unique, lengths) == (None, 0, 0)
    assert 900_000 < regex < 1_100_000
    assert 1_800_000 < query < 1_950_000
    assert grown_mb < 300


CROWD = """
table: crm.people
expectations:
  - expect_column_values_to_match_regex: {column: email, regex: '@'}
    on_fail: report
  - expect_column_values_to_match_regex: {column: email, regex: '@b'}
  - expect_column_values_to_not_match_regex: {column: id, regex: '7[0-3]$'}
"""


def test_five_million_failing_rows_stay_where_they_are(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "large.duckdb") as large:
        large.execute("create schema crm")
        large.execute("create table crm.people as select i::varchar as id, i || '!' as email from range(5000000) n(i)")
        large.execute("create table crm.few as from crm.people limit 1000")
        expected = large.scalar("select count(*) from crm.people where regexp_matches(id, '7[0-3]$')")
    (tmp_path / "suite.yml").write_text(CROWD, encoding="utf-8")
    done = ran(
        tmp_path,
        """
        import json, resource, sys
        from dataclasses import replace
        from pathlib import Path
        from flows import gate
        from flows.warehouse import Warehouse

        folder = Path(sys.argv[1])
        keys = {"crm.people": "id"}
        [suite] = gate.with_keys([gate.load_suite(folder / "suite.yml")], keys)
        reported, crowded, held = suite.expectations
        told = []
        with Warehouse.open(folder / "large.duckdb", memory="300MB", threads=2) as db:
            gate.check(replace(suite, table="few", expectations=(reported,)), db, run_id="r", stage="crm")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for chosen in ((reported, crowded), (reported, held), (reported, held)):
                report = gate.check(replace(suite, expectations=chosen), db, run_id="r", stage="crm")
                told.append([report.results[0].unexpected_rows, report.quarantine.refused, report.quarantine.held])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([grown // 1024, told]))
        """,
    )
    assert done.returncode == 0, done.stderr
    grown_mb, (crowded, first, second) = json.loads(done.stdout)
    assert expected == 200_000
    assert crowded == [5_000_000, 5_000_000, 0]
    assert first == second == [5_000_000, None, expected]
    assert grown_mb < 400


SILENT = """
    import atexit, logging, os, sys
    from pathlib import Path

    logging.basicConfig(level=logging.INFO)
    seen = []
    # Registered first, so run last: after what others send when a process ends.
    atexit.register(lambda: print(seen))

    def audit(event, arguments):
        if event in ("socket.connect", "socket.getaddrinfo", "os.mkdir", "tempfile.mkdtemp", "tempfile.mkstemp"):
            seen.append((event, str(arguments)))
        elif event == "open" and isinstance(arguments[2], int):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and arguments[0] != os.devnull:
                seen.append((event, str(arguments)))

    from flows.warehouse import Warehouse

    folder = Path(sys.argv[1])
    with Warehouse.open(folder / "small.duckdb") as warehouse:
        warehouse.execute(
            "create table raw.lines as select i as position, sha256(i::varchar) as a, a as b, a as c from range(9) n(i)"
        )
        sys.addaudithook(audit)
        from flows import gate

        gate.warm_up()
        report = gate.check(gate.load_suite(folder / "suite.yml"), warehouse, run_id="r", stage="raw")
    assert all(result.evaluated for result in report.results), report
"""


def test_nothing_is_sent_written_or_said(tmp_path: Path) -> None:
    (tmp_path / "suite.yml").write_text(SUITE, encoding="utf-8")
    # Even on a machine that is set up to send.
    done = ran(tmp_path, SILENT, GX_ANALYTICS_ENABLED="true")
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "[]")
    left = [path for name in ("home", "tmp", "work") for path in (tmp_path / name).rglob("*")]
    assert left == []


def test_dbt_runs_in_the_same_process_before_and_after(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "name: small\nversion: 1.0.0\nconfig-version: 2\nprofile: small\nflags: {send_anonymous_usage_stats: false}\n",
        encoding="utf-8",
    )
    path = tmp_path / "shared.duckdb"
    (project / "profiles.yml").write_text(
        f"small: {{target: t, outputs: {{t: {{type: duckdb, path: '{path}', schema: crm, threads: 4}}}}}}\n",
        encoding="utf-8",
    )
    (project / "models" / "accounts.sql").write_text(
        "{{ config(materialized='table') }} select kind, count(*) as lines from raw.lines group by kind",
        encoding="utf-8",
    )
    item = "expectations: [{expect_table_row_count_to_equal: {value: 3}}]\n"
    (tmp_path / "raw.yml").write_text("table: raw.lines\n" + item.replace("3", "30"), encoding="utf-8")
    (tmp_path / "crm.yml").write_text("table: crm.accounts\n" + item, encoding="utf-8")
    done = ran(
        tmp_path,
        """
        import sys
        from pathlib import Path
        from dbt.cli.main import dbtRunner
        from flows import gate
        from flows.warehouse import Warehouse

        folder = Path(sys.argv[1])
        project = folder / "project"
        with Warehouse.open(folder / "shared.duckdb") as warehouse:
            warehouse.execute("create table raw.lines as select 'k' || i % 3 as kind from range(30) as numbers (i)")
            for night in ("first", "second"):
                gate.verdict([gate.check(gate.load_suite(folder / "raw.yml"), warehouse, run_id=night, stage="raw")])
                built = dbtRunner().invoke(["--quiet", "run", f"--project-dir={project}", f"--profiles-dir={project}"])
                assert built.success, built
                gate.verdict([gate.check(gate.load_suite(folder / "crm.yml"), warehouse, run_id=night, stage="crm")])
            print(warehouse.execute("select run_id, stage, passed from quality.results order by all"))
        """,
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
    )
    assert done.returncode == 0, done.stderr
    nights = [(night, stage, True) for night in ("first", "second") for stage in ("crm", "raw")]
    assert done.stdout.strip() == repr(nights)
    assert done.stderr == ""
