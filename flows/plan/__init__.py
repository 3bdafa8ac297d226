"""Desired state against ledger: the plan, made before every push.

A plan is a folder of immutable Parquet batches and a ``plan.json`` that says what is in them: creates, updates and
archives per sync, changed records per field, samples, and a hash over all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flows import ledger
from flows.crm import connect
from flows.crm.base import Cascades, Child
from flows.crm.forms import Form
from flows.plan import batches, cap, cascade, diff, guards, match, quarantine
from flows.plan import revert as reverting
from flows.plan.diff import Only
from flows.plan.guards import over_guard
from flows.plan.match import Adopted
from flows.plan.values import Crm, Plan, Sink, SyncPlan, hashed, load, save
from flows.project import Connection, Source, Sync
from flows.records import Operation, Record, shown
from flows.summary import Sample
from flows.warehouse import Warehouse, literal

__all__ = [
    "SAMPLES",
    "Adopted",
    "Crm",
    "Only",
    "Plan",
    "SyncPlan",
    "adopt",
    "crm_of",
    "hashed",
    "load",
    "make",
    "over_guard",
    "revert",
]

SAMPLES = 5
"""Records of each operation that a plan shows, per sync."""


def crm_of(connections: Mapping[str, Connection]) -> Crm:
    """What a plan asks of CRMs, asked over these connections.

    Args:
        connections: by name.
    """

    def read(sync: Sync, records: Sequence[Record], sink: Sink) -> int:
        async def work() -> int:
            async with connect(connections[sync.crm]) as crm:
                async for found in crm.read(sync, records):
                    sink(found)
                return crm.usage.requests

        return asyncio.run(work())

    def forms(sync: Sync) -> Mapping[str, Form]:
        async def work() -> Mapping[str, Form]:
            async with connect(connections[sync.crm]) as crm:
                return await crm.forms(sync)

        return asyncio.run(work())

    def children(sync: Sync, records: Sequence[Record], sink: Callable[[list[Child]], None]) -> int:
        async def work() -> int:
            async with connect(connections[sync.crm]) as crm:
                if isinstance(crm, Cascades):
                    async for found in crm.children(sync, records):
                        sink(found)
                return crm.usage.requests

        return asyncio.run(work())

    return Crm(
        batch_size=lambda sync, operation, count: connect(connections[sync.crm]).batch_size(operation, count),
        requests=lambda sync, operation, counts: connect(connections[sync.crm]).requests(sync, operation, *counts),
        most_requests=lambda sync: connections[sync.crm].max_requests,
        read=read,
        forms=forms,
        children=children,
    )


def make(
    db: Warehouse,
    run_id: str,
    syncs: Sequence[Sync],
    folder: Path,
    crm: Crm,
    *,
    sources: Sequence[Source] = (),
    only: Only | None = None,
) -> Plan:
    """Compare every sync's model with its ledger and write the plan. Nothing is sent.

    The CRM is read where the ledger cannot answer: for fields with a policy, and for syncs that never create, or never
    touch what is there.

    Args:
        db: the warehouse.
        run_id: the run.
        syncs: parents before children.
        folder: where ``plan.json`` and ``plan/`` go.
        crm: what the CRMs say of sizes, and of their records.
        sources: what the models are made from; one that shrank keeps its syncs from archiving.
        only: plan only these records.

    Raises:
        ConfigError: a model lacks a mapped column or has not been built.
        GateFailed: a model's external id is null or stands twice.
        PushError: the CRM had to be read and did not answer.
    """
    shrank = guards.shrunken(db, run_id, sources)

    def difference(sync: Sync) -> SyncPlan:
        asked, there = 0, 0
        if sync.mode in ("create_only", "update_only"):
            looked = match.adopt(db, run_id, sync, crm)
            asked, there = looked.requests, looked.found
        diff.make(db, sync, only, list(requests))
        if match.respelt(db, sync, crm):
            diff.make(db, sync, only, list(requests))
        settled = diff.settled(db, sync)
        quarantined, waiting = quarantine.hold(db, sync, list(requests))
        # What is held back is still wanted; what a policy leaves to a person is not.
        before = diff.settled(db, sync)
        ledger.release(db, sync.name, f"select {diff.key(sync)} from {sync.relation}")
        kept, read = match.policies(db, sync, crm)
        settled |= diff.settled(db, sync) - before
        requests[sync.name] = asked + read
        planned = replace(_empty(sync), kept=kept, quarantined=quarantined, waiting=waiting)
        planned = replace(planned, settled=tuple(sorted(settled)))
        if sync.mode == "update_only":
            planned = replace(planned, unmatched=_unmatched(db, sync))
        elif there:
            note = f"{sync.name}: the CRM holds {there:,} of the model's records already; they stay as they are"
            planned = replace(planned, notes=(note,))
        return _without_archives(db, sync, planned, guards.reasons(sync, shrank))

    requests: dict[str, int] = {}
    made = _make(db, run_id, syncs, folder, crm, difference)
    made = replace(made, requests=made.requests + sum(requests.values()))
    _keep(db, made)
    return made


def revert(db: Warehouse, run_id: str, syncs: Sequence[Sync], folder: Path, crm: Crm, *, of: str) -> Plan:
    """Plan to take back what a run wrote; see `flows.plan.revert.make`. Nothing is sent.

    Args:
        db: the warehouse.
        run_id: the run that plans this.
        syncs: parents before children.
        folder: where ``plan.json`` and ``plan/`` go.
        crm: what the CRMs say of sizes, and of their records.
        of: the run to take back.

    Raises:
        PushError: the CRM had to be read and did not answer.
    """

    def difference(sync: Sync) -> SyncPlan:
        notes = reverting.make(db, sync, of)
        quarantined, waiting = quarantine.hold(db, sync, list(requests))
        kept, requests[sync.name] = match.policies(db, reverting.ours_alone(sync), crm)
        return replace(_empty(sync), kept=kept, quarantined=quarantined, waiting=waiting, notes=notes)

    requests: dict[str, int] = {}
    made = _make(db, run_id, syncs, folder, crm, difference)
    made = replace(made, requests=made.requests + sum(requests.values()))
    _keep(db, made)
    return made


def adopt(db: Warehouse, run_id: str, syncs: Sequence[Sync], crm: Crm) -> dict[str, Adopted]:
    """Fill every sync's ledger with what the CRM holds of its model's records; see `flows.plan.match.adopt`.

    Args:
        db: the warehouse.
        run_id: the run, for the ledger.
        syncs: the syncs; their models are built.
        crm: reads the records.
    """
    return {sync.name: match.adopt(db, run_id, sync, crm) for sync in syncs}


def _make(
    db: Warehouse,
    run_id: str,
    syncs: Sequence[Sync],
    folder: Path,
    crm: Crm,
    difference: Callable[[Sync], SyncPlan],
) -> Plan:
    """Make each sync's difference, judge all of it, bound it, count it, and write its batches."""
    (folder / "plan").mkdir(parents=True, exist_ok=True)
    found = []
    for sync in syncs:
        ledger.ensure(db, sync.name, sync.types)
        found.append((sync, difference(sync)))
        batches.deepen(db, sync)
    kept, asked = cascade.keep(db, syncs, crm)
    found = [(sync, _staying(planned, kept.get(sync.name))) for sync, planned in found]
    begun = ledger.begun(db)
    judged = [(sync, _judged(db, sync, plan, goes_on=sync.name in begun)) for sync, plan in found]
    left = cap.cap(db, syncs, crm)
    planned = tuple(
        _written(db, sync, replace(plan, left=left[sync.name]), crm, folder / "plan") for sync, plan in judged
    )
    for sync in syncs:
        db.execute(f"drop table {diff.relation(sync)}")
    return Plan(run_id, folder, planned, hashed(planned), asked)


def _keep(db: Warehouse, made: Plan) -> None:
    save(made)
    db.execute(
        "insert or replace into sync.plans (run_id, hash, planned_at, held, begun) values (?, ?, now(), ?, ?)",
        (made.run_id, made.hash, list(made.held), [sync.sync for sync in made.syncs if sync.begun]),
    )


def _empty(sync: Sync) -> SyncPlan:
    return SyncPlan(
        sync.name,
        sync.object,
        types=sync.types,
        pii=tuple(sorted(sync.pii)),
        deleted=sync.deleted,
        lookups={f.crm_field: f.parent for f in sync.fields if f.parent},
    )


def _unmatched(db: Warehouse, sync: Sync) -> int:
    return int(
        db.scalar(
            f"select count(*) from {sync.relation} where {diff.key(sync)} not in "
            f"(select _external_id from {ledger.relation(sync.name)})"
        )
    )


def _without_archives(db: Warehouse, sync: Sync, planned: SyncPlan, why: Sequence[str]) -> SyncPlan:
    """Archive nothing where the model's sources do not prove that something left it."""
    if not why:
        return planned
    withheld = int(db.scalar(f"delete from {diff.relation(sync)} where _operation = 'archive'"))
    if not withheld:
        return planned
    note = f"{sync.name}: {withheld:,} records are not archived: {'; '.join(why)}"
    return replace(planned, withheld=withheld, notes=(*planned.notes, note))


def _staying(planned: SyncPlan, kept: cascade.Kept | None) -> SyncPlan:
    """Tell which records are not archived for what the CRM would delete with them."""
    if kept is None:
        return planned
    return replace(planned, withheld=kept.records, attached=kept.children, such_as=kept.such_as)


def _judged(db: Warehouse, sync: Sync, planned: SyncPlan, *, goes_on: bool) -> SyncPlan:
    """Note which guards all that is wanted goes over; a first run goes on from a night that did not end it."""
    known, found = ledger.size(db, sync.name), ledger.found(db, sync.name)
    desired = int(db.scalar(f"select count(*) from {sync.relation}"))
    counts, is_first = batches.counts(db, sync), goes_on or known == found
    held = over_guard(sync, known, desired, counts, _field_counts(db, sync), is_first=is_first, found=found)
    return replace(planned, creates=counts[Operation.CREATE], held=tuple(held), begun=is_first)


def _written(db: Warehouse, sync: Sync, planned: SyncPlan, crm: Crm, folder: Path) -> SyncPlan:
    counts = batches.counts(db, sync)
    creates, updates, archives = (counts[operation] for operation in Operation)
    acknowledged = int(db.scalar(f"select count(*) from {diff.relation(sync)} where _acknowledged"))
    waits = f"; left of this sync for another night: {planned.left:,}" if planned.left else ""
    return replace(
        planned,
        creates=creates,
        updates=updates,
        archives=archives,
        unchanged=ledger.size(db, sync.name) - acknowledged,
        fields=_field_counts(db, sync),
        samples=_samples(db, sync),
        held=tuple(reason + waits for reason in planned.held),
        begun=planned.begun and creates < planned.creates,
        batches=tuple(
            batch
            for operation, count in counts.items()
            if count
            for batch in batches.write(db, sync, operation, crm.batch_size(sync, operation, count), folder)
        ),
    )


def _field_counts(db: Warehouse, sync: Sync) -> dict[str, int]:
    found = dict(
        db.execute(
            f"select f, count(*) from (select unnest(changed) as f from {diff.relation(sync)} "
            "where _operation = 'update') group by f"
        )
    )
    return {f.crm_field: found[f.crm_field] for f in sync.fields if f.crm_field in found}


def _samples(db: Warehouse, sync: Sync) -> tuple[Sample, ...]:
    """A few records of each operation; of a create and an archive, the fields that hold something."""
    samples: list[Sample] = []
    for operation in Operation:
        rows = db.rows(
            f"select * from {diff.relation(sync)} where _operation = {literal(operation.value)} "
            f"order by external_id limit {SAMPLES}"
        )
        for row in rows:
            for f in sync.fields:
                before, after = row["before " + f.crm_field], row[f.crm_field]
                if before == after or (operation is Operation.UPDATE and f.crm_field not in row["changed"]):
                    continue
                told = shown(before, pii=f.pii), shown(after, pii=f.pii)
                samples.append(Sample(row["external_id"], operation.value, f.crm_field, *told))
    return tuple(samples)
