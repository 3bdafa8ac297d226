"""What the gate holds back, as the run's summary keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from flows.summary.redaction import clipped, redact

MAX_HELD = 50
"""Most held rows kept of one table; the counts beside them stay whole."""
LONGEST_HELD = 80
"""Characters of an offending value that a summary keeps."""


@dataclass(frozen=True, slots=True)
class HeldSummary:
    """One row that is held back, and one reason for it.

    Attributes:
        key: its external id.
        expectation: what it fails.
        column: the column or columns that show why; None for a query.
        value: what failed, masked where it is personal.
        detail: why the expectation is there.
        since: when it was first held, UTC.
    """

    key: str
    expectation: str
    column: str | None = None
    value: str | None = None
    detail: str = ""
    since: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", redact(self.detail))
        if self.value is not None:
            object.__setattr__(self, "value", clipped(redact(self.value), LONGEST_HELD))


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """What is held back of one table; counts are rows, each once.

    Attributes:
        name: the table, as ``<schema>.<table>``.
        held: held back now.
        new: of those, not held before tonight.
        released: no longer held, since they pass, have left the model, or nothing asks for them any more.
        released_by_hand: released by people since the last run.
        causes: expectation and column -> rows that it holds back; a row may fail several.
        refused: rows that would have to be held, where these are more than the suite allows; the run stops.
        rows: some of the held rows, at most `MAX_HELD`.
    """

    name: str
    held: int = 0
    new: int = 0
    released: int = 0
    released_by_hand: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)
    refused: int | None = None
    rows: tuple[HeldSummary, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows[:MAX_HELD])
