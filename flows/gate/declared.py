"""A suite and its expectations, as they are declared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from flows.gate.catalogue import COLUMNS, SQL, Kind

Severity = Literal["critical", "warning", "info"]
Rows = Literal["all", "new"]
OnFail = Literal["stop", "quarantine", "report"]

MAX_QUARANTINED = 0.05
"""The share of a table's rows that may be held back where its suite says nothing else."""
AT_LEAST = 20
"""A share is not checked for fewer held rows than this, because a share of little means nothing."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation of a suite.

    Attributes:
        kind: which of Great Expectations'.
        arguments: argument -> value.
        severity: critical, warning or info.
        description: why it is there, in words that a reviewer understands.
        owner: whom to ask.
        row_condition: SQL that says which rows are judged; all where None.
        rows: ``new`` judges only what no finished run has carried yet.
        on_fail: what follows when it fails; None for what follows by itself, see `Suite.on_fail`.
        line: its line in the suite's file.
    """

    kind: Kind
    arguments: Mapping[str, Any]
    severity: Severity = "critical"
    description: str = ""
    owner: str = ""
    row_condition: str | None = None
    rows: Rows = "all"
    on_fail: OnFail | None = None
    line: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it judges; none for an expectation on the table as such."""
        named = (self.arguments[name] for name in COLUMNS if name in self.arguments)
        return tuple(column for value in named for column in ([value] if isinstance(value, str) else value))

    @property
    def is_query(self) -> bool:
        """Whether it is a query of the suite's own."""
        return self.kind.name == SQL

    @property
    def expected(self) -> str:
        """Its arguments as text, without the columns."""
        said = [f"{name}={value!r}" for name, value in self.arguments.items() if name not in COLUMNS]
        said += [f"where {self.row_condition}"] if self.row_condition else []
        said += ["new rows only"] if self.rows == "new" else []
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Suite:
    """The expectations on one table.

    Attributes:
        schema: the table's schema in the warehouse.
        table: the table's name.
        description: what the suite guards.
        owner: whom to ask.
        pii: columns whose values are never shown.
        max_quarantined: the most rows that may be held back: a share of the table's (a float), or a count (an int).
        expectations: in the file's order.
        path: the file.
        line: the line that names the table.
        key: the column that a sync knows the table's rows by; None for a table that is neither a synced model nor
            what came back of one.
        sent: whether the rows are sent already, so that none can be held back.
        only: SQL: no other rows are judged by any expectation; all where None.
    """

    schema: str
    table: str
    expectations: tuple[Expectation, ...]
    path: Path
    line: int = 1
    description: str = ""
    owner: str = ""
    pii: frozenset[str] = frozenset()
    max_quarantined: float | int = MAX_QUARANTINED
    key: str | None = None
    sent: bool = False
    only: str | None = None

    @property
    def name(self) -> str:
        """``<schema>.<table>``."""
        return f"{self.schema}.{self.table}"

    @property
    def holds(self) -> bool:
        """Whether the table's rows can be held back one by one."""
        return self.key is not None and not self.sent

    def on_fail(self, expectation: Expectation) -> OnFail:
        """What follows when an expectation fails: what it says, else what its severity and its table make of it.

        What is not critical is reported. A critical one on the table stops the run. One on rows holds back the rows
        that fail where they are a sync's records; elsewhere a row is a part of sums and of other rows, and is
        reported.
        """
        if expectation.on_fail is not None:
            return expectation.on_fail
        if expectation.severity != "critical":
            return "report"
        if not expectation.kind.row_level:
            return "stop"
        return "quarantine" if self.holds else "report"

    def id(self, expectation: Expectation) -> str:
        """What an expectation is known by from run to run: a short hash over what it asks, of which rows."""
        said = (expectation.kind.name, expectation.arguments, expectation.row_condition, expectation.rows)
        text = json.dumps([self.name.lower(), *said], sort_keys=True, default=str)
        return blake2b(text.encode(), digest_size=6).hexdigest()
