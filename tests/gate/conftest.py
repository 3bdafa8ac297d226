"""Suites written for one test, and the shipped ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from flows import gate
from flows.warehouse import Warehouse

SHIPPED = Path(__file__).resolve().parents[2] / "expectations"


@pytest.fixture
def suite(tmp_path: Path) -> Callable[[str], gate.Suite]:
    """Write the items of a suite over raw.lines and load it."""

    def load(expectations: str, head: str = "table: raw.lines") -> gate.Suite:
        path = tmp_path / "raw__lines.yml"
        path.write_text(f"{dedent(head)}\nexpectations:\n{dedent(expectations)}", encoding="utf-8")
        return gate.load_suite(path)

    return load


@pytest.fixture
def lines(warehouse: Warehouse) -> Warehouse:
    """A warehouse whose raw.lines holds 1,000 rows of two runs, with dirt of known kinds."""
    warehouse.execute(
        """
        create table raw.lines as
        select
            i::varchar as number,
            i as position,
            case when i % 10 = 0 then null else 'k' || i % 3 end as kind,
            (i * 1.5 - 3)::decimal(18, 4) as "Price",
            timestamp '2020-01-01 10:30:00' + to_days(i::int % 100) as sold_at,
            'p' || i || case when i % 50 = 0 then '' else '@example.com' end as email,
            case i % 7 when 0 then null when 1 then 'some day' else strftime(sold_at, '%d.%m.%Y') end as day,
            case i % 9 when 2 then '{n: ' when 3 then '[9]' else format('{{"n": {}}}', i) end as paper,
            case when i < 900 then 'monday' else 'tuesday' end as _run_id
        from range(1000) as numbers (i)
        """
    )
    return warehouse


@pytest.fixture
def judge(lines: Warehouse, suite: Callable[[str], gate.Suite]) -> Callable[..., gate.GateReport]:
    """Judge items of a suite over raw.lines."""

    def check(expectations: str, head: str = "table: raw.lines", **arguments: object) -> gate.GateReport:
        return gate.check(suite(expectations, head), lines, run_id="tuesday", stage="raw", **arguments)

    return check
