"""Syncs for tests that need no dbt project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flows.project import Guard, MappedField, Sync


def sync(name: str, crm_object: str, key: str, fields: Iterable[MappedField], **changes: Any) -> Sync:
    """A mirror of a model in Salesforce, without a guard of its own.

    Args:
        name: the model's name.
        crm_object: the CRM's object.
        key: the column of the external id.
        fields: the mapped fields.
        changes: what else is to be as said, by the attributes of `Sync`.
    """
    usual = Sync(
        name=name,
        relation=f'"crm"."{name}"',
        crm="main",
        object=crm_object,
        external_id_column=key,
        external_id_field="External_Id__c",
        mode="mirror",
        guard=Guard(),
        fields=tuple(fields),
    )
    return replace(usual, **changes)
