"""HubSpot's parts that need no server: the window of requests, values, errors, names of associations."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from json import loads
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import warehouse
from flows.crm.base import FieldInfo
from flows.crm.hubspot.client import asked_pause, problem
from flows.crm.hubspot.encode import decoder, json_sql, kept_form
from flows.crm.hubspot.outgoing import outgoing
from flows.crm.hubspot.shape import Fields, Lookup, Shape
from flows.crm.limiter import Window
from flows.records import Operation, Record, write_batch

NOON = datetime(2011, 12, 9, 12, 0, 1, 987_654)  # noqa: DTZ001 - naive UTC, as DuckDB gives
MIDNIGHT = datetime(2011, 12, 9)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("kind", "data_type", "value", "text"),
    [
        ("string", "varchar", 'a "b"\n\t\\\x01é😀', 'a "b"\n\t\\\x01é😀'),
        ("string", "varchar", None, ""),
        ("string", "varchar", "", ""),
        ("number", "decimal(14,2)", None, ""),
        ("bool", "boolean", True, "true"),
        ("bool", "boolean", False, "false"),
        ("number", "decimal(14,2)", Decimal("-0.10"), "-0.10"),
        ("number", "decimal(38,0)", Decimal(10**30), "1" + "0" * 30),
        ("number", "bigint", 10**15, "1000000000000000"),
        ("number", "double", 0.1, "0.1"),
        ("date", "date", date(2011, 12, 9), "2011-12-09"),
        ("date", "timestamp", MIDNIGHT, "2011-12-09"),
        ("date", "timestamp", NOON, "2011-12-09T12:00:01.987Z"),
        ("datetime", "date", date(2011, 12, 9), "2011-12-09T00:00:00.000Z"),
        ("datetime", "date", None, ""),
        ("datetime", "timestamp", NOON, "2011-12-09T12:00:01.987Z"),
        ("datetime", "timestamptz", NOON.replace(tzinfo=timezone(timedelta(hours=2))), "2011-12-09T10:00:01.987Z"),
        ("string", "date", date(2011, 12, 9), "2011-12-09"),
        ("multipicklist", "varchar[]", ["b", "a"], "b;a"),
        ("multipicklist", "varchar[]", ["a", None, "", "b"], "a;b"),
        ("multipicklist", "varchar[]", ["", "a"], "a"),
        ("multipicklist", "varchar[]", [], ""),
        ("multipicklist", "varchar[]", None, ""),
        ("multipicklist", "varchar", "b;a", "b;a"),
    ],
)
def test_every_value_is_a_text(kind: str, data_type: str, value: Any, text: str) -> None:
    with warehouse.scratch() as database:
        sql = f"select {json_sql('v', data_type, FieldInfo('x', kind))} from (select cast(? as {data_type}) as v)"
        found = database.execute(sql, [value]).fetchone()
    assert found is not None
    assert loads(found[0]) == text


def test_a_batch_is_read_with_what_each_record_changes(tmp_path: Path) -> None:
    encoded = {"name": json_sql("name", "varchar", FieldInfo("name", "string"))}
    shape = Shape("contacts", "ext", encoded, {}, {}, {"companies": Lookup("companies", "ext")})
    records = [
        Record("a", "6", {"name": 'x"y', "companies": "p"}),
        Record("b'", "7", {"companies": None}),
        Record("c", "8", {"name": None}),
    ]
    types = {"name": "varchar", "companies": "varchar"}
    batch = write_batch(tmp_path / "it's.parquet", "s", Operation.UPDATE, records, types)
    read = [(r.external_id, r.crm_id, loads(r.body + "}"), dict(r.lookups)) for r in outgoing(shape, batch)]
    assert read == [
        ("a", "6", {"id": "6", "properties": {"name": 'x"y'}}, {"companies": "p"}),
        ("b'", "7", {"id": "7", "properties": {"ext": "b'"}}, {"companies": None}),
        ("c", "8", {"id": "8", "properties": {"name": ""}}, {}),
    ]
    made = list(outgoing(shape, replace(batch, operation=Operation.CREATE)))
    assert loads(made[1].body + "}") == {"id": "b'", "idProperty": "ext", "properties": {"ext": "b'"}}
    gone = list(outgoing(shape, replace(batch, operation=Operation.ARCHIVE)))
    assert [(loads(r.body + "}"), r.lookups) for r in gone] == [({"id": key}, {}) for key in ("6", "7", "8")]


@pytest.mark.parametrize(
    ("data_type", "raw", "value"),
    [
        ("DATE", "2011-12-09", date(2011, 12, 9)),
        ("date", "2011-12-09T00:00:00.000Z", date(2011, 12, 9)),
        ("date", "2011-12-09T00:00:00Z", date(2011, 12, 9)),
        ("date", "2011-12-09T00:00:00.001Z", "2011-12-09T00:00:00.001Z"),
        ("date", "", None),
        ("date", None, None),
        ("timestamp", "2011-12-09T12:00:01.987Z", NOON.replace(microsecond=987_000)),
        ("timestamptz", "2011-12-09T12:00:01.987Z", NOON.replace(microsecond=987_000, tzinfo=UTC)),
        ("decimal(14,2)", "1.5", Decimal("1.50")),
        ("decimal(14,2)", "1.505", Decimal("1.505")),
        ("bigint", "7", 7),
        ("boolean", "true", True),
        ("varchar", "true", "true"),
        ("varchar[]", "b;a", ["b", "a"]),
        ("varchar[]", ";a;", ["a"]),
        ("varchar[]", "", None),
        ("VARCHAR[]", None, None),
        ("varchar", "b;a", "b;a"),
    ],
)
def test_every_text_is_a_value_of_its_type(data_type: str, raw: Any, value: Any) -> None:
    found = decoder(data_type)(raw)
    assert (type(found), found) == (type(value), value)


def test_the_form_that_texts_are_kept_in() -> None:
    email, phone = kept_form(FieldInfo("work_email", "email")), kept_form(FieldInfo("x", "phone_number"))
    domain = kept_form(FieldInfo("domain", "string"))
    assert email is not None
    assert phone is not None
    assert domain is not None
    assert email.of(" Mary@Example.com") == "mary@example.com"
    assert phone.of("+44 (0) 20-7946") == "+440207946"
    assert domain.of("Example.COM") == "example.com"
    several = kept_form(FieldInfo("services", "multipicklist"))
    assert several is not None
    assert several.of("b;a;b") == several.of("a;b") != several.of("a")
    assert kept_form(FieldInfo("name", "string")) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({}, ("UNKNOWN_ERROR", "", (), set())),
        ({"category": "CONFLICT", "message": "m"}, ("CONFLICT", "m", (), set())),
        (
            {"category": "OBJECT_NOT_FOUND", "message": "m", "context": {"ids": ["7", "8"]}},
            ("OBJECT_NOT_FOUND", "m", (), {"7", "8"}),
        ),
        (
            {
                "category": "VALIDATION_ERROR",
                "message": "m",
                "context": {"objectWriteTraceId": ["n3"]},
                "errors": [{"message": "d", "code": "INVALID_OPTION", "context": {"propertyName": ["segment"]}}],
            },
            ("INVALID_OPTION", "m", ("segment",), {"n3", "segment"}),
        ),
        ({"errors": [{"message": "d", "in": "email"}]}, ("UNKNOWN_ERROR", "d", ("email",), set())),
        ({"category": "X", "context": "{missingScopes=[a]}", "errors": ["odd"], "id": 5}, ("X", "", (), {"5"})),
    ],
)
def test_every_field_of_an_error_is_optional(error: dict[str, Any], told: tuple[Any, ...]) -> None:
    found = problem(error)
    assert (found.code, found.message, found.fields, set(found.names)) == told


@pytest.mark.parametrize(
    ("error", "other"),
    [
        ({"message": "Contact already exists. Existing ID: 171591000198"}, "171591000198"),
        ({"message": "A conflict.", "context": {"objectWriteTraceId": ["n0"], "existingId": ["17"]}}, "17"),
        ({"errors": [{"message": "A contact with email a@b.c already exists. Existing ID: 17", "in": "email"}]}, "17"),
        ({"message": "Cannot set value=5 already has that value on 1. 17 already has that value."}, "17"),
        ({"message": "Cannot set value=5 on a new record. Another input already has that value."}, None),
        ({"message": "5 was not one of the allowed options"}, None),
    ],
)
def test_a_duplicate_names_the_record_that_is_there(error: dict[str, Any], other: str | None) -> None:
    assert problem(error).other_id == other


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("companies", "companies"),
        ("companies: 14", "companies"),
        ("companies: Billing: the one\nfor invoices", "companies"),
        ("2-123", "2-123"),
        ("p40_car: Owner", "p40_car"),
        ("company", None),
        ("companies:", None),
        ("companies:14", None),
        ("lifetime_value", None),
    ],
)
def test_names_of_associations(name: str, parent: str | None) -> None:
    found = Fields().get(name)
    assert (found and found.references) == (parent and (parent,))


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "3"}, {"policyName": "TEN_SECONDLY_ROLLING"}, 3.0),
        ({}, {"policyName": "TEN_SECONDLY_ROLLING"}, 10.0),
        ({"X-HubSpot-RateLimit-Interval-Milliseconds": "2500"}, {"policyName": "TEN_SECONDLY_ROLLING"}, 2.5),
        ({}, {"policyName": "SECONDLY"}, 1.0),
        ({}, {"message": "You have reached your secondly limit."}, 1.0),
        ({}, None, 10.0),
    ],
)
def test_how_long_a_429_asks_us_to_wait(headers: dict[str, str], body: Any, seconds: float) -> None:
    assert asked_pause(httpx.Response(429, headers=headers, json=body)) == seconds
    assert asked_pause(httpx.Response(503, json=body)) is None


def test_a_place_is_free_a_whole_stretch_after_the_answer() -> None:
    window = Window(2, 0.2)
    assert [window.take(), window.take()] == [0.0, 0.0]
    assert window.take() > 0
    time.sleep(0.25)
    assert window.take() > 0  # both are still under way, so the server may count them late
    window.answered()
    assert 0.1 < window.take() <= 0.2
    time.sleep(0.21)
    assert window.take() == 0.0
    assert window.take() > 0


def test_a_window_without_a_ceiling_holds_nobody() -> None:
    window = Window(0, 10)
    assert {window.take() for _ in range(1000)} == {0.0}
    window.told(1, 0)
    assert window.take() == 0.0
    window.pause(5)
    assert window.take() > 4


def test_a_server_that_is_stricter_is_believed() -> None:
    window = Window(190, 60)
    window.take()
    window.answered()
    window.told(100, 2)  # somebody else used 97
    assert [window.take(), window.take()] == [0.0, 0.0]
    assert window.take() > 0
    lenient = Window(5, 60)
    lenient.told(190, 190)
    assert [lenient.take() for _ in range(5)] == [0.0] * 5
    assert lenient.take() > 0


def test_no_stretch_of_the_servers_time_holds_too_many() -> None:
    most, seconds = 10, 0.15
    window = Window(most, seconds)
    arrived: list[float] = []

    def send() -> None:
        for number in range(12):
            while (pause := window.take()) > 0:
                time.sleep(pause)
            time.sleep(0.02 * (number % 3))  # on its way
            arrived.append(time.monotonic())
            time.sleep(0.01)
            window.answered()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    arrived.sort()
    assert len(arrived) == 72
    assert min(later - earlier for earlier, later in zip(arrived, arrived[most:], strict=False)) >= seconds
