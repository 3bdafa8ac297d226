"""How numbers, times and values are written on a page, and the environment that its templates are rendered in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from flows.summary import MAX_DETAILS
from flows.summary.story import budgeted, counted, duration

T = TypeVar("T")
LONGEST_VALUE = 240
"""Characters of a value that are shown; a page of long texts is not read."""
SHOWN_REJECTIONS = 10
"""Refused records of one cause that are seen at once; the others are folded away."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The pages' templates: every value is escaped, and a name that is not known is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=_number,
        size=_size,
        duration=duration,
        clock=_clock,
        moment=_moment,
        day=_day,
        age=_age,
        share=_share,
        shown=_shown,
        prose=_prose,
        budgeted=budgeted,
        folded=_folded,
    )
    made.globals.update(counted=counted, max_details=MAX_DETAILS)
    return made


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _clock(value: datetime | None) -> str:
    return "" if value is None else f"{value:%H:%M:%S}"


def _moment(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def _day(value: datetime) -> str:
    return f"{value:%Y-%m-%d}"


def _age(since: datetime | None, at: datetime, began: datetime) -> str:
    """A day, and how many there have been since; tonight is what came up since the run began."""
    if since is None:
        return ""
    since, at, began = (moment.replace(tzinfo=None) for moment in (since, at, began))
    days = (at - since).days
    told = "tonight" if since >= began else counted(days, "day") if days else "less than a day"
    return f"{since:%Y-%m-%d}, {told}"


def _share(part: int | None, whole: int | None) -> str:
    """A part in percent, never rounded to none or to all when it is neither."""
    if not part or not whole:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    return "100 %" if part == whole else f"{min(percent, 99.9):.1f} %"


def _folded(items: Sequence[T]) -> list[tuple[int, Sequence[T]]]:
    """The part that is seen at once, and the rest; each with the place of its first item."""
    parts = [(1, items[:SHOWN_REJECTIONS]), (SHOWN_REJECTIONS + 1, items[SHOWN_REJECTIONS:])]
    return [(start, part) for start, part in parts if part]


def _shown(value: str) -> str:
    """A value as a person may look at it: not endless, and no character that turns or hides the others."""
    clipped = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}… ({len(value):,} characters)"
    return _UNSEEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", clipped)


def _prose(text: str) -> Markup:
    """Our own sentences: escaped, with what stands in backticks, or is a line with a command, set as code."""
    marked = re.sub(r"^nightshift .+$", r"`\g<0>`", text, flags=re.MULTILINE)
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(marked))))  # noqa: S704 - escaped just here
