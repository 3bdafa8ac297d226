"""The forms that CRMs keep texts in: two texts of one form are the same to the CRM.

Each form stands here twice, for records one by one and for tables; they agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SEPARATOR = ";"
"""What stands between the values of a picklist that holds several."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a text.

    Attributes:
        of: text -> its form.
        sql: the same in DuckDB's SQL, with ``{}`` for the text.
    """

    of: Callable[[str], str]
    sql: str


_BLANKS = "".join(map(chr, range(33)))
_STRIPPED_SQL = r"regexp_replace({}, '^[\x00-\x20]+|[\x00-\x20]+$', '', 'g')"
STRIPPED = Form(lambda value: value.strip(_BLANKS), _STRIPPED_SQL)
"""Nothing blank at the ends: any text in Salesforce."""
TRIMMED = Form(lambda value: value.strip(_BLANKS).lower(), f"lower({_STRIPPED_SQL})")
"""Small letters without blanks at the ends: an e-mail address, a domain, a key to which capitals mean nothing."""
DIGITS = Form(lambda value: "".join(c for c in value if c in "0123456789+"), "regexp_replace({}, '[^0-9+]', '', 'g')")
"""Digits and the plus sign: a phone number."""
SEVERAL = Form(
    lambda value: SEPARATOR.join(sorted({*value.split(SEPARATOR)} - {""})),
    f"array_to_string(list_sort(list_distinct(list_filter(string_split({{}}, '{SEPARATOR}'), lambda x: x <> ''))), "
    f"'{SEPARATOR}')",
)
"""The values of a picklist, in any order and any number."""
