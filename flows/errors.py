"""Everything that Nightshift raises on purpose.

The tree::

    NightshiftError
    ├── ConfigError        what is declared is wrong; nothing ran                     exit 2
    │   └── MappingUnfit   the CRM lacks what a sync needs, or keeps it from the login    exit 2
    ├── WarehouseError     the warehouse file cannot be used                          exit 1
    ├── ExtractError       a source could not be read; its rows were not loaded       exit 1
    ├── TransformFailed    dbt failed; nothing was sent                               exit 1
    ├── GateFailed         a table is not fit to go on, or what the CRM made of it    exit 1
    ├── PlanHeld           the plan waits for a person; nothing was sent              exit 3
    ├── ApprovalVoid       the approved plan is no longer the plan; nothing was sent  exit 1
    ├── PushError          a batch could not be tried at all                          exit 1
    └── ReconcileMismatch  the CRM could not be read back                             exit 1
"""

from __future__ import annotations

from typing import Any


class NightshiftError(Exception):
    """A failure that a person can act on.

    Args:
        what: what happened and where, in one sentence.
        safe: what is unharmed, and what the next run will do about it.
        todo: what to do next.
    """

    exit_code = 1
    stage = "run"

    def __init__(self, what: str, *, safe: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.safe = safe
        self.todo = todo

    def __str__(self) -> str:
        return "\n".join(
            line
            for line in (
                self.what,
                f"Safe: {self.safe}" if self.safe else "",
                f"Next: {self.todo}" if self.todo else "",
            )
            if line
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are lost by Exception's own pickling; errors cross process borders.
        return (_rebuild, (type(self), self.what, self.safe, self.todo))


def _rebuild(kind: type[NightshiftError], what: str, safe: str, todo: str) -> NightshiftError:
    return kind(what, safe=safe, todo=todo)


class ConfigError(NightshiftError):
    """What is declared in dbt, in profiles or in the environment is wrong; nothing ran."""

    exit_code = 2
    stage = "configuration"


class MappingUnfit(ConfigError):
    """The CRM lacks what a sync is mapped to, or keeps it from the login; others may not fit either."""


class WarehouseError(NightshiftError):
    """The warehouse file cannot be opened or written."""

    stage = "warehouse"


class ExtractError(NightshiftError):
    """A source could not be read; none of its new rows were loaded."""

    stage = "extract"


class TransformFailed(NightshiftError):
    """dbt failed; nothing was sent to the CRM."""

    stage = "transform"


class GateFailed(NightshiftError):
    """A table is not fit to go on and nothing was sent; or what the CRM gave back is not as a suite demands."""

    stage = "gate"


class PlanHeld(NightshiftError):
    """The plan goes over a guard and waits for a person; nothing was sent to the CRM."""

    exit_code = 3
    stage = "guard"


class ApprovalVoid(NightshiftError):
    """What was approved is no longer what would be sent; nothing was sent to the CRM."""

    stage = "guard"


class PushError(NightshiftError):
    """A whole batch could not be tried; its records stay as they were in the ledger."""

    stage = "push"


class ReconcileMismatch(NightshiftError):
    """What was written could not be read back."""

    stage = "reconcile"
