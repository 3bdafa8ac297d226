"""Every type that DuckDB has is sent as one that the connectors know, or is refused with what to do about it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flows.crm.decode import decoder
from flows.crm.salesforce.encode import json_value
from flows.project.types import advice, family, sendable
from flows.records import Batch, Operation
from flows.warehouse import Warehouse

SAMPLES = {
    "text": "1",
    "whole": "1",
    "number": "1",
    "boolean": "true",
    "date": "2011-01-02",
    "time": "2011-01-02 10:00:00",
}
REFUSED = [
    "time",
    "timetz",
    "time with time zone",
    "interval",
    "blob",
    "bytea",
    "bit",
    "struct(a int)",
    "map(int, int)",
]


def test_every_type_of_duckdb_is_sent_as_a_known_value_or_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    names = [name for (name,) in warehouse.execute("select distinct type_name from duckdb_types() order by 1")]
    sent = {name: kind for name in names if (kind := sendable(name)) is not None}
    assert {"varchar", "uuid", "int32", "hugeint", "uhugeint", "timestamp_ns", "bool"} <= sent.keys()
    assert {"time", "blob", "interval", "list", "struct", "map", "null"} <= set(names) - sent.keys()
    for number, (name, kind) in enumerate(sent.items()):
        path = tmp_path / f"{number}.parquet"
        value = f"cast('{SAMPLES[str(family(kind))]}' as {kind})"
        warehouse.execute(
            f"copy (select 'a' as external_id, null::varchar as crm_id, ['F'] as changed, {value} as F) to '{path}'"
        )
        [record] = Batch(path, "s", Operation.CREATE, 1, 1).records()
        found: Any = record.values["F"]
        written = json_value(found).strip('"')
        assert decoder(kind)(written) == found, f"{name} as {kind}"
        assert family(name) == family(kind)


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ("UUID", "varchar"),
        (" enum('a', 'b') ", "varchar"),
        ("json", "varchar"),
        ("text[]", "varchar[]"),
        ("varchar[3]", "varchar[]"),
        ("integer[]", "varchar[]"),
        ("decimal(14,2)", "decimal(14,2)"),
        ("Numeric(9, 4)", "Numeric(9, 4)"),
        ("hugeint", "decimal(38,0)"),
        ("timestamp with time zone", "timestamptz"),
        *((kind, None) for kind in [*REFUSED, "blob[]", "varchar[][]", "double[]", "varchr"]),
    ],
)
def test_what_a_declared_type_is_sent_as(declared: str, sent: str | None) -> None:
    assert sendable(declared) == sent


def test_the_advice_is_to_write_a_text_or_a_list_of_them() -> None:
    assert "`data_type: varchar`" in advice("blob")
    assert "cast(... as varchar[])" in advice("blob[]")


def test_a_number_that_is_none_is_no_error_of_ours() -> None:
    assert json_value(float("nan")) == "nan", "the CRM refuses it, and so its record alone"
    assert json_value(Decimal(10**37)) == "1" + "0" * 37
