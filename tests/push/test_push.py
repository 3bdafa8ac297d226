"""A batch becomes receipts: one for each record that was answered, on disk before anything else happens."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from flows.errors import PushError
from flows.project import Sync
from flows.push import push_batch, waves
from flows.records import Batch, Operation, Outcome, read_receipts
from tests.push.world import ACCOUNTS, World

ROWS = {f"k{i}": {"Name": f"Name {i}", "Order_Count__c": i} for i in range(5)}


def test_every_record_has_its_receipt_and_the_progress_is_told(world: World) -> None:
    batch = world.batch(Operation.CREATE, ROWS)
    told: list[int] = []
    done = push_batch(world.connection, world.sync, batch, world.receipts, told.append)
    assert (done.batch, done.applied, done.rejected, done.unknown) == (batch.name, 5, 0, 0)
    assert done.usage.requests > 0
    assert sum(told) == 5
    receipts = {r.external_id: r for r in read_receipts(world.receipts / f"{batch.name}.jsonl")}
    assert {key: receipt.crm_id for key, receipt in receipts.items()} == world.ids()
    assert all(r.outcome is Outcome.APPLIED and r.created for r in receipts.values())


def test_what_is_refused_is_told_with_code_and_the_others_go_through(world: World) -> None:
    batch = world.batch(Operation.CREATE, {**ROWS, "bad": {"Name": "x" * 300}})
    done = push_batch(world.connection, world.sync, batch, world.receipts)
    assert (done.applied, done.rejected, done.unknown) == (5, 1, 0)
    [bad] = [r for r in read_receipts(world.receipts / f"{batch.name}.jsonl") if r.external_id == "bad"]
    assert (bad.outcome, bad.code, bad.fields) == (Outcome.REJECTED, "STRING_TOO_LONG", ("Name",))


def test_the_same_batch_again_makes_nothing_twice_and_keeps_the_earlier_answers(world: World) -> None:
    batch = world.batch(Operation.CREATE, ROWS)
    push_batch(world.connection, world.sync, batch, world.receipts)
    before = world.ids()
    path = world.receipts / f"{batch.name}.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    push_batch(world.connection, world.sync, batch, world.receipts)
    assert world.ids() == before
    assert len(list(read_receipts(path))) == 4 + 5


def test_an_answer_that_is_lost_is_unknown(world: World) -> None:
    world.settings = {"deadline_seconds": 0.4}
    world.crm.faults({"method": "PATCH", "drop": "after"})
    batch = world.batch(Operation.CREATE, ROWS)
    done = push_batch(world.connection, world.sync, batch, world.receipts)
    assert (done.applied, done.unknown) == (0, 5)
    assert set(world.outcomes(batch).values()) == {"unknown"}
    assert len(world.ids()) == 5, "it was written all the same"


def test_a_crm_that_is_not_there_is_an_error(world: World) -> None:
    batch = world.batch(Operation.CREATE, ROWS)
    world.settings = {"deadline_seconds": 0.4}
    connection = world.connection
    world.crm.running.stop()
    with pytest.raises(PushError) as raised:
        push_batch(connection, world.sync, batch, world.receipts)
    assert connection.url in raised.value.what
    assert raised.value.safe
    assert raised.value.todo
    assert world.outcomes(batch) == {}


def test_who_is_known_only_by_external_id_is_looked_up_before_the_archive(world: World) -> None:
    """A record that was made without an answer has no CRM id in the plan; one that never was is archived as it is."""
    push_batch(world.connection, world.sync, world.batch(Operation.CREATE, ROWS), world.receipts)
    known = world.ids()["k0"]
    batch = world.batch(Operation.ARCHIVE, {"k0": {}, "k1": {}, "never": {}}, k0=known)
    done = push_batch(world.connection, world.sync, batch, world.receipts)
    assert (done.applied, done.rejected, done.unknown) == (3, 0, 0)
    assert world.ids().keys() == {"k2", "k3", "k4"}


def test_receipts_that_cannot_be_written_stop_the_push(world: World) -> None:
    batch = world.batch(Operation.CREATE, ROWS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(PushError, match="File too large") as raised:
            push_batch(world.connection, world.sync, batch, world.receipts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{batch.name}.jsonl" in raised.value.what
    assert "Free disk space" in raised.value.todo


def sync(name: str, level: int) -> Sync:
    return replace(ACCOUNTS, name=name, level=level)


def test_parents_come_before_children_and_go_after_them() -> None:
    syncs = [sync("a", 0), sync("b", 1), sync("c", 1), sync("d", 2)]
    batches = [
        Batch(Path(f"{name}-{operation}.parquet"), name, operation, 1, 1)
        for operation in reversed(Operation)
        for name in "dcba"
    ]
    told = [[(s.name, b.operation.value) for s, b in wave] for wave in waves(batches, syncs)]
    assert [sorted({name for name, _ in wave}) for wave in told] == [["a"], ["b", "c"], ["d"], ["d"], ["b", "c"], ["a"]]
    assert [{operation for _, operation in wave} for wave in told] == [{"create", "update"}] * 3 + [{"archive"}] * 3
    assert sum(map(len, told)) == len(batches)
    assert waves([], syncs) == []
    assert [len(wave) for wave in waves(batches[:1], syncs)] == [1]
