"""Values on their way to HubSpot and back: all of them are texts on the wire, and an empty text clears.

Source: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide (property types)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from flows.crm import decode
from flows.crm.base import FieldInfo
from flows.records import Value

Encoders = Mapping[type, Callable[[Any], str]]
"""A value's type -> what writes such a value as a JSON text."""
Decode = Callable[[Any], Value]
MIDNIGHT = "T00:00:00.000Z"


def _moment(value: datetime) -> str:
    utc = value.astimezone(UTC) if value.tzinfo else value
    return f'"{utc.strftime("%Y-%m-%dT%H:%M:%S")}.{utc.microsecond // 1000:03d}Z"'


_TEXTS: Encoders = {
    str: encode_basestring,
    # A decimal keeps every digit; milliseconds are the finest that HubSpot keeps of a time.
    Decimal: lambda value: f'"{value:f}"',
    int: lambda value: f'"{value}"',
    bool: lambda value: '"true"' if value else '"false"',
    float: lambda value: f'"{value!r}"',
    datetime: _moment,
    date: lambda value: f'"{value.isoformat()}"',
    type(None): lambda value: '""',
}


def encoders(found: FieldInfo) -> Encoders:
    """Choose what writes the values of a property.

    A date property takes days and a datetime property moments, whichever of both is sent: a moment at midnight is a
    day, and a day is its midnight. Another moment is sent to a date property as it is, for HubSpot to refuse.

    Args:
        found: the property.
    """
    if found.type == "date":
        return {**_TEXTS, datetime: lambda value: _moment(value).replace(MIDNIGHT, "")}
    if found.type == "datetime":
        return {**_TEXTS, date: lambda value: f'"{value.isoformat()}{MIDNIGHT}"'}
    return _TEXTS


def text(value: str) -> str:
    """Write a text as JSON."""
    return encode_basestring(value)


def decoder(data_type: str) -> Decode:
    """Make what turns a property's text into the value that DuckDB gives for a type; see `flows.crm.decode`.

    Args:
        data_type: the mapped column's DuckDB type.
    """
    plain = decode.decoder(data_type)
    if data_type.strip().upper() != "DATE":
        return plain

    def day(raw: Any) -> Value:
        found = str(raw)
        # A time of day in what should be a day is a difference, and must not be cut off.
        midnight = len(found) <= len("2011-12-09") or found[10:] in (MIDNIGHT, "T00:00:00Z")
        return plain(raw) if raw is None or midnight else found

    return day


def kept_form(found: FieldInfo) -> Callable[[str], str] | None:
    """What HubSpot makes of a text before it keeps it, for properties where it changes more than its type says.

    Two texts of the same form are the same to HubSpot: a record that was sent ``Mary@Example.com`` and is read back as
    ``mary@example.com`` holds what was sent.

    Returns:
        Text -> form; None where texts are kept as they are.
    """
    if found.type == "email" or found.name == "domain":
        return lambda value: value.strip().lower()
    if found.type == "phone_number":
        return lambda value: "".join(c for c in value if c.isdigit() or c == "+")
    return None
