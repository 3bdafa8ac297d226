"""A home whose warehouse holds small models, and the command over it; dbt's manifest is parsed once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.capture import CaptureFixture

from flows import cli
from flows.quality import stated
from flows.settings import Settings
from flows.warehouse import Warehouse
from tests.conftest import PROJECT

MODELS = """
    create schema crm;
    create table crm.crm_accounts as
    select
        (12346 + i)::varchar as account_id, 'Shop ' || i as name,
        case i when 3 then '=HYPERLINK("x")' when 4 then null else 'France' end as country,
        date '2010-12-01' as first_order_date, date '2010-12-01' + i::int as last_order_date, i as order_count,
        0::bigint as return_count, (i * 10.25)::decimal(14, 2) as lifetime_value, 'New' as segment,
        timestamp '2026-01-02 03:04:05' as changed_at
    from range(10) as numbers (i);
    create table crm.crm_contacts as
    select
        account_id as contact_id, 'Ann' as first_name, 'Secretperson' as last_name,
        'ann' || account_id || '@secret.example' as email, '+44 1234 567890' as phone,
        timestamp '2026-01-01 00:00:00' as consent_at, account_id, changed_at
    from crm.crm_accounts;
    create table crm.crm_opportunities as
    select
        (500000 + i)::varchar as opportunity_id, 'Invoice' as name, 'Closed Won' as stage_name,
        null::varchar as deal_stage,
        date '2010-12-01' as close_date, 1::decimal(14, 2) as amount, 0::decimal(14, 2) as returned_amount,
        1::bigint as line_count, '12346' as account_id, timestamp '2026-01-02 03:04:05' as changed_at
    from range(30) as numbers (i);
    create table sync.ledger__crm_accounts as
    select account_id as _external_id, '001' as _crm_id from crm.crm_accounts where account_id > '12347';
    insert into quality.results (run_id, stage, table_name, expectation, severity, passed, row_level, checked_at,
        expectation_id, owner)
    select
        'r' || day, 'crm', 'crm.crm_accounts', 'in_set', 'critical', false, true, make_timestamp(2026, 1, day, 2, 0, 0),
        'set', ['old@x.example', 'new@x.example'][day]
    from range(1, 3) as days (day);
"""


@dataclass
class Told:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Home:
    """A home, and the checkout or a copy of it."""

    folder: Path
    project: Path = PROJECT
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(self.project, self.folder, "sandbox")

    def command(self, capfd: CaptureFixture[str], *words: str) -> Told:
        """Run a command in this process, as the console script does."""
        before, argv = dict(os.environ), sys.argv
        sys.argv = ["nightshift", *words]
        os.environ.update(NIGHTSHIFT_HOME=str(self.folder), NIGHTSHIFT_PROJECT=str(self.project), COLUMNS="120")
        os.environ.update(self.variables)
        capfd.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(before)
        out, err = capfd.readouterr()
        return Told(int(code or 0), out, err)

    def ask(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with Warehouse.open(self.settings.warehouse) as db:
            return db.execute(sql, parameters)

    def hold(self, *keys: str, table: str = "crm.crm_accounts", **more: object) -> None:
        """Put rows into quarantine, as the gate does."""
        told: Mapping[str, object] = {
            **{"expectation_id": "set", "expectation": "in_set", "column_name": "country", "value": "Narnia"},
            **{"fingerprint": "f", "severity": "critical", "detail": "Real countries only.", "since_run_id": "r1"},
            **{"last_run_id": "r2", "since_at": "2026-01-01 02:00:00", **more},
        }
        into = f"quality.quarantine (table_name, key, {', '.join(told)})"
        with Warehouse.open(self.settings.warehouse) as db:
            for key in keys:
                db.execute(
                    f"insert into {into} values (?, ?, {', '.join('?' * len(told))})", (table, key, *told.values())
                )


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped project's manifest."""
    settings = Settings(PROJECT, tmp_path_factory.mktemp("parsed"), "sandbox")
    stated.manifest(settings)
    return settings.dbt_target / "manifest.json"


@pytest.fixture
def tables(manifest: Path) -> dict[str, stated.Table]:
    """What the shipped dbt project states."""
    return stated.tables(json.loads(manifest.read_text(encoding="utf-8")))


@pytest.fixture
def home(tmp_path: Path, manifest: Path) -> Home:
    """A home whose models are built and whose quarantine is empty."""
    home = Home(tmp_path / "home")
    home.settings.dbt_target.mkdir(parents=True)
    shutil.copy(manifest, home.settings.dbt_target / "manifest.json")  # newer than all of the project
    with Warehouse.open(home.settings.warehouse) as db:
        db.execute(MODELS)
    return home


@pytest.fixture
def project(home: Home, tmp_path: Path) -> Path:
    """A copy of the project that the test may edit; the home works in it."""
    home.project = tmp_path / "project"
    for part in ("dbt_project", "profiles", "expectations"):
        ignored = shutil.ignore_patterns("target", "logs", ".user.yml")
        shutil.copytree(PROJECT / part, home.project / part, ignore=ignored)
    (home.settings.dbt_target / "manifest.json").touch()
    return home.project
