"""A plan over a guard: held, decided about by command, and pushed exactly, or void."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import plan as planning
from flows.records import Operation
from flows.sandbox.sources.invoices import generate
from tests.nightly.world import Night, World

MODELS = "dbt_project/models/crm/_crm__models.yml"
ACCOUNTS = "dbt_project/models/crm/crm_accounts.sql"
FIRST, SECOND = "2010-12-01", "2010-12-02"


@pytest.fixture
def world(make_world: Callable[..., World], tmp_path: Path) -> World:
    """A project whose first run may create ten records of each object, without being asked."""
    generate(tmp_path / "in", days=2)
    world = make_world(files=tmp_path / "in")
    world.copy_project()
    edit(world, MODELS, "max_changes: 50%", "max_changes: 50%, first_run: 10")
    return world


def edit(world: World, path: str, old: str, new: str) -> None:
    file = world.project / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def held(world: World, capfd: pytest.CaptureFixture[str], day: str = FIRST) -> Night:
    night = world.run(capfd, day)
    assert (night.code, night.err, night.summary["state"]) == (3, "", "held")
    assert world.crm.writes() == {}
    return night


def row(world: World, run_id: str) -> dict[str, Any]:
    with world.warehouse() as db:
        [found] = db.rows("select * from sync.plans where run_id = ?", (run_id,))
    return found


def planned(world: World, run_id: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What a plan's batches say: object -> external id -> values."""
    objects = {"crm_accounts": "Account", "crm_contacts": "Contact", "crm_opportunities": "Opportunity"}
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in objects.values()}
    for batch in planning.load(world.home / "runs" / run_id).batches:
        assert batch.operation is Operation.CREATE
        for record in batch.records():
            found[objects[batch.sync]][record.external_id] = dict(record.values)
    return found


def test_held_approved_and_pushed_exactly(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    night = held(world, capfd)
    run_id, told = night.summary["run_id"], night.summary["plan"]
    assert (told["state"], told["decided_by"]) == ("held", None)
    assert f"nightshift approve {run_id} --push" in night.error
    assert f"nightshift reject {run_id} --reason" in night.error
    assert "first_run" in night.error
    [waiting] = world.command(capfd, "status", "-o", "json").summary["plans"]
    assert (waiting["run_id"], waiting["hash"], waiting["state"]) == (run_id, told["hash"], "held")
    text = world.command(capfd, "status").out
    assert all(command in text for command in waiting["next"])

    refused = world.command(capfd, "push")
    assert (refused.code, world.crm.writes()) == (2, {})
    assert "No plan is approved" in refused.err
    refused = world.command(capfd, "push", "--plan", run_id)
    assert (refused.code, world.crm.writes()) == (2, {})
    assert "is held and not approved" in refused.err

    with world.warehouse() as db:  # what a process leaves behind that is killed while it makes an approved plan again
        db.execute(
            "insert into sync.plans (run_id, hash, planned_at) select run_id || '-again', hash, now() from sync.plans"
        )
    approved = world.command(
        capfd, "approve", told["hash"][:10], "--by", "anna", "--reason", "the first load", "-o", "json"
    )
    assert (approved.code, approved.err) == (0, "")
    assert approved.summary | {"decided_at": None} == {
        **{"run_id": run_id, "hash": told["hash"], "state": "approved", "decided_by": "anna", "decided_at": None},
        "reason": "the first load",
    }
    assert world.crm.writes() == {}, "an approval alone sends nothing"

    pushed = world.command(capfd, "push", "--output", "json")
    assert (pushed.code, pushed.err) == (0, "")
    assert pushed.summary["run_id"] == run_id, "it is the same run that goes on"
    assert pushed.summary["state"] == "done"
    assert list(pushed.summary["stages"]) == [
        *("configure", "extract", "gate_raw", "transform", "gate_crm", "plan", "guard", "preflight", "budget", "push"),
        *("reconcile", "gate_crm_after", "report", "notify"),
    ]
    assert pushed.operations == night.operations == pushed.total("applied") == pushed.total("reconciled")
    assert {name: set(records) for name, records in planned(world, run_id).items()} == {
        name: set(ids) for name, ids in world.crm.ids().items()
    }
    stands = row(world, run_id)
    assert (stands["state"], stands["decided_by"], stands["reason"]) == ("pushed", "anna", "the first load")
    assert stands["planned_at"] < stands["decided_at"] < stands["merged_at"]
    assert world.ask("select run_id, state from ops.runs") == [(run_id, "done")]
    page = Path(pushed.summary["page"]).read_text()
    assert "Approved by anna at" in page
    assert "the first load" in page

    once = world.command(capfd, "push", "--plan", run_id)
    assert (once.code, "was pushed already" in once.err) == (2, True)
    assert world.ask("select run_id, state from ops.runs") == [(run_id, "done")]
    assert world.run(capfd, FIRST).operations == 0


def test_who_decides_hears_whether_the_day_is_long_enough(
    make_world: Callable[..., World], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An approved plan is pushed as far as the day's requests go."""
    generate(tmp_path / "in", days=2)
    world = make_world(files=tmp_path / "in", daily_requests=8)
    world.copy_project()
    edit(world, MODELS, "max_changes: 50%", "max_changes: 50%, first_run: 10")
    night = held(world, capfd)
    forecast = night.summary["forecast"]["main"]
    assert forecast["left"] < forecast["requests"]
    assert "against guard first_run of 10" in night.error
    short = f"main: {forecast['requests']} requests of {forecast['left']} left today"
    assert f"today's requests are not enough for it: {short}" in night.error


def test_a_rejected_plan_is_never_pushed(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    assert world.command(capfd, "reject", run_id).code == 2, "a rejection needs a reason"
    for words, said in (
        (("reject", run_id, "--reason", " "), "A decision needs a reason"),
        (("approve", run_id, "--by", ""), "A decision needs the name of who decides"),
        (("approve", "", "--push"), "No plan '' is known"),
    ):
        refused = world.command(capfd, *words)
        assert (refused.code, said in refused.err, row(world, run_id)["state"]) == (2, True, "held")
    rejected = world.command(capfd, "reject", run_id, "--reason", "segments are wrong", "--by", "ben")
    assert (rejected.code, rejected.err) == (0, "")
    assert "rejected by ben" in rejected.out
    for words in (("push", "--plan", run_id), ("approve", run_id, "--push")):
        tried = world.command(capfd, *words)
        assert tried.code == 2
        assert "rejected by ben" in tried.err
        assert "segments are wrong" in tried.err
    assert world.crm.writes() == {}
    told = world.command(capfd, "status", run_id, "-o", "json").summary
    assert (told["state"], told["plan"]["state"], told["plan"]["reason"]) == ("held", "rejected", "segments are wrong")
    again = held(world, capfd)
    assert again.summary["run_id"] != run_id
    assert row(world, run_id)["state"] == "rejected"


def test_an_approval_can_be_taken_back(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    approved = world.command(capfd, "approve", run_id, "--reason", "fine\x1b[2J")
    assert (approved.code, "\x1b" in approved.out, "fine\\x1b[2J" in approved.out) == (0, False, True)
    assert world.command(capfd, "reject", run_id, "--reason", "on second thoughts").code == 0
    assert world.command(capfd, "push").code == 2
    assert world.crm.writes() == {}


def test_an_approval_is_void_when_the_model_moved(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    assert world.command(capfd, "approve", run_id, "--by", "anna").code == 0
    with world.warehouse() as db:
        [(one,)] = db.execute("select min(account_id) from crm.crm_accounts")
        db.execute("update crm.crm_accounts set name = 'Other Ltd' where account_id = ?", (one,))
    tried = world.command(capfd, "push", "-o", "json")
    assert (tried.code, tried.summary["state"], world.crm.writes()) == (1, "failed", {})
    assert "crm_accounts: the model moved for 1 record (" in tried.error
    assert "crm_contacts" not in tried.error
    assert tried.summary["error"]["safe"].startswith("Nothing was sent")
    stands = row(world, run_id)
    assert (stands["state"], stands["decided_by"]) == ("void", "anna")
    assert "the model moved" in stands["void_because"]
    assert list((world.home / "runs" / run_id).glob("again*")) == []
    assert world.ask("select run_id from sync.plans") == [(run_id,)]
    tried = world.command(capfd, "push", "--plan", run_id)
    assert (tried.code, "is void" in tried.err) == (2, True)
    held(world, capfd)


def test_an_approval_is_void_when_the_ledger_moved(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    assert world.command(capfd, "approve", run_id).code == 0
    # Somebody takes over what the CRM holds: of one account, the ledger knows more than the plan did.
    [(one,)] = world.ask("select min(account_id) from crm.crm_accounts")
    values = planned(world, run_id)["Account"][one]
    world.crm.create("Account", {"External_Id__c": one, "Name": values["Name"]})
    before = world.crm.writes()
    adopted = world.command(capfd, "adopt", "--output", "json")
    assert (adopted.code, adopted.err) == (0, "")
    counts = {name: sync["adopted"] for name, sync in adopted.summary["syncs"].items()}
    assert counts["crm_accounts"]["found"] == 1
    assert counts["crm_contacts"]["found"] == counts["crm_accounts"]["known"] == 0
    tried = world.command(capfd, "push", "-o", "json")
    assert (tried.code, world.crm.writes()) == (1, before)
    assert "crm_accounts: the ledger moved for 1 of its records" in tried.error
    assert row(world, run_id)["state"] == "void"


def test_a_night_with_the_plan_that_was_approved_asks_nobody(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    assert world.command(capfd, "approve", run_id, "--by", "anna", "--reason", "fine").code == 0
    night = world.run(capfd, FIRST)
    assert (night.code, night.total("applied")) == (0, night.operations)
    assert night.summary["run_id"] != run_id
    assert (night.summary["plan"]["state"], night.summary["plan"]["decided_by"]) == ("pushed", "anna")
    assert "guard" in night.summary["stages"]
    stands = row(world, run_id)
    assert (stands["state"], stands["decided_by"]) == ("void", "anna")
    assert night.summary["run_id"] in stands["void_because"]
    assert world.command(capfd, "push").code == 2


def test_a_night_with_another_plan_asks_anew(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    assert world.command(capfd, "approve", run_id).code == 0
    second = held(world, capfd, SECOND)
    assert second.summary["plan"]["hash"] != row(world, run_id)["hash"]
    assert row(world, run_id)["state"] == "void"
    [waiting] = world.command(capfd, "status", "-o", "json").summary["plans"]
    assert waiting["run_id"] == second.summary["run_id"]


def test_a_plan_that_is_only_looked_at_can_be_approved(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    edit(world, MODELS, "first_run: 10", "first_run: 10000")
    looked_at = world.command(capfd, "plan", "--as-of", FIRST, "-o", "json")
    assert (looked_at.code, looked_at.summary["plan"]["state"]) == (0, "planned")
    done = world.command(capfd, "approve", looked_at.summary["run_id"], "--push", "--output", "json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert done.total("applied") == looked_at.operations > 0


@pytest.mark.parametrize(
    "words", [("approve", "nothing"), ("reject", "nothing", "--reason", "x"), ("push", "--plan", "0")]
)
def test_a_plan_that_nobody_knows(world: World, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    world.home.mkdir(parents=True)
    world.warehouse().close()
    tried = world.command(capfd, *words)
    assert tried.code == 2
    assert "is known" in tried.err
    assert "Traceback" not in tried.err


def test_a_push_that_the_crm_refuses_can_be_tried_again(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """What ends a run before its first write leaves the approval as it was."""
    run_id = held(world, capfd).summary["run_id"]
    world.variables["SANDBOX_CLIENT_SECRET"] = "wrong"
    failed = world.command(capfd, "approve", run_id, "--push", "-o", "json")
    assert (failed.code, failed.summary["state"]) == (2, "failed")
    assert failed.summary["plan"]["state"] == "approved"
    world.variables.clear()
    done = world.command(capfd, "push", "-o", "json")
    assert (done.code, done.summary["run_id"], done.total("applied")) == (0, run_id, done.operations)


def test_changed_files_are_not_pushed(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    run_id = held(world, capfd).summary["run_id"]
    assert world.command(capfd, "approve", run_id).code == 0
    file = world.home / "runs" / run_id / "plan.json"
    raw = json.loads(file.read_text())
    raw["syncs"][0]["batches"].pop()
    file.write_text(json.dumps(raw))
    tried = world.command(capfd, "push", "-o", "json")
    assert (tried.code, world.crm.writes()) == (1, {})
    assert "is not the plan that was made" in tried.error
