"""The staging sources: invoice files like the real ones, and a shop that knows their customers."""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.extract import extract, prepare
from flows.project import FilesExtract, RestExtract, Source
from flows.sandbox.server import SandboxConfig, start
from flows.sandbox.sources import invoices, shop
from flows.warehouse import Warehouse


def lines(folder: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path, "rt", newline="") as file:
            found += [{**row, "day": path.name[:10]} for row in csv.DictReader(file)]
    return found


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retail")
    invoices.generate(folder)
    return folder


@pytest.fixture(scope="module")
def shop_url(retail: Path) -> Iterator[str]:
    running = start(SandboxConfig(retail_files=str(retail / "*.csv.gz")))
    yield f"{running.base_url}/shop"
    running.stop()


def test_the_same_arguments_write_the_same_bytes(retail: Path, tmp_path: Path) -> None:
    again = invoices.generate(tmp_path, days=12)
    assert [path.read_bytes() for path in again] == [(retail / path.name).read_bytes() for path in again]
    other = invoices.generate(tmp_path / "other", days=1, seed=8)
    assert other[0].read_bytes() != again[0].read_bytes()


def test_right_files_are_left_alone_and_wrong_ones_are_mended(tmp_path: Path) -> None:
    first, second, third = invoices.generate(tmp_path, days=3)
    good = first.read_bytes()
    os.utime(first, (1, 1))
    second.write_bytes(good)
    third.write_bytes(good[:50])
    invoices.generate(tmp_path, days=3)
    assert first.stat().st_mtime == 1
    assert second.read_bytes() != good
    assert gzip.decompress(third.read_bytes()).startswith(b"InvoiceNo,")
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"2010-12-{day:02}.csv.gz" for day in (1, 2, 3)]


def test_saturdays_have_no_file(retail: Path) -> None:
    days = [date.fromisoformat(path.name[:10]) for path in sorted(retail.iterdir())]
    assert len(days) == 30
    assert {day.weekday() for day in days} == {0, 1, 2, 3, 4, 6}


def test_they_have_the_shape_and_the_dirt_of_the_real_ones(retail: Path) -> None:
    rows = lines(retail)
    assert max(Counter(row["day"] for row in rows).values()) <= 1000
    assert all(row["InvoiceDate"].startswith(row["day"] + " ") for row in rows)
    assert all(row["CustomerID"] == "" or row["CustomerID"].endswith(".0") for row in rows)
    returned = [row for row in rows if row["InvoiceNo"].startswith("C")]
    assert returned
    assert all(int(row["Quantity"]) < 0 for row in returned)
    assert any(int(row["Quantity"]) < 0 and not row["InvoiceNo"].startswith("C") for row in rows)
    assert any(float(row["UnitPrice"]) == 0 and row["CustomerID"] for row in rows)
    assert any(row["CustomerID"] == "" for row in rows)
    assert any(row["Description"].endswith(" ") for row in rows)
    assert {"EIRE", "RSA", "Unspecified"} <= {row["Country"] for row in rows}
    assert {"POST", "M", "D"} <= {row["StockCode"] for row in rows}
    assert max(Counter(tuple(row.values()) for row in rows).values()) > 1
    sold = {(row["CustomerID"], row["StockCode"]) for row in rows if not row["InvoiceNo"].startswith("C")}
    assert all((row["CustomerID"], row["StockCode"]) in sold for row in returned if row["StockCode"] != "D")


def test_the_header_is_the_real_one(retail: Path, shared_data: Path) -> None:
    real = shared_data / "data" / "online-retail" / "by-day" / "2010-12-01.csv.gz"
    ours = retail / "2010-12-01.csv.gz"
    first = [gzip.decompress(path.read_bytes()).splitlines()[0] for path in (ours, real)]
    assert first[0] == first[1]


def every(url: str, limit: int = 50, **query: str) -> list[dict[str, Any]]:
    """All pages of the shop."""
    found: list[dict[str, Any]] = []
    token: str | None = ""
    while token is not None:
        page = httpx.get(f"{url}/customers", params={"limit": str(limit), "page": token, **query}).json()
        assert len(page["items"]) <= limit
        found += page["items"]
        token = page["next"]
    return found


def test_every_customer_of_the_files_is_in_the_shop_once(retail: Path, shop_url: str) -> None:
    found = every(shop_url)
    assert found == every(shop_url, limit=5000)
    assert found == sorted(found, key=lambda one: (one["updated_at"], one["customer_id"]))
    wanted = {row["CustomerID"].removesuffix(".0") for row in lines(retail)} - {""}
    assert sorted(one["customer_id"] for one in found) == sorted(wanted)
    assert set(found[0]) == {
        "customer_id", "company", "person", "email", "phone", "country", "consent", "updated_at",
    }  # fmt: skip


def test_a_customer_is_known_from_its_first_invoice_on(retail: Path, shop_url: str) -> None:
    first: dict[str, tuple[str, str]] = {}
    for row in lines(retail):
        if number := row["CustomerID"].removesuffix(".0"):
            first[number] = min(first.get(number, ("9", "")), (row["InvoiceDate"], row["Country"]))
    at_first = every(shop_url, updated_until="2010-12-02T23:59:59Z")
    assert {one["customer_id"] for one in at_first} == {n for n, (at, _) in first.items() if at < "2010-12-03"}
    for one in at_first:
        at, country = first[one["customer_id"]]
        assert one["country"] == country
        assert one["updated_at"] >= at.replace(" ", "T")


def test_some_customers_have_a_second_version(shop_url: str) -> None:
    now = {one["customer_id"]: one for one in every(shop_url)}
    since: dict[str, dict[str, Any]] = {}
    for day in range(1, 32):
        for one in every(shop_url, updated_until=f"2010-12-{day:02}T23:59:59Z"):
            since.setdefault(one["customer_id"], one)
    changed = {number for number, one in since.items() if one != now[number]}
    assert 0.02 < len(changed) / len(now) < 0.12
    assert any(since[number]["consent"] and not now[number]["consent"] for number in changed)
    assert any(since[number]["email"] != now[number]["email"] for number in changed)


def test_bounds_are_inclusive(shop_url: str) -> None:
    one = every(shop_url)[10]
    exactly = every(shop_url, updated_since=one["updated_at"], updated_until=one["updated_at"])
    assert one in exactly
    assert {other["updated_at"] for other in exactly} == {one["updated_at"]}


def test_odd_people_occur() -> None:
    at = datetime(2010, 12, 1, tzinfo=UTC)
    people = [shop.versions(str(number), at, "United Kingdom")[0] for number in range(12_346, 14_000)]
    assert any(not one.consent for one in people)
    assert sum(one.consent for one in people) > 0.85 * len(people)
    assert any(one.phone is None for one in people)
    assert any(one.email.isupper() for one in people)
    assert any(not one.person.isascii() for one in people)
    assert any("'" in one.person or '"' in one.person for one in people)
    assert any(" " not in one.person for one in people)
    assert any("," in one.company for one in people)
    assert any('"' in one.company for one in people)
    assert all(one.email.isascii() and " " not in one.email and one.email.count("@") == 1 for one in people)
    assert len({one.email.lower() for one in people}) == len(people)


def test_a_new_file_brings_new_customers_and_leaves_the_others(tmp_path: Path) -> None:
    invoices.generate(tmp_path, days=1)
    config = SandboxConfig(retail_files=str(tmp_path / "*.csv.gz"))
    running = start(config)
    try:
        before = every(f"{running.base_url}/shop")
        invoices.generate(tmp_path, days=5)
        after = every(f"{running.base_url}/shop")
    finally:
        running.stop()
    assert len(after) > len(before)
    numbers = {one["customer_id"] for one in after}
    assert all(one["customer_id"] in numbers for one in before)


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "x"}, {"page": "?"}, {"page": "eA=="}, {"updated_since": "soon"}]
)
def test_a_bad_query_is_refused(shop_url: str, query: dict[str, str]) -> None:
    answer = httpx.get(f"{shop_url}/customers", params=query)
    assert answer.status_code == 400
    assert "cannot be read" in answer.json()["error"]


def test_a_shop_without_invoices_is_empty() -> None:
    assert shop.Shop(None).customers(shop.FOREVER) == []


def test_nights_over_both_sources_equal_one_night(retail: Path, shop_url: str, warehouse: Warehouse) -> None:
    people = dict.fromkeys(("customer_id", "company", "person", "email", "phone", "country"), "varchar")
    columns = {**people, "consent": "boolean", "updated_at": "timestamp"}
    api = RestExtract(kind="rest", url=f"{shop_url}/customers", key="customer_id", cursor="updated_at", page_size=100)
    text = dict.fromkeys(invoices.HEADER, "varchar")
    files = FilesExtract(kind="files", path=str(retail / "*.csv.gz"), date_in_name=True)
    sources = [Source(f"{kind}.c", f"{kind}__c", columns, api) for kind in ("split", "whole")]
    sources += [Source(f"{kind}.l", f"{kind}__l", text, files) for kind in ("split", "whole")]
    prepare(sources, warehouse)

    def night(kind: str, as_of: date) -> int:
        mine = [source for source in sources if source.name.startswith(kind)]
        done = [extract(s, warehouse, run_id=str(as_of), as_of=as_of, project_dir=retail) for s in mine]
        return sum(one.rows for one in done)

    days = [date.fromisoformat(path.name[:10]) for path in sorted(retail.iterdir())]
    for day in days[:20:3]:
        night("split", day)
    night("split", days[-1])
    night("whole", days[-1])
    assert night("split", days[-1]) == 0
    for table, names in (("c", columns), ("l", {**text, "_file": "", "_row": ""})):
        listed = ", ".join(names)
        split, whole = (
            warehouse.execute(f"select {listed} from raw.{kind}__{table} order by all") for kind in ("split", "whole")
        )
        assert split == whole
        assert split
