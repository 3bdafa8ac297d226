"""What is found out before a push, as the run's summary keeps it: anomalies, findings of the pre-flight, forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.summary.redaction import clipped, redact

MAX_EXAMPLES = 5
"""Most rows that are named beside a finding."""
LONGEST_EXAMPLE = 60
"""Characters of a value that an example keeps; it is there to be recognised, not to be read."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a finding: its external id and its value, which whoever makes it masks where it is personal."""

    external_id: str
    value: str | None = None

    def __post_init__(self) -> None:
        if self.value is not None:
            object.__setattr__(self, "value", clipped(redact(self.value), LONGEST_EXAMPLE))


@dataclass(frozen=True, slots=True)
class FindingSummary:
    """What the pre-flight found beforehand, and what stops nothing.

    Attributes:
        kind: ``value``: rows that the CRM will refuse or change; ``schema``: the object differs from the last run's;
            ``attached``: records that are not archived for what the CRM would delete with them.
        crm: the connection's name.
        object: the CRM object.
        what: in words.
        field: the CRM field; None where it is the object itself.
        sync: the sync that maps the field, None where none does.
        column: its column.
        rows: rows that carry such a value, or records that stay.
        examples: some of them, at most `MAX_EXAMPLES`.
        before: what the CRM said at the last run, as text; None where there was nothing.
        after: what it says now.
    """

    kind: Literal["value", "schema", "attached"]
    crm: str
    object: str
    what: str
    field: str | None = None
    sync: str | None = None
    column: str | None = None
    rows: int = 0
    examples: tuple[Example, ...] = ()
    before: str | None = None
    after: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", redact(self.what))
        object.__setattr__(self, "examples", self.examples[:MAX_EXAMPLES])


@dataclass(frozen=True, slots=True)
class AnomalySummary:
    """A figure of a table that is unusual for the weekday; see `flows.quality.anomalies`.

    Attributes:
        stage: raw (a source) or crm (a model).
        table: ``<schema>.<table>``.
        metric: rows; nulls (a share of the rows); sum; age (days).
        value: the figure.
        low: the lower end of what is usual.
        high: its upper end.
        median: of the days that it is compared with.
        days: how many they are, all of the same weekday.
        column: the column; None for the table.
    """

    stage: str
    table: str
    metric: Literal["rows", "nulls", "sum", "age"]
    value: float
    low: float
    high: float
    median: float
    days: int
    column: str | None = None


@dataclass(frozen=True, slots=True)
class ForecastSummary:
    """What pushing the plan will ask of one CRM.

    Attributes:
        name: the connection's name.
        requests: requests that it takes, reading back included.
        seconds: how long they take; None where nothing tells it.
        seconds_by: what tells it: the rate that is allowed, or how long a request took in earlier pushes.
        left: requests that were left of the day beforehand; None where the CRM did not say or was not asked.
        most: requests a day; None where the CRM did not say or was not asked.
    """

    name: str
    requests: int
    seconds: float | None = None
    left: int | None = None
    most: int | None = None
    seconds_by: Literal["rate", "pushes"] = "rate"
