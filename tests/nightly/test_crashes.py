"""A run that dies, or whose records change under its hands."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT
from tests.nightly.world import COMMAND, World, wanted

SLOW = {"path": r"composite/sobjects|jobs/ingest|query", "delay": 0.15}
"""Makes the push long enough to be killed in the middle of it."""


def killed_during_push(world: World, chance: random.Random, day: str) -> bool:
    """Start a night in a process of its own and kill it at some instant of its push.

    Returns:
        Whether it was killed: one that finds nothing left to push may end before.
    """
    environment = {**os.environ, **world.environment()}
    run = subprocess.Popen(
        [*COMMAND, "run", "--as-of", day],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        plans = len(list(world.home.glob("runs/*/receipts")))
        while len(list(world.home.glob("runs/*/receipts"))) == plans and run.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.8))
        run.send_signal(signal.SIGKILL)
    finally:
        run.kill()
        run.wait()
    return run.returncode == -signal.SIGKILL


def test_a_run_killed_while_it_pushes_is_repaired_by_the_next(
    make_world: Callable[..., World], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    days = generate(tmp_path / "store", days=3)
    world = make_world(files=tmp_path / "store")
    day = days[-1].name[:10]
    chance = random.Random(os.environ.get("NIGHTSHIFT_SEED", "nightshift"))
    ids: dict[str, dict[str, str]] = {}
    kills = 0
    for _ in range(3):
        world.crm.faults(SLOW)
        kills += killed_during_push(world, chance, day)
        now = world.crm.ids()
        for kind, known in ids.items():
            assert known.items() <= now[kind].items(), "a record was lost, or made a second time"
        ids = now
    world.crm.faults()
    night = world.run(capfd, day)
    assert (night.code, night.err) == (0, "")
    now = world.crm.ids()
    assert all(known.items() <= now[kind].items() for kind, known in ids.items())
    assert world.crm.held() == wanted(world.crm, days, day)
    assert world.ask("select count(*) from sync.doubts") == [(0,)]
    assert kills
    assert dict(world.ask("select state, count(*) from ops.runs group by all")) == {"failed": kills, "done": 4 - kills}
    again = world.run(capfd, day)
    assert (again.code, again.operations) == (0, 0)


def test_a_crm_that_goes_away_after_it_wrote_is_repaired_by_the_next_night(
    make_world: Callable[..., World], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer to a write is lost, and all that follow: what was written stands, and is not made twice."""
    days = generate(tmp_path / "store", days=2)
    world = make_world(files=tmp_path / "store")
    world.copy_project()
    connections = world.project / "profiles" / "connections.yml"
    connections.write_text(
        connections.read_text().replace("auth: client", "deadline_seconds: 1\n        auth: client", 1)
    )
    world.crm.faults(
        {"path": "sobjects/(Account|Contact)", "method": "PATCH", "nth": 2, "drop": "after"},
        {"path": "composite/sobjects", "method": "PATCH", "status": 503},
    )
    night = world.run(capfd)
    assert night.code == 1
    assert "The CRM gave no answer for" in night.error
    assert night.summary["error"]["safe"]
    assert night.summary["error"]["todo"]
    assert night.total("applied") < night.operations
    ids = world.crm.ids()
    world.crm.faults()
    night = world.run(capfd)
    assert (night.code, night.err) == (0, "")
    now = world.crm.ids()
    assert all(known.items() <= now[kind].items() for kind, known in ids.items())
    assert world.crm.held() == wanted(world.crm, days, "2012-12-31")
    assert world.run(capfd).operations == 0


def test_a_record_changed_between_push_and_read_back_is_reported(
    make_world: Callable[..., World], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    generate(tmp_path / "store", days=1)
    world = make_world(files=tmp_path / "store")
    world.crm.faults({"path": "/query", "delay": 1.0})
    chosen: list[str] = []

    def meddle() -> None:
        """Once the read back is asked for, and before it is answered, somebody edits one record and deletes one."""
        while not world.crm.acted()[0]:
            time.sleep(0.02)
        # Only now: reading the ledger does not disturb the run, which is in this process.
        (edited, its_id), (deleted, other_id) = world.ask(
            "select _external_id, _crm_id from sync.ledger__crm_accounts order by 1 limit 2"
        )
        world.crm.update("Account", its_id, {"Name": "Somebody's own words", "BillingCountry": None})
        world.crm.delete("Account", other_id)
        chosen.extend((edited, deleted))

    meddler = threading.Thread(target=meddle)
    meddler.start()
    night = world.run(capfd)
    meddler.join(30)
    assert night.code == 0
    sync = night.summary["syncs"]["crm_accounts"]
    assert (sync["mismatched"], sync["reconciled"]) == (2, sync["applied"] - 2)
    found = {(m["external_id"], m["field"], m["found"]) for m in sync["mismatches"]}
    edited, deleted = chosen
    assert found == {
        (edited, "Name", "Somebody's own words"),
        (edited, "BillingCountry", None),
        (deleted, None, "not there"),
    }
    [sent] = world.ask(f"select name, country from crm.crm_accounts where account_id = '{edited}'")
    assert {m["sent"] for m in sync["mismatches"]} == {*sent, "written"}
    # With the account went its contacts and opportunities.
    gone = [
        (name, key, "not there")
        for name in ("crm_contacts", "crm_opportunities")
        for (key,) in world.ask(f"select _external_id from sync.ledger__{name} where \"AccountId\" = '{deleted}'")
    ]
    assert gone
    assert sorted(
        world.ask("select sync, external_id, found from sync.mismatches where sync <> 'crm_accounts'")
    ) == sorted(gone)
