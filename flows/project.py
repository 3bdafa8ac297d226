"""The dbt project read as configuration: sources to extract, syncs to push, and the connections they use.

What to extract is declared on dbt sources (``config.meta.extract``), what to sync on dbt models
(``config.meta.sync`` and, per column, ``crm_field`` or ``lookup``), connections in ``profiles/connections.yml``.
Everything that is wrong in it is found here, before anything runs.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

from flows.errors import ConfigError


def _share_or_count(value: object) -> object:
    """Read ``5%`` as the share 0.05 and leave a whole number as a count of records."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d+(\.\d+)?\s*%\s*", value):
        return float(value.strip().rstrip("%")) / 100
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"found {value!r}, expected a share such as 5% or a whole number of records")
    return value


class _Declared(BaseModel):
    """What people write in YAML: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Threshold = Annotated[float | int, BeforeValidator(_share_or_count), Field(ge=0)]
"""A float is a share of the ledger's records (``5%`` = 0.05), an int is a count of records."""


class Guard(_Declared):
    """What a plan may do without being approved; see `flows.plan.over_guard`.

    Attributes:
        max_creates: creates once the ledger holds anything (a first night creates everything).
        max_updates: updates.
        max_archives: archives.
        max_changes: updates and archives together.
        fields: CRM field -> updates that change it.
        at_least: a share is not checked below so many records.
    """

    max_creates: Threshold | None = None
    max_updates: Threshold | None = None
    max_archives: Threshold | None = 0.05
    max_changes: Threshold | None = None
    fields: dict[str, Threshold] = Field(default_factory=dict)
    at_least: int = Field(default=100, ge=0)


class FilesExtract(_Declared):
    """A folder of files, each loaded once.

    Attributes:
        path: a glob, relative to the project folder.
        format: taken from the files' names where absent.
        changed: what to do about a file whose content changed after it was loaded.
        date_in_name: whether a file's name holds the day it arrived (``2010-12-01``); needed for ``--as-of``.
        missing: what to do where ``--as-of`` names a day that has no file.
        delimiter: what stands between two fields of a CSV file.
    """

    kind: Literal["files"]
    path: str
    strategy: Literal["append", "replace"] = "append"
    format: Literal["csv", "parquet", "json"] | None = None
    changed: Literal["error", "reload"] = "error"
    date_in_name: bool = False
    missing: Literal["error", "warning"] = "error"
    delimiter: str = Field(default=",", min_length=1, max_length=1)


class RestExtract(_Declared):
    """A paginated JSON API.

    Attributes:
        url: the first page.
        key: the column that identifies a record (for ``merge``).
        cursor: the column that says when a record last changed; its highest value so far is sent as ``cursor_param``.
        cursor_param: query parameter for the lowest ``cursor`` wanted.
        until_param: query parameter for the highest ``cursor`` wanted (``--as-of``).
        records: the key of the page's list of records.
        next: the key of the next page's token; null or absent on the last page.
        page_param: query parameter for that token.
        page_size: records a page.
        page_size_param: query parameter for it.
        timeout_seconds: how long one answer may keep silent.
        deadline_seconds: how long one page is tried for, with all its repetitions.
    """

    kind: Literal["rest"]
    url: str
    strategy: Literal["append", "replace", "merge"] = "merge"
    key: str | None = None
    cursor: str | None = None
    cursor_param: str = "updated_since"
    until_param: str | None = "updated_until"
    records: str = "items"
    next: str = "next"
    page_param: str = "page"
    page_size: int = Field(default=1000, gt=0)
    page_size_param: str = "limit"
    timeout_seconds: float = Field(default=30, gt=0)
    deadline_seconds: float = Field(default=300, gt=0)


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
    """

    name: str
    table: str
    columns: Mapping[str, str]
    extract: FilesExtract | RestExtract
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    declared_in: str = ""
    pii: frozenset[str] = frozenset()

    @property
    def relation(self) -> str:
        """The raw table, quoted for SQL."""
        return f'"raw"."{self.table}"'


class _ExternalId(_Declared):
    column: str
    field: str


class _Lookup(_Declared):
    sync: str
    field: str


class _SyncMeta(_Declared):
    crm: str = "main"
    object: str
    external_id: _ExternalId
    mode: Literal["upsert", "create_only", "update_only", "mirror"] = "upsert"
    guard: Guard = Guard()


@dataclass(frozen=True, slots=True)
class MappedField:
    """A model's column and the CRM field it is sent to.

    Attributes:
        column: the model's column.
        crm_field: the CRM's field (for a lookup, the reference field such as ``AccountId``).
        type: the column's DuckDB type.
        pii: whether people may only see it masked.
        parent: for a lookup, the parent sync's name.
        parent_object: for a lookup, the parent's CRM object.
        parent_external_id: for a lookup, the parent's external-id field in the CRM.
    """

    column: str
    crm_field: str
    type: str
    pii: bool = False
    parent: str | None = None
    parent_object: str | None = None
    parent_external_id: str | None = None


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

    @property
    def types(self) -> dict[str, str]:
        """CRM field -> DuckDB type of every mapped field."""
        return {f.crm_field: f.type for f in self.fields}

    @property
    def pii(self) -> frozenset[str]:
        """The CRM fields that people may only see masked."""
        return frozenset(f.crm_field for f in self.fields if f.pii)


class SalesforceConnection(_Declared):
    """How to reach a Salesforce org.

    Attributes:
        url: the org's My Domain URL (or the login URL).
        auth: ``client_credentials`` needs client_id and client_secret, ``jwt`` needs client_id, username and
            private_key (a PEM text);
            audience is the JWT's ``aud``, the login URL, and is the connection's url where absent.
        requests_per_second: our own ceiling over all tasks; 0 for none.
        collections_up_to: the most records of one operation that go by sObject Collections; above, Bulk API 2.0.
        poll_seconds: first pause between two looks at a bulk job.
    """

    kind: Literal["salesforce"]
    url: str
    auth: Literal["client_credentials", "jwt"] = "client_credentials"
    client_id: str
    client_secret: SecretStr | None = None
    username: str | None = None
    private_key: SecretStr | None = None
    audience: str | None = None
    requests_per_second: float = Field(default=0, ge=0)
    collections_up_to: int = Field(default=2000, ge=0)
    poll_seconds: float = Field(default=0.5, gt=0)
    deadline_seconds: float = Field(default=600, gt=0)


class HubSpotConnection(_Declared):
    """How to reach a HubSpot account.

    Attributes:
        url: where the API answers.
        token: the access token of a private app.
        paths: which of HubSpot's paths are used: ``v3`` (the associations' are v4) or those of a dated version.
        requests_per_10_seconds: our own ceiling over all tasks, in any ten seconds; 0 for none.
        deadline_seconds: how long one request is tried for, with all its repetitions.
    """

    kind: Literal["hubspot"]
    url: str = "https://api.hubapi.com"
    token: SecretStr
    paths: Literal["v3", "2026-03"] = "v3"
    requests_per_10_seconds: int = Field(default=190, ge=0)
    deadline_seconds: float = Field(default=600, gt=0)


Connection = SalesforceConnection | HubSpotConnection
"""A connection to a CRM; its ``kind`` says which connector speaks it."""
KINDS = frozenset({"salesforce", "hubspot"})
"""The kinds of CRMs. What is named in a CRM may be named for each kind: ``{salesforce: Name, hubspot: name}``."""


class _SourceConnection(_Declared):
    headers: dict[str, SecretStr] = Field(default_factory=dict)


class _TargetConnections(_Declared):
    crms: dict[str, Annotated[Connection, Field(discriminator="kind")]]
    sources: dict[str, _SourceConnection] = Field(default_factory=dict)
    notify: list[SecretStr] = Field(default_factory=list)

    @field_validator("notify")
    @classmethod
    def _those_that_are_set(cls, urls: list[SecretStr]) -> list[SecretStr]:
        """A channel whose variable is empty is not wanted."""
        return [url for url in urls if url.get_secret_value().strip()]


RESERVED = frozenset({"external_id", "crm_id", "changed"})
"""Columns of a plan's batches that are no CRM fields; see `flows.records`."""
SECRETS = frozenset({"client_secret", "private_key", "token", "password"})


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that one target's night works from.

    Attributes:
        sources: what to extract.
        syncs: what to push, parents before children.
        connections: CRM connections by name.
        notify: apprise URLs (secret).
        models: dbt models by name -> quoted relation, for gates.
    """

    sources: tuple[Source, ...]
    syncs: tuple[Sync, ...]
    connections: Mapping[str, Connection]
    notify: tuple[SecretStr, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)

    def sync(self, name: str) -> Sync:
        """The sync of that name."""
        return next(sync for sync in self.syncs if sync.name == name)


ENV_VAR = re.compile(r"""\{\{\s*env_var\(\s*(['"])(.+?)\1\s*(?:,\s*(['"])(.*?)\3\s*)?\)\s*\}\}""")


def render(text: str, where: str) -> str:
    """Replace dbt's ``{{ env_var('NAME', 'default') }}`` in a text.

    Args:
        text: the text.
        where: file and key, for the error.

    Raises:
        ConfigError: a variable is not set and has no default; or something else stands in braces.
    """
    if "{{" in ENV_VAR.sub("", text):
        raise ConfigError(
            f"{where}: only {{{{ env_var('NAME') }}}} or {{{{ env_var('NAME', 'default') }}}} may stand in braces.",
            safe="Nothing ran.",
            todo="Correct what stands in braces; it is no template beyond that.",
        )

    def value(match: re.Match[str]) -> str:
        name, default = match.group(2), match.group(4)
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigError(
                f"{where}: the environment variable {name} is not set.",
                safe="Nothing ran.",
                todo=f"Set {name}, or give it a default: {{{{ env_var('{name}', '...') }}}}.",
            )
        return found

    return ENV_VAR.sub(value, text)


def _rendered(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return render(value, where)
    if isinstance(value, dict):
        return {key: _rendered(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_rendered(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    return value


def _unset(value: Any, where: str) -> Iterator[str]:
    """What cannot be rendered in a document, each with its key."""
    if isinstance(value, str):
        try:
            render(value, where)
        except ConfigError as error:
            yield error.what
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _unset(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _unset(inner, f"{where}[{i}]")


def _literal_secrets(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in SECRETS and isinstance(inner, str) and not ENV_VAR.search(inner):
                yield f"{where}.{key}"
            yield from _literal_secrets(inner, f"{where}.{key}")


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no key that is known here",
    "model_type": "expected a mapping of keys",
    "dict_type": "expected a mapping of keys",
}


def _problems(error: ValidationError, where: str) -> Iterator[str]:
    """One sentence for each problem; what was found is not quoted where it may be a secret."""
    for item in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        said = _WORDS.get(item["type"], f"{message[0].lower()}{message[1:]}")
        yield f"{where}{'.' + key if key else ''}: {said}"


def _fail(problems: list[str]) -> None:
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"The configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{listed}",
            safe="Nothing ran, nothing was sent.",
            todo="Correct the lines named above, then `nightshift doctor`.",
        )


def load_connections(path: Path, target: str) -> _TargetConnections:
    """Read one target's connections.

    Args:
        path: ``profiles/connections.yml``.
        target: the target's name; only its variables are looked up.

    Raises:
        ConfigError: the file is missing or malformed, an unknown target, a literal secret, an unset variable.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist.", todo="See docs/reference.md for its form.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}", safe="Nothing ran.", todo="Correct that line.") from error
    targets = document.get("targets") if isinstance(document, dict) else None
    if not isinstance(targets, dict):
        raise ConfigError(
            f"{path} has no mapping of targets.", safe="Nothing ran.", todo="See docs/connections.md for its form."
        )
    if target not in targets:
        raise ConfigError(
            f"{path.name} has no target {target!r}; it has: {', '.join(sorted(targets)) or 'none'}.",
            todo=f"Use --target, or add {target!r} to {path.name}.",
        )
    where = f"{path.name}: {target}"
    literal = list(_literal_secrets(targets[target], where))
    _fail([f"{key}: a secret must not stand here; write \"{{{{ env_var('NAME') }}}}\"" for key in literal])
    unset = list(_unset(targets[target], where))
    if len(unset) > 1:
        _fail(unset)
    try:
        return _TargetConnections.model_validate(_rendered(targets[target], where))
    except ValidationError as error:
        _fail(list(_problems(error, where)))
        raise


def load(manifest: Mapping[str, Any], connections: _TargetConnections) -> Project:
    """Turn dbt's manifest into sources and syncs.

    Args:
        manifest: dbt's ``manifest.json``.
        connections: the target's connections.

    Raises:
        ConfigError: lists every problem found at once, each with file, node and key.
    """
    problems: list[str] = []
    sources = tuple(
        source for node in manifest["sources"].values() if (source := _source(node, connections, problems)) is not None
    )
    nodes = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    declared = {n: _sync_meta(node, connections, problems) for n, node in nodes.items() if "sync" in _meta(node)}
    metas = {name: meta for name, meta in declared.items() if meta is not None}
    for name, meta in metas.items():
        if meta.crm not in connections.crms:
            known = ", ".join(sorted(connections.crms)) or "none"
            problems.append(
                f"{_where(nodes[name])}.sync.crm: no connection {meta.crm!r} in connections.yml (known: {known})"
            )
    fields = {
        name: _fields(nodes[name], meta, declared, _kind(connections, meta.crm), problems)
        for name, meta in metas.items()
    }
    _fail(problems)
    levels = _levels(fields, nodes)
    syncs = [
        Sync(
            name=name,
            relation=_relation(nodes[name]),
            crm=meta.crm,
            object=meta.object,
            external_id_column=meta.external_id.column,
            external_id_field=meta.external_id.field,
            mode=meta.mode,
            guard=meta.guard,
            fields=fields[name],
            level=levels[name],
            declared_in=_file(nodes[name]),
        )
        for name, meta in metas.items()
    ]
    return Project(
        sources=sources,
        syncs=tuple(sorted(syncs, key=lambda sync: (sync.level, sync.name))),
        connections=connections.crms,
        notify=tuple(connections.notify),
        models={name: _relation(node) for name, node in nodes.items()},
    )


def _file(node: Mapping[str, Any]) -> str:
    patch = node.get("patch_path") or node["original_file_path"]
    return str(patch).split("://")[-1]


def _where(node: Mapping[str, Any]) -> str:
    return f"{_file(node)}: {node['name']}: config.meta"


def _relation(node: Mapping[str, Any]) -> str:
    return f'"{node["schema"]}"."{node.get("identifier") or node.get("alias") or node["name"]}"'


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}


def _source(node: Mapping[str, Any], connections: _TargetConnections, problems: list[str]) -> Source | None:
    raw = _meta(node).get("extract")
    if raw is None:
        return None
    name = f"{node['source_name']}.{node['name']}"
    where = f"{_file(node)}: {name}: config.meta.extract"
    columns = {c["name"]: c.get("data_type") for c in node["columns"].values()}
    untyped = [column for column, data_type in columns.items() if not data_type]
    if untyped or not columns:
        problems.append(f"{where}: every column needs a data_type; without one: {', '.join(untyped) or 'all'}")
        return None
    extract: FilesExtract | RestExtract
    try:
        rendered = _rendered(raw, where)
        kinds: dict[str, type[FilesExtract] | type[RestExtract]] = {
            "files": FilesExtract,
            "rest": RestExtract,
        }
        if not isinstance(rendered, dict):
            problems.append(f"{where}: found {rendered!r}, expected a mapping such as {{kind: files, path: ...}}")
            return None
        kind = kinds.get(str(rendered.get("kind")))
        if kind is None:
            problems.append(f"{where}.kind: found {rendered.get('kind')!r}, expected one of {', '.join(kinds)}")
            return None
        extract = kind.model_validate(rendered)
    except ValidationError as error:
        problems.extend(_problems(error, where))
        return None
    except ConfigError as error:
        problems.append(error.what)
        return None
    if isinstance(extract, RestExtract):
        for key in ("key", "cursor"):
            column = getattr(extract, key)
            if column is not None and column not in columns:
                problems.append(f"{where}.{key}: no column {column!r} is declared")
        if extract.strategy == "merge" and extract.key is None:
            problems.append(f"{where}.key: strategy merge needs the column that identifies a record")
    connection = connections.sources.get(node["source_name"])
    return Source(
        name=name,
        table=node["identifier"],
        columns={column: str(data_type) for column, data_type in columns.items()},
        extract=extract,
        headers=connection.headers if connection else {},
        declared_in=_file(node),
        pii=frozenset(c["name"] for c in node["columns"].values() if _meta(c).get("pii", False)),
    )


def _for_kind(value: Any, kind: str) -> Any:
    """Choose, wherever something is said for each kind of CRM, what is said for one of them.

    ``{salesforce: Name, hubspot: name}`` is ``name`` for HubSpot, and None where it names other kinds alone.
    """
    if not isinstance(value, dict):
        return value
    if value and value.keys() <= KINDS:
        return _for_kind(value.get(kind), kind)
    return {key: _for_kind(inner, kind) for key, inner in value.items()}


def _kind(connections: _TargetConnections, crm: object) -> str:
    """The kind of a connection; for one that does not exist, which is told elsewhere, any kind."""
    found = connections.crms.get(str(crm))
    return found.kind if found else "salesforce"


def _sync_meta(node: Mapping[str, Any], connections: _TargetConnections, problems: list[str]) -> _SyncMeta | None:
    raw = _meta(node).get("sync")
    if raw is None:
        return None
    where = f"{_where(node)}.sync"
    try:
        rendered = _rendered(raw, where)
        if isinstance(rendered, dict):
            rendered = _for_kind(rendered, _kind(connections, rendered.get("crm", "main")))
        meta = _SyncMeta.model_validate(rendered)
    except ValidationError as error:
        problems.extend(_problems(error, where))
        return None
    except ConfigError as error:
        problems.append(error.what)
        return None
    if meta.external_id.column not in node["columns"]:
        problems.append(f"{where}.external_id.column: the model has no column {meta.external_id.column!r}")
    return meta


def _fields(
    node: Mapping[str, Any], meta: _SyncMeta, declared: Mapping[str, _SyncMeta | None], kind: str, problems: list[str]
) -> tuple[MappedField, ...]:
    found: list[MappedField] = []
    for column in node["columns"].values():
        # What is said for other kinds of CRM alone is not sent to this one.
        name = column["name"]
        column_meta = {key: value for key, value in _for_kind(_meta(column), kind).items() if value is not None}
        where = f"{_file(node)}: {node['name']}.{name}: config.meta"
        if name == meta.external_id.column or not {"crm_field", "lookup"} & column_meta.keys():
            continue
        data_type = column.get("data_type")
        if not data_type:
            problems.append(f"{where}: a mapped column needs a data_type")
            continue
        pii = bool(column_meta.get("pii", False))
        if isinstance(lookup_meta := column_meta.get("lookup"), dict) and lookup_meta.get("field", "") is None:
            continue
        if "lookup" not in column_meta:
            crm_field = column_meta["crm_field"]
            if isinstance(crm_field, str):
                found.append(MappedField(name, crm_field, data_type, pii))
            else:
                kinds = " and ".join(sorted(KINDS))
                problems.append(f"{where}.crm_field: found {crm_field!r}, expected a name, or one each for {kinds}")
            continue
        try:
            lookup = _Lookup.model_validate(column_meta["lookup"])
        except ValidationError as error:
            problems.extend(_problems(error, f"{where}.lookup"))
            continue
        if lookup.sync not in declared:
            problems.append(f"{where}.lookup.sync: no model {lookup.sync!r} has a sync")
        # What is wrong with the parent's own sync is told there, once.
        if (parent := declared.get(lookup.sync)) is None:
            continue
        found.append(
            MappedField(name, lookup.field, data_type, pii, lookup.sync, parent.object, parent.external_id.field)
        )
    problems.extend(f"{_where(node)}: {problem}" for problem in _clashes(found, meta))
    return tuple(found)


def _clashes(found: Sequence[MappedField], meta: _SyncMeta) -> Iterator[str]:
    """What cannot be told apart: neither a CRM nor DuckDB minds the case of a name's letters."""
    names = [f.crm_field.casefold() for f in found]
    for mapped, name in zip(found, names, strict=True):
        if names.index(name) < len(names) - 1 - names[::-1].index(name) and mapped is found[names.index(name)]:
            yield f"two columns are mapped to {mapped.crm_field}"
        if name == meta.external_id.field.casefold():
            yield f"the column {mapped.column} is mapped to {mapped.crm_field}, which is the external id"
        if name in RESERVED:
            yield f"the column {mapped.column} is mapped to {mapped.crm_field}, a name that plans use themselves"
    for guarded in meta.guard.fields:
        if guarded not in {f.crm_field for f in found}:
            near = difflib.get_close_matches(guarded, [f.crm_field for f in found], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield f"sync.guard.fields.{guarded}: no column is mapped to it{hint}"


def _levels(fields: Mapping[str, tuple[MappedField, ...]], nodes: Mapping[str, Any]) -> dict[str, int]:
    parents = {name: {f.parent for f in mapped if f.parent and f.parent != name} for name, mapped in fields.items()}
    levels: dict[str, int] = {}
    try:
        for name in TopologicalSorter(parents).static_order():
            levels[name] = 1 + max((levels[parent] for parent in parents[name]), default=-1)
    except CycleError as error:
        ring = " -> ".join(error.args[1])
        raise ConfigError(
            f"{_file(nodes[error.args[1][0]])}: lookups form a ring: {ring}.",
            safe="Nothing ran.",
            todo="Drop one of the lookups; parents are pushed before children.",
        ) from error
    return levels
