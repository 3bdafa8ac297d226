"""The ledger moves from receipts only, whole or not at all, however torn they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import ledger
from flows.errors import WarehouseError
from flows.records import Operation, Outcome, Receipt, Record
from tests.plan.world import SYNC, TYPES, Row, World, applied, line, money, records, rejected

EMPTY: Row = (None,) * len(TYPES)
ONE: Row = ('a, "b"\n小林', money("1.20"), *EMPTY[2:])


def test_receipts_cut_at_any_byte_are_merged_up_to_there(world: World) -> None:
    """The last line is torn in the middle of a character, a number, a word; what stands before it counts."""
    world.size = 100
    world.model({key: ONE for key in ("é😀", "b", "c")})
    made = world.plan()
    [batch] = made.batches
    world.answer(
        made, lambda o, r: replace(applied(o, r), message="é", code="ü") if r.external_id == "é😀" else rejected(o, r)
    )
    path = made.folder / "receipts" / f"{batch.name}.jsonl"
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in sorted({*range(0, len(whole), 5), *(end - back for end in ends for back in range(4))}):
        path.write_bytes(whole[:cut])
        world.db.execute("update sync.plans set merged_at = null")
        world.db.execute("delete from sync.rejections")
        world.db.execute(f"delete from {ledger.relation(SYNC.name)}")
        merged = world.merge(made)[SYNC.name]
        # A line that lacks nothing but its end was an answer.
        said = sum(cut >= end - 1 for end in ends)
        assert merged.applied + merged.rejected == said, cut
        assert merged.unknown == 3 - said
        assert len(world.held()) + len(world.open_rejections()) == said


def test_no_receipts_file_means_that_nothing_was_tried(world: World) -> None:
    world.model({"a": ONE})
    made = world.plan()
    assert world.merge(made) == {SYNC.name: ledger.Merged(0, 0, 1)}
    assert world.held() == {}
    assert world.db.execute("select * from sync.doubts") == []


def test_a_batch_tried_twice_counts_its_best_answer(world: World) -> None:
    world.model({"a": ONE, "b": ONE})
    made = world.plan()
    world.answer(made)
    [batch] = made.batches
    path = made.folder / "receipts" / f"{batch.name}.jsonl"
    unknown = [Receipt(key, Outcome.UNKNOWN, code="NO_ANSWER") for key in "ab"]
    refused = [rejected(Operation.CREATE, Record(key)) for key in "ab"]
    good = applied(Operation.CREATE, Record("a"))
    path.write_text("".join(map(line, [unknown[0], refused[0], good, refused[0], unknown[1], refused[1], unknown[1]])))
    assert world.merge(made) == {SYNC.name: ledger.Merged(1, 1, 0)}
    assert world.held() == {"a": ONE}
    assert world.open_rejections() == {"b": 1}


def test_all_or_nothing(world: World) -> None:
    """A batch file that cannot be read in the middle of the merge leaves everything as it was."""
    world.model({str(i): ONE for i in range(7)})
    made = world.plan()
    world.answer(made)
    before = world.state()
    last = made.batches[-1].path
    data = last.read_bytes()
    last.unlink()
    with pytest.raises(WarehouseError):
        world.merge(made)
    assert world.state() == before
    last.write_bytes(data)
    assert world.merge(made) == {SYNC.name: ledger.Merged(7, 0, 0)}


def test_rejections_count_attempts_stay_open_and_close_when_it_succeeds(world: World) -> None:
    world.model({"a": ONE, "b": EMPTY})
    for attempt in (1, 2, 3):
        world.push(lambda o, r: rejected(o, r) if r.external_id == "a" else applied(o, r))
        assert world.open_rejections() == {"a": attempt}
        assert world.held() == {"b": EMPTY}
    [row] = world.db.rows("select * from sync.rejections")
    assert (row["code"], row["message"], row["fields"], row["operation"]) == ("NO", "refused", ["Name__c"], "create")
    assert row["first_seen_at"] < row["last_seen_at"]
    assert row["last_run_id"] == f"run-{next(world.runs) - 1:04d}"
    world.push()
    assert world.open_rejections() == {}
    world.model({"a": EMPTY, "b": EMPTY})
    world.push(rejected)
    assert world.open_rejections() == {"a": 1}, "a rejection that comes anew is a new one"


@pytest.mark.parametrize("otherwise", ["as the CRM has it", "gone"])
def test_a_rejection_closes_when_nothing_is_wanted_any_more(world: World, otherwise: str) -> None:
    world.model({"b": EMPTY} if otherwise == "as the CRM has it" else {})
    world.push()
    world.model({"b": ONE})
    world.push(rejected)
    assert world.open_rejections() == {"b": 1}
    world.model({"b": EMPTY} if otherwise == "as the CRM has it" else {})
    made = world.push()
    assert made.operations == 0
    assert world.open_rejections() == {}


def test_a_record_without_any_value_comes_and_goes_in_the_audit_log(world: World) -> None:
    world.model({"a": EMPTY})
    world.push()
    assert world.replayed() == world.as_text() != {}
    world.model({"b": ONE})
    world.push()
    assert world.replayed() == world.as_text()
    changes = world.db.execute("select external_id, operation, field, before, after from sync.changes order by all")
    assert changes == [
        ("a", "archive", None, None, None),
        ("a", "create", None, None, None),
        ("b", "create", "Amount__c", None, "1.20"),
        ("b", "create", "Name__c", None, ONE[0]),
    ]


def test_a_sync_of_keys_alone(world: World) -> None:
    world.declare(fields=())
    world.model({"a": ONE, "b": ONE})
    world.push()
    world.model({"b": ONE})
    made = world.push()
    assert set(records(made.batches, Operation.ARCHIVE)) == {"a"}
    assert world.db.execute(f"select _external_id from {ledger.relation(SYNC.name)}") == [("b",)]


def test_what_was_sent_without_an_answer_is_sent_again_though_it_is_taken_back(world: World) -> None:
    before, edited = {"a": ONE, "b": ONE}, {"a": ("edited", *ONE[1:])}
    world.model(before)
    world.push()
    world.model(edited)
    world.push(lambda operation, record: None)
    world.model(before)
    made = world.push()
    assert {k: dict(r.values) for k, r in records(made.batches, Operation.UPDATE).items()} == {"a": {"Name__c": ONE[0]}}
    # Whether b was archived nobody knows: it is made again by its external id, and told also what it does not have.
    [b] = records(made.batches, Operation.CREATE).values()
    assert (b.external_id, b.crm_id, len(b.values)) == ("b", None, len(TYPES))
    assert world.plan().operations == 0


def half(operation: Operation, record: Record) -> Receipt:
    """The CRM takes the record, and refuses what belongs to it."""
    new = operation is Operation.CREATE
    return Receipt(record.external_id, Outcome.REJECTED, "crm-a", new, "NO", "no such parent", ("Parent__c",))


def test_a_record_that_was_written_and_refused_a_part_is_not_forgotten(world: World) -> None:
    world.model({"a": ONE})
    world.push(half)
    assert world.open_rejections() == {"a": 1}
    world.model({"b": ONE})
    [a] = records(world.plan().batches, Operation.ARCHIVE).values()
    assert (a.external_id, a.crm_id) == ("a", None)
    # The same of an update: what was written is taken back, though the ledger never heard of it.
    world.model({"a": ONE, "b": ONE})
    world.push()
    assert world.open_rejections() == {}
    world.model({"a": ("edited", *ONE[1:]), "b": ONE})
    world.push(half)
    world.model({"a": ONE, "b": ONE})
    assert {k: dict(r.values) for k, r in records(world.plan().batches, Operation.UPDATE).items()} == {
        "a": {"Name__c": ONE[0]}
    }


def test_a_record_made_without_an_answer_is_archived_though_nobody_knows_its_id(world: World) -> None:
    world.model({"a": ONE})
    world.push(lambda operation, record: None)
    world.model({"b": ONE})
    made = world.plan()
    [a] = records(made.batches, Operation.ARCHIVE).values()
    assert (a.external_id, a.crm_id) == ("a", None)
    assert made.syncs[0].unchanged == 0
