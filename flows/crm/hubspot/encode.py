"""Values on their way to HubSpot and back: all of them are texts on the wire, and an empty text clears.

Source: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide (property types)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from flows.crm import decode
from flows.crm.base import FieldInfo
from flows.records import Value

Encode = Callable[[Value], str]
Decode = Callable[[Any], Value]
MIDNIGHT = "T00:00:00.000Z"


def encoder(found: FieldInfo) -> Encode:
    """Make what turns a value into the text that a property takes.

    Args:
        found: the property; a date property takes days, a datetime property takes moments, whichever of both is sent.
    """
    if found.type == "date":
        return lambda value: _day(value) if isinstance(value, datetime) else text(value)
    if found.type == "datetime":
        return lambda value: value.isoformat() + MIDNIGHT if type(value) is date else text(value)
    return text


def text(value: Value) -> str:
    """Write a value as HubSpot wants it; a decimal keeps every digit, milliseconds are the finest of a time."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value
        return f"{utc.strftime('%Y-%m-%dT%H:%M:%S')}.{utc.microsecond // 1000:03d}Z"
    if isinstance(value, date):
        return value.isoformat()
    return repr(value)


def _day(value: datetime) -> str:
    """A moment for a date property: the day if it is a midnight, else itself, which HubSpot refuses."""
    whole = text(value)
    return whole.removesuffix(MIDNIGHT)


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
