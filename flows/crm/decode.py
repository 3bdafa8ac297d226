"""From what a CRM gives, in JSON or CSV, to the values that DuckDB gives for a type."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from typing import Any

from flows.records import Value

ZONED = re.compile(r"TIMESTAMPTZ|TIMESTAMP WITH TIME ZONE")
"""Types of times that know their zone."""
SINGLES = ("FLOAT", "REAL", "FLOAT4")
"""Types of numbers of single precision."""
_INTEGERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?\d?|SIGNED|LONG|SHORT)$")
_WIDE = Context(prec=100)
"""DuckDB's decimals have up to 38 digits, Python's usual context 28."""
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


def _day(raw: Any) -> Value:
    told = str(raw)
    if len(told) <= len("2011-12-09"):
        return date.fromisoformat(told)
    # A time of day in what should be a day is a difference, and must not be cut off.
    moment = _moment(told)
    return moment.date() if moment.time() == time() else told


def single(raw: Any) -> float:
    """A number of single precision as DuckDB gives it: 0.1 as the double nearest to it, 0.10000000149011612."""
    return float(struct.unpack("f", struct.pack("f", float(raw)))[0])


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
        except (ValueError, ArithmeticError):
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
            scaled = number.quantize(unit, context=_WIDE)
            # Digits beyond the declared scale are a difference and must not be rounded away.
            return scaled if scaled == number else number

        return to_scale
    if _INTEGERS.match(kind):
        return _integer
    if kind in SINGLES:
        return single
    if kind in ("DOUBLE", "FLOAT8"):
        return float
    if kind.startswith("BOOL"):
        return _boolean
    if kind == "DATE":
        return _day
    if ZONED.match(kind):
        return _moment
    if kind.startswith(("TIMESTAMP", "DATETIME")):
        return lambda raw: _moment(raw).replace(tzinfo=None)
    return _text
