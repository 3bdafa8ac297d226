"""Small runs by day: retry, revert and adopt, each with journal, page and exit code as a night has them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.sandbox.org import BUILT_IN
from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT
from tests.nightly.world import COMMAND, FIELDS, World, sandbox, wanted

FIRST, SECOND = "2010-12-01", "2010-12-02"
CODE = "FIELD_CUSTOM_VALIDATION_EXCEPTION"


@pytest.fixture
def days(tmp_path: Path) -> list[Path]:
    return generate(tmp_path / "in", days=2)


@pytest.fixture
def world(make_world: Callable[..., World], days: list[Path]) -> World:
    return make_world(files=days[0].parent)


def guard(world: World, text: str) -> None:
    """From now on, the models have this guard in the place of theirs."""
    project = world.copy_project() if world.project == PROJECT else world.project
    models = project / "dbt_project/models/crm/_crm__models.yml"
    guarded, count = re.subn(r"guard: \{[^}]*\}", f"guard: {{{text}}}", models.read_text())
    assert count == 3
    models.write_text(guarded)


def killed_while_it_pushes(world: World, *words: str) -> None:
    """Start a command in a process of its own, and kill it once the CRM has answered something."""
    world.crm.faults({"path": r"composite/sobjects", "delay": 0.3})
    push = subprocess.Popen(
        [*COMMAND, *words],
        cwd=PROJECT,
        env={**os.environ, **world.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not any(f.stat().st_size for f in world.home.glob("runs/*/receipts/*.jsonl")) and push.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        push.send_signal(signal.SIGKILL)
    finally:
        push.kill()
        push.wait()
    assert push.returncode == -signal.SIGKILL
    world.crm.faults()


def test_retry_sends_what_was_refused_and_nothing_else(
    world: World, days: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    world.crm.faults({"path": "sobjects/Account", "reject": {"code": CODE, "message": "on hold", "share": 0.3}})
    night = world.run(capfd, FIRST)
    refused = night.summary["syncs"]["crm_accounts"]["rejected"]
    assert (night.code, refused > 0) == (0, True)
    [row] = [
        item
        for item in world.command(capfd, "status", "-o", "json").summary["rejections"]
        if item["sync"] == "crm_accounts"
    ]
    assert (row["code"], row["records"], row["attempts"]) == (CODE, refused, 1)
    assert f"crm_accounts {CODE}: {refused} records, 1 attempt, first seen" in world.command(capfd, "status").out
    open_before = night.total("rejected")

    still = world.command(capfd, "retry", "--output", "json")
    assert (still.code, still.err) == (0, "")
    assert still.summary["kind"] == "retry"
    assert still.operations == open_before
    assert set(still.summary["stages"]) >= {"configure", "plan", "preflight", "push", "reconcile", "report", "notify"}
    assert "extract" not in still.summary["stages"]
    assert Path(still.summary["page"]).is_file()

    world.crm.faults()
    assert world.command(capfd, "plan", "--as-of", SECOND, "-o", "json").operations > open_before
    world.command(capfd, "retry")
    mended = world.command(capfd, "retry", "--output", "json")  # now the parents are there for their children
    assert (mended.code, mended.total("rejected")) == (0, 0)
    status = world.command(capfd, "status", "-o", "json").summary
    assert status["rejections"] == []
    assert [run["kind"] for run in status["runs"]] == ["retry", "retry", "night", "retry", "night"]
    assert world.run(capfd, SECOND).total("rejected") == 0
    assert world.crm.held() == wanted(world.crm, days, SECOND)
    assert "no rejection is open" in world.command(capfd, "retry").out


def test_revert_takes_back_what_a_run_wrote(world: World, days: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert world.run(capfd, FIRST).code == 0
    before = world.crm.held()
    night = world.run(capfd, SECOND)
    run_id, after = night.summary["run_id"], world.crm.held()
    assert after != before
    guard(world, "max_archives: 100%")
    world.crm.reset_stats()
    shown = world.command(capfd, "revert", run_id, "--dry-run", "-o", "json")
    assert (shown.code, shown.err, world.crm.writes()) == (0, "", {})
    # Two objects go with accounts: of nothing else is anything asked.
    assert {name.rpartition("/")[2]: count for name, count in world.crm.asked().items()} == {"query": 2}
    assert shown.operations == night.operations
    assert world.crm.held() == after

    guard(world, "max_archives: 3, max_changes: 50%, at_least: 0")
    held = world.command(capfd, "revert", run_id, "--output", "json")
    assert (held.code, held.summary["state"], world.crm.writes()) == (3, "held", {})
    done = world.command(capfd, "approve", held.summary["run_id"], "--push", "--output", "json")
    assert (done.code, done.err, done.summary["kind"]) == (0, "", "revert")
    assert world.crm.held() == before
    assert done.total("mismatched") == 0
    again = world.command(capfd, "revert", run_id, "--output", "json")
    assert (again.code, again.operations) == (0, 0)
    # Somebody takes a model out of the syncs.
    models = world.project / "dbt_project/models/crm/_crm__models.yml"
    text = models.read_text()
    document = yaml.safe_load(text)
    [model] = [one for one in document["models"] if one["name"] == "crm_opportunities"]
    del model["config"]["meta"]["sync"]
    models.write_text(yaml.safe_dump(document))
    suite = world.project / "expectations/crm_after/crm_opportunities.yml"
    expected = suite.read_text()
    suite.unlink()
    lost = night.summary["syncs"]["crm_opportunities"]["applied"]
    [problem] = world.command(capfd, "revert", run_id, "-o", "json").summary["problems"]
    assert problem["what"].startswith(f"{lost:,} records of crm_opportunities, which is not synced any more")
    models.write_text(text)
    suite.write_text(expected)
    # The models were not changed: the next night sends what they still want.
    assert world.run(capfd, SECOND).code == 0
    assert world.crm.held() == wanted(world.crm, days, SECOND)


def test_a_run_that_was_killed_can_be_taken_back_at_once(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """What the CRM answered is on the disk; the revert takes it up first."""
    guard(world, "max_archives: 100%")
    killed_while_it_pushes(world, "run", "--as-of", FIRST)
    [run_id] = [folder.name for folder in (world.home / "runs").iterdir()]
    back = world.command(capfd, "revert", run_id, "-o", "json")
    assert (back.code, back.err) == (0, "")
    assert back.total("archives") == back.total("applied") > 0


def test_a_run_that_sent_nothing_cannot_be_taken_back(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    tried = world.command(capfd, "revert", "20100101T000000Z-0000", "-o", "json")
    assert (tried.code, "is not known" in tried.error) == (2, True)
    assert world.ask("select count(*) from ops.runs") == [(0,)]


def test_adopt_makes_the_first_plan_a_true_difference(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """A new home on a CRM that another one has filled."""
    assert world.run(capfd, FIRST).code == 0
    [first] = list(world.crm.ids()["Account"].items())[:1]
    world.crm.update("Account", first[1], {"Name": "As somebody wrote it"})
    fresh = World(world.home.parent / "fresh", world.crm, world.files)

    early = fresh.command(capfd, "adopt", "-o", "json")
    assert (early.code, "does not exist" in early.error) == (2, True)
    planned = fresh.command(capfd, "plan", "--as-of", FIRST, "-o", "json")
    assert planned.total("creates") == planned.operations > 0
    world.crm.reset_stats()
    adopted = fresh.command(capfd, "adopt", "--output", "json")
    assert (adopted.code, adopted.err, world.crm.writes()) == (0, "", {})
    assert adopted.summary["requests"] > 0
    found = {name: sync["adopted"] for name, sync in adopted.summary["syncs"].items()}
    assert all(item["found"] == item["wanted"] > 0 == item["known"] for item in found.values())
    true = fresh.command(capfd, "plan", "--as-of", FIRST, "-o", "json")
    assert (true.operations, true.total("updates")) == (1, 1)
    again = fresh.command(capfd, "adopt")
    assert (again.code, again.err) == (0, "")
    assert "not found" in again.out


def test_without_adopt_the_next_night_empties_what_stood_in_found_records(
    world: World, days: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """A person made two contacts before the first night; for one of them the model has no telephone number."""
    model = wanted(world.crm, days[:1], FIRST)["crm_contacts"]
    phone = FIELDS["Contact"].index("Phone")
    without, having = (next(k for k, row in model.items() if (row[phone] is None) is none) for none in (True, False))
    for key in (without, having):
        world.crm.create("Contact", {"LastName": "Theirs", "Phone": "+34 555", "External_Id__c": key})
    first = world.run(capfd, FIRST)
    assert (first.code, first.total("creates")) == (0, first.operations)
    assert {k for k, row in world.crm.held()["crm_contacts"].items() if row[phone] == "+34 555"} == {without}

    planned = world.command(capfd, "plan", "--as-of", FIRST, "-o", "json")
    assert (planned.operations, planned.summary["syncs"]["crm_contacts"]["fields"]) == (1, {"Phone": 1})
    assert world.run(capfd, FIRST).code == 0
    assert world.crm.held() == wanted(world.crm, days[:1], FIRST)
    assert world.run(capfd, FIRST).operations == 0


def test_adopt_asks_first_whether_the_crm_fits(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Records are taken up by the external id, so it must be one in the CRM, too."""
    org = yaml.safe_load(BUILT_IN.read_text())
    org["Account"]["fields"]["External_Id__c"]["unique"] = False
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    crm = sandbox(tmp_path / "in", org=tmp_path / "org.yml")
    try:
        other = World(world.home, crm, world.files)
        assert other.command(capfd, "plan", "--as-of", FIRST).code == 0
        crm.create("Account", {"Name": "one", "External_Id__c": "12345"})
        adopted = other.command(capfd, "adopt", "-o", "json")
        assert adopted.code == 2
        assert "Account.External_Id__c is not marked as a unique external id" in adopted.error
        assert "query" not in " ".join(crm.asked())
    finally:
        crm.close()


def test_an_approved_push_that_is_killed_is_merged_by_the_next_run(
    world: World, days: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    guard(world, "max_changes: 50%, first_run: 10")
    held = world.run(capfd, SECOND)
    run_id = held.summary["run_id"]
    assert world.command(capfd, "approve", run_id, "--by", "anna").code == 0
    killed_while_it_pushes(world, "push")
    there = world.crm.ids()
    assert any(there.values())
    assert world.ask("select state, decided_by, merged_at from sync.plans") == [("pushed", "anna", None)]
    assert world.command(capfd, "push", "--plan", run_id).code == 2
    rest = world.run(capfd, SECOND)
    if rest.code == 3:  # where nothing of an object was pushed, what is left is a first run still
        rest = world.command(capfd, "approve", rest.summary["run_id"], "--push", "-o", "json")
    assert (rest.code, rest.err) == (0, "")
    assert 0 < rest.operations < held.operations
    now = world.crm.ids()
    assert all(known.items() <= now[kind].items() for kind, known in there.items())
    assert world.crm.held() == wanted(world.crm, days, SECOND)
    told = world.command(capfd, "status", run_id, "-o", "json").summary
    assert (told["state"], told["error"]["what"]) == ("failed", "The run was killed.")
