"""Whole nights: what the CRM makes of records is judged after the push, told, and stops nothing that does not ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows import gate
from flows.errors import ConfigError
from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT
from tests.nightly.world import Night, World, sandbox

pytestmark = pytest.mark.usefixtures("prefect_api")

SUITES = PROJECT / "expectations" / "crm_after"
MODELS = ("crm_accounts", "crm_contacts", "crm_opportunities")


def failed(night: Night) -> list[Mapping[str, Any]]:
    return [g for g in night.summary["gates"] if g["stage"] == "crm_after" and not g["passed"]]


def told(night: Night) -> set[tuple[str, str, int]]:
    """Table, severity and rows of what failed after the push."""
    return {(g["table"].partition(".")[2], g["severity"], g["unexpected_rows"]) for g in failed(night)}


def suite(world: World, name: str, text: str) -> Path:
    path = world.project / "expectations" / "crm_after" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_nights_in_which_the_crm_does_as_it_likes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = generate(tmp_path / "store", days=4)
    crm = sandbox(tmp_path / "store")
    world = World(tmp_path / "home", crm, tmp_path / "in")
    world.copy_project()
    try:
        _all_is_well(world, store[0], capfd)
        _cut_folded_and_changed(world, store[1], capfd)
        _one_that_asks_for_it_fails_the_run(world, store[2], capfd)
        _wrong_suites(world, capfd)
    finally:
        crm.close()


def _all_is_well(world: World, day: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world.arrive(day)
    night = world.run(capfd, day.name[:10])
    assert (night.code, night.error) == (0, "")
    assert list(night.summary["stages"])[-4:] == ["reconcile", "gate_crm_after", "report", "notify"]
    judged = [g for g in night.summary["gates"] if g["stage"] == "crm_after"]
    assert {g["table"] for g in judged} == {f"crm_after.{model}" for model in MODELS}
    assert len(judged) == sum(len(gate.load_suite(path).expectations) for path in SUITES.glob("*.yml"))
    assert failed(night) == []
    for model in MODELS:
        # All that was written came back, as the models have it.
        columns = world.ask(f"select column_name from (describe crm_after.{model}) where column_name[1] <> '_'")
        listed = ", ".join(name for (name,) in columns)
        assert len(columns) > 4
        assert world.ask(f"select {listed} from crm_after.{model} except select {listed} from crm.{model}") == []
        assert world.ask(f"select count(*) from crm_after.{model}") == world.ask(f"select count(*) from crm.{model}")
    assert not list(world.home.rglob("*.returned.jsonl")), "what was read back lies about in files"


def _cut_folded_and_changed(world: World, day: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Creates name the object in their path, updates do not: these stay as they are.
    world.crm.faults(
        {"path": "sobjects/Account|jobs/ingest", "change": {"field": "Name", "truncate": 5}},
        {"path": "sobjects/Contact|jobs/ingest", "change": {"field": "Email", "to": "sales@example.com"}},
        {"path": "sobjects/Opportunity|jobs/ingest", "change": {"field": "Amount", "to": 1.005}},
        {"path": "sobjects/Opportunity|jobs/ingest", "change": {"field": "CloseDate", "to": "2031-01-01"}},
    )
    world.arrive(day)
    night = world.run(capfd, day.name[:10])
    world.crm.faults()
    assert (night.code, night.error) == (0, ""), "everything is written: it is told, and stops nothing"
    creates = {name: sync["creates"] for name, sync in night.summary["syncs"].items()}
    assert min(creates.values()) > 0
    assert told(night) == {
        ("crm_accounts", "critical", creates["crm_accounts"]),
        ("crm_contacts", "critical", creates["crm_contacts"]),
        ("crm_opportunities", "critical", creates["crm_opportunities"]),  # amounts that do not fit, nor are those sent
        ("crm_opportunities", "warning", creates["crm_opportunities"]),
    }
    unfit = world.ask("select distinct amount, _unfit from crm_after.crm_opportunities where _unfit is not null")
    assert unfit == [(None, '{"Amount":"1.005"}')]
    samples = [sample for g in failed(night) for sample in g["samples"]]
    assert samples
    assert not [sample for sample in samples if "@" in sample], "an address is shown"
    shown = {g["table"].partition(".")[2]: g["samples"] for g in failed(night) if g["expectation"].startswith("unexp")}
    assert "account_id=" in shown["crm_accounts"][0]
    assert "kept=" in shown["crm_accounts"][0], "there is nothing personal in the account that was sent"
    assert {sample.partition("=")[0] for sample in shown["crm_contacts"]} == {"contact_id"}
    assert "kept=" in shown["crm_opportunities"][0]
    stored = world.ask(
        "select count(*) from quality.results where stage = 'crm_after' and not passed "
        f"and run_id = '{night.summary['run_id']}'"
    )
    assert stored == [(len(failed(night)),)]
    shown = world.command(capfd, "status")
    assert "on what the CRM gave back failed in crm_after.crm_opportunities" in " ".join(shown.out.split())
    page = Path(night.summary["page"]).read_text()
    assert "on what the CRM gave back failed in crm_after.crm_contacts" in page
    assert "sales@example.com" not in page


def _one_that_asks_for_it_fails_the_run(world: World, day: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = suite(
        world,
        "crm_opportunities.yml",
        "table: crm_after.crm_opportunities\nexpectations:\n"
        "  - expect_column_values_to_be_between: {column: amount, max_value: 0}\n    on_fail: stop\n"
        "  - expect_column_values_to_be_null: {column: nothing_like_it}\n",
    )
    world.arrive(day)
    night = world.run(capfd, day.name[:10])
    assert night.code == 1
    assert "What the CRM gave back is not as it must be" in night.error
    assert "expect_column_values_to_be_between(amount)" in night.error
    assert "nothing_like_it" not in night.error, "what cannot be judged is told, and stops nothing here"
    assert "Everything is written" in night.error
    assert night.summary["stages"]["gate_crm_after"]["state"] == "failed"
    syncs = night.summary["syncs"].values()
    assert all(sync["applied"] == sync["reconciled"] == sync["creates"] + sync["updates"] for sync in syncs)
    [(rows,)] = world.ask(
        f"select count(*) from crm_after.crm_opportunities where _run_id = '{night.summary['run_id']}'"
    )
    ours = [g for g in failed(night) if g["table"] == "crm_after.crm_opportunities"]
    assert [(g["expectation"], g["unexpected_rows"]) for g in ours] == [
        ("expect_column_values_to_be_between", rows),
        ("expect_column_values_to_be_null", None),
    ]
    # Names that were cut the night before are seen again where other fields of the account were sent.
    assert {g["table"] for g in failed(night)} == {"crm_after.crm_opportunities", "crm_after.crm_accounts"}
    path.unlink()
    again = world.run(capfd, day.name[:10])
    assert (again.code, again.total("applied")) == (0, 0), "the ledger has moved all the same"
    assert "gate_crm_after" not in again.summary["stages"], "what other nights read back was judged then"
    assert failed(again) == []


def _wrong_suites(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    item = "expectations:\n  - expect_column_values_to_not_be_null: {column: name}\n"
    path = suite(world, "wrong.yml", f"table: crm_after.crm_acounts\n{item}")
    night = world.run(capfd)
    assert night.code == 2
    assert "crm_after.crm_acounts, expected one of crm_after.crm_accounts, crm_after.crm_contacts" in night.error
    assert list(night.summary["stages"]) == ["configure", "report", "notify"]
    doctor = world.command(capfd, "doctor")
    assert doctor.code == 2
    assert "crm_after.crm_acounts, expected one of" in " ".join(doctor.out.split())
    path.unlink()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("table: crm.crm_accounts\n", "table: found crm.crm_accounts, expected one of crm_after.crm_accounts"),
        ("table: crm_after.other\n", "table: found crm_after.other, expected one of crm_after.crm_accounts"),
    ],
)
def test_suites_that_judge_something_else(tmp_path: Path, text: str, said: str) -> None:
    item = "expectations:\n  - expect_column_values_to_not_be_null: {column: name}\n"
    (tmp_path / "a.yml").write_text(text + item)
    with pytest.raises(ConfigError) as raised:
        gate.suites_after(tmp_path, {"crm_accounts": "account_id"})
    assert said in raised.value.what


def test_rows_of_the_crm_cannot_be_held_back(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "table: crm_after.crm_accounts\nexpectations:\n"
        "  - expect_column_values_to_not_be_null: {column: name}\n    on_fail: quarantine\n"
    )
    with pytest.raises(ConfigError, match=r"a\.yml:3: on_fail: quarantine"):
        gate.suites_after(tmp_path, {"crm_accounts": "account_id"})


def test_there_need_not_be_a_folder(tmp_path: Path) -> None:
    assert gate.suites_after(tmp_path / "none", {"crm_accounts": "account_id"}) == []
