"""Guards: how much a plan may do without a person, and what a source that shrank does not prove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flows.project import Guard, Source, Sync, Threshold
from flows.project.declared import part
from flows.records import Operation
from flows.warehouse import Warehouse

ARCHIVES_AT_LEAST = 10
"""Archives of so many records are held over their share, even where ``guard.at_least`` is more."""


def over_guard(
    sync: Sync,
    known: int,
    desired: int,
    counts: Mapping[Operation, int],
    fields: Mapping[str, int],
    *,
    is_first: bool,
    found: int,
) -> list[str]:
    """Say which guards a sync's plan goes over.

    Judged is all that is wanted, whether the night's requests are enough for it or not: what waits for another night
    would else go by the guards in small parts.

    A share is of the records that the ledger knew before; below ``guard.at_least`` records it is not checked,
    because a share of little means nothing. That of archives is from `ARCHIVES_AT_LEAST` records on, so that a small
    CRM is not emptied unseen. ``first_run`` is checked in a first run, which lasts until no create of it waits for
    another night; ``max_creates`` later, and in a first run where records were found in the CRM.

    Args:
        sync: the sync with its guard.
        known: records in the ledger.
        desired: records in the model.
        counts: operation -> records that want it.
        fields: CRM field -> updates that change it.
        is_first: whether this is the sync's first run, or goes on with it.
        found: records in the ledger that were only found in the CRM.

    Returns:
        One sentence for each guard; empty when the plan may be pushed.
    """
    guard = sync.guard
    reasons = []
    creates, updates, archives = (counts[operation] for operation in Operation)
    if archives and not desired:
        reasons.append(
            f"{sync.name}: the model is empty and would archive all {archives} records; absence must be proven"
        )
    checks: list[tuple[str, int, Threshold | None]] = [
        ("first_run", creates, guard.first_run if is_first else None),
        ("max_creates", creates, guard.max_creates if (found if is_first else known) else None),
        ("max_updates", updates, guard.max_updates),
        ("max_archives", archives, guard.max_archives),
        ("max_changes", updates + archives, guard.max_changes),
        *((f"fields.{name}", fields.get(name, 0), limit) for name, limit in guard.fields.items()),
    ]
    reasons.extend(
        f"{sync.name}: {count} records against guard {name} of {_told(limit, known)}"
        for name, count, limit in checks
        if limit is not None and _is_over(count, limit, known, _at_least(name, guard))
    )
    return reasons


def _at_least(name: str, guard: Guard) -> int:
    return min(guard.at_least, ARCHIVES_AT_LEAST) if name == "max_archives" else guard.at_least


def _is_over(count: int, limit: Threshold, known: int, at_least: int) -> bool:
    if isinstance(limit, float):
        return count >= at_least and count > part(limit, known)
    return count > limit


def _told(limit: Threshold, known: int) -> str:
    return f"{limit:.2%} of {known}".replace(".00%", "%") if isinstance(limit, float) else str(limit)


def shrunken(db: Warehouse, run_id: str, sources: Iterable[Source]) -> dict[str, str]:
    """Find the sources that hold clearly fewer rows than they once did, and remember the size of the others.

    A source that shrank keeps its old size in ``ops.source_sizes``: it counts as shrunken every night until its rows
    are back, or until somebody lowers its ``shrunken``.

    Args:
        db: the warehouse.
        run_id: the run.
        sources: the sources that were extracted.

    Returns:
        Source -> what happened, in words.
    """
    found = {}
    before: dict[str, int] = dict(db.execute("select source, rows from ops.source_sizes"))
    for source in sources:
        rows = int(db.scalar(f"select count(*) from {source.relation}"))
        share, had = source.extract.shrunken, before.get(source.name, 0)
        if rows < part(share, had):
            told = f"{share:.2%}".replace(".00%", "%")
            found[source.name] = f"{source.name} shrank from {had:,} to {rows:,} rows, which is below {told}"
        else:
            db.execute(
                "insert or replace into ops.source_sizes (source, rows, run_id) values (?, ?, ?)",
                (source.name, rows, run_id),
            )
    return found


def reasons(sync: Sync, shrank: Mapping[str, str]) -> Sequence[str]:
    """Why nothing may be archived in a sync: the sources of its model that shrank."""
    return [shrank[name] for name in sync.sources if name in shrank]
