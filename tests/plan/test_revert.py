"""A run is taken back: exactly what it wrote, and nothing that was written since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import plan
from flows.records import Operation, Outcome, Receipt, Record
from tests.plan.world import SYNC, TYPES, Row, Rows, World, applied, money

EMPTY: Row = (None,) * len(TYPES)
A: Row = ("a", money("1.00"), None, None, True, None, None)
B: Row = ("b", money("2.00"), None, None, None, 2, None)


def took(operation: Operation, record: Record) -> Receipt:
    """The CRM takes it, and says whether the record is new."""
    done = applied(operation, record)
    return Receipt(done.external_id, Outcome.APPLIED, done.crm_id, created=operation is Operation.CREATE)


def revert(world: World, of: plan.Plan) -> plan.Plan:
    run = f"run-{next(world.runs):04d}"
    made = plan.revert(world.db, run, [world.sync], world.folder / run, world.crm, of=of.run_id)
    assert plan.load(made.folder) == made
    world.answer(made, took)
    world.merge(made)
    return made


def night(world: World, rows: Rows) -> plan.Plan:
    world.model(rows)
    return world.push(took)


def test_a_reverted_run_leaves_what_was_before_it(world: World) -> None:
    before: Rows = {"stays": A, "edited": A, "goes": B, "cleared": A}
    night(world, before)
    bad = night(world, {"stays": A, "edited": B, "comes": B, "cleared": EMPTY})
    made = revert(world, bad)
    [sync] = made.syncs
    assert (sync.creates, sync.updates, sync.archives, sync.notes) == (1, 2, 1, ())
    assert world.held() == before
    assert world.replayed() == world.as_text()
    assert revert(world, made).operations == 4, "a revert is a run like others, and can be taken back"
    assert world.held() == {"stays": A, "edited": B, "comes": B, "cleared": EMPTY}


def test_what_a_later_run_wrote_stays(world: World) -> None:
    night(world, {"a": A, "b": A})
    bad = night(world, {"a": B, "b": B, "c": B, "d": B})
    later = ("later", *B[1:])
    night(world, {"a": later, "b": B, "c": later, "d": B})
    [sync] = revert(world, bad).syncs
    assert world.held() == {"a": ("later", *A[1:]), "b": A, "c": later}
    assert sync.notes == (
        "crm_things: 1 records were written again by a later run, and stay",
        "crm_things: 1 records were partly written again by a later run: those fields stay",
    )


def test_a_record_that_was_there_before_us_is_not_archived(world: World) -> None:
    world.model({"found": A, "made": A})
    bad = world.push(
        lambda operation, record: Receipt(record.external_id, Outcome.APPLIED, "x", record.external_id == "made")
    )
    [sync] = revert(world, bad).syncs
    assert set(world.held()) == {"found"}
    assert sync.notes == (
        "crm_things: 1 records were in the CRM before we first wrote them: what they held then is not known",
    )


def test_a_revert_goes_through_the_guards(world: World) -> None:
    night(world, {"a": A})
    bad = night(world, {"a": A, "b": B, "c": B})
    world.declare(guard=SYNC.guard.model_copy(update={"max_archives": 1}))
    run = f"run-{next(world.runs):04d}"
    made = plan.revert(world.db, run, [world.sync], world.folder / run, world.crm, of=bad.run_id)
    assert made.held == ("crm_things: 2 records against guard max_archives of 1",)


def test_what_the_crm_refused_needs_no_taking_back(world: World) -> None:
    night(world, {"a": A})
    world.model({"a": B})
    bad = world.push(lambda operation, record: Receipt(record.external_id, Outcome.REJECTED, code="NO"))
    assert revert(world, bad).operations == 0


def test_what_is_in_doubt_of_other_fields_stays_so(world: World) -> None:
    """An amount was sent without an answer; the revert of a name settles the name alone."""
    night(world, {"a": A})
    bad = night(world, {"a": ("b", *A[1:])})
    world.model({"a": ("b", money("9.00"), *A[2:])})
    world.push(lambda operation, record: Receipt(record.external_id, Outcome.UNKNOWN))
    [batch] = revert(world, bad).batches
    assert [dict(record.values) for record in batch.records()] == [{"Name__c": "a"}]
    world.model({"a": A})
    [batch] = world.push(took).batches
    assert [dict(record.values) for record in batch.records()] == [{"Amount__c": A[1]}]
    assert world.plan().operations == 0


def test_what_had_no_answer_is_left_to_the_next_night(world: World) -> None:
    night(world, {"a": A, "b": A})
    world.model({"a": B, "b": B})
    unanswered = Receipt("b", Outcome.UNKNOWN)
    bad = world.push(lambda operation, record: took(operation, record) if record.external_id == "a" else unanswered)
    [sync] = revert(world, bad).syncs
    assert (sync.updates, sync.notes) == (
        1,
        ("crm_things: 1 records had no answer: the next night makes of them what the models want",),
    )
    world.model({"a": A, "b": A})
    assert world.plan().syncs[0].updates == 1


def test_a_field_that_is_not_mapped_any_more_is_told(world: World) -> None:
    """Whoever takes back a wrong mapping may have taken it out of the model before."""
    night(world, {"both": A, "one": A, "archived": A, "other": A})
    bad = night(world, {"both": B, "one": ("b", *A[1:]), "created": B, "other": (A[0], *B[1:])})
    world.declare(fields=SYNC.fields[1:])
    [sync] = revert(world, bad).syncs
    assert (sync.creates, sync.updates, sync.archives) == (1, 2, 1)
    assert sync.notes == ("crm_things: 3 records are not taken back in Name__c: it is not mapped any more",)


def test_samples_say_what_will_change(world: World) -> None:
    night(world, {"a": A})
    bad = night(world, {"a": ("b", *A[1:])})
    [sample] = revert(world, bad).syncs[0].samples
    assert (sample.field, sample.before, sample.after) == ("Name__c", "b", "a")


def test_held_rows_are_left_out(world: World) -> None:
    night(world, {"edited": A, "goes": B, "fit": A})
    bad = night(world, {"edited": B, "comes": B, "fit": B})
    # What went is in the model again, but unfit.
    world.model({"edited": B, "comes": B, "goes": B, "fit": B})
    for key in ("edited", "comes", "goes"):
        world.db.execute(
            "insert into quality.quarantine (table_name, key, expectation_id, expectation, fingerprint, severity, "
            "since_run_id, since_at, last_run_id) values ('crm.crm_things', ?, 'e', 'e', 'f', 'critical', 'r', "
            "now(), 'r')",
            (key,),
        )
    made = revert(world, bad)
    [sync] = made.syncs
    assert (sync.creates, sync.updates, sync.archives, sync.quarantined) == (0, 1, 0, 3)
    assert world.held() == {"edited": B, "comes": B, "fit": A}
    world.db.execute("delete from quality.quarantine")
    assert revert(world, bad).operations == 3


@pytest.mark.parametrize("policy", ["if_unchanged", "if_empty"])
def test_people_have_the_last_word(world: World, policy: str) -> None:
    """What we filled in goes back while it is still ours."""
    world.declare(fields=(replace(SYNC.fields[0], policy=policy), *SYNC.fields[1:]))
    before = (None, *A[1:])
    night(world, {"ours": before, "theirs": before, "back": before})
    world.there = {"ours": before, "theirs": before, "back": before}
    bad = night(world, {"ours": B, "theirs": B, "back": B})
    world.there = {"ours": B, "theirs": ("a person's", *B[1:]), "back": (None, *B[1:])}
    made = revert(world, bad)
    back = {"Amount__c": A[1], "Active__c": True, "Orders__c": None}
    [batch] = made.batches
    assert {record.external_id: dict(record.values) for record in batch.records()} == {
        "ours": {"Name__c": None, **back},
        "theirs": back,
        "back": back,
    }
    assert (made.syncs[0].kept, made.requests) == ({"Name__c": 1}, 3)
    assert world.held() == {"ours": before, "theirs": ("b", *A[1:]), "back": before}


def test_what_a_mirror_archives_and_a_revert_does_not(world: World) -> None:
    """A record that people made and we wrote into is ours to archive; but it was there before the run."""
    world.model({"found": A})
    first = world.push(lambda operation, record: replace(took(operation, record), created=False))
    assert revert(world, first).operations == 0
    world.model({})
    assert world.plan().syncs[0].archives == 1
