"""The history for analysts: its sources are the flow's own tables, and the how-to's questions get their answers."""

# ruff: noqa: DTZ001 -- DuckDB's TIMESTAMP has no zone

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from flows.summary import to_json
from flows.warehouse import Warehouse
from tests.conftest import PROJECT
from tests.dbt.conftest import Built
from tests.docs.documents import blocks
from tests.report.example import good, troubled

FOLDER = PROJECT / "dbt_project" / "models" / "nightshift"
HOW_TO = (PROJECT / "docs" / "how-to" / "ask-the-history.md").read_text(encoding="utf-8")
FIRST_VERSION = """
create schema quality;
create schema sync;
create table quality.results (
    run_id varchar not null, stage varchar not null, table_name varchar not null, expectation varchar not null,
    column_name varchar, severity varchar not null, passed boolean not null, row_level boolean not null,
    observed varchar, evaluated_rows bigint, unexpected_rows bigint, detail varchar, checked_at timestamp not null);
create table sync.changes (
    run_id varchar not null, sync varchar not null, external_id varchar not null, operation varchar not null,
    field varchar, before varchar, after varchar, outcome varchar not null, changed_at timestamp not null);
create table sync.rejections (
    sync varchar not null, external_id varchar not null, operation varchar not null, code varchar not null,
    message varchar not null, fields varchar[], attempts integer not null, first_seen_at timestamp not null,
    last_seen_at timestamp not null, last_run_id varchar not null, closed_at timestamp,
    primary key (sync, external_id));
create table sync.plans (
    run_id varchar primary key, hash varchar not null, planned_at timestamp not null, held varchar[],
    merged_at timestamp);
insert into sync.plans values ('r0', 'x', now(), [], null);
"""
"""What version 0.1.0 made, as far as it has changed since."""
TUESDAY = datetime(2026, 11, 24, 2)


def _declared() -> dict[str, list[tuple[str, str]]]:
    document = yaml.safe_load((FOLDER / "_nightshift__sources.yml").read_text(encoding="utf-8"))
    return {
        f"{source['schema']}.{table['name']}": [(c["name"], c["data_type"].upper()) for c in table["columns"]]
        for source in document["sources"]
        for table in source["tables"]
    }


@pytest.fixture
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """The flow's own tables, as they are made when a warehouse is opened."""
    with duckdb.connect() as connection:
        connection.execute((PROJECT / "flows" / "schema.sql").read_text(encoding="utf-8"))
        yield connection


def test_every_table_of_the_flow_is_a_source_with_every_column(tables: duckdb.DuckDBPyConnection) -> None:
    made = tables.execute(
        "select schema_name || '.' || table_name, list((column_name, data_type) order by column_index) "
        "from duckdb_columns() where not internal group by all"
    ).fetchall()
    assert made
    assert {name: sorted(columns) for name, columns in made} == {n: sorted(c) for n, c in _declared().items()}


def test_a_warehouse_of_the_first_version_gets_the_columns_that_it_lacks(
    tmp_path: Path, tables: duckdb.DuckDBPyConnection
) -> None:
    path = tmp_path / "nightshift.duckdb"
    with duckdb.connect(str(path)) as old:
        old.execute(FIRST_VERSION)
    columns = "select table_name, list((column_name, data_type) order by column_name) from duckdb_columns() "
    columns += "where not internal group by all order by all"

    with Warehouse.open(path) as db:
        assert db.execute(columns) == tables.execute(columns).fetchall()
        assert db.execute("select run_id, kind, state from sync.plans") == [("r0", "night", "pushed")]


@pytest.fixture
def asked(built: Built) -> Built:
    """A warehouse with two nights behind it, and the three views."""
    held = [
        ("r1", TUESDAY, good()),
        ("r2", TUESDAY + timedelta(days=1), troubled()),
    ]
    for run_id, started, summary in held:
        built.connection.execute(
            "insert into ops.runs (run_id, target, started_at, state, summary) values (?, 'prod', ?, 'done', ?)",
            (run_id, started, json.dumps(to_json(summary))),
        )
        built.connection.execute(
            "insert into sync.plans by name select $1 as run_id, 'x' as hash, $2 as planned_at, 'night' as kind, "
            "'pushed' as state, case when run_id = 'r2' then 'anna' end as decided_by, $2 as decided_at",
            (run_id, started),
        )
        change = (run_id, "crm_accounts", "12349", "update", "Segment__c", started.replace(minute=5))
        built.connection.execute(
            "insert into sync.changes by name select $1 as run_id, $2 as sync, $3 as external_id, $4 as operation, "
            "$5 as field, 'New' as before, 'Loyal' as after, 'applied' as outcome, $6 as changed_at",
            change,
        )
    for number, days, closed in (("1", 9, False), ("2", 30, False), ("3", 40, True)):
        seen = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
        built.connection.execute(
            "insert into sync.rejections by name select 'crm_contacts' as sync, $1 as external_id, 'update' as "
            "operation, 'INVALID_EMAIL_ADDRESS' as code, 'no' as message, ['Email'] as fields, "
            "map {'Email': '•••'} as sent, $2 as attempts, $3 as first_seen_at, $3 as last_seen_at, 'r2' as "
            "last_run_id, case when $4 then $3 end as closed_at",
            (number, days, seen, closed),
        )
    built.dbt("build", "--select", "path:models/nightshift", "--exclude-resource-type", "unit_test")
    return built


def _question(heading: str) -> str:
    [section] = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", HOW_TO, re.MULTILINE | re.DOTALL)
    [sql] = [block.text for block in blocks(section) if block.language == "sql"]
    return sql


def test_the_questions_of_the_how_to_are_answered(asked: Built) -> None:
    def ask(heading: str) -> list[tuple[Any, ...]]:
        return asked.sql(_question(heading))

    assert ask("Who changed this account's segment, and when?") == [
        (TUESDAY.replace(minute=5), "r1", "night", None, "New", "Loyal", "applied"),
        (TUESDAY.replace(day=25, minute=5), "r2", "night", "anna", "New", "Loyal", "applied"),
    ]
    assert [row[:4] for row in ask("Who approved what?")] == [
        (TUESDAY + timedelta(days=1), "r2", "pushed", "anna"),
    ]
    assert [(row[1], row[4], row[-2:]) for row in ask("Which records are refused longest?")] == [
        ("2", {"Email": "•••"}, (30, 30)),
        ("1", {"Email": "•••"}, (9, 9)),
    ]
    assert ask("What did Tuesday's run change?") == [("crm_accounts", "update", "Segment__c", 1)]


def test_a_runs_counts_are_those_of_its_summary(asked: Built) -> None:
    counts = ("creates", "updates", "archives", "applied", "rejected", "unknown", "reconciled", "mismatched")

    found = asked.sql(f"select {', '.join(counts)}, left_for_next_run, requests from history.runs order by run_id")

    assert found == [
        (*(night.total(count) for count in counts), night.total("left"), night.requests)
        for night in (good(), troubled())
    ]
    [(usual, most, _)] = asked.sql(
        _question("How many changes does a usual night have?").replace("now()", "timestamptz '2026-11-30'")
    )
    assert (usual, most) == (226, 226)
