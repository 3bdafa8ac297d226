"""The real invoices' known dirt, through the real extract and the real gate, counted again from the files themselves.

The second count reads the packed files as text, in a database of its own: it shares no table, no type and no
condition with what it checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from flows import extract, gate, project
from flows.warehouse import Warehouse, literal
from tests.conftest import PROJECT

SUITE = PROJECT / "expectations" / "raw" / "retail__invoice_lines.yml"
NOBODY = "coalesce(CustomerID, '') = ''"
LINE = "InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID"


@dataclass(frozen=True)
class Dirt:
    """One kind of dirt.

    Attributes:
        expectation: what is to find it.
        column: of which column.
        said: what tells it from the others on that column.
        sql: a condition over the files' columns, all of them text; ``line``: how often the line stands there.
    """

    expectation: str
    column: str
    said: str
    sql: str


KNOWN = {
    "lines without a customer": Dirt("expect_column_values_to_not_be_null", "CustomerID", "", NOBODY),
    "cancellations": Dirt("expect_column_values_to_not_match_regex", "InvoiceNo", "", "upper(InvoiceNo[1]) = 'C'"),
    "stock written off as a sale to nobody": Dirt(
        *("expect_column_values_to_be_between", "Quantity", '"CustomerID" is null'),
        f"Quantity[1] = '-' and upper(InvoiceNo[1]) <> 'C' and {NOBODY}",
    ),
    "tens of thousands of pieces": Dirt(
        *("expect_column_values_to_be_between", "Quantity", "max_value=10000"), "length(ltrim(Quantity, '-')) >= 5"
    ),
    "prices of zero or less": Dirt(
        *("expect_column_values_to_be_between", "UnitPrice", "strict_min=True, mostly=0.99"),
        "UnitPrice[1] = '-' or translate(UnitPrice, '0.', '') = ''",
    ),
    "gifts to customers": Dirt(
        *("expect_column_values_to_be_between", "UnitPrice", 'strict_min=True, where "CustomerID" is not null'),
        f"translate(UnitPrice, '0.', '') = '' and not {NOBODY}",
    ),
    "prices that no article has": Dirt(
        *("expect_column_values_to_be_between", "UnitPrice", "max_value=5000"), "UnitPrice::double > 5000"
    ),
    "countries that are none": Dirt(
        *("expect_column_values_to_not_be_in_set", "Country", ""), "Country similar to 'Unspecified|European .*'"
    ),
    "postage, fees and vouchers among the articles": Dirt(
        *("expect_column_values_to_match_regex", "StockCode", ""),
        "try_cast(StockCode[:5] as int) is null or length(StockCode) > 7",
    ),
    "lines without a description": Dirt(
        *("expect_column_values_to_not_be_null", "Description", ""), "coalesce(Description, '') = ''"
    ),
    "notes of the stockroom": Dirt(
        *("expect_column_values_to_match_regex", "Description", ""), "Description = lower(Description)"
    ),
    "lines that stand there twice": Dirt(
        *("expect_compound_columns_to_be_unique", LINE, ""), f"line > 1 and Description <> '' and not {NOBODY}"
    ),
}


class Files:
    """The packed files, read once more as text."""

    def __init__(self, db: Warehouse, files: list[Path]) -> None:
        listed = ", ".join(literal(str(file)) for file in files)
        self._db = db
        db.execute(
            f"create table lines as select *, count(*) over (partition by {LINE}) as line "
            f"from read_csv([{listed}], header = true, all_varchar = true, filename = 'file')"
        )

    def count(self, sql: str, day: str | None = None) -> int:
        """Lines for which a condition holds, of all days or of one."""
        of = f"contains(file, {literal(day)})" if day else "true"
        return int(self._db.scalar(f"select count(*) from lines where ({sql}) and {of}"))


@dataclass(frozen=True)
class Nights:
    """Two nights over the real files.

    Attributes:
        files: the files' own text.
        days: the trading days.
        first: what the gate said of all days but the last.
        last: what it said the night after, with the last day.
    """

    files: Files
    days: list[str]
    first: gate.GateReport
    last: gate.GateReport


@pytest.fixture(scope="module")
def nights(shared_data: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    files = sorted((shared_data / "data" / "online-retail" / "by-day").glob("*.csv.gz"))
    days = [file.name[:10] for file in files]
    home = tmp_path_factory.mktemp("dirt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_URL", "http://127.0.0.1:9")
        connections = project.load_connections(PROJECT / "profiles" / "connections.yml", "sandbox")
    declared = project.load(json.loads(manifest.read_text(encoding="utf-8")), connections)
    [till] = [source for source in declared.sources if source.table == SUITE.stem]
    till = replace(till, extract=till.extract.model_copy(update={"path": f"{files[0].parent}/*.csv.gz"}))
    with Warehouse.open(home / "night.duckdb") as db, Warehouse.open(home / "text.duckdb") as text:
        first = _night(db, till, "first", days[-2])
        db.execute("insert into ops.runs (run_id, target, started_at, state) values ('first', 't', now(), 'done')")
        last = _night(db, till, "last", days[-1])
        yield Nights(Files(text, files), days, first, last)


def _night(db: Warehouse, till: project.Source, run_id: str, day: str) -> gate.GateReport:
    extract.prepare([till], db)
    with db.cursor() as cursor:
        extract.extract(till, cursor, run_id=run_id, as_of=date.fromisoformat(day), project_dir=PROJECT)
    with db.cursor() as cursor:
        return gate.check(gate.load_suite(SUITE), cursor, run_id=run_id, stage="raw")


def found(report: gate.GateReport, dirt: Dirt) -> gate.ExpectationResult:
    """The one result that is to find some dirt."""
    [result] = [
        r
        for r in report.results
        if (r.expectation, r.column) == (dirt.expectation, dirt.column) and dirt.said in r.expected
    ]
    return result


@pytest.mark.parametrize("kind", KNOWN)
def test_the_gate_finds_what_the_files_say(nights: Nights, kind: str) -> None:
    dirt, newest = KNOWN[kind], nights.days[-1]
    before = nights.files.count(dirt.sql) - nights.files.count(dirt.sql, newest)
    assert before > 0, "the real files have it"
    assert found(nights.first, dirt).unexpected_rows == before
    # The night after is judged with the nights before it, or by itself where the suite says so.
    result = found(nights.last, dirt)
    judged = newest if "new rows only" in result.expected else None
    assert result.unexpected_rows == nights.files.count(dirt.sql, judged)


def test_no_other_dirt_is_counted_and_none_of_it_keeps_the_night_from_going_on(nights: Nights) -> None:
    for report in (nights.first, nights.last):
        gate.verdict([report])
        assert all(result.evaluated for result in report.results)
        known = {found(report, dirt).id for dirt in KNOWN.values()}
        assert len(known) == len(KNOWN)
        others = [result for result in report.results if result.row_level and result.id not in known]
        assert [str(result) for result in others if result.unexpected_rows] == []
        assert [str(result) for result in report.results if result.severity == "critical" and not result.passed] == []


def test_every_negative_quantity_is_a_cancellation_or_stock(nights: Nights) -> None:
    first = nights.first
    caught = sum(
        found(first, KNOWN[kind]).unexpected_rows or 0
        for kind in ("cancellations", "stock written off as a sale to nobody")
    )
    newest = nights.days[-1]
    negative = "Quantity[1] = '-' or Quantity = '0'"
    assert caught == nights.files.count(negative) - nights.files.count(negative, newest)
    of_customers = [r for r in first.results if r.column == "Quantity" and '"CustomerID" is not null' in r.expected]
    assert [(r.severity, r.unexpected_rows, r.evaluated_rows) for r in of_customers] == [
        (
            "critical",
            0,
            nights.files.count(f"upper(InvoiceNo[1]) <> 'C' and not {NOBODY}")
            - nights.files.count(f"upper(InvoiceNo[1]) <> 'C' and not {NOBODY}", newest),
        )
    ]


def test_every_line_of_the_files_was_judged(nights: Nights) -> None:
    whole = found(nights.last, KNOWN["prices of zero or less"])
    new = found(nights.last, KNOWN["lines without a customer"])
    assert (whole.evaluated_rows, new.evaluated_rows) == (
        nights.files.count("true"),
        nights.files.count("true", nights.days[-1]),
    )
    shares = [r for r in nights.first.results if r.expectation.startswith("expect_column_proportion_of_non_null")]
    before = nights.files.count("true") - nights.files.count("true", nights.days[-1])
    known = nights.files.count(f"not {NOBODY}") - nights.files.count(f"not {NOBODY}", nights.days[-1])
    assert [float(r.observed or 0) for r in shares] == [pytest.approx(known / before)]
