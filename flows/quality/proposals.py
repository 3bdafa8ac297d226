"""A proposed suite: its expectations, the numbers that they come from, and how it is written for people to edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from flows.summary.writing import printable

SCHEMA_LINE = "# yaml-language-server: $schema=../suite.schema.json"
"""What tells editors how a suite is written; see `flows.gate.schema`."""
AFTER = "crm_after"
"""The schema, and the folder of suites, of what the CRM gave back."""

_BEFORE = ("# say why the rest must hold, and make critical what must not go on. Now only the row count stops a run.",)
_BACK = (
    "# and say why the rest must hold. All is written when it is judged, so that a failure is told, and stops nothing;",
    "# on_fail: stop makes the run end as failed.",
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposed expectation.

    Attributes:
        name: the expectation's name.
        arguments: its arguments.
        description: what was seen.
        severity: how bad it is when it fails.
    """

    name: str
    arguments: Mapping[str, Any]
    description: str
    severity: str = "warning"

    def item(self) -> dict[str, Any]:
        """As it stands in a suite."""
        return {self.name: dict(self.arguments), "severity": self.severity, "description": self.description}


@dataclass(frozen=True, slots=True)
class Part:
    """What is proposed for one column, or for the table: the numbers as comments, and the expectations."""

    comments: tuple[str, ...]
    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A proposed suite.

    Attributes:
        table: ``<schema>.<table>``.
        rows: how many rows were profiled.
        owner: whom to ask.
        pii: columns whose values are never shown.
        parts: the table's, then each column's.
    """

    table: str
    rows: int
    owner: str
    pii: tuple[str, ...]
    parts: tuple[Part, ...] = field(default_factory=tuple)

    def suite(self) -> dict[str, Any]:
        """The suite as a document."""
        head: dict[str, Any] = {"table": self.table, "description": self._description, "owner": self.owner}
        if self.pii:
            head["pii"] = list(self.pii)
        return {**head, "expectations": [one.item() for part in self.parts for one in part.proposals]}

    def as_yaml(self) -> str:
        """The suite as a file for people: commented, and ready to be edited."""
        lines = [
            SCHEMA_LINE,
            f"# Suggested from {self.rows:,} rows on {datetime.now(UTC):%Y-%m-%d}, to be edited: drop what is chance,",
            *(_BACK if self.table.startswith(f"{AFTER}.") else _BEFORE),
            f"table: {_flow(self.table)}",
            f"description: {_flow(self._description)}",
            f"owner: {_flow(self.owner)}",
            *([f"pii: {_flow(list(self.pii))}"] if self.pii else []),
            "expectations:",
        ]
        for number, part in enumerate(self.parts):
            lines += [""] if number else []
            lines += [f"  # {_one_line(comment)}" for comment in part.comments]
            for one in part.proposals:
                lines += [
                    f"  - {one.name}: {_flow(dict(one.arguments))}",
                    f"    severity: {one.severity}",
                    f"    description: {_flow(one.description)}",
                ]
        return "\n".join(lines) + "\n"

    @property
    def _description(self) -> str:
        return f"What {self.table} looked like when this suite was suggested."


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _one_line(text: str) -> str:
    """A comment that a column's odd name cannot leave."""
    return printable(text)
