"""Values on their way to HubSpot and back: all of them are texts on the wire, and an empty text clears.

Source: https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide (property types)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.crm import decode, forms
from flows.crm.base import FieldInfo
from flows.crm.forms import SEPARATOR, Form
from flows.records import Value

Decode = Callable[[Any], Value]
SEVERAL = "multipicklist"
"""The type under which an enumeration is described that holds several values."""
MIDNIGHT = "T00:00:00.000Z"


def json_sql(column: str, data_type: str, found: FieldInfo) -> str:
    """Write SQL that gives a value as the JSON text that a property takes; a decimal keeps every digit.

    A date property takes days and a datetime property moments, whichever of both is sent: a moment at midnight is a
    day, and a day is its midnight. Another moment is sent to a date property as it is, for HubSpot to refuse.
    Milliseconds are the finest that HubSpot keeps of a time.

    Args:
        column: quoted for SQL.
        data_type: its DuckDB type.
        found: the property.
    """
    kind = data_type.upper().strip()
    text = f"{column}::varchar"
    if decode.ZONED.match(kind):
        column, kind = f"({column} at time zone 'UTC')", "TIMESTAMP"
    if kind.startswith(("TIMESTAMP", "DATETIME")):
        text = f"strftime({column}::timestamp, '%Y-%m-%dT%H:%M:%S.%gZ')"
        if found.type == "date":
            text = f"replace({text}, '{MIDNIGHT}', '')"
    elif kind == "DATE" and found.type == "datetime":
        text += f" || '{MIDNIGHT}'"
    elif kind.endswith("[]"):
        # What begins with a semicolon is added to what HubSpot holds, and does not take its place.
        text = f"array_to_string(list_filter({column}::varchar[], lambda x: x <> ''), '{SEPARATOR}')"
    return f"to_json(coalesce({text}, ''))::varchar"


def decoder(data_type: str) -> Decode:
    """Make what turns a property's text into the value that DuckDB gives for a type; see `flows.crm.decode`.

    Args:
        data_type: the mapped column's DuckDB type.
    """
    if data_type.strip().endswith("[]"):
        return lambda raw: [value for value in str(raw or "").split(SEPARATOR) if value] or None
    return decode.decoder(data_type)


def kept_form(found: FieldInfo) -> Form | None:
    """What HubSpot makes of a text before it keeps it, for properties where it changes more than its type says.

    Two texts of the same form are the same to HubSpot: a record that was sent ``Mary@Example.com`` and is read back as
    ``mary@example.com`` holds what was sent. Where a property holds several values, their order means nothing.

    Returns:
        The form; None where texts are kept as they are.
    """
    if found.type == "email" or found.name == "domain":
        return forms.TRIMMED
    return {"phone_number": forms.DIGITS, SEVERAL: forms.SEVERAL}.get(found.type)
