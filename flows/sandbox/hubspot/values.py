"""What a property accepts, and the form in which HubSpot keeps it; every value is text on the wire.

Sources: https://developers.hubspot.com/docs/api/crm/properties (types and formats),
https://developers.hubspot.com/docs/api/faq (dates at midnight UTC)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

from flows.sandbox.hubspot.schema import Kind, Property

MAX_LENGTH = 65_536
_DAY_MS = 86_400_000
_EMAIL = re.compile(r"[^\s@<>,;()\[\]\"]+@[^\s@<>,;()\[\]\"]+\.[^\s@<>,;()\[\]\"]+")
_DIGITS = re.compile(r"-?\d{1,15}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_PHONE = re.compile(r"\+?\d{3,20}", re.ASCII)


class Invalid(NamedTuple):
    """Why a property's value was refused."""

    name: str
    code: str
    message: str


class Wrong(Exception):
    """A value that a property does not accept."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@lru_cache(4096)  # a batch's records share their times, and many share a day
def instant(ms: int) -> str:
    """Milliseconds since 1970 as HubSpot writes a datetime: UTC, to the millisecond.

    Raises:
        OverflowError: they lie outside of the years 1 to 9999.
    """
    try:
        moment = datetime.fromtimestamp(ms // 1000, UTC)
    except (ValueError, OSError) as error:
        raise OverflowError(str(error)) from error
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def convert(kind: Kind, properties: Mapping[str, Any]) -> tuple[dict[str, str], list[Invalid]]:
    """Check and normalise the properties of one input.

    Args:
        kind: the object type.
        properties: name -> value; null is ignored, an empty text clears.

    Returns:
        Name -> value as it is kept, and what is wrong.
    """
    values: dict[str, str] = {}
    invalid: list[Invalid] = []
    for name, raw in properties.items():
        found = kind.properties.get(name)
        if found is None:
            invalid.append(Invalid(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
        elif raw is not None:
            try:
                values[name] = normal(found, raw if isinstance(raw, str) else _text(raw))
            except Wrong as wrong:
                invalid.append(Invalid(name, wrong.code, wrong.message))
    return values, invalid


def normal(prop: Property, value: str) -> str:
    """Bring a value to the form in which it is kept.

    Raises:
        Wrong: the property does not accept it.
    """
    if prop.read_only:
        raise Wrong("READ_ONLY_VALUE", f'"{prop.name}" is a read only property; its value cannot be set.')
    if value == "":
        return value
    if len(value) > MAX_LENGTH:
        text = f"Property values must be at most {MAX_LENGTH} characters long; this has {len(value)}."
        raise Wrong("PROPERTY_VALUE_TOO_LONG", text)
    return _NORMAL[prop.type](prop, value)


@lru_cache(4096)
def moment_ms(value: str) -> int | None:
    """Read a datetime: ISO 8601 (UTC where it names no offset), a date, or milliseconds since 1970; None if neither."""
    if _DIGITS.fullmatch(value):
        return int(value)
    if not _ISO.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * _DAY_MS + since.seconds * 1000 + since.microseconds // 1000


def _text(raw: Any) -> str:
    return json.dumps(raw) if isinstance(raw, bool) else str(raw)


def _string(prop: Property, value: str) -> str:
    if prop.normalise == "lower":
        return value.strip().lower()
    if prop.normalise == "email":
        value = value.strip().lower()
        if not _EMAIL.fullmatch(value):
            raise Wrong("INVALID_EMAIL", f"Email address {value} is invalid")
    return value


def _number(prop: Property, value: str) -> str:
    value = value.strip()
    try:
        if _NUMBER.fullmatch(value) and Decimal(value).is_finite():
            return value
    except InvalidOperation:
        pass
    raise Wrong("INVALID_NUMBER", f"{value} was not a valid number.")


def _date(prop: Property, value: str) -> str:
    ms = moment_ms(value.strip())
    if ms is None:
        raise Wrong("INVALID_DATE", f"{value} was not a valid date.")
    text = _instant(value, ms)
    if ms % _DAY_MS:
        raise Wrong("INVALID_DATE", f"{value} is at {text[11:23]} UTC, not midnight!")
    return text[:10]


def _datetime(prop: Property, value: str) -> str:
    ms = moment_ms(value.strip())
    if ms is None:
        raise Wrong("INVALID_DATE", f"{value} was not a valid date.")
    return _instant(value, ms)


def _instant(value: str, ms: int) -> str:
    try:
        return instant(ms)
    except OverflowError as error:
        raise Wrong("INVALID_DATE", f"{value} was not a valid date.") from error


def _option(prop: Property, value: str) -> str:
    wanted = value.split(";") if prop.field_type == "checkbox" else [value]
    for one in wanted:
        if one not in prop.options:
            options = ", ".join(prop.options)
            raise Wrong("INVALID_OPTION", f"{one} was not one of the allowed options: [{options}]")
    return value


def _bool(prop: Property, value: str) -> str:
    return _option(prop, value.strip().lower())


def _phone(prop: Property, value: str) -> str:
    digits = re.sub(r"[\s().\-/]", "", value)
    if not _PHONE.fullmatch(digits):
        raise Wrong("INVALID_PHONE_NUMBER", f"{value} was not a valid phone number.")
    return digits


_NORMAL = {
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
    "enumeration": _option,
    "number": _number,
    "phone_number": _phone,
    "string": _string,
}
