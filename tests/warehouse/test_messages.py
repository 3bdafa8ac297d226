"""What DuckDB says of a failure is told without the values that it quotes, where they may be personal."""

from __future__ import annotations

import pytest

from flows import journal
from flows.warehouse import Error, Warehouse, without_values

PERSON = "O'Neill, Jane \" to 12"
LEFT_OUT = "(its text is left out, since it may quote personal data)"


def said(db: Warehouse, sql: str) -> Error:
    db.execute("create or replace temp table people as select ? as person", (PERSON,))
    with pytest.raises(Error) as raised:
        db.execute(sql)
    return raised.value


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select cast(person as date) from people", "Conversion Error in the column person"),
        ("select cast(person as decimal(9, 2)) from people", "Conversion Error in the column person"),
        ("select cast(person as integer[]) from people", "Conversion Error in the column person"),
        ("select strptime(person, '%Y') from people", "Invalid Input Error"),
        ("select error(person) from people", "Invalid Input Error"),
        ("select json_extract(person, '$.a') from people", "Invalid Input Error"),
        (
            "create temp table k (k varchar primary key); insert into k from people union all from people",
            "Constraint Error",
        ),
    ],
)
@pytest.mark.parametrize("before", ["", "Runtime Error in model people (models/crm/people.sql)\n  "])
def test_no_value_is_told(warehouse: Warehouse, sql: str, told: str, before: str) -> None:
    text = str(said(warehouse, sql))
    assert "Neill" in text
    assert without_values(before + text) == f"{told} {LEFT_OUT}"


@pytest.mark.parametrize("before", ["", "Runtime Error in model people (models/crm/people.sql)\n  "])
def test_what_is_wrong_with_the_sql_is_told_in_full(warehouse: Warehouse, before: str) -> None:
    for sql in ("select persn from people", "select person frm people, people", "select * from nobody"):
        text = before + str(said(warehouse, sql))
        assert without_values(text) == text


def test_what_quotes_an_error_in_a_value_is_no_error_of_the_sql() -> None:
    assert without_values("Jane Binder Error: Smith") == f"an error {LEFT_OUT}"
    assert without_values("Invalid Input Error: Binder Error: Jane") == f"Invalid Input Error {LEFT_OUT}"


def test_an_error_that_nobody_foresaw_quotes_no_value(warehouse: Warehouse) -> None:
    what = journal.told(said(warehouse, "select cast(person as date) from people")).what
    assert what == f"Nightshift itself failed: ConversionException: Conversion Error in the column person {LEFT_OUT}"
    assert journal.told(ValueError("a word")).what == "Nightshift itself failed: ValueError: a word"
