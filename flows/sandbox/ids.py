"""Salesforce record ids: 15 case-sensitive characters, and 3 more that make them safe where case is lost.

Source: https://help.salesforce.com/s/articleView?id=000385585 (how the three characters are computed).
"""

from __future__ import annotations

import re
from itertools import product

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_PAIRS = ["".join(pair) for pair in product(_DIGITS, repeat=2)]
_ID = re.compile(r"[0-9A-Za-z]{15}(?:[A-Z0-5]{3})?")


def _bits(text: str) -> int:
    """One bit for each upper-case letter, the first letter's being the lowest."""
    return sum(1 << place for place, letter in enumerate(text) if "A" <= letter <= "Z")


_PAIR_BITS = [_bits(pair) for pair in _PAIRS]
_DIGIT_BITS = [_bits(digit) for digit in _DIGITS]


def make_ids(prefix: str, start: int, count: int) -> list[str]:
    """Make ids in ascending order.

    Args:
        prefix: the object's three characters.
        start: the first record's number.
        count: how many.
    """
    ids = []
    head = heads = ""
    first = prefix + "NS"
    for number in range(start, start + count):
        high, low = divmod(number, 62**5)
        if low == 0 or number == start:
            middle = "0" + _PAIRS[high // 3844] + _PAIRS[high % 3844]
            head, heads = first + middle, _CHECK[_bits(first)] + _CHECK[_bits(middle)]
        rest, last = divmod(low, 3844)
        lead, mid = divmod(rest, 3844)
        check = _CHECK[_DIGIT_BITS[lead] | _PAIR_BITS[mid] << 1 | _PAIR_BITS[last] << 3]
        ids.append(f"{head}{_DIGITS[lead]}{_PAIRS[mid]}{_PAIRS[last]}{heads}{check}")
    return ids


def normalise(text: object) -> str | None:
    """Bring an id to 18 characters.

    Returns:
        The id, or None where the text is not shaped like one.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        return None
    if len(text) == 18:
        return text
    return text + "".join(_CHECK[_bits(text[place : place + 5])] for place in (0, 5, 10))
