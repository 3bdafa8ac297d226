"""Checks a person can run by day: everything that a night needs, nothing changed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flows import budget, gate, ledger, preflight, project, returned, transform, warehouse
from flows.errors import ConfigError, NightshiftError, WarehouseError
from flows.project import FilesExtract, Project, Source, Sync
from flows.quality import stated, suite_check
from flows.settings import Settings
from flows.summary import story
from flows.summary.findings import ForecastSummary
from flows.warehouse import Warehouse

PATIENCE = 15.0
"""Seconds that a CRM may take to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, whether all is well, what was found, and whether that is only a hint."""

    check: str
    ok: bool
    found: str
    hint: bool = False


def examine(settings: Settings) -> Iterator[Finding]:
    """Check configuration, dbt project, suites, sources and CRMs.

    Args:
        settings: the target.

    Yields:
        Findings as they are made. What cannot be checked because of an earlier finding is left out.
    """
    declared: list[Project] = []
    manifests: list[Mapping[str, Any]] = []

    def configuration() -> str:
        manifests.append(transform.parse(settings))
        connections = project.load_connections(settings.profiles / "connections.yml", settings.target)
        declared.append(project.load(manifests[0], connections))
        budget.check_most(declared[0].connections, declared[0].syncs)
        return f"{len(declared[0].sources)} sources, {len(declared[0].syncs)} syncs"

    yield _try("configuration", configuration)
    syncs = declared[0].syncs if declared else ()
    yield from _suites(settings, manifests[0] if manifests else None, syncs)
    if not declared:
        return
    for source in declared[0].sources:
        yield _try(f"source {source.name}", partial(_source, source, settings.project))
    for name in declared[0].connections:
        yield from _crm(settings, declared[0], name)


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except NightshiftError as error:
        return Finding(name, False, str(error))


def _suites(settings: Settings, manifest: Mapping[str, Any] | None, syncs: Iterable[Sync]) -> Iterator[Finding]:
    """Suites as such; then against the tables of dbt and of the warehouse, and beside dbt's tests.

    Those on what the CRM gives back are compared with what is kept of it, where the syncs are known.
    """
    hints: list[str] = []

    def suites() -> str:
        tables = stated.tables(manifest) if manifest else {}
        keys = {table.name: table.key for table in tables.values() if table.key}
        declared = project.built(manifest) if manifest else {}
        raw, crm = gate.suites_before(settings.expectations, declared, keys if manifest else None)
        found = {"raw": raw, "crm": crm}
        if manifest:
            models = {table.node: table.key for table in tables.values() if table.key}
            found["crm_after"] = gate.suites_after(settings.expectations / "crm_after", models)
            built = _built(settings)
            ours = {table.name.lower(): table for sync in syncs for table in (_kept(sync), _ledger(sync, built))}
            listed = [*raw, *crm, *(found["crm_after"] if ours else ())]
            checked = suite_check.check(listed, {**tables, **ours}, built)
            hints.extend(checked.hints)
            if checked.problems:
                raise ConfigError(
                    "The suites do not fit their tables:\n" + "\n".join(f"  - {told}" for told in checked.problems),
                    todo="Correct the lines named above, or the model.",
                )
        return ", ".join(f"{len(suites)} {stage}" for stage, suites in found.items()) + " suites"

    yield _try("expectations", suites)
    if hints:
        yield Finding("said twice", True, "\n".join(["", *(f"  - {hint}" for hint in hints)]), hint=True)


def _kept(sync: Sync) -> stated.Table:
    """The table of what is read back of a sync: its key, what it sends, and our own columns."""
    types = {sync.external_id_column: "VARCHAR", **{f.column: f.type for f in sync.fields}, **returned.OURS}
    return stated.Table(f"{returned.SCHEMA}.{sync.name}", sync.name, types, complete=True)


def _ledger(sync: Sync, built: Mapping[str, Mapping[str, str]]) -> stated.Table:
    """A sync's ledger as the next night makes it: with the fields that are mapped now, beside those that were."""
    name = ledger.relation(sync.name).replace('"', "")
    types = {
        "_external_id": "VARCHAR",
        "_crm_id": "VARCHAR",
        **sync.types,
        "_acked_at": "TIMESTAMP",
        "_run_id": "VARCHAR",
    }
    known = {column.casefold() for column in types}
    were = {column: kind for column, kind in built.get(name, {}).items() if column.casefold() not in known}
    return stated.Table(name, sync.name, {**types, **were}, complete=True)


def _built(settings: Settings) -> dict[str, dict[str, str]]:
    """The tables of the warehouse: ``<schema>.<table>`` -> column -> type; none while a run holds it."""
    if not settings.warehouse.exists():
        return {}
    built: dict[str, dict[str, str]] = {}
    try:
        with Warehouse.open(settings.warehouse) as db:
            for schema, table, column, data_type in db.execute(
                "select table_schema, table_name, column_name, data_type from information_schema.columns "
                "where table_catalog = current_database() order by ordinal_position"
            ):
                built.setdefault(f"{schema}.{table}", {})[column] = data_type
    except WarehouseError:
        return {}
    return built


def _source(source: Source, project_dir: Path) -> str:
    """A folder is looked into; an API's address is only checked for being there, its first page is the night's."""
    if isinstance(source.extract, FilesExtract):
        pattern = Path(source.extract.path)
        base = project_dir if not pattern.is_absolute() else Path(pattern.anchor)
        found = list(base.glob(str(pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern)))
        if not found:
            raise NightshiftError(f"no file matches {source.extract.path}", todo="Set the path, or put files there.")
        return f"{len(found)} files"
    if not source.extract.url.startswith(("http://", "https://")):
        raise NightshiftError(f"{source.extract.url!r} is no web address", todo=f"See {source.declared_in}.")
    return source.extract.url


def _crm(settings: Settings, declared: Project, name: str) -> Iterator[Finding]:
    """The login and the mapping; then what the models hold and what the CRM has changed, for mappings that fit."""
    syncs = [sync for sync in declared.syncs if sync.crm == name]
    # A person waits for the answer: a CRM that is down is told soon, not after the night's patience.
    connections = {name: declared.connections[name].model_copy(update={"deadline_seconds": PATIENCE})}
    described: list[preflight.Described] = []

    def mapping() -> str:
        described.append(preflight.describe(connections, syncs))
        preflight.check(described[0], syncs)
        [asked], _ = budget.ask(connections, (ForecastSummary(name, 0),))
        left = "" if asked.left is None else f"; {asked.left:,} requests left today"
        return f"{connections[name].url}: " + ", ".join(f"{s.object} fits {s.name}" for s in syncs) + left

    yield _try(f"crm {name}", mapping)
    if described and settings.warehouse.exists():
        try:
            with Warehouse.open(settings.warehouse) as db:
                for sync in syncs:
                    yield _values(db, described[0], sync)
                yield _schema(db, described[0], syncs, name)
        except WarehouseError as error:
            # A run that is under way is no illness.
            yield Finding(f"values {name}", True, f"not counted: {error.what}")


def _values(db: Warehouse, described: preflight.Described, sync: Sync) -> Finding:
    try:
        found = preflight.model_values(db, described, [sync])
    except warehouse.Error:
        return Finding(f"values {sync.name}", True, f"not counted: {sync.relation} is not built as it is mapped now")
    told = "; ".join(story.found(item) for item in found)
    return Finding(f"values {sync.name}", not found, told or "the CRM takes them all")


def _schema(db: Warehouse, described: preflight.Described, syncs: Sequence[Sync], name: str) -> Finding:
    """What the CRM has changed is told, and is no illness: what it breaks is told with the mapping."""
    told = "; ".join(story.found(item) for item in preflight.drift(db, described, syncs))
    return Finding(f"schema {name}", True, told or "as it was at the last run")
