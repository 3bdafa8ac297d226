"""Values as Salesforce writes and reads them, without a server."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import warehouse
from flows.crm.decode import decoder
from flows.crm.salesforce.bulk_files import Files
from flows.crm.salesforce.collections import requests
from flows.crm.salesforce.encode import bulk_error, json_record, json_value
from flows.crm.salesforce.shape import Lookup, Shape
from flows.records import Batch, Operation, Record, Value, write_batch

SHAPE = Shape(
    "Task",
    "Ext__c",
    {"Name": "varchar", "AccountId": "varchar", "WhoId": "varchar", "Amount": "decimal(20,4)"},
    {"AccountId": Lookup("Account", "Key__c"), "WhoId": Lookup("Who", "Mail__c", "Contact")},
)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_texts_survive(text: str) -> None:
    assert json.loads(json_value(text).encode()) == (text or None)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_json_decimals_keep_every_digit(number: Decimal) -> None:
    assert json.loads(json_value(number), parse_float=Decimal, parse_int=Decimal) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("", "null"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (0.1, "0.1"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.10"),
        (date(2011, 2, 3), '"2011-02-03"'),
        (datetime(2011, 2, 3, 4, 5, 6, 789999), '"2011-02-03T04:05:06.789Z"'),  # noqa: DTZ001
        (datetime(2011, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))), '"2011-02-03T02:00:00.000Z"'),
    ],
)
def test_json_values(value: Value, text: str) -> None:
    assert json_value(value) == text


def test_json_record() -> None:
    values: dict[str, Value] = {"Name": 'a "b"', "AccountId": "1", "WhoId": "x@y", "Amount": None}
    created = json.loads(json_record(SHAPE, Record("k", None, values), Operation.CREATE))
    assert created == {
        "attributes": {"type": "Task"},
        "Ext__c": "k",
        "Name": 'a "b"',
        "Account": {"Key__c": "1"},
        "Who": {"attributes": {"type": "Contact"}, "Mail__c": "x@y"},
        "Amount": None,
    }
    updated = json.loads(json_record(SHAPE, Record("k", "00T1", {"AccountId": None}), Operation.UPDATE))
    assert updated == {"attributes": {"type": "Task"}, "id": "00T1", "AccountId": None}


@pytest.mark.parametrize(
    ("data_type", "raw", "value"),
    [
        ("varchar", "x", "x"),
        ("varchar", "", None),
        ("VARCHAR(255)", True, "true"),
        ("decimal(14,2)", "1.5", Decimal("1.50")),
        ("DECIMAL(14,2)", "1.2345E3", Decimal("1234.50")),
        ("decimal(14,2)", "1.2345E7", Decimal("12345000.00")),
        ("decimal(14,2)", "1.234", Decimal("1.234")),
        ("decimal(14)", "3.0", Decimal(3)),
        ("decimal", "3", Decimal("3.000")),
        ("bigint", "5.0", 5),
        ("bigint", "5.5", Decimal("5.5")),
        ("integer", "many", "many"),
        ("double", "0.5", 0.5),
        ("boolean", "true", True),
        ("boolean", False, False),
        ("date", "2011-02-03", date(2011, 2, 3)),
        ("date", "nonsense", "nonsense"),
        ("timestamp", "2011-02-03T04:05:06.789Z", datetime(2011, 2, 3, 4, 5, 6, 789000)),  # noqa: DTZ001
        ("timestamp", "2011-02-03T04:05:06.000+0000", datetime(2011, 2, 3, 4, 5, 6)),  # noqa: DTZ001
        ("timestamptz", "2011-02-03T04:05:06.000+0000", datetime(2011, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("bigint", None, None),
    ],
)
def test_decoding(data_type: str, raw: Any, value: Value) -> None:
    found = decoder(data_type)(raw)
    assert (found, type(found)) == (value, type(value))
    assert str(found) == str(value)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_a_time_without_a_zone_is_utc_wherever_the_machine_is(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert decoder("timestamp")("2011-12-09") == datetime(2011, 12, 9)  # noqa: DTZ001
        assert decoder("timestamptz")("2011-12-09T01:00:00+01:00") == datetime(2011, 12, 9, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --",
            ("REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]", ("Name",)),
        ),
        ("ENTITY_IS_DELETED:entity is deleted:--", ("ENTITY_IS_DELETED", "entity is deleted", ())),
        ("A_B:one: two -- three:X__c,Y__c --", ("A_B", "one: two -- three", ("X__c", "Y__c"))),
        ("A_B:first:X --C_D:second:Y --", ("A_B", "first", ("X",))),
        ("A_B:line\nbreak:X --", ("A_B", "line\nbreak", ("X",))),
        ("something else", ("UNKNOWN_ERROR", "something else", ())),
    ],
)
def test_bulk_errors(text: str, error: tuple[str, str, tuple[str, ...]]) -> None:
    assert bulk_error(text) == error


def uploads(folder: Path, operation: Operation, records: list[Record]) -> list[list[list[str]]]:
    """The CSVs that a batch becomes, read back."""
    batch = write_batch(folder / "batch.parquet", "s", operation, records, SHAPE.types)
    with warehouse.scratch() as database:
        files = Files(SHAPE, batch, folder, database)
        found = []
        for part in files.parts(None):
            path = files.write(part)
            assert b"\r\n" not in path.read_bytes()
            with path.open(encoding="utf-8", newline="") as file:
                found.append(list(csv.reader(file)))
        return found


def test_csv_tells_null_from_not_sent_and_quotes(tmp_path: Path) -> None:
    records = [
        Record("a", "1", {"Name": 'say "x", now\nor then', "Amount": Decimal("12345678901234.5678")}),
        Record("b", "2", {"Name": None}),
        Record("c", "3", {"Name": "", "Amount": None}),
        Record("d", "4", {"Name": " kept "}),
    ]
    assert uploads(tmp_path, Operation.UPDATE, records) == [
        [
            ["Id", "Name", "Amount"],
            ["1", 'say "x", now\nor then', "12345678901234.5678"],
            ["2", "#N/A", ""],
            ["3", "#N/A", "#N/A"],
            ["4", " kept ", ""],
        ]
    ]


def test_csv_puts_cleared_lookups_apart_and_siblings_together(tmp_path: Path) -> None:
    records = [
        Record("a", None, {"AccountId": "2", "WhoId": "x"}),
        Record("b", None, {"AccountId": "1", "WhoId": "x"}),
        Record("c", None, {"AccountId": "2", "WhoId": None}),
        Record("d", None, {"AccountId": "2", "WhoId": "y"}),
    ]
    assert uploads(tmp_path, Operation.CREATE, records) == [
        [
            ["Ext__c", "Account.Key__c", "Contact:Who.Mail__c"],
            ["b", "1", "x"],
            ["a", "2", "x"],
            ["d", "2", "y"],
        ],
        [["Ext__c", "Account.Key__c", "WhoId"], ["c", "2", "#N/A"]],
    ]


def test_csv_of_archives_holds_the_id_alone(tmp_path: Path) -> None:
    assert uploads(tmp_path, Operation.ARCHIVE, [Record("a", "1"), Record("b", "2")]) == [[["Id"], ["1"], ["2"]]]


def test_csv_times(tmp_path: Path) -> None:
    batch = tmp_path / "batch.parquet"
    duckdb.sql(
        f"""set timezone = 'Europe/Berlin'; copy (
            select 'a' as external_id, null::varchar as crm_id, ['T', 'Z', 'D', 'B'] as changed,
                timestamp '2011-02-03 04:05:06.789999' as "T", timestamptz '2011-02-03 04:05:06+02' as "Z",
                date '2011-02-03' as "D", true as "B"
        ) to '{batch}'"""
    )
    shape = Shape("Task", "Ext__c", {"T": "timestamp", "Z": "timestamptz", "D": "date", "B": "boolean"}, {})
    with warehouse.scratch() as database:
        files = Files(shape, Batch(batch, "s", Operation.CREATE, 1, 1), tmp_path, database)
        lines = files.write(files.parts(None)[0]).read_text().splitlines()
    assert lines[1] == "a,2011-02-03T04:05:06.789Z,2011-02-03T02:05:06.000Z,2011-02-03,true"


@given(st.lists(st.integers(0, 12), max_size=900), st.booleans())
def test_siblings_share_a_request_where_they_fit(parents: list[int], has_parent: bool) -> None:
    records = [Record(str(i), None, {"P": str(parent) if parent else None}) for i, parent in enumerate(parents)]
    cut = list(requests(records, "P" if has_parent else None))
    assert sorted(int(r.external_id) for request in cut for r in request) == list(range(len(parents)))
    assert all(0 < len(request) <= 200 for request in cut)
    if not has_parent:
        assert len(cut) == -(-len(parents) // 200)
        return
    for parent in {p for p in parents if p and parents.count(p) <= 200}:
        assert sum(any(r.values["P"] == str(parent) for r in request) for request in cut) == 1
