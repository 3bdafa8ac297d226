"""From what a CRM gives, in JSON or CSV, to the values that DuckDB gives for a type."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from flows.records import Value

ZONED = re.compile(r"TIMESTAMPTZ|TIMESTAMP WITH TIME ZONE")
"""Types of times that know their zone."""
_INTEGERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?\d?|SIGNED|LONG|SHORT)$")
_DECIMALS = re.compile(r"(?:DECIMAL|NUMERIC|DEC)(?:\(\s*\d+\s*(?:,\s*(\d+)\s*)?\))?$")


def _decimal(raw: Any) -> Decimal:
    return raw if isinstance(raw, Decimal) else Decimal(str(raw))


def _text(raw: Any) -> Value:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return str(raw)


def _integer(raw: Any) -> Value:
    number = _decimal(raw)
    return int(number) if number == number.to_integral_value() else number


def _boolean(raw: Any) -> Value:
    if isinstance(raw, bool):
        return raw
    known: dict[str, bool] = {"true": True, "false": False}
    return known.get(str(raw).lower(), str(raw))


def _moment(raw: Any) -> datetime:
    found = datetime.fromisoformat(str(raw))
    # A date, as HubSpot gives one, has no zone: it is midnight in UTC, not where this machine is.
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def decoder(data_type: str) -> Callable[[Any], Value]:
    """Make what turns a CRM's value into the value that DuckDB gives for a type.

    Args:
        data_type: the mapped column's DuckDB type.

    Returns:
        A function; what does not fit the type comes back as the CRM gave it, so that a difference shows.
    """
    decode = _strict(data_type.upper().strip())

    def lenient(raw: Any) -> Value:
        if raw is None or raw == "":
            return None
        try:
            return decode(raw)
        except (ValueError, InvalidOperation):
            return str(raw)

    return lenient


def _strict(kind: str) -> Callable[[Any], Value]:
    if kind.endswith("[]"):
        return lambda raw: str(raw).split(";")
    if found := _DECIMALS.match(kind):
        scale = 0 if "(" in kind and found[1] is None else int(found[1] or 3)
        unit = Decimal(1).scaleb(-scale)

        def to_scale(raw: Any) -> Value:
            number = _decimal(raw)
            scaled = number.quantize(unit)
            # Digits beyond the declared scale are a difference and must not be rounded away.
            return scaled if scaled == number else number

        return to_scale
    if _INTEGERS.match(kind):
        return _integer
    if kind in ("DOUBLE", "FLOAT", "REAL", "FLOAT4", "FLOAT8"):
        return float
    if kind.startswith("BOOL"):
        return _boolean
    if kind == "DATE":
        return lambda raw: date.fromisoformat(str(raw)[:10])
    if ZONED.match(kind):
        return _moment
    if kind.startswith(("TIMESTAMP", "DATETIME")):
        return lambda raw: _moment(raw).replace(tzinfo=None)
    return _text
