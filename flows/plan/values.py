"""What a plan is: counts, samples and guards per sync, batch files, and a hash over all that would be sent."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flows.crm.base import Child
from flows.crm.forms import Form
from flows.errors import WarehouseError
from flows.ledger import Terms
from flows.project import Sync
from flows.records import Batch, Operation, Record
from flows.summary import Sample

Sink = Callable[[list[Record]], None]
"""Takes records as they are read."""


@dataclass(frozen=True, slots=True)
class Crm:
    """What a plan asks of the CRMs; `flows.plan.crm_of` makes it of connections.

    Attributes:
        batch_size: sync, operation and how many records get it -> records in one batch file.
        requests: sync, operation and how many records of each depth get it -> requests that it takes.
        most_requests: sync -> the most requests that its connection may be sent in one night; None for any.
        read: reads a sync's records, hands them to the sink and returns the requests that it took; see
            `flows.crm.base.Connector.read`.
        forms: a sync's CRM fields -> the form that the CRM keeps their texts in; see
            `flows.crm.base.Connector.forms`. After a read it is known, and takes no request.
        children: finds what the CRM deletes together with records of a sync, hands it to the sink and returns the
            requests that it took; see `flows.crm.base.Cascades`.
    """

    batch_size: Callable[[Sync, Operation, int], int]
    requests: Callable[[Sync, Operation, Sequence[int]], int]
    most_requests: Callable[[Sync], int | None]
    read: Callable[[Sync, Sequence[Record], Sink], int]
    forms: Callable[[Sync], Mapping[str, Form]] = lambda sync: {}
    children: Callable[[Sync, Sequence[Record], Callable[[list[Child]], None]], int] = lambda sync, records, sink: 0


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What the plan does for one sync.

    Attributes:
        sync: the sync's name.
        object: the CRM object.
        creates: records to create.
        updates: records to update.
        archives: records to archive.
        unchanged: records of the ledger that nothing is planned for.
        fields: CRM field -> updates that change it.
        kept: CRM field -> records in which a person's value stays, by the field's policy.
        unmatched: rows that the CRM holds no record for, in a sync that never creates.
        quarantined: records that the gate holds back though there is something to write.
        waiting: records that wait for a parent which is held back and not in the CRM yet.
        withheld: records that left the model and are not archived, since a source shrank or for what goes with them.
        attached: object -> records that the CRM would delete with those, and that the plan does not archive; 0 where
            this login may not read it. Empty where a source shrank.
        such_as: the external ids of some that are not archived for that.
        left: records that wait for the next night, since the requests of this one are used up.
        notes: what else people should know, in words.
        samples: a few of the changes.
        held: the guards that this goes over, in words, with what is left.
        begun: whether this is of a first run which goes on, since records to create are left.
        types: CRM field -> DuckDB type.
        pii: CRM fields whose values people may not see.
        deleted: what to do about a record that was deleted in the CRM.
        lookups: CRM field -> the parent's sync.
        settled: refused records for which nothing is wanted any more: their rejections close when this is pushed.
        batches: the batch files.
    """

    sync: str
    object: str
    creates: int = 0
    updates: int = 0
    archives: int = 0
    unchanged: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    unmatched: int = 0
    quarantined: int = 0
    waiting: int = 0
    withheld: int = 0
    attached: Mapping[str, int] = field(default_factory=dict)
    such_as: tuple[str, ...] = ()
    left: int = 0
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    held: tuple[str, ...] = ()
    begun: bool = False
    types: Mapping[str, str] = field(default_factory=dict)
    pii: tuple[str, ...] = ()
    deleted: str = "report"
    lookups: Mapping[str, str] = field(default_factory=dict)
    settled: tuple[str, ...] = ()
    batches: tuple[Batch, ...] = ()

    @property
    def operations(self) -> int:
        """Records to write."""
        return self.creates + self.updates + self.archives


@dataclass(frozen=True, slots=True)
class Plan:
    """One run's plan.

    Attributes:
        run_id: the run.
        folder: where its batches lie.
        syncs: parents before children.
        hash: SHA-256 over every batch file and the counts, in hexadecimal.
        requests: what was asked of the CRM while planning.
    """

    run_id: str
    folder: Path
    syncs: tuple[SyncPlan, ...]
    hash: str
    requests: int = 0

    @property
    def operations(self) -> int:
        """Records to write over all syncs."""
        return sum(sync.operations for sync in self.syncs)

    @property
    def held(self) -> tuple[str, ...]:
        """The guards that the plan goes over; empty when it may be pushed."""
        return tuple(reason for sync in self.syncs for reason in sync.held)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All batch files."""
        return tuple(batch for sync in self.syncs for batch in sync.batches)

    @property
    def terms(self) -> dict[str, Terms]:
        """Sync -> what the ledger must know of it to take up the receipts."""
        return {
            sync.sync: Terms(sync.types, frozenset(sync.pii), sync.deleted, sync.lookups, sync.settled)
            for sync in self.syncs
        }


def save(plan: Plan) -> None:
    """Write ``plan.json`` and see that all of the plan is on the disk.

    Receipts are synced one by one; after a power cut they would mean nothing without the plan that they answer.
    """
    path = plan.folder / "plan.json"
    path.write_text(_dump(plan), encoding="utf-8")
    for written in (path, *(batch.path for batch in plan.batches)):
        with written.open("rb") as file:
            os.fsync(file.fileno())


def load(folder: Path) -> Plan:
    """Read the plan that lies in a run's folder.

    Raises:
        WarehouseError: it made none, or the files are not those that were planned.
    """
    try:
        raw = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise _spoilt(folder, f"{folder / 'plan.json'} is missing or torn.") from error
    syncs = tuple(
        SyncPlan(
            **{
                **item,
                **{key: tuple(item.get(key, ())) for key in ("notes", "held", "pii", "settled", "such_as")},
                "samples": tuple(Sample(**sample) for sample in item["samples"]),
                "batches": tuple(
                    Batch(
                        folder / "plan" / b["file"],
                        item["sync"],
                        Operation(b["operation"]),
                        b["count"],
                        b["total"],
                        b["depth"],
                    )
                    for b in item["batches"]
                ),
            }
        )
        for item in raw["syncs"]
    )
    plan = Plan(raw["run_id"], folder, syncs, raw["hash"], raw["requests"])
    missing = [batch.path for batch in plan.batches if not batch.path.is_file()]
    if missing or hashed(syncs) != plan.hash:
        wrong = f"{missing[0].name} is missing" if missing else "a file of it was changed"
        raise _spoilt(folder, f"{folder / 'plan'} is not the plan that was made: {wrong}.")
    return plan


def _spoilt(folder: Path, what: str) -> WarehouseError:
    return WarehouseError(
        what,
        safe="Nothing was sent, and the ledger is as it was.",
        todo=f"Put the file back, or move {folder} away: then what that run had sent is sent once more.",
    )


def _dump(plan: Plan) -> str:
    syncs = [
        {
            **asdict(sync),
            "batches": [
                {"file": b.path.name, "operation": b.operation, "count": b.count, "total": b.total, "depth": b.depth}
                for b in sync.batches
            ],
        }
        for sync in plan.syncs
    ]
    told = {"run_id": plan.run_id, "hash": plan.hash, "requests": plan.requests, "syncs": syncs}
    return json.dumps(told, ensure_ascii=False, indent=1)


def hashed(syncs: Sequence[SyncPlan]) -> str:
    """SHA-256 over the counts and every byte of every batch file, in hexadecimal."""
    digest = hashlib.sha256()
    for sync in syncs:
        digest.update(f"{sync.sync} {sync.object} {sync.creates} {sync.updates} {sync.archives}\n".encode())
        for batch in sync.batches:
            digest.update(f"{batch.path.name} {batch.operation}\n".encode())
            with batch.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
