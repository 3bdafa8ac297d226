"""The ``files`` source over real folders: what gets in, once, and what a later night makes of it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import warehouse as duck
from flows.errors import ExtractError
from flows.extract import extract, folder, prepare
from flows.extract import files as loader
from flows.project import FilesExtract, Source
from flows.warehouse import Warehouse
from tests.extract.conftest import HEADER, LINES, World

AT = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 - the warehouse holds UTC without a zone
ROW = "A1,2,2.55,2010-12-01 08:26:00,tea"


def test_a_row_has_its_types_and_says_where_it_comes_from(files: World) -> None:
    files.day("2010-12-01.csv.gz", ROW, 'A2,-3,0.0,2010-12-01 09:00:00,"a ""b"",\nc "', "A3,,,,")
    done = files.night()
    assert (done.rows, done.files_or_pages, done.warnings) == (3, 1, ())
    now = files.rows("max(_extracted_at)")[0][0]
    ours = ("run-1", "2010-12-01.csv.gz")
    assert files.rows('"no", quantity, price, "at", note, _extracted_at, _run_id, _file, _row', "_row") == [
        ("A1", 2, Decimal("2.5500"), AT, "tea", now, *ours, 1),
        ("A2", -3, Decimal("0.0000"), AT + timedelta(minutes=34), 'a "b",\nc ', now, *ours, 2),
        ("A3", None, None, None, None, now, *ours, 3),
    ]


def test_a_second_night_loads_only_what_is_new(files: World) -> None:
    files.day("2010-12-01.csv.gz", ROW)
    files.night()
    first = files.rows()
    files.day("2010-12-02.csv.gz", ROW, ROW)
    assert files.night().rows == 2
    assert [row for row in files.rows() if row[-2] == "2010-12-01.csv.gz"] == first
    quiet = files.night()
    assert (quiet.rows, quiet.files_or_pages, quiet.bytes) == (0, 0, 0)
    assert files.warehouse.execute("select run_id, rows_loaded, files_or_pages from ops.extracts order by run_id") == [
        ("run-1", 1, 1),
        ("run-2", 2, 1),
        ("run-3", 0, 0),
    ]


def test_rows_keep_their_order_in_a_large_file(files: World) -> None:
    lines = [f"A{i},{i},1,2010-12-01 08:00:00,{'x' * (i % 50)}" for i in range(1, 150_001)]
    files.day("2010-12-01.csv.gz", *lines)
    files.day("2010-12-02.csv.gz", *lines[:10])
    files.declare(path="in/*")
    files.day("2010-12-03.csv", *lines)
    files.write("2010-12-04.jsonl", "".join(f'{{"no":"A{i}","quantity":{i},"price":1,"at":null,"note":null}}\n'
                                            for i in range(1, 150_001)))  # fmt: skip
    assert files.night().rows == 450_010
    assert files.rows("count(*) filter (quantity <> _row), count(distinct _file || _row)") == [(0, 450_010)]


def test_header_only_is_a_file_of_no_rows(files: World) -> None:
    files.day("2010-12-01.csv.gz")
    files.write("2010-12-02.csv.gz", HEADER)
    done = files.night()
    assert (done.rows, done.files_or_pages) == (0, 2)
    assert files.night().files_or_pages == 0


def test_columns_may_stand_in_another_order_and_extra_ones_are_reported(files: World) -> None:
    files.day("2010-12-01.csv.gz", ROW)
    files.day(
        "2010-12-02.csv.gz", "x,tea,A2,2,2.55,2010-12-02 08:00:00,y", header="NOTE,note,no,quantity,price,at,NOTE"
    )
    done = files.night()
    assert files.rows('"no", note') == [("A1", "tea"), ("A2", "tea")]
    assert done.warnings == ("2010-12-02.csv.gz: left out 'NOTE', 'NOTE', declared by nobody.",)


def test_byte_order_mark_crlf_and_another_delimiter(files: World) -> None:
    files.declare(delimiter=";")
    text = "\ufeff" + HEADER.replace(",", ";") + "\r\nA1;2;2.55;2010-12-01 08:26:00;té\r\n"
    files.write("2010-12-01.csv.gz", text)
    files.night()
    assert files.rows('"no", quantity, note') == [("A1", 2, "té")]


def test_names_may_hold_characters_that_patterns_are_made_of(files: World) -> None:
    files.day("a[1] 2010-12-01.csv.gz", ROW)
    files.day("a1 2010-12-01.csv.gz", ROW, ROW, ROW)
    files.night()
    assert sorted(row[0] for row in files.rows("_file")) == ["a1 2010-12-01.csv.gz"] * 3 + ["a[1] 2010-12-01.csv.gz"]


def test_folders_below_a_glob(files: World) -> None:
    files.declare(path="in/**/*.csv.gz")
    files.day("2010/12/2010-12-01.csv.gz", ROW)
    files.day("2010-12-02.csv.gz", ROW)
    files.day(".2010-12-03.csv.gz", ROW)
    files.night()
    assert files.rows("_file") == [("2010-12-02.csv.gz",), ("2010/12/2010-12-01.csv.gz",)]


def test_as_of_takes_what_had_arrived_and_misses_the_file_of_the_day(files: World) -> None:
    for day in (1, 2, 5):
        files.day(f"2010-12-{day:02}.csv.gz", ROW.replace("A1", f"A{day}"))
    assert files.night(date(2010, 12, 1)).files_or_pages == 1
    assert files.night(date(2010, 12, 2)).warnings == ()
    with pytest.raises(ExtractError, match=r"no file of 2010-12-04; the newest before it is 2010-12-02\.csv\.gz"):
        files.night(date(2010, 12, 4))
    assert files.night(date(2010, 12, 5)).rows == 1


def test_a_day_without_a_file_is_a_warning_where_that_is_usual(files: World) -> None:
    files.declare(missing="warning")
    files.day("2010-12-02.csv.gz", ROW)
    weekend = files.night(date(2010, 12, 4))
    assert (weekend.rows, weekend.warnings) == (1, ("There is no file of 2010-12-04.",))
    with pytest.raises(ExtractError, match="the oldest is later"):
        files.night(date(2010, 11, 30))


def test_as_of_without_dates_in_names_loads_everything(files: World) -> None:
    files.declare(date_in_name=False)
    files.day("north.csv.gz", ROW)
    assert files.night(date(2010, 12, 1)).rows == 1


def test_a_file_that_vanished_leaves_its_rows(files: World) -> None:
    gone = files.day("2010-12-01.csv.gz", ROW)
    files.day("2010-12-02.csv.gz", ROW)
    files.night()
    content = gone.read_bytes()
    gone.unlink()
    assert files.night().rows == 0
    gone.write_bytes(content)
    assert files.night().rows == 0
    assert len(files.rows()) == 2


def test_a_changed_file_is_reloaded_where_the_source_says_so(files: World) -> None:
    files.declare(changed="reload")
    files.day("2010-12-01.csv.gz", ROW, ROW)
    files.day("2010-12-02.csv.gz", ROW)
    files.night()
    files.day("2010-12-01.csv.gz", ROW.replace("tea", "mug"))
    assert files.night().rows == 1
    assert files.rows("note, _file, _run_id", "_file") == [
        ("mug", "2010-12-01.csv.gz", "run-2"),
        ("tea", "2010-12-02.csv.gz", "run-1"),
    ]
    assert files.warehouse.execute("select count(*) from ops.files") == [(2,)]
    assert files.night().rows == 0


def test_replace_makes_the_table_what_the_folder_is(files: World) -> None:
    files.declare(strategy="replace")
    gone = files.day("2010-12-01.csv.gz", ROW)
    files.day("2010-12-02.csv.gz", ROW)
    files.day("2010-12-03.csv.gz", ROW)
    files.night()
    gone.unlink()
    files.day("2010-12-02.csv.gz", ROW.replace("tea", "mug"))
    files.day("2010-12-04.csv.gz", ROW)
    assert files.night().rows == 2
    assert files.rows("_file, note, _run_id") == [
        ("2010-12-02.csv.gz", "mug", "run-2"),
        ("2010-12-03.csv.gz", "tea", "run-1"),
        ("2010-12-04.csv.gz", "tea", "run-2"),
    ]


@pytest.fixture
def settled(files: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Loads once more when the file system's clock has moved on, so that the stamps are trusted."""
    monkeypatch.setattr(folder, "YOUNG_NS", 50_000_000)

    def settle() -> None:
        time.sleep(0.1)
        files.night()

    return settle


def test_a_change_is_seen_although_size_and_time_were_put_back(files: World, settled: Callable[[], None]) -> None:
    files.declare(changed="reload")
    path = files.day("2010-12-01.csv.gz", "A1,2,2.55,2010-12-01 08:26:00,aa")
    files.night()
    settled()
    stamp = files.warehouse.scalar("select stamp from ops.files")
    assert stamp != ""
    was = path.stat()
    files.day("2010-12-01.csv.gz", "A1,2,2.55,2010-12-01 08:26:00,bb")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    assert files.night().rows == 1
    assert files.rows("note") == [("bb",)]


def test_a_file_written_twice_within_a_tick_is_seen(files: World) -> None:
    files.declare(changed="reload")
    files.day("2010-12-01.csv.gz", "A1,2,2.55,2010-12-01 08:26:00,aa")
    files.night()
    assert files.warehouse.scalar("select stamp from ops.files") == ""
    files.day("2010-12-01.csv.gz", "A1,2,2.55,2010-12-01 08:26:00,bb")
    assert files.night().rows == 1


def test_a_touched_file_is_the_same_file(files: World, settled: Callable[[], None]) -> None:
    path = files.day("2010-12-01.csv.gz", ROW)
    files.night()
    settled()
    before = files.rows()
    os.utime(path, (1, 1))
    assert files.night().rows == 0
    assert files.rows() == before


def test_an_unchanged_file_is_not_read_again(files: World, settled: Callable[[], None]) -> None:
    files.day("2010-12-01.csv.gz", ROW)
    files.night()
    settled()
    read: list[int] = []
    files.night(progress=lambda done, total: read.append(done))
    assert read == []


def test_an_emptied_raw_table_is_filled_again(files: World) -> None:
    files.day("2010-12-01.csv.gz", ROW)
    files.night()
    files.warehouse.execute(f"drop table {files.source.relation}")
    done = files.night()
    assert (done.rows, done.warnings) == (1, ("raw.till__lines had been emptied; every file is loaded again.",))
    assert files.night().rows == 0
    assert len(files.rows()) == 1


def test_rows_that_somebody_took_away_are_reported(files: World) -> None:
    files.day("2010-12-01.csv.gz", ROW, ROW.replace("A1", "A2"))
    files.night()
    files.warehouse.execute(f"delete from {files.source.relation} where \"no\" = 'A1'")
    assert files.night().warnings == ("raw.till__lines holds 1 rows, but 2 were loaded: somebody changed it.",)


def test_the_same_content_under_two_names_is_reported(files: World) -> None:
    files.day("2010-12-01.csv.gz", ROW)
    files.night()
    files.day("2010-12-01 (copy).csv.gz", ROW)
    done = files.night()
    assert done.warnings == ("2010-12-01 (copy).csv.gz has the same content as 2010-12-01.csv.gz; both are loaded.",)


def test_parquet_and_json_lines(files: World) -> None:
    files.declare(path="in/*", date_in_name=False)
    values = [["P1", 2, Decimal("2.55"), AT, "tea"]]
    files.folder.mkdir()
    duck.write_parquet(files.folder / "a.parquet", LINES, values)
    text = '{"no": "J1", "quantity": 2, "price": 2.55, "at": "2010-12-01T10:26:00+02:00", "note": {"a": [1]}}\n'
    files.write("b.jsonl", text + '\n{"no": 7, "quantity": "3.0", "price": "1"}\n')
    files.write("c.ndjson.gz", text.replace("J1", "Z1"))
    files.write("d.json", "\n")
    assert files.night().rows == 4
    assert files.rows('"no", quantity, price, "at", note, _file, _row') == [
        ("7", 3, Decimal("1.0000"), None, None, "b.jsonl", 2),
        ("J1", 2, Decimal("2.5500"), AT, '{"a":[1]}', "b.jsonl", 1),
        ("P1", 2, Decimal("2.5500"), AT, "tea", "a.parquet", 1),
        ("Z1", 2, Decimal("2.5500"), AT, '{"a":[1]}', "c.ndjson.gz", 1),
    ]


def test_progress_is_told_file_by_file(files: World) -> None:
    for day in (1, 2, 3):
        files.day(f"2010-12-{day:02}.csv.gz", ROW)
    told: list[tuple[int, int | None]] = []
    files.night(progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_sources_side_by_side_do_not_disturb_each_other(files: World) -> None:
    for day in range(1, 20):
        files.day(f"2010-12-{day:02}.csv.gz", *[ROW] * 500)
    sources = [replace(files.source, name=f"till.t{i}", table=f"till__t{i}") for i in range(4)]
    prepare(sources, files.warehouse)
    rows: list[int] = []

    def run(source: Source) -> None:
        with files.warehouse.cursor() as cursor:
            done = extract(source, cursor, run_id="r", as_of=None, project_dir=files.folder.parent)
            rows.append(done.rows)

    threads = [threading.Thread(target=run, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == [9_500] * 4
    assert files.warehouse.execute("select count(*), count(distinct source) from ops.files") == [(76, 4)]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=6)


@settings(max_examples=30, deadline=None)
@given(
    days=st.lists(st.lists(st.tuples(CELLS, CELLS), max_size=6), min_size=1, max_size=4),
    slice_bytes=st.sampled_from([1, 200, loader.SLICE]),
)
def test_what_is_written_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[tuple[str, str]]], slice_bytes: int
) -> None:
    home = tmp_path_factory.mktemp("any")
    declared = FilesExtract(kind="files", path="in/*.csv.gz", date_in_name=True)
    source = Source("any.texts", "any__texts", {"a": "varchar", "b": "varchar"}, declared)
    with Warehouse.open(home / "w.duckdb", threads=2) as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "SLICE", slice_bytes)
        world = World(opened, home / "in", source)
        wanted = []
        for number, rows in enumerate(days, 1):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writerows([("a", "b"), *rows])
            name = f"2010-12-{number:02}.csv.gz"
            world.write(name, text.getvalue())
            wanted += [(a or None, b or None, name, row) for row, (a, b) in enumerate(rows, 1)]
        world.night()
        assert sorted(world.rows("a, b, _file, _row"), key=lambda row: row[2:]) == wanted
        assert world.night().rows == 0


def test_all_real_days(files: World, shared_data: Path) -> None:
    by_day = shared_data / "data" / "online-retail" / "by-day"
    columns = dict(
        InvoiceNo="varchar", StockCode="varchar", Description="varchar", Quantity="bigint", InvoiceDate="timestamp",
        UnitPrice="decimal(18,4)", CustomerID="varchar", Country="varchar",
    )  # fmt: skip
    declared = FilesExtract(kind="files", path=str(by_day / "*.csv.gz"), date_in_name=True)
    files.source = Source("retail.invoice_lines", "retail__invoice_lines", columns, declared)
    first = files.night(date(2010, 12, 1))
    assert first.files_or_pages == 1
    rest = files.night()
    counted = subprocess.run(
        f"zcat {by_day}/*.csv.gz | grep -vc '^InvoiceNo,'", shell=True, capture_output=True, text=True, check=True
    )
    assert first.rows + rest.rows == int(counted.stdout) == len(files.rows("1"))
    assert first.files_or_pages + rest.files_or_pages == len(list(by_day.iterdir())) == 245
    assert files.rows("sum(Quantity * UnitPrice) filter (_file = '2010-12-01.csv.gz')")[0][0] > 0
    assert files.night().rows == 0
