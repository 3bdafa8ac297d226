"""Everything that can be wrong with a folder of files: one message that names it, and a warehouse as before."""

from __future__ import annotations

import gzip
import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from flows.errors import ConfigError, ExtractError
from flows.extract import files as loader
from flows.extract import prepare
from tests.extract.conftest import HEADER, World

ROW = "A1,2,2.55,2010-12-01 08:26:00,tea"
SECOND = "2010-12-02.csv.gz"


def fails(files: World, *parts: str, as_of: date | None = None) -> ExtractError:
    """A night that fails with a message that holds all parts, and leaves the warehouse as it was."""
    before = files.state()
    with pytest.raises(ExtractError) as caught:
        files.night(as_of)
    assert files.state() == before
    for part in parts:
        assert part in caught.value.what
    assert "till.lines" in caught.value.what
    assert caught.value.safe
    assert caught.value.todo
    return caught.value


Breaker = Callable[[World], object]
GOOD = gzip.compress(f"{HEADER}\n{ROW}\n".encode() * 400, mtime=0)


def _flipped() -> bytes:
    content = bytearray(GOOD)
    content[-6] ^= 0xFF
    return bytes(content)


BROKEN: dict[str, tuple[Breaker, list[str]]] = {
    "a file of no bytes": (lambda w: w.folder.joinpath(SECOND).write_bytes(b""), [SECOND, "is empty"]),
    "a gzip file of nothing": (lambda w: w.write(SECOND, ""), [SECOND, "is empty, without even a header"]),
    "a cut gzip file": (
        lambda w: w.folder.joinpath(SECOND).write_bytes(GOOD[: len(GOOD) // 2]),
        [SECOND, "damaged gzip file", "Compressed file ended"],
    ),
    "a gzip file with a wrong checksum": (
        lambda w: w.folder.joinpath(SECOND).write_bytes(_flipped()),
        [SECOND, "damaged gzip file", "CRC"],
    ),
    "no gzip file at all": (
        lambda w: w.folder.joinpath(SECOND).write_text("no,quantity\n"),
        [SECOND, "damaged gzip file", "Not a gzipped file"],
    ),
    "a renamed column": (
        lambda w: w.day(SECOND, ROW, header=HEADER.replace("quantity", "Quantities")),
        [SECOND, "'quantity' (is it 'Quantities' now?) is missing", "found no, Quantities", "expected no, quantity"],
    ),
    "a missing column": (
        lambda w: w.day(SECOND, "A1,2,2.55,2010-12-01", header="no,quantity,price,at"),
        [SECOND, "column 'note' is missing"],
    ),
    "a column twice": (
        lambda w: w.day(SECOND, ROW, header="no,quantity,price,at,note,no"),
        [SECOND, "names 'no' twice"],
    ),
    "a wrong type in row 50,000": (
        lambda w: w.day(SECOND, *[ROW] * 49_999, ROW.replace(",2,", ",two,"), *[ROW] * 10, ROW.replace(",2,", ",3x,")),
        [SECOND, "row 50,000, column 'quantity': 'two' is not a BIGINT", "1 more in this column"],
    ),
    "a quantity that is not whole": (
        lambda w: w.day(SECOND, ROW, ROW.replace(",2,", ",2.6,")),
        [SECOND, "row 2, column 'quantity': '2.6' is not a BIGINT"],
    ),
    "two columns wrong": (
        lambda w: w.day(SECOND, "A1,2,dear,yesterday,tea"),
        ["row 1, column 'price': 'dear' is not a DECIMAL(18,4)", "column 'at': 'yesterday' is not a TIMESTAMP"],
    ),
    "a row with too few fields": (lambda w: w.day(SECOND, ROW, "A2,3"), [SECOND, "line 3", "Expected Number"]),
    "a row with too many fields": (lambda w: w.day(SECOND, ROW + ",milk"), [SECOND, "line 2", "Expected Number"]),
    "a quote that never ends": (lambda w: w.day(SECOND, 'A1,2,2.55,,"tea'), [SECOND, "line 2", "unterminated quote"]),
    "another encoding": (
        lambda w: w.write(SECOND, f"{HEADER}\n{ROW}\nA2,,,,caf".encode() + b"\xe9\n"),
        [SECOND, "line 3", "not utf-8"],
    ),
    "no date in the name": (lambda w: w.day("late.csv.gz", ROW), ["late.csv.gz", "holds no date such as 2010-12-01"]),
    "no day of the calendar": (lambda w: w.day("2010-13-41.csv.gz", ROW), ["2010-13-41.csv.gz", "holds no date"]),
    "a changed file": (
        lambda w: w.day("2010-12-01.csv.gz", ROW.replace("tea", "mug")),
        ["2010-12-01.csv.gz changed after it was loaded"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_delivery_is_named_and_the_next_good_night_loads_all(files: World, case: str) -> None:
    breaker, parts = BROKEN[case]
    first = files.day("2010-12-01.csv.gz", ROW)
    good = first.read_bytes()
    files.night()
    breaker(files)
    files.day("2010-12-03.csv.gz", ROW.replace("A1", "A3"))
    fails(files, *parts)
    for path in files.folder.iterdir():
        if path.name not in ("2010-12-01.csv.gz", "2010-12-03.csv.gz"):
            path.unlink()
    first.write_bytes(good)
    files.day(SECOND, ROW.replace("A1", "A2"))
    assert files.night().rows == 2
    assert files.rows('"no", _file') == [("A1", "2010-12-01.csv.gz"), ("A2", SECOND), ("A3", "2010-12-03.csv.gz")]


def test_a_missing_folder(files: World) -> None:
    error = fails(files, f"the folder {files.folder} does not exist")
    assert "_till.yml" in error.todo


def test_no_file_at_all(files: World) -> None:
    files.folder.mkdir()
    files.write("2010-12-01.csv", ROW)
    fails(files, "no file matches", "in/*.csv.gz")


def test_a_folder_that_may_not_be_read(files: World, tmp_path: Path) -> None:
    files.day("2010-12-01.csv.gz", ROW)
    prepare([files.source], files.warehouse)
    tmp_path.chmod(0o755)
    for parent in itertools.takewhile(lambda folder: folder != Path(tempfile.gettempdir()), tmp_path.parents):
        parent.chmod(0o755)
    files.folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ExtractError, match=r"in cannot be read: Permission denied"):
            files.night()
    finally:
        if user == 0:
            os.seteuid(0)
        files.folder.chmod(0o755)
    assert files.night().rows == 1


def test_a_file_in_place_of_the_folder(files: World) -> None:
    files.folder.write_text("")
    fails(files, "in cannot be read: Not a directory")


def test_a_link_to_nowhere_matches_nothing(files: World) -> None:
    files.folder.mkdir()
    files.folder.joinpath("2010-12-01.csv.gz").symlink_to("/nowhere")
    fails(files, "no file matches")


def test_a_name_that_tells_no_format(files: World) -> None:
    files.declare(path="in/*")
    files.write("2010-12-01.xlsx", "x")
    error = fails(files, "2010-12-01.xlsx: its name does not tell its format")
    assert "extract.format" in error.todo


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("a.jsonl", '{"no": 1}\n\n{"no": \n', ["a.jsonl, line 3: not one JSON object in one line"]),
        ("a.jsonl", '{"no": 1}\n[1]\n', ["a.jsonl, line 2: not one JSON object in one line"]),
        ("a.json.gz", '[\n{"no": 1}\n]\n', ["a.json.gz, line 1: not one JSON object"]),
        (
            "a.jsonl",
            '{"no": 1, "Quantity": 2, "price": 1, "at": null}\n',
            ["'quantity' (is it 'Quantity' now?), 'note'"],
        ),
        (
            "a.jsonl",
            '{"no":1,"quantity":2,"price":1,"at":null,"note":0}\n{"no":1,"quantity":true}\n',
            ["a.jsonl, row 2, column 'quantity': 'true' is not a BIGINT"],
        ),
        ("a.parquet", "PAR1 and no more", ["a.parquet is not a Parquet file that can be read"]),
    ],
)
def test_broken_json_and_parquet(files: World, name: str, text: str, parts: list[str]) -> None:
    files.declare(path="in/*", date_in_name=False)
    files.write(name, text)
    fails(files, *parts)
    files.folder.joinpath(name).unlink()
    files.day("good.csv", ROW)
    assert files.night().rows == 1


def test_a_fault_in_the_last_slice_takes_the_first_back(files: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "SLICE", 1)
    files.day("2010-12-01.csv.gz", ROW)
    files.day(SECOND, ROW.replace("2.55", "x"))
    fails(files, SECOND, "row 1, column 'price'")
    files.day(SECOND, ROW.replace("A1", "A2"))
    assert files.night().rows == 2


def test_personal_data_is_not_quoted(files: World) -> None:
    files.source = replace(files.source, pii=frozenset({"quantity"}))
    files.day("2010-12-01.csv.gz", ROW.replace(",2,", ",secret,"))
    assert "secret" not in str(fails(files, "column 'quantity': the value (personal data, not shown) is not a BIGINT"))


def test_a_column_declared_later_is_added(files: World) -> None:
    files.source = replace(files.source, columns={"no": "varchar"})
    files.day("2010-12-01.csv.gz", ROW)
    files.night()
    files.source = replace(files.source, columns={"no": "varchar", "price": "decimal(18,4)"})
    files.day(SECOND, ROW)
    files.night()
    assert [row[0] is None for row in files.rows("price", "_file")] == [True, False]


@pytest.mark.parametrize(
    ("declared", "parts"),
    [
        ("bigint", ["till.lines.no: declared BIGINT, but raw.till__lines holds VARCHAR"]),
        ("colour", ["till.lines.no: 'colour' is not a type of DuckDB"]),
    ],
)
def test_a_type_that_cannot_be(files: World, declared: str, parts: list[str]) -> None:
    prepare([files.source], files.warehouse)
    files.source = replace(files.source, columns={**files.source.columns, "no": declared})
    with pytest.raises(ConfigError) as caught:
        files.night()
    for part in ("_till.yml", *parts):
        assert part in caught.value.what
