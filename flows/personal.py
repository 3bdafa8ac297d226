"""Which columns people may not see the values of: those that dbt marks, in suites, and in the flow's own tables."""

from __future__ import annotations

from collections.abc import Iterable

from flows import ledger, returned
from flows.gate import Suite
from flows.project import Project, Sync
from flows.warehouse import Warehouse

_OURS = frozenset(("_external_id", "_crm_id", "_acked_at", "_run_id"))
"""A ledger's columns that are no CRM fields."""


def columns(db: Warehouse, declared: Project, suites: Iterable[Suite]) -> dict[str, frozenset[str]]:
    """Say of every table of the project what is personal in it; a table that is not here may hold anything.

    Args:
        db: the warehouse; every sync has its ledger.
        declared: the project, which knows it of dbt's tables.
        suites: the suites of all gates, which may name more columns.

    Returns:
        ``<schema>.<table>`` in lower case -> columns in lower case, of the tables that dbt knows, of those that have a
        suite, of ledgers, and of what the CRM gave back.
    """
    found = {name: set(hidden) for name, hidden in declared.personal.items()}

    def add(name: str, hidden: Iterable[str]) -> None:
        found.setdefault(name.replace('"', "").lower(), set()).update(column.lower() for column in hidden)

    for suite in suites:
        add(suite.name, suite.pii)
    for sync in declared.syncs:
        hidden = found.get(sync.relation.replace('"', "").lower(), set())
        back = f"{returned.SCHEMA}.{sync.name}".lower()
        add(back, _given_back(sync, hidden | found.get(back, set())))
        add(ledger.relation(sync.name), _acknowledged(db, sync, hidden))
    return {name: frozenset(hidden) for name, hidden in found.items()}


def _given_back(sync: Sync, hidden: set[str]) -> set[str]:
    """Of what is read back: what does not fit its column may be personal where any column is."""
    sent = {field.column.lower() for field in sync.fields}
    return hidden | ({returned.UNFIT} if hidden & sent else set())


def _acknowledged(db: Warehouse, sync: Sync, hidden: set[str]) -> set[str]:
    """Of a ledger: its columns are CRM fields, and of one that is no longer mapped nobody can tell."""
    shown = {field.crm_field.lower() for field in sync.fields if field.column.lower() not in hidden}
    return {column.lower() for column in db.columns(ledger.relation(sync.name))} - shown - _OURS
