"""What a query may show: nothing of a table with a personal column, whichever it reads, but keys that are keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import gate
from flows.gate.reading import tables_of
from flows.records import MASK
from flows.warehouse import Warehouse

PERSONAL = {"crm.people": ["email"], "crm.shops": ["email"], "crm.places": ["email"], "crm.seen": []}
KEYS = {"crm.shops": "shop_id"}


@pytest.fixture
def shops(warehouse: Warehouse) -> Warehouse:
    """crm.shops without a personal column, though it could have one; crm.people and views with one."""
    warehouse.execute(
        """
        create schema crm;
        create table crm.people as select i::varchar as shop_id, 'who' || i || '@secret.example' as email
        from range(3) as numbers (i);
        create table crm.shops as select i::varchar as shop_id, 'shop ' || i as name from range(3) as numbers (i);
        create table crm.places as select i::varchar as shop_id, 'place ' || i as place from range(3) as numbers (i);
        create view crm.seen as select * from crm.people;
        create view crm.unheard as select * from crm.people;
        create macro crm.mail(id) as (select max(email) from crm.people where shop_id = id);
        """
    )
    return warehouse


def judged(db: Warehouse, folder: Path, query: str, more: str = "", table: str = "crm.shops", **how: Any) -> Any:
    path = folder / "suite.yml"
    path.write_text(
        f"table: {table}\nexpectations:\n  - unexpected_rows_expectation:\n      unexpected_rows_query: >\n"
        f"        {query}\n{more}"
    )
    [suite] = gate.with_keys([gate.load_suite(path)], KEYS)
    return gate.check(suite, db, run_id="r", stage="crm", **{"pii": PERSONAL, **how})


PRIVATE = [
    "select s.shop_id, c.email as who from {batch} s join crm.people c using (shop_id)",
    'select s.shop_id, c.email as who from {batch} s join "CRM"."People" c using (shop_id)',
    "with c as (select * from crm.people) select s.shop_id, c.email as who from {batch} s join c using (shop_id)",
    "select shop_id, (select max(email) from crm.people) as who from {batch}",
    "select shop_id, name from {batch} union all select shop_id, email from crm.people",
    "select s.shop_id, c.email as who from {batch} s join crm.unheard c using (shop_id)",
    "select s.shop_id, c.email as who from {batch} s join query_table('crm.people') c using (shop_id)",
    "select shop_id, crm.mail(shop_id) as who from {batch}",
    "select s.shop_id, c.max as who from {batch} s, (summarize crm.people) c where c.column_name = 'email'",
    "select * from (pivot crm.people on shop_id using max(email)), (select shop_id from {batch} limit 1)",
]


@pytest.mark.parametrize("query", PRIVATE)
def test_what_another_table_has_of_people_is_not_shown(shops: Warehouse, tmp_path: Path, query: str) -> None:
    report = judged(shops, tmp_path, query)
    [result] = report.results
    assert not result.passed
    assert result.evaluated, result
    kept = repr((report, shops.execute("select * from quality.results")))
    assert "secret" not in kept
    assert "place" not in kept
    assert set(result.samples) <= {f"shop_id={i}" for i in range(3)}
    assert result.samples, "but its key is"


@pytest.mark.parametrize("query", PRIVATE[:2])
def test_nor_is_it_kept_with_a_row_that_is_held(shops: Warehouse, tmp_path: Path, query: str) -> None:
    report = judged(shops, tmp_path, query, "    on_fail: quarantine\n")
    held = shops.execute("select key, value from quality.quarantine order by key")
    assert held == [(str(i), f"{MASK}") for i in range(3)]
    assert "secret" not in repr(report)
    assert report.results[0].samples == ("shop_id=0", "shop_id=1", "shop_id=2")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("select shop_id, name from {batch}", "shop_id=0, name=shop 0"),
        # It may have a personal column, by what dbt says of its relatives, and has none.
        ("select b.shop_id, place from {batch} b join crm.places using (shop_id)", "shop_id=0, place=place 0"),
        ("with b as (from {batch}) select b.name, n from b, range(1) as t (n)", "name=shop 0, n=0"),
        ("select name, v from {batch}, (values (7)) as t (v), unnest([1]) as u (w)", "name=shop 0, v=7"),
        ("from {batch} b semi join sync.changes c on b.shop_id <> c.external_id or true", None),
    ],
)
def test_what_no_table_of_a_query_has_of_people_is_shown(
    shops: Warehouse, tmp_path: Path, query: str, shown: str | None
) -> None:
    [result] = judged(shops, tmp_path, query).results
    assert shown is None or shown in result.samples


def test_a_key_is_shown_only_where_it_is_one(shops: Warehouse, tmp_path: Path) -> None:
    query = "select c.email as shop_id, 1 as one from {batch} s join crm.people c using (shop_id)"
    report = judged(shops, tmp_path, query)
    assert "secret" not in repr(report)
    assert report.results[0].samples == ()
    own = judged(shops, tmp_path, "select SHOP_ID as Shop_Id, name from {batch}", pii={"crm.shops": ["name"]})
    assert own.results[0].samples == ("Shop_Id=0", "Shop_Id=1", "Shop_Id=2")


def test_an_error_may_quote_what_another_table_has(shops: Warehouse, tmp_path: Path) -> None:
    query = "select s.shop_id from {batch} s join crm.people c using (shop_id) where c.email::int > 0"
    [result] = judged(shops, tmp_path, query).results
    assert "its text is left out" in result.detail
    rows = "    row_condition: shop_id in (select shop_id from crm.people where email::int > 0)\n"
    [result] = judged(shops, tmp_path, "select 1 from {batch}", rows).results
    assert "its text is left out" in result.detail


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("select 1 from judged_rows", set()),
        ("from a.b join A.c using (x)", {"a.b", "a.c"}),
        ("with b as (select * from a.b) from b", {"a.b"}),
        ("from b", None),
        ("from 'some.csv'", None),
        ("from read_csv('some.csv')", None),
        ("from nowhere.a.b", None),
        ("pivot a.b on x", None),
        ("select is no sql", None),
    ],
)
def test_the_tables_of_a_query(warehouse: Warehouse, sql: str, found: set[str] | None) -> None:
    assert tables_of(sql, warehouse, own="judged_rows") == found
