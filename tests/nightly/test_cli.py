"""The command as people and programs use it: exit codes, JSON, and what each command leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import cli
from flows.sandbox.sources.invoices import generate
from tests.nightly.world import COMMAND, Night, World, sandbox

COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback]
KEYS = {
    *("run_id", "target", "state", "started_at", "ended_at", "as_of", "stages", "sources", "models", "gates", "syncs"),
    *("kind", "plan", "quarantine", "anomalies", "findings", "forecast", "requests", "page", "flow_run", "notified"),
    *("problems", "error"),
}
STAGES = [
    *("configure", "extract", "gate_raw", "transform", "gate_crm", "plan", "preflight", "budget", "push", "reconcile"),
    *("report", "notify"),
]


@pytest.fixture(scope="module")
def module_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cli")
    store = generate(folder / "in", days=3)
    crm = sandbox(folder / "in")
    yield World(folder / "home", crm, store[0].parent)
    crm.close()


@pytest.fixture
def world(module_world: World, capfd: pytest.CaptureFixture[str]) -> World:
    """A world whose first day has been pushed, and whose second has not."""
    if not module_world.home.exists():
        module_world.crm.reset_stats()
        planned = module_world.command(capfd, "plan", "--as-of", "2010-12-01", "--output", "json")
        assert (planned.code, planned.err) == (0, "")
        assert planned.operations > 0
        assert planned.total("applied") == 0
        assert module_world.crm.asked() == {}, "a plan asks the CRM for nothing"
        night = module_world.run(capfd, "2010-12-01")
        assert night.operations == planned.operations
    return module_world


def test_a_run_ends_with_one_line_of_json_and_status_repeats_it(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    night = world.run(capfd, "2010-12-01")
    assert (night.code, night.err) == (0, "")
    assert night.out.count("\n") == 1
    told = night.summary
    assert told.keys() == KEYS
    assert list(told["stages"]) == STAGES
    assert all(stage["seconds"] >= 0 and stage["state"] == "done" for stage in told["stages"].values())
    assert told["sources"].keys() == {"retail.invoice_lines", "shop.customers"}
    assert all(source["rows_extracted"] == 0 for source in told["sources"].values())
    counts = ("creates", "updates", "archives", "applied", "rejected", "reconciled", "mismatched")
    assert all(sync[count] == 0 for sync in told["syncs"].values() for count in counts)
    assert told["requests"] == 0
    assert told["error"] is None
    assert Path(told["page"]).is_file()

    by_id = world.command(capfd, "status", told["run_id"], "-o", "json")
    assert (by_id.code, by_id.err, by_id.summary) == (0, "", told)
    status = world.command(capfd, "status", "--output", "json")
    assert (status.code, status.err, status.summary.keys()) == (0, "", {"runs", "rejections", "plans"})
    newest = status.summary["runs"][0]
    assert (newest["run_id"], newest["kind"], newest["state"], newest["plan"]) == (
        told["run_id"],
        *("night", "done", "pushed"),
    )
    assert (status.summary["rejections"], status.summary["plans"]) == ([], [])


def test_a_plan_is_shown_in_three_ways_and_sends_nothing(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.crm.reset_stats()
    waiting = "select count(*) from sync.plans where merged_at is null"
    before = world.ask(waiting)[0][0] if world.home.exists() else 0
    as_json = world.command(capfd, "plan", "--as-of", "2010-12-02", "--output", "json")
    markdown = world.command(capfd, "plan", "--as-of", "2010-12-02", "--output", "markdown")
    text = world.command(capfd, "plan", "--as-of", "2010-12-02")
    for shown in (as_json, markdown, text):
        assert (shown.code, shown.err) == (0, "")
    assert as_json.operations > 0
    creates = as_json.summary["syncs"]["crm_opportunities"]["creates"]
    assert f"{creates:,}" in markdown.out
    assert "|" in markdown.out
    assert f"{creates:,}" in text.out
    for word in ("crm_accounts", "crm_contacts", "crm_opportunities"):
        assert word in markdown.out
        assert word in text.out
    assert world.crm.asked() == {}
    assert world.ask(waiting)[0][0] == before + 3
    people = {value for row in world.ask("select person, email from raw.shop__customers") for value in row if value}
    assert len(people) > 50
    assert "•••" in markdown.out
    for shown in (as_json, markdown, text):
        assert not [value for value in people if value in shown.out]


def test_doctor_finds_all_well_and_says_what_is_not(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    well = world.command(capfd, "doctor", "--output", "json")
    assert (well.code, well.err) == (0, "")
    findings = json.loads(well.out)["findings"]
    assert [f["check"] for f in findings] == [
        *("configuration", "expectations", "source retail.invoice_lines", "source shop.customers", "crm main"),
        *("values crm_accounts", "values crm_contacts", "values crm_opportunities", "schema main"),
    ]
    assert all(f["ok"] for f in findings)
    world.variables |= {"SANDBOX_CLIENT_SECRET": "wrong", "RETAIL_FILES": "/nowhere/*.csv.gz"}
    ill = world.command(capfd, "doctor")
    world.variables.clear()
    assert (ill.code, ill.err) == (2, "")
    bad = [line for line in ill.out.splitlines() if line.startswith("bad")]
    assert len(bad) == 2
    assert "/nowhere/*.csv.gz" in ill.out
    assert "invalid_client" in ill.out
    assert "wrong" not in ill.out
    assert "Traceback" not in ill.out


def test_report_builds_the_page_anew(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    shown = world.command(capfd, "report", "--no-open")
    page = Path(shown.out.strip())
    assert (shown.code, shown.err) == (0, "")
    assert page.is_relative_to(world.home)
    before = page.read_bytes()
    page.unlink()
    again = world.command(capfd, "report", "--no-open", "--output", "json")
    assert json.loads(again.out) == {"run_id": page.parent.name, "page": str(page)}
    assert page.read_bytes() == before


def test_the_last_runs_are_listed(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    ids = [row[0] for row in world.ask("select run_id from ops.runs order by started_at desc")]
    listed = world.command(capfd, "status", "--limit", "2")
    assert (listed.code, listed.err) == (0, "")
    assert [i for i in ids if i in listed.out] == ids[:2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--target", "moon"), "'moon'"),
        (("status", "no-such-run"), "no-such-run"),
        (("status", "--target", "prod"), "has not run yet"),
        (("report", "no-such-run"), "no-such-run"),
        (("run", "--as-of", "yesterday"), "yesterday"),
        (("run", "--output", "xml"), "xml"),
        (("fly",), "fly"),
        (("sandbox", "--port", "99999"), "65535"),
        (("run", "--target", "prod"), "SALESFORCE_URL"),
    ],
)
def test_wrong_use_and_configuration_give_2(
    world: World, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    night: Night = world.command(capfd, *words)
    assert night.code == 2
    assert said in night.out + night.err
    assert "Traceback" not in night.out + night.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    assert f"Example: nightshift {command}" in " ".join(shown.output.split())


def test_help_is_quick_to_import() -> None:
    """Nothing heavy is loaded for a command that does nothing heavy."""
    heavy = "{'prefect', 'dbt', 'great_expectations', 'pandas', 'duckdb', 'sqlalchemy', 'uvicorn'}"
    program = f"import sys; import flows.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_sandbox_tells_one_line_of_json_and_ends_when_told() -> None:
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--output", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        told: dict[str, Any] = json.loads(process.stdout.readline())
        assert told.keys() == {"base_url", "client_id", "client_secret", "access_token", "hubspot_token"}
        process.terminate()
        out, err = process.communicate(timeout=20)
    assert (out, err) == ("", "")
