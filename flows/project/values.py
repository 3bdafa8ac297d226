"""What a project comes to: sources, syncs with their mapped fields, and the connections that they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from flows.project.declared import Anomalies, Connection, FilesExtract, Guard, Nulls, Policy, RestExtract


@dataclass(frozen=True, slots=True)
class Source:
    """One table to extract.

    Attributes:
        name: ``<source>.<table>`` as in dbt.
        table: its table in the warehouse's schema ``raw``.
        columns: column -> DuckDB type, in the order declared.
        extract: where it comes from.
        headers: HTTP headers of its connection (may hold secrets).
        declared_in: the YAML file.
        pii: the columns whose values no message may show.
        anomalies: what of it is unusual; None where nobody wants to know.
    """

    name: str
    table: str
    columns: Mapping[str, str]
    extract: FilesExtract | RestExtract
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    declared_in: str = ""
    pii: frozenset[str] = frozenset()
    anomalies: Anomalies | None = field(default_factory=Anomalies)

    @property
    def relation(self) -> str:
        """The raw table, quoted for SQL."""
        return f'"raw"."{self.table}"'


@dataclass(frozen=True, slots=True)
class MappedField:
    """A model's column and the CRM field it is sent to.

    Attributes:
        column: the model's column.
        crm_field: the CRM's field, unique in a sync. For a lookup, the reference field such as ``AccountId``; in
            HubSpot the parent's object type, with the association's where it has one: ``companies: Billing contact``.
        type: the DuckDB type that the column is sent as; see `flows.project.types`.
        pii: whether people may only see it masked.
        parent: for a lookup, the parent sync's name.
        parent_object: for a lookup, the parent's CRM object.
        parent_external_id: for a lookup, the parent's external-id field in the CRM.
        association: for a lookup in HubSpot, the association's type; None for the default one.
        policy: when the field is sent.
        nulls: what no value means.
    """

    column: str
    crm_field: str
    type: str
    pii: bool = False
    parent: str | None = None
    parent_object: str | None = None
    parent_external_id: str | None = None
    association: str | int | None = None
    policy: Policy = "always"
    nulls: Nulls = "clear"


@dataclass(frozen=True, slots=True)
class Sync:
    """One model that is kept in step with one CRM object.

    Attributes:
        name: the dbt model's name.
        relation: its table, quoted for SQL.
        crm: the connection's name.
        object: the CRM object.
        external_id_column: the model's key column.
        external_id_field: the CRM field that holds it.
        mode: upsert, create_only, update_only or mirror (archives what left the model).
        guard: what a plan may do without being approved.
        fields: the mapped columns, without the external id.
        level: 0 for a sync without parents, else one more than its highest parent.
        declared_in: the YAML file.
        deleted: what to do about a record that somebody deleted in the CRM: report, recreate or forget.
        sources: the extracted sources that the model is made from, at any distance.
        anomalies: what of the model is unusual; None where nobody wants to know.
        personal: the model's columns, in lower case, that people may only see masked, also those that are not mapped.
    """

    name: str
    relation: str
    crm: str
    object: str
    external_id_column: str
    external_id_field: str
    mode: str
    guard: Guard
    fields: tuple[MappedField, ...]
    level: int = 0
    declared_in: str = ""
    deleted: str = "report"
    sources: tuple[str, ...] = ()
    anomalies: Anomalies | None = field(default_factory=Anomalies)
    personal: frozenset[str] = frozenset()

    @property
    def types(self) -> dict[str, str]:
        """CRM field -> DuckDB type of every mapped field."""
        return {f.crm_field: f.type for f in self.fields}

    @property
    def pii(self) -> frozenset[str]:
        """The CRM fields that people may only see masked."""
        return frozenset(f.crm_field for f in self.fields if f.pii)


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that one target's night works from.

    Attributes:
        sources: what to extract.
        syncs: what to push, parents before children.
        connections: CRM connections by name.
        personal: ``<schema>.<table>`` in lower case -> its columns, in lower case, that people may only see masked.
        tables: ``<schema>.<table>`` as dbt spells it -> whether the transform builds it.
    """

    sources: tuple[Source, ...]
    syncs: tuple[Sync, ...]
    connections: Mapping[str, Connection]
    personal: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tables: Mapping[str, bool] = field(default_factory=dict)

    def sync(self, name: str) -> Sync:
        """The sync of that name."""
        return next(sync for sync in self.syncs if sync.name == name)
