"""What no summary may hold: e-mail addresses, phone numbers and credentials in free texts."""

from __future__ import annotations

import re

_REDACTIONS = (
    (re.compile(r"(?<=://)[^/\s@]+@"), "[secret]@"),
    (re.compile(r"[^\s@<>\"'`=:,;()\[\]][^\s@<>\"`=:,;()\[\]]*@[^\s\"'`<>,;()\[\]]*"), "[e-mail]"),
    (re.compile(r"\+\d[\d\s().-]{6,}\d"), "[phone]"),
)


def redact(text: str) -> str:
    """Take e-mail addresses, international phone numbers and URL credentials out of a text.

    CRMs quote the refused value in their messages. A text that was redacted once stays as it is.
    """
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


def clipped(text: str, longest: int) -> str:
    """Cut a text that is longer than so many characters; one that was cut once stays as it is."""
    return text if len(text) <= longest + 1 else text[:longest] + "…"
