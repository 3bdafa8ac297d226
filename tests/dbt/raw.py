"""Raw tables as the extract stage leaves them, filled by plain SQL, and the inputs to fill them with.

Times are naive: DuckDB's TIMESTAMP has no zone, and the till's clock does not say its own.
"""

# ruff: noqa: DTZ001

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb

HEADER = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]

TABLES = """
create schema raw;
create table raw.retail__invoice_lines (
    InvoiceNo varchar, StockCode varchar, Description varchar, Quantity bigint, InvoiceDate timestamp,
    UnitPrice decimal(18, 4), CustomerID varchar, Country varchar,
    _extracted_at timestamp, _run_id varchar, _file varchar, _row bigint);
create table raw.shop__customers (
    customer_id varchar primary key, company varchar, person varchar, email varchar, phone varchar, country varchar,
    consent boolean, updated_at timestamp, _extracted_at timestamp, _run_id varchar, _page varchar);
"""


@dataclass(frozen=True, slots=True)
class Person:
    """One customer as the web shop's API serves it."""

    customer_id: str
    company: str | None
    person: str | None
    email: str | None
    phone: str | None
    consent: bool | None
    updated_at: datetime


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the empty raw tables."""
    connection.execute(TABLES)


def load_file(connection: duckdb.DuckDBPyConnection, file: Path, extracted_at: datetime) -> None:
    """Append one file of invoice lines."""
    connection.execute(
        """
        insert into raw.retail__invoice_lines
        select InvoiceNo, StockCode, Description, Quantity::bigint, InvoiceDate::timestamp,
               UnitPrice::decimal(18, 4), CustomerID, Country, $at, 'run', $file, row_number() over ()
        from read_csv($path, all_varchar = true, header = true)
        """,
        {"at": extracted_at, "file": file.name, "path": str(file)},
    )


def load_people(connection: duckdb.DuckDBPyConnection, people: Iterable[Person], extracted_at: datetime) -> None:
    """Merge customers, the latest state wins."""
    connection.execute(
        """
        insert or replace into raw.shop__customers
        select p.customer_id, p.company, p.person, p.email, p.phone, 'anywhere', p.consent, p.updated_at,
               $at, 'run', 'page 1'
        from (
            select unnest($people::struct(
                customer_id varchar, company varchar, person varchar, email varchar, phone varchar,
                consent boolean, updated_at timestamp)[]) as p
        )
        """,
        {"at": extracted_at, "people": [asdict(person) for person in people]},
    )


def read_file(file: Path) -> Iterator[dict[str, str]]:
    """The rows of one file, by Python alone."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def people_of(files: Iterable[Path], night: int) -> list[Person]:
    """What the shop says about the customers of these files on a night, each night a little different."""
    ids = sorted({int(float(row["CustomerID"])) for file in files for row in read_file(file) if row["CustomerID"]})
    return [_person(number, night) for number in ids]


def _person(number: int, night: int) -> Person:
    consent: bool | None = None if number % 11 == 0 else number % 4 != 0
    changed = 0
    if number % 5 == 0 and night >= 3:  # withdrawn, and given again two nights later by some
        consent, changed = number % 10 == 0 and night >= 5, 5 if night >= 5 else 3
    moved = number % 6 == 1 and night >= 2
    return Person(
        customer_id=str(number),
        company=None if number % 7 == 0 else f" Company {number}{' & Sons' if moved else ''} ",
        person=None if number % 13 == 0 else "Madonna" if number % 17 == 0 else f"Ann B. Number{number}",
        email=f"P{number}@Example.com " if number % 3 else "",
        phone=f"+44 {number}",
        consent=consent,
        updated_at=datetime(2010, 11, 30) + timedelta(days=max(changed, 2 if moved else 0)),
    )


def generate(folder: Path, days: int, seed: int) -> list[Path]:
    """Files of few customers, articles and minutes, so that every tie and every overlap occurs often."""
    chance = random.Random(seed)
    number, files = 1000, []
    for day in range(days):
        rows = []
        for _ in range(40):
            number += 1
            cancels = chance.random() < 0.35
            who = chance.choice(["", *(f"{n}.0" for n in range(101, 113))])
            minute = datetime(2011, 3, 1) + timedelta(days=day, hours=9, minutes=chance.randrange(0, 60, 15))
            for _ in range(chance.randint(1, 4)):
                code = chance.choice(["22423", "85123A", "85123a", "POST", "M", "D"])
                quantity = chance.randint(1, 6) * (-1 if cancels else 1)
                price = chance.choice(["0", "0.005", "2.55", "3.755", "10"])
                country = chance.choice(["EIRE", " United Kingdom ", "Unspecified", "RSA", "France", ""])
                name = f"{'C' if cancels else ''}{number}"
                rows.append([name, code, "ARTICLE", str(quantity), f"{minute}", price, who, country])
        rows.append(rows[0])  # a repeated line is a line of its own
        files.append(write_file(folder, date(2011, 3, 1) + timedelta(days=day), rows))
    return files


def write_file(folder: Path, day: date, rows: list[list[str]]) -> Path:
    """Write one day's file."""
    file = folder / f"{day}.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([HEADER, *rows])
    return file
