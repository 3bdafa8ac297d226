"""What a field accepts: values as they come on the wire, and as the store holds them.

Sources: https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/field_types.htm (types; extra digits after the
point are cut off), https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/datafiles_date_format.htm
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from flows.sandbox.ids import normalise
from flows.sandbox.org import NUMBER_TYPES, TEXT_TYPES, Field


class Keep:
    """The type of `KEEP`."""


KEEP: Final = Keep()
"""No value was given: an update leaves the field as it is, a create takes the default."""

_EMAIL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:Z|[+-]\d{2}:?\d{2})?")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?")
_BOOLEANS = {"true": 1, "false": 0, "1": 1, "0": 0, "yes": 1, "no": 0}
_XSD = {"boolean": "boolean", "int": "int", "date": "date", "datetime": "dateTime", "multipicklist": "multipicklist"}


_BLANKS = "".join(map(chr, range(33)))
"""What is cut off at the ends of a text."""
_FREE_TEXTS = frozenset({"string", "textarea", "phone", "url"})


class Duplicates(NamedTuple):
    """The records that a duplicate rule found, by id."""

    rule: str
    ids: tuple[str, ...]


class RowError(NamedTuple):
    """Why a row was refused."""

    code: str
    message: str
    fields: tuple[str, ...] = ()
    duplicates: Duplicates | None = None


class Wrong(Exception):
    """A value that a field does not accept.

    Attributes:
        error: the row's error.
        parser: whether a JSON body with it cannot be read at all, so that the whole request is refused.
    """

    def __init__(self, code: str, message: str, field: Field | None = None, *, parser: bool = False) -> None:
        super().__init__(message)
        self.error = RowError(code, message, (field.name,) if field else ())
        self.parser = parser


def column(field: Field, raw: Sequence[Any], *, csv: bool) -> tuple[Sequence[Any], dict[int, Wrong]]:
    """Convert one field's values of many rows.

    Args:
        field: the field.
        raw: the values as they came; `KEEP` stays as it is.
        csv: whether they came as CSV, where an empty text means `KEEP` and ``#N/A`` means null.

    Returns:
        The values as the store holds them, and what was wrong by row number.
    """
    fast = _fast(field, raw) if csv else None
    if fast is not None:
        return fast, {}
    known: dict[Any, Any] = {}
    values: list[Any] = []
    wrong: dict[int, Wrong] = {}
    for number, value in enumerate(raw):
        key = (type(value), value if value.__hash__ else id(value))
        try:
            result = known[key]
        except KeyError:
            result = known[key] = _try(field, value, csv)
        if isinstance(result, Wrong):
            wrong[number] = result
            result = KEEP
        values.append(result)
    return values, wrong


def _fast(field: Field, raw: Sequence[str]) -> Sequence[Any] | None:
    """All values at once where none needs a closer look, else None; a million rows must not take minutes."""
    distinct = set(raw)
    if len(distinct) * 4 <= len(raw):
        known = {value: _try(field, value, True) for value in distinct}
        if any(isinstance(value, Wrong) for value in known.values()):
            return None
        return [known[value] for value in raw]
    if "" in distinct or "#N/A" in distinct:
        return None
    if field.type in _FREE_TEXTS:
        kept = [value.strip(_BLANKS) for value in raw]
        return kept if "" not in kept and max(map(len, raw)) <= field.length else None
    if field.type in NUMBER_TYPES and field.type != "int":
        plain = re.compile(rf"-?\d{{1,{max(field.precision - field.scale, 1)}}}(?:\.\d{{1,{max(field.scale, 1)}}})?")
        if field.scale and all(map(plain.fullmatch, raw)):
            return [float(value) for value in raw]
    return None


def _try(field: Field, value: Any, csv: bool) -> Any:
    if value is KEEP:
        return KEEP
    if csv:
        if value == "":
            return KEEP
        if value == "#N/A":
            value = None
    try:
        return convert(field, value, csv=csv)
    except Wrong as wrong:
        return wrong


def convert(field: Field, value: Any, *, csv: bool = False) -> Any:
    """Convert one value to what the store holds.

    Raises:
        Wrong: the field does not accept it.
    """
    if value is None or value == "":
        return None if field.type != "boolean" else _boolean(field, value, csv)
    if field.type == "multipicklist":
        return _several(field, value)
    if field.type in TEXT_TYPES:
        # https://developer.salesforce.com/docs/atlas.en-us.change_data_capture.meta/change_data_capture/cdc_data_diff_event_fields_considerations.htm
        return _text(field, value).strip(_BLANKS) or None
    if field.type in NUMBER_TYPES:
        return _number(field, value, csv)
    return _OTHER[field.type](field, value, csv)


def _several(field: Field, value: Any) -> str | None:
    """The values of a multi-select picklist: each once, those that are offered in the picklist's order."""
    text = _text(replace(field, restricted=False), value)
    chosen = list(dict.fromkeys(one for part in text.split(";") if (one := part.strip())))
    known = {one: place for place, one in enumerate(field.picklist)}
    if field.restricted and (unknown := [one for one in chosen if one not in known]):
        message = f"{field.label}: bad value for restricted picklist field: {unknown[0]}"
        raise Wrong("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, field)
    return ";".join(sorted(chosen, key=lambda one: known.get(one, len(known)))) or None


def _text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        if isinstance(value, list):
            raise _unreadable(field, str(value), False, "START_ARRAY")
        kind = "boolean" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "object"
        raise _unreadable(field, str(value), False, f"VALUE_{kind.upper()}")
    if len(value) > field.length:
        text = f"{field.label}: data value too large: {value[:255]} (max length={field.length})"
        raise Wrong("STRING_TOO_LONG", text, field)
    if field.type == "email" and not _EMAIL.fullmatch(value):
        raise Wrong("INVALID_EMAIL_ADDRESS", f"{field.label}: invalid email address: {value}", field)
    if field.restricted and value not in field.picklist:
        text = f"{field.label}: bad value for restricted picklist field: {value}"
        raise Wrong("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", text, field)
    return value


def _number(field: Field, value: Any, csv: bool) -> float | int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _unreadable(field, str(value), csv, "VALUE_TRUE" if value else "VALUE_FALSE")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise _unreadable(field, str(value), csv) from None
    if not number.is_finite() or (field.type == "int" and number != number.to_integral_value()):
        raise _unreadable(field, str(value), csv)
    if abs(number) >= Decimal(10) ** ((field.precision or 18) - field.scale):
        text = f"{field.label}: value outside of valid range on numeric field: {value}"
        raise Wrong("NUMBER_OUTSIDE_VALID_RANGE", text, field)
    if field.type == "int":
        return int(number)
    return float(number.quantize(Decimal(1).scaleb(-field.scale), ROUND_DOWN))


def _boolean(field: Field, value: Any, csv: bool) -> int:
    if isinstance(value, bool):
        return int(value)
    found = _BOOLEANS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise _unreadable(field, str(value), csv)
    return found


def _date(field: Field, value: Any, csv: bool) -> str:
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if match:
            return date.fromisoformat(match[1]).isoformat()
        return _datetime(field, value, csv)[:10]  # a time of day is accepted, and cut off
    except ValueError:
        raise _unreadable(field, str(value), csv) from None


def _datetime(field: Field, value: Any, csv: bool) -> str:
    if not isinstance(value, str) or not _DATETIME.fullmatch(value):
        raise _unreadable(field, str(value), csv)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _unreadable(field, str(value), csv) from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def _reference(field: Field, value: Any, csv: bool) -> str:
    found = normalise(value)
    if found is None:
        raise Wrong("MALFORMED_ID", f"{field.label}: id value of incorrect type: {value}", field)
    return found


_OTHER: dict[str, Callable[[Field, Any, bool], Any]] = {
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "reference": _reference,
    "id": _reference,
}


def _unreadable(field: Field, value: str, csv: bool, token: str = "VALUE_STRING") -> Wrong:  # noqa: S107
    kind = _XSD.get(field.type, "double" if field.type in NUMBER_TYPES else "string")
    if csv:
        text = (
            f"Failed to deserialize field {field.name}. Due to, '{value}' is not a valid value for the type xsd:{kind}"
        )
        return Wrong("INVALID_FIELD", text, field)
    text = (
        f"Cannot deserialize instance of {kind.lower()} from {token} value {value} "
        "or request may be missing a required field at [line:1, column:1]"
    )
    return Wrong("JSON_PARSER_ERROR", text, field, parser=True)


def as_json(field: Field, value: Any) -> Any:
    """A stored value as JSON."""
    if value is None:
        return None
    if field.type == "boolean":
        return bool(value)
    if field.type == "datetime":
        return value[:-1] + "+0000"
    return value


def as_csv(field: Field, value: Any) -> str:
    """A stored value as CSV text; null is empty."""
    if value is None:
        return ""
    if field.type == "boolean":
        return "true" if value else "false"
    return str(value)
