"""The shipped suites: real invoices pass what is critical, dirt is counted as SQL counts it, a bad night is found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import gate
from flows.errors import GateFailed
from flows.warehouse import Warehouse, literal
from tests.gate.conftest import SHIPPED

LINES = SHIPPED / "raw" / "retail__invoice_lines.yml"

COLUMNS = """
    InvoiceNo varchar, StockCode varchar, Description varchar, Quantity bigint, InvoiceDate timestamp,
    UnitPrice decimal(18, 4), CustomerID varchar, Country varchar,
    _extracted_at timestamp, _run_id varchar, _file varchar, _row bigint
"""


@pytest.fixture(scope="module")
def real_file(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All real days as one extracted table."""
    path = tmp_path_factory.mktemp("real") / "real.duckdb"
    files = literal(str(shared_data / "data" / "online-retail" / "by-day" / "*.csv.gz"))
    with Warehouse.open(path) as opened:
        opened.execute(f"create table raw.retail__invoice_lines ({COLUMNS})")
        opened.execute(
            f"""
            insert into raw.retail__invoice_lines
            select
                InvoiceNo, StockCode, Description, Quantity::bigint, InvoiceDate::timestamp, UnitPrice::decimal(18, 4),
                CustomerID, Country, now()::timestamp, 'real', filename, row_number() over (partition by filename)
            from read_csv({files}, all_varchar = true, filename = true)
            """
        )
    return path


@pytest.fixture
def real(real_file: Path, tmp_path: Path) -> Iterator[Warehouse]:
    shutil.copy(real_file, tmp_path / "real.duckdb")
    with Warehouse.open(tmp_path / "real.duckdb") as opened:
        yield opened


def judged(path: Path, warehouse: Warehouse) -> gate.GateReport:
    suite = gate.load_suite(path)
    # A query may read the other tables; a table that is not named could hold anything.
    pii = {each.name: each.pii for stage in ("raw", "crm") for each in gate.suites(SHIPPED / stage)}
    return gate.check(suite, warehouse, run_id="tonight", stage="raw" if suite.schema == "raw" else "crm", pii=pii)


# The line's expectation, its column, its `expected` where there are several -> the rows it calls dirt.
DIRT = {
    ("expect_column_values_to_not_be_null", "InvoiceNo", ""): "InvoiceNo is null",
    ("expect_column_values_to_match_regex", "InvoiceNo", ""): (
        "length(ltrim(InvoiceNo, 'CA')) <> 6 or try_cast(ltrim(InvoiceNo, 'CA') as int) is null"
    ),
    ("expect_column_values_to_not_match_regex", "InvoiceNo", ""): "InvoiceNo[1] = 'C'",
    ("expect_column_values_to_not_be_null", "InvoiceDate", ""): "InvoiceDate is null",
    ("expect_column_values_to_be_between", "InvoiceDate", ""): "year(InvoiceDate) not in (2010, 2011)",
    ("expect_column_pair_values_a_to_be_greater_than_b", "_extracted_at, InvoiceDate", ""): "InvoiceDate > now()",
    ("expect_column_values_to_not_be_null", "CustomerID", ""): "CustomerID is null",
    ("expect_column_values_to_match_regex", "CustomerID", ""): (
        "CustomerID is not null and coalesce(try_cast(CustomerID as double), 0) not between 10000 and 99999"
    ),
    ("expect_column_values_to_not_be_null", "Country", ""): "Country is null",
    ("expect_column_values_to_not_be_in_set", "Country", ""): ("Country in ('Unspecified', 'European Community')"),
    ("expect_column_values_to_not_be_null", "Quantity", ""): "Quantity is null",
    ("expect_column_values_to_be_between", "Quantity", "is not null"): (
        "InvoiceNo[1] <> 'C' and CustomerID is not null and Quantity <= 0"
    ),
    ("expect_column_values_to_be_between", "Quantity", "is null"): (
        "InvoiceNo[1] <> 'C' and CustomerID is null and Quantity <= 0"
    ),
    ("expect_column_values_to_be_between", "Quantity", "\" like 'C%'"): "InvoiceNo[1] = 'C' and Quantity >= 0",
    ("expect_column_values_to_be_between", "Quantity", "10000"): "abs(Quantity) > 10000",
    ("expect_column_values_to_not_be_null", "UnitPrice", ""): "UnitPrice is null",
    (
        "expect_column_values_to_be_between",
        "UnitPrice",
        "min_value=0, where",
    ): "CustomerID is not null and UnitPrice < 0",
    ("expect_column_values_to_be_between", "UnitPrice", "strict_min=True, mostly"): "UnitPrice <= 0",
    ("expect_column_values_to_be_between", "UnitPrice", "strict_min=True, where"): (
        "UnitPrice <= 0 and CustomerID is not null"
    ),
    ("expect_column_values_to_be_between", "UnitPrice", "5000"): "UnitPrice > 5000",
    ("expect_column_values_to_not_be_null", "StockCode", ""): "StockCode is null",
    ("expect_column_values_to_match_regex", "StockCode", ""): (
        "try_cast(left(StockCode, 5) as int) is null or length(StockCode) > 7"
    ),
    ("expect_column_values_to_not_be_null", "Description", ""): "Description is null",
    ("expect_column_values_to_match_regex", "Description", ""): "Description = lower(Description)",
    (
        "expect_compound_columns_to_be_unique",
        "InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID",
        "",
    ): """exists (
            -- A line that lacks its customer or its description equals no other.
            from raw.retail__invoice_lines as other
            where
                (other.InvoiceNo, other.StockCode, other.Quantity, other.InvoiceDate, other.UnitPrice)
                = (lines.InvoiceNo, lines.StockCode, lines.Quantity, lines.InvoiceDate, lines.UnitPrice)
                and other.Description = lines.Description
                and other.CustomerID = lines.CustomerID
                and (other._file, other._row) <> (lines._file, lines._row)
        )""",
}


def test_the_real_invoices_pass_what_is_critical_and_their_dirt_is_counted(real: Warehouse) -> None:
    report = judged(LINES, real)
    gate.verdict([report])
    assert [str(r) for r in report.results if r.severity == "critical" and not r.passed] == []
    rows = [r for r in report.results if r.row_level]
    counted = {}
    for result in rows:
        (condition,) = [
            sql
            for (name, column, said), sql in DIRT.items()
            if (name, column) == (result.expectation, result.column) and said in result.expected
        ]
        counted[condition] = result.unexpected_rows
        # GX's own word, not only ours: what it calls a failure is what SQL finds.
        expected = real.scalar(f"select count(*) from raw.retail__invoice_lines as lines where {condition}")
        assert result.unexpected_rows == expected, str(result)
    assert len(counted) == len(DIRT) == len(rows)
    assert sum(1 for count in counted.values() if count) >= 8, "the real files are dirty"
    share = next(r for r in report.results if r.expectation.startswith("expect_column_proportion"))
    assert float(share.observed or 0) == pytest.approx(
        real.scalar("select count(CustomerID) / count(*) from raw.retail__invoice_lines")
    )


# What becomes of the table -> the expectation and column that stop the night.
BROKEN_TABLES = {
    "delete from raw.retail__invoice_lines": ("expect_table_row_count_to_be_between", None),
    "alter table raw.retail__invoice_lines rename UnitPrice to Price": ("expect_table_columns_to_match_set", None),
    "update raw.retail__invoice_lines set CustomerID = null": (
        "expect_column_proportion_of_non_null_values_to_be_between",
        "CustomerID",
    ),
    """
    insert into raw.retail__invoice_lines
    select * replace ('copy of the day.csv' as _file)
    from raw.retail__invoice_lines
    where InvoiceDate::date = '2011-09-30'
    """: ("unexpected_rows_expectation", None),
    "drop table raw.retail__invoice_lines": ("expect_column_values_to_not_be_null", "InvoiceNo"),
}


@pytest.mark.parametrize("broken", BROKEN_TABLES)
def test_a_broken_table_stops_the_night(real: Warehouse, broken: str) -> None:
    real.execute(broken)
    report = judged(LINES, real)
    assert BROKEN_TABLES[broken] in {(result.expectation, result.column) for result in report.stops}
    with pytest.raises(GateFailed, match=BROKEN_TABLES[broken][0]):
        gate.verdict([report])


def test_one_bad_night_is_not_drowned_by_the_good_ones_before(real: Warehouse) -> None:
    real.execute("insert into ops.runs values ('real', 't', null, now(), now(), 'done', null, null, null)")
    real.execute(
        """
        insert into raw.retail__invoice_lines
        select * replace ('tonight' as _run_id, null as CustomerID, '6' || right(InvoiceNo, 5) as InvoiceNo)
        from raw.retail__invoice_lines
        limit 1000
        """
    )
    report = judged(LINES, real)
    assert [(r.expectation, r.observed) for r in report.stops] == [
        ("expect_column_proportion_of_non_null_values_to_be_between", "0")
    ]
    missing = next(r for r in report.results if r.column == "CustomerID" and "mostly=0.5" in r.expected)
    assert (missing.passed, missing.evaluated_rows, missing.unexpected_rows) == (False, 1000, 1000)


# A good row of each table, and what makes it a bad one: column value -> the expectation and column that say so.
GOOD = {
    "raw.retail__invoice_lines": (
        "select '536365' as InvoiceNo, '85123A' as StockCode, 'HOLDER' as Description, 6::bigint as Quantity, "
        "timestamp '2010-12-01 08:26' as InvoiceDate, 2.55::decimal(18, 4) as UnitPrice, '17850.0' as CustomerID, "
        "'United Kingdom' as Country, timestamp '2010-12-02' as _extracted_at, 'tonight' as _run_id, "
        "'a.csv' as _file"
    ),
    "raw.shop__customers": (
        "select '17850' as customer_id, 'Hat Ltd' as company, 'Ann Lee' as person, 'ann@example.com' as email, "
        "'+44 20 7946 0001' as phone, 'United Kingdom' as country, true as consent, "
        "timestamp '2010-12-01' as updated_at, timestamp '2010-12-02' as _extracted_at, 'tonight' as _run_id"
    ),
    "crm.crm_accounts": (
        "select '17850' as account_id, 'Hat Ltd' as name, 'United Kingdom' as country, "
        "date '2010-12-01' as first_order_date, date '2011-01-01' as last_order_date, 2::bigint as order_count, "
        "0::bigint as return_count, 120.50::decimal(14, 2) as lifetime_value, 'New' as segment, "
        "timestamp '2011-01-02' as changed_at"
    ),
    "crm.crm_contacts": (
        "select '17850' as contact_id, 'Ann' as first_name, 'Lee' as last_name, 'ann@example.com' as email, "
        "'+44 20 7946 0001' as phone, timestamp '2010-12-01' as consent_at, '17850' as account_id, "
        "timestamp '2010-12-02' as changed_at"
    ),
    "crm.crm_opportunities": (
        "select '536365' as opportunity_id, 'Invoice 536365' as name, 'Closed Won' as stage_name, "
        "date '2010-12-01' as close_date, 139.12::decimal(14, 2) as amount, 0::decimal(14, 2) as returned_amount, "
        "7::bigint as line_count, '17850' as account_id, timestamp '2010-12-02' as changed_at"
    ),
}
BAD = [
    ("raw.retail__invoice_lines", "InvoiceNo = null", "expect_column_values_to_not_be_null", "InvoiceNo"),
    ("raw.retail__invoice_lines", "InvoiceNo = 'X536365'", "expect_column_values_to_match_regex", "InvoiceNo"),
    ("raw.retail__invoice_lines", "InvoiceNo = 'C536365'", "expect_column_values_to_be_between", "Quantity"),
    ("raw.retail__invoice_lines", "Quantity = -6", "expect_column_values_to_be_between", "Quantity"),
    ("raw.retail__invoice_lines", "Quantity = null", "expect_column_values_to_not_be_null", "Quantity"),
    ("raw.retail__invoice_lines", "UnitPrice = -1", "expect_column_values_to_be_between", "UnitPrice"),
    ("raw.retail__invoice_lines", "UnitPrice = null", "expect_column_values_to_not_be_null", "UnitPrice"),
    ("raw.retail__invoice_lines", "CustomerID = '1785'", "expect_column_values_to_match_regex", "CustomerID"),
    ("raw.retail__invoice_lines", "InvoiceDate = null", "expect_column_values_to_not_be_null", "InvoiceDate"),
    (
        "raw.retail__invoice_lines",
        "InvoiceDate = timestamp '2010-12-03'",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "_extracted_at, InvoiceDate",
    ),
    (
        "raw.retail__invoice_lines",
        "InvoiceDate = timestamp '1910-12-01'",
        "expect_column_values_to_be_between",
        "InvoiceDate",
    ),
    ("raw.shop__customers", "customer_id = '17850.0'", "expect_column_values_to_match_regex", "customer_id"),
    ("raw.shop__customers", "email = 'ann at example.com'", "expect_column_values_to_match_regex", "email"),
    ("raw.shop__customers", "phone = 'ask Bob'", "expect_column_values_to_match_regex", "phone"),
    ("raw.shop__customers", "updated_at = null", "expect_column_values_to_not_be_null", "updated_at"),
    (
        "raw.shop__customers",
        "updated_at = timestamp '2010-12-03'",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "_extracted_at, updated_at",
    ),
    ("raw.shop__customers", "consent = null", "expect_column_proportion_of_non_null_values_to_be_between", "consent"),
    ("crm.crm_accounts", "account_id = '17850.0'", "expect_column_values_to_match_regex", "account_id"),
    ("crm.crm_accounts", "name = ''", "expect_column_value_lengths_to_be_between", "name"),
    (
        "crm.crm_accounts",
        "last_order_date = date '2010-11-01'",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "last_order_date, first_order_date",
    ),
    ("crm.crm_accounts", "lifetime_value = 2e6", "expect_column_values_to_be_between", "lifetime_value"),
    ("crm.crm_accounts", "country = null", "expect_column_proportion_of_non_null_values_to_be_between", "country"),
    ("crm.crm_contacts", "email = 'ann@example'", "expect_column_values_to_match_regex", "email"),
    ("crm.crm_contacts", "phone = 'ask Bob'", "expect_column_values_to_match_regex", "phone"),
    (
        "crm.crm_contacts",
        "consent_at = timestamp '2010-12-03'",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "changed_at, consent_at",
    ),
    ("crm.crm_opportunities", "opportunity_id = 'C536365'", "expect_column_values_to_match_regex", "opportunity_id"),
    ("crm.crm_opportunities", "amount = 0", "expect_column_values_to_be_between", "amount"),
    ("crm.crm_opportunities", "amount = 7e6", "expect_column_values_to_be_between", "amount"),
    ("crm.crm_opportunities", "amount = 1.39", "expect_column_mean_to_be_between", "amount"),
    ("crm.crm_opportunities", "returned_amount = 100", "unexpected_rows_expectation", None),
    (
        "crm.crm_opportunities",
        "close_date = date '2010-12-03'",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "changed_at, close_date",
    ),
]


@pytest.fixture
def good(warehouse: Warehouse) -> Warehouse:
    warehouse.execute("create schema crm")
    for table, row in GOOD.items():
        warehouse.execute(f"create table {table} as {row}")
    return warehouse


def path_of(table: str) -> Path:
    schema, name = table.split(".")
    return SHIPPED / schema / f"{name}.yml"


@pytest.mark.parametrize("table", GOOD)
def test_a_good_row_passes_everything(good: Warehouse, table: str) -> None:
    report = judged(path_of(table), good)
    assert [str(result) for result in report.results if not result.passed] == []
    assert report.table == table


@pytest.mark.parametrize(("table", "bad", "expectation", "column"), BAD)
def test_a_bad_row_is_named_by_the_expectation_that_is_there_for_it(
    good: Warehouse, table: str, bad: str, expectation: str, column: str | None
) -> None:
    good.execute(f"update {table} set {bad}")
    failed = [result for result in judged(path_of(table), good).results if not result.passed]
    assert (expectation, column) in {(result.expectation, result.column) for result in failed}
    assert all(result.evaluated for result in failed)


def test_accounts_that_were_lost_on_the_way_stop_the_night(good: Warehouse) -> None:
    lines = "raw.retail__invoice_lines"
    good.execute(f"insert into {lines} select * replace ('17851.0' as CustomerID) from {lines}")
    report = judged(path_of("crm.crm_accounts"), good)
    assert [result.samples for result in report.stops] == [("accounts=1, customers=2",)]
    with pytest.raises(GateFailed) as raised:
        gate.verdict([report])
    assert "Nothing was sent to the CRM" in raised.value.safe
