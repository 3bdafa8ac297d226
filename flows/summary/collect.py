"""Stages' own values turned into the run's summary, bounded and without personal data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime

from flows.extract import Extracted
from flows.gate import GateReport
from flows.ledger import Merged
from flows.plan import Adopted, SyncPlan
from flows.project import Sync
from flows.reconcile import ReadBack
from flows.records import MASK
from flows.summary import (
    MAX_DETAILS,
    AdoptedSummary,
    GateSummary,
    MismatchSummary,
    RejectionSummary,
    SourceSummary,
    SyncSummary,
)
from flows.summary.findings import Example, FindingSummary
from flows.summary.held import QuarantineSummary
from flows.summary.story import others
from flows.warehouse import Row, Warehouse


def source(done: Extracted) -> SourceSummary:
    """What one source brought."""
    return SourceSummary(
        name=done.source,
        rows=done.rows,
        bytes=done.bytes,
        files_or_pages=done.files_or_pages,
        warnings=done.warnings,
    )


def with_freshness(
    sources: Iterable[SourceSummary], freshness: Mapping[str, tuple[str, datetime | None]]
) -> tuple[SourceSummary, ...]:
    """Add dbt's verdict on each source's freshness."""
    return tuple(
        replace(item, freshness=status, newest=newest)
        for item in sources
        for status, newest in [freshness.get(item.name, (None, None))]
    )


def gates(report: GateReport) -> list[GateSummary]:
    """What one suite found."""
    return [
        GateSummary(
            stage=report.stage,
            table=report.table,
            expectation=found.expectation,
            severity=found.severity,
            passed=found.passed,
            column=found.column,
            row_level=found.row_level,
            observed=found.observed,
            evaluated_rows=found.evaluated_rows,
            unexpected_rows=found.unexpected_rows,
            samples=found.samples,
            failing_rows=found.failing_rows,
            detail=found.detail,
            id=found.id,
            expected=found.expected,
            owner=found.owner,
            on_fail=found.on_fail,
            quarantined_rows=found.quarantined_rows,
        )
        for found in report.results
    ]


def quarantine(report: GateReport) -> QuarantineSummary | None:
    """What is held back of one table; None for a table whose rows cannot be."""
    held = report.quarantine
    if held is None:
        return None
    causes: Counter[str] = Counter()
    for found in report.results:
        if rows := found.quarantined_rows:
            causes[f"{found.expectation}({found.column})" if found.column else found.expectation] += rows
    return QuarantineSummary(
        name=held.table,
        held=held.held,
        new=held.new,
        released=held.released,
        released_by_hand=held.released_by_hand,
        causes=dict(causes.most_common()),
        refused=held.refused,
        rows=held.shown,
    )


def sync(planned: SyncPlan, declared: Sync) -> SyncSummary:
    """What the plan does for one sync."""
    return SyncSummary(
        name=planned.sync,
        object=planned.object,
        crm=declared.crm,
        creates=planned.creates,
        updates=planned.updates,
        archives=planned.archives,
        deleted=planned.deleted,
        fields=planned.fields,
        kept=planned.kept,
        quarantined=planned.quarantined,
        waiting=planned.waiting,
        unmatched=planned.unmatched,
        withheld=planned.withheld,
        attached=planned.attached,
        left=planned.left,
        notes=planned.notes,
        samples=planned.samples,
    )


def attached(planned: SyncPlan, declared: Sync) -> FindingSummary:
    """Which records of a sync are not archived, for what the CRM would delete with them."""
    return FindingSummary(
        "attached",
        declared.crm,
        planned.object,
        f"not archived, since the CRM would also delete {others(planned.attached)}",
        sync=planned.sync,
        rows=planned.withheld,
        examples=tuple(Example(external_id) for external_id in planned.such_as),
    )


def adopted(declared: Sync, found: Adopted) -> SyncSummary:
    """What the CRM was found to hold of one sync."""
    summary = AdoptedSummary(found.wanted, found.known, found.found)
    return SyncSummary(name=declared.name, object=declared.object, crm=declared.crm, adopted=summary)


def with_outcomes(syncs: Iterable[SyncSummary], merged: Mapping[str, Merged]) -> tuple[SyncSummary, ...]:
    """Add what the receipts said."""
    return tuple(
        replace(item, applied=counts.applied, rejected=counts.rejected, unknown=counts.unknown)
        for item in syncs
        for counts in [merged[item.name]]
    )


def with_readback(
    syncs: Iterable[SyncSummary], sync_of: Mapping[str, str], read: Sequence[ReadBack]
) -> tuple[SyncSummary, ...]:
    """Add what reading back showed; ``sync_of`` says which sync a batch is of."""
    return tuple(
        replace(
            item,
            reconciled=sum(r.checked - r.mismatched for r in read if sync_of[r.batch] == item.name),
            mismatched=sum(r.mismatched for r in read if sync_of[r.batch] == item.name),
        )
        for item in syncs
    )


def with_details(db: Warehouse, run_id: str, item: SyncSummary, pii: AbstractSet[str]) -> SyncSummary:
    """Add a sync's rejections and mismatches of this run, from the warehouse.

    Args:
        db: the warehouse.
        run_id: the run.
        item: the sync's summary so far.
        pii: personal CRM fields; where there are any, only a message that names others alone is shown.
    """
    # Some of each code, so that thousands of one do not crowd out the others.
    rejected = db.rows(
        "select * from (select *, coalesce(gone, false) as deleted_there, row_number() over "
        "(partition by deleted_there, code order by external_id) as turn from sync.rejections "
        "where sync = ? and last_run_id = ? and (closed_at is null or deleted_there)) "
        f"order by turn, deleted_there, code limit {MAX_DETAILS}",
        (item.name, run_id),
    )
    codes = db.execute(
        "select code, count(*) from sync.rejections where sync = ? and last_run_id = ? and closed_at is null "
        "and not coalesce(gone, false) group by code order by 2 desc, 1",
        (item.name, run_id),
    )
    gone = db.scalar(
        "select count(*) from sync.rejections where sync = ? and last_run_id = ? and gone", (item.name, run_id)
    )
    mismatched = db.execute(
        "select external_id, field, sent, found from sync.mismatches where sync = ? and run_id = ? "
        f"order by external_id, field limit {MAX_DETAILS}",
        (item.name, run_id),
    )
    return replace(
        item,
        gone=gone,
        rejections=tuple(
            sorted((_rejection(row, pii) for row in rejected), key=lambda r: (r.gone, r.code, r.external_id))
        ),
        rejection_codes=dict(codes),
        mismatches=tuple(MismatchSummary(*row) for row in mismatched),
    )


def _rejection(row: Row, pii: AbstractSet[str]) -> RejectionSummary:
    named = tuple(row["fields"] or ())
    # A message may quote the value that it is about, and without fields nobody knows which that is.
    quoting = bool(pii) and (not named or not {f.casefold() for f in pii}.isdisjoint(f.casefold() for f in named))
    return RejectionSummary(
        row["external_id"],
        row["code"],
        MASK if quoting and row["message"] else row["message"],
        named,
        row["sent"] or {},
        row["other_id"],
        row["attempts"],
        row["first_seen_at"].replace(tzinfo=UTC),
        row["deleted_there"],
    )
