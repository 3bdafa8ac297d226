"""What a run's summary says of refused and deleted records: from receipts, over the ledger, to the summary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest

from flows.records import Operation, Outcome, Receipt, Record
from flows.summary import MAX_DETAILS, SyncSummary, collect
from tests.plan.world import NAMES, SYNC, Answer, Row, World

SUMMARY = SyncSummary(SYNC.name, SYNC.object)
EMPTY: Row = (None,) * len(NAMES)


def told(world: World, run_id: str) -> SyncSummary:
    return collect.with_details(world.db, run_id, SUMMARY, world.sync.pii)


def refusing(**receipts: Receipt) -> Answer:
    return lambda op, r: receipts.get(r.external_id, Receipt(r.external_id, Outcome.APPLIED, f"crm-{r.external_id}"))


def test_a_refusal_is_told_with_what_was_sent_the_other_record_and_the_tries(world: World) -> None:
    world.declare(fields=(replace(SYNC.fields[0], pii=True), *SYNC.fields[1:]))
    world.model({"a": ("secret", None, None, None, True, 7, None), "b": EMPTY})
    duplicate = Receipt(
        *("a", Outcome.REJECTED),
        code="DUPLICATES_DETECTED",
        message="secret is there already",
        fields=(NAMES[0],),
        other_id="003x",
    )
    for _ in range(3):
        made = world.push(refusing(a=duplicate))

    found = told(world, made.run_id)

    [rejection] = found.rejections
    assert rejection.sent == {"Name__c": "•••", "Active__c": "true", "Orders__c": "7"}
    assert (rejection.message, rejection.other_id, rejection.attempts) == ("•••", "003x", 3)
    assert rejection.first_seen_at is not None
    assert rejection.first_seen_at.tzinfo is UTC
    assert (found.rejection_codes, found.gone) == ({"DUPLICATES_DETECTED": 1}, 0)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [((), False), (("Name__c", "Orders__c"), False), (("name__c",), False), (("Orders__c",), True), (("Other",), True)],
)
def test_a_message_is_told_where_it_names_fields_and_none_is_personal(
    world: World, fields: tuple[str, ...], shown: bool
) -> None:
    world.model({"a": ("secret", *EMPTY[1:])})
    refusal = Receipt("a", Outcome.REJECTED, code="DUPLICATE_VALUE", message="secret duplicates", fields=fields)
    made = world.push(refusing(a=refusal))
    assert told(world, made.run_id).rejections[0].message == "secret duplicates", "nothing is personal"
    world.declare(fields=(replace(SYNC.fields[0], pii=True), *SYNC.fields[1:]))
    [rejection] = told(world, made.run_id).rejections
    assert rejection.message == ("secret duplicates" if shown else "•••")
    assert (rejection.code, rejection.fields) == ("DUPLICATE_VALUE", fields)


@pytest.mark.parametrize("deleted", ["report", "recreate", "forget"])
def test_deleted_records_are_counted_whatever_the_policy_does(world: World, deleted: str) -> None:
    world.declare(deleted=deleted)
    world.model({"a": EMPTY, "b": EMPTY, "c": EMPTY})
    world.push()
    edited = ("edited", *EMPTY[1:])
    world.model({"a": edited, "b": edited, "c": edited})
    gone = Receipt("a", Outcome.REJECTED, "crm-a", code="ENTITY_IS_DELETED", gone=True)
    made = world.push(refusing(a=gone, b=Receipt("b", Outcome.REJECTED, code="NO", message="no")))

    found = told(world, made.run_id)

    assert found.gone == 1
    assert found.rejection_codes == {"NO": 1}
    assert [(r.external_id, r.gone) for r in found.rejections] == [("b", False), ("a", True)]
    assert collect.sync(made.syncs[0], world.sync).deleted == deleted


def test_a_record_that_was_refused_first_and_deleted_then_is_gone(world: World) -> None:
    world.model({"a": EMPTY})
    world.push()
    world.model({"a": ("edited", *EMPTY[1:])})
    world.push(refusing(a=Receipt("a", Outcome.REJECTED, "crm-a", code="NO")))

    made = world.push(refusing(a=Receipt("a", Outcome.REJECTED, "crm-a", code="ENTITY_IS_DELETED", gone=True)))

    found = told(world, made.run_id)
    assert (found.gone, found.rejection_codes) == (1, {})


def test_many_of_one_code_do_not_crowd_out_the_others(world: World) -> None:
    world.size = 1_000
    world.model({f"{n:04}": EMPTY for n in range(200)})

    def answer(operation: Operation, record: Record) -> Receipt:
        code = "RARE" if record.external_id > "0196" else "OFTEN"
        return Receipt(record.external_id, Outcome.REJECTED, code=code)

    made = world.push(answer)

    found = told(world, made.run_id)
    assert len(found.rejections) == MAX_DETAILS
    assert [r.external_id for r in found.rejections if r.code == "RARE"] == ["0197", "0198", "0199"]
    assert found.rejection_codes == {"OFTEN": 197, "RARE": 3}
