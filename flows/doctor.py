"""Checks a person can run by day: everything that a night needs, one line each, nothing changed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows import gate, preflight, project, transform
from flows.errors import NightshiftError
from flows.project import FilesExtract, Project, Source
from flows.settings import Settings

PATIENCE = 15.0
"""Seconds that a CRM may take to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, whether all is well, and what was found."""

    check: str
    ok: bool
    found: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Check configuration, dbt project, suites, sources and CRMs.

    Args:
        settings: the target.

    Yields:
        Findings as they are made. What cannot be checked because of an earlier finding is left out.
    """
    declared: list[Project] = []

    def configuration() -> str:
        connections = project.load_connections(settings.profiles / "connections.yml", settings.target)
        declared.append(project.load(transform.parse(settings), connections))
        return f"{len(declared[0].sources)} sources, {len(declared[0].syncs)} syncs"

    yield _try("configuration", configuration)
    yield _try("expectations", lambda: _suites(settings))
    if not declared:
        return
    for source in declared[0].sources:
        yield _try(f"source {source.name}", partial(_source, source, settings.project))
    for name in declared[0].connections:
        yield _try(f"crm {name}", partial(_crm, declared[0], name))


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except NightshiftError as error:
        return Finding(name, False, str(error))


def _suites(settings: Settings) -> str:
    counts = {stage: gate.suites(settings.expectations / stage) for stage in ("raw", "crm")}
    return ", ".join(f"{len(found)} {stage}" for stage, found in counts.items()) + " suites"


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


def _crm(declared: Project, name: str) -> str:
    syncs = [sync for sync in declared.syncs if sync.crm == name]
    # A person waits for the answer: a CRM that is down is told soon, not after the night's patience.
    connection = declared.connections[name].model_copy(update={"deadline_seconds": PATIENCE})
    preflight.check({name: connection}, syncs)
    return f"{connection.url}: " + ", ".join(f"{sync.object} fits {sync.name}" for sync in syncs)
