"""Values on their way to Salesforce and back: JSON for Collections, SQL that makes the CSV for Bulk, decoding.

An empty text and null are one and the same to Salesforce, and so is a list without values: they are sent as null, and
read as None.
Milliseconds are the finest that it keeps of a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from flows.crm.decode import SINGLES, ZONED, decoder, single
from flows.crm.salesforce.shape import Shape
from flows.records import Operation, Record, Value
from flows.warehouse import literal, quoted

NULL = "#N/A"
"""What sets a field to null in a bulk CSV; an empty value there means "not sent"."""
SEPARATOR = ";"
"""What stands between the values of a multi-select picklist."""
MIDNIGHT = "T00:00:00.000Z"
"""What makes a moment of a day."""


def _json_text(value: str) -> str:
    return encode_basestring(value) if value else "null"


def _json_texts(values: list[str]) -> str:
    return _json_text(SEPARATOR.join(values))


def _json_moment(value: datetime) -> str:
    utc = value.astimezone(UTC) if value.tzinfo else value
    return f'"{utc.strftime("%Y-%m-%dT%H:%M:%S")}.{utc.microsecond // 1000:03d}Z"'


_JSON: Mapping[type, Callable[[Any], str]] = {
    str: _json_text,
    Decimal: lambda value: format(value, "f"),
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    float: float.__repr__,
    datetime: _json_moment,
    date: lambda value: f'"{value.isoformat()}"',
    list: _json_texts,
    type(None): lambda value: "null",
}


def json_value(value: Value) -> str:
    """Write a value as JSON; a decimal keeps every digit."""
    return _JSON[type(value)](value)


def json_record(shape: Shape, record: Record, operation: Operation) -> str:
    """Write a record for a Collections request; creates are upserts by external id.

    Args:
        shape: the sync as Salesforce sees it.
        record: its values are written, nothing else.
        operation: create or update.
    """
    key, value = (shape.external_id, record.external_id) if operation is Operation.CREATE else ("id", record.crm_id)
    parts = [f'"attributes":{{"type":"{shape.object}"}},"{key}":{json_value(value)}', *_members(shape, record)]
    return "{" + ",".join(parts) + "}"


def json_values(shape: Shape, record: Record) -> str:
    """Write a record's values for a request of its own, whose path says which record is meant."""
    return "{" + ",".join(_members(shape, record)) + "}"


def _members(shape: Shape, record: Record) -> Iterator[str]:
    for name, sent in record.values.items():
        lookup = shape.lookups.get(name)
        if lookup is None or sent is None or sent == "":
            yield f'"{name}":{_json_member(shape, name, sent)}'
        else:
            kind = f'"attributes":{{"type":"{lookup.parent}"}},' if lookup.parent else ""
            yield f'"{lookup.relationship}":{{{kind}"{lookup.external_id}":{json_value(sent)}}}'


def _json_member(shape: Shape, name: str, sent: Value) -> str:
    told = json_value(sent)
    if isinstance(sent, float) and shape.types.get(name, "").upper() in SINGLES:
        told = _fewest_digits(sent)
    if sent is not None and name in shape.moments:
        return f'{told[:-1]}{MIDNIGHT}"'
    # A number is no text to Salesforce's JSON parser, which refuses the whole request for it.
    return f'"{told}"' if name in shape.texts and isinstance(sent, int | float | Decimal) else told


def _fewest_digits(value: float) -> str:
    """A number of single precision as DuckDB writes it: Salesforce would cut 3.299999952316284 to 3.29."""
    shorter = (f"{value:.{digits}g}" for digits in range(6, 9))
    return next((told for told in shorter if single(told) == value), f"{value:.9g}")


def is_text(data_type: str) -> bool:
    """Whether a DuckDB type holds texts, or lists of them."""
    kind = data_type.upper()
    return kind.startswith(("VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR")) or kind.endswith("[]")


def text_sql(column: str, data_type: str) -> str:
    """Write SQL that gives a column's value as Salesforce's CSV wants it.

    Args:
        column: quoted for SQL.
        data_type: its DuckDB type.
    """
    kind = data_type.upper()
    if ZONED.match(kind):
        column, kind = f"({column} at time zone 'UTC')", "TIMESTAMP"
    if kind.startswith(("TIMESTAMP", "DATETIME")):
        return f"strftime({column}::timestamp, '%Y-%m-%dT%H:%M:%S.%gZ')"
    if kind.endswith("[]"):
        column = f"array_to_string({column}::varchar[], {literal(SEPARATOR)})"
    return f"nullif({column}::varchar, '')"


def column_sql(shape: Shape, name: str) -> str:
    """Write SQL that gives a mapped field's CSV value: its text, `NULL` for null, SQL's null where it is not sent.

    Args:
        shape: the sync as Salesforce sees it.
        name: the CRM field, which is the batch's column.
    """
    text = text_sql(quoted(name), shape.types[name])
    if name in shape.moments:
        text += f" || {literal(MIDNIGHT)}"
    sent = f"coalesce({text}, {literal(NULL)})"
    return f"case when list_contains(changed, {literal(name)}) then {sent} end"


def decoders(shape: Shape) -> Mapping[str, Callable[[Any], Value]]:
    """CRM field -> its decoder; a lookup is decoded as the parent's external id."""
    return {name: decoder(data_type) for name, data_type in shape.types.items()}


_ERROR = re.compile(
    r"(?P<code>[A-Z][A-Z0-9_]*):(?P<message>.*?):(?P<fields>(?:[\w.]+(?:,\s*[\w.]+)*)?)\s*--", re.DOTALL
)


def bulk_error(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Read ``sf__Error``, which is shaped ``CODE:message:fields --``; of several errors the first.

    Returns:
        Code, message, fields.
    """
    found = _ERROR.match(text)
    if found is None:
        return "UNKNOWN_ERROR", text, ()
    fields = tuple(name for name in re.split(r"[,\s]+", found["fields"]) if name)
    return found["code"], found["message"], fields
