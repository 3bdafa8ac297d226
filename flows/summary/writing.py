"""Texts as they may be printed or stand in Markdown, whatever data is in them."""

from __future__ import annotations

import re

from flows.summary.story import inline


def printable(text: str, keep: str = "") -> str:
    """A text that cannot steer a terminal: what is no printable character is told by its code.

    Args:
        text: the text.
        keep: characters that stay as they are, such as line ends.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def cell(value: str | None) -> str:
    """A value in Markdown is text in one line, whatever it holds."""
    return "" if value is None else _escaped(printable(" ".join(value.split())))


def prose(todo: str) -> str:
    """What to do, in Markdown: our own words, in which a command stays a command."""
    parts = re.split(r"(`[^`]+`)", printable(inline(todo)))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    """What Markdown would read as a sign is escaped; an underscore inside a word is none."""
    return re.sub(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))", r"\\\1", text)
