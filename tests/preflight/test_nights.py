"""Whole nights: what the CRM will not take is told beforehand and ships no worse; a day that is too short holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.sandbox.hubspot.schema import BUILT_IN as HUBSPOT
from flows.sandbox.org import BUILT_IN
from flows.sandbox.sources.invoices import generate
from tests.nightly.world import Night, World, sandbox

pytestmark = pytest.mark.usefixtures("prefect_api")


def findings(night: Night, kind: str) -> list[tuple[str, str, int]]:
    return [(f["field"], f["what"], f["rows"]) for f in night.summary["findings"] if f["kind"] == kind]


def test_three_nights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = generate(tmp_path / "store", days=3)
    org = yaml.safe_load(BUILT_IN.read_text())
    org["Account"]["fields"]["Segment__c"]["picklist"] = ["Champions", "Loyal", "Promising", "Hibernating"]
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    kept = tmp_path / "crm.sqlite"

    # Night one: the picklist lacks a value. The rows that carry it are counted, refused, and keep no other at home.
    crm = sandbox(tmp_path / "store", store=kept, org=tmp_path / "org.yml")
    world = World(tmp_path / "home", crm, tmp_path / "in")
    world.arrive(store[0])
    first = world.run(capfd, store[0].name[:10])
    doctor = world.command(capfd, "doctor")
    crm.close()

    accounts = first.summary["syncs"]["crm_accounts"]
    values = findings(first, "value")
    assert first.code == 0
    assert {(field, what.partition(":")[0]) for field, what, _ in values} == {("Segment__c", "not in the picklist")}
    assert sum(rows for *_, rows in values) == accounts["rejected"] > 0
    assert accounts["applied"] == accounts["creates"] - accounts["rejected"] > 0
    assert findings(first, "schema") == []
    told = " ".join(doctor.out.split())
    assert all(f"crm_accounts.segment to Account.Segment__c: {what} ({rows} row" in told for _, what, rows in values)
    assert "schema main as it was at the last run" in told
    assert doctor.code == 2
    forecast = first.summary["forecast"]["main"]
    assert forecast["left"] < forecast["most"] == 100_000
    # Nothing tells how long it will take: Salesforce has no rate, and there was no push before.
    assert forecast["seconds"] is None

    # Night two: the picklist has it now, which is told; but the day has too few requests left.
    crm = sandbox(tmp_path / "store", store=kept, daily_requests=6)
    world.crm = crm
    world.arrive(store[1])
    second = world.run(capfd, store[1].name[:10])
    written = crm.writes()
    crm.close()

    assert second.code == 3
    assert "does not fit into what is left of today's requests" in second.error
    assert list(second.summary["stages"])[-3:] == ["budget", "report", "notify"]
    assert second.summary["state"] == second.summary["stages"]["budget"]["state"] == "held"
    assert written == {}
    assert findings(second, "value") == []
    assert findings(second, "schema") == [("Segment__c", "picklist", 0)]

    # Night three: a new day.
    crm = sandbox(tmp_path / "store", store=kept)
    world.crm = crm
    world.arrive(store[2])
    third = world.run(capfd, store[2].name[:10])
    crm.close()

    assert (third.code, third.total("rejected"), third.summary["findings"]) == (0, 0, [])
    assert third.total("applied") == third.operations > accounts["rejected"]
    # Night two pushed nothing, so that night one says how long a request takes.
    took = sum(first.summary["stages"][stage]["seconds"] for stage in ("push", "reconcile"))
    expected = third.summary["forecast"]["main"]
    assert expected["seconds"] == pytest.approx(expected["requests"] * took / forecast["requests"])
    assert expected["seconds_by"] == "pushes"


def test_what_the_crm_changed_is_told_before_anybody_is_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In every object of a CRM that is written to, and on a plan that a guard holds as well."""
    [day] = generate(tmp_path / "store", days=1)
    kept = tmp_path / "crm.sqlite"
    crm = sandbox(tmp_path / "store", store=kept)
    world = World(tmp_path / "home", crm, tmp_path / "in")
    world.copy_project()
    world.arrive(day)
    assert world.run(capfd, day.name[:10]).code == 0
    crm.close()

    org = yaml.safe_load(BUILT_IN.read_text())
    org["Contact"]["fields"]["Color__c"] = {"type": "string", "length": 20}
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    world.crm = crm = sandbox(tmp_path / "store", store=kept, org=tmp_path / "org.yml")
    crm.reset_stats()
    quiet = world.run(capfd, day.name[:10])
    assert (quiet.code, quiet.operations, quiet.summary["requests"], crm.asked()) == (0, 0, 0, {})

    models = world.project / "dbt_project/models/crm/_crm__models.yml"
    models.write_text(models.read_text().replace("max_archives: 5%", "max_updates: 0, max_archives: 5%"))
    world.ask("update sync.ledger__crm_accounts set Name = 'another' where rowid = 0")
    held = world.run(capfd, day.name[:10])
    assert (held.code, held.operations) == (3, 1)
    assert [(f["object"], f["field"], f["what"]) for f in held.summary["findings"]] == [("Contact", "Color__c", "new")]
    assert list(held.summary["stages"])[-4:] == ["preflight", "guard", "report", "notify"]
    crm.close()

    del org["Account"]["fields"]["Segment__c"]
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    world.crm = crm = sandbox(tmp_path / "store", store=kept, org=tmp_path / "org.yml")
    unfit = world.run(capfd, day.name[:10])
    assert unfit.code == 2
    assert "Account has no field Segment__c" in unfit.error
    assert "guard" not in unfit.summary["stages"]
    crm.close()


def test_what_does_not_fit_and_what_is_not_taken_are_told_by_the_same_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [day] = generate(tmp_path / "store", days=1)
    org = yaml.safe_load(BUILT_IN.read_text())
    del org["Account"]["fields"]["Return_Count__c"]
    org["Account"]["fields"]["Segment__c"]["picklist"] = ["Champions"]
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    crm = sandbox(tmp_path / "store", org=tmp_path / "org.yml")
    world = World(tmp_path / "home", crm, tmp_path / "in")
    world.arrive(day)
    night = world.run(capfd, day.name[:10])
    assert (night.code, crm.writes()) == (2, {})
    crm.close()

    assert "Account has no field Return_Count__c" in night.error
    told = {what.removeprefix("not in the picklist: "): rows for _, what, rows in findings(night, "value")}
    wanted = world.ask("select segment, count(*) from crm.crm_accounts where segment <> 'Champions' group by 1")
    assert told == dict(wanted) != {}


def test_a_plan_that_asks_the_crm_tells_all_that_does_not_fit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A policy makes the plan read one sync's records, which fails; the others' mismatches are told all the same."""
    [day] = generate(tmp_path / "store", days=1)
    org = yaml.safe_load(BUILT_IN.read_text())
    for kind, name in (("Account", "Return_Count__c"), ("Contact", "Consent_At__c"), ("Opportunity", "Amount")):
        del org[kind]["fields"][name]
    (tmp_path / "org.yml").write_text(yaml.safe_dump(org))
    crm = sandbox(tmp_path / "store", org=tmp_path / "org.yml")
    world = World(tmp_path / "home", crm, tmp_path / "in")
    models = world.copy_project() / "dbt_project/models/crm/_crm__models.yml"
    named = "crm_field: {salesforce: Name, hubspot: name}"
    models.write_text(models.read_text().replace(named, f"{named}, policy: if_empty", 1))
    world.arrive(day)
    night = world.run(capfd, day.name[:10])
    assert (night.code, crm.writes()) == (2, {})
    crm.close()
    for missing in ("Account has no field Return_Count__c", "Contact has no field Consent_At__c"):
        assert missing in night.error
    assert "The CRM does not fit the mapping in 3 places" in night.error


SCOPES = frozenset(
    f"crm.objects.{kind}.{verb}" for kind in ("companies", "contacts", "deals") for verb in ("read", "write")
)


@pytest.mark.parametrize("asking", [False, True], ids=["a plan from the ledger", "a plan that asks the CRM"])
def test_scopes_that_are_missing_are_told_beside_everything_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], asking: bool
) -> None:
    """Nothing is sent, though the companies, which come first, could be written."""
    [day] = generate(tmp_path / "store", days=1)
    account = yaml.safe_load(HUBSPOT.read_text())
    del account["contacts"]["properties"]["consent_at"]
    (tmp_path / "hubspot.yml").write_text(yaml.safe_dump(account))
    missing = {"crm.objects.companies.read", "crm.objects.deals.write"}
    crm = sandbox(tmp_path / "store", hubspot=tmp_path / "hubspot.yml", hubspot_scopes=SCOPES - missing)
    token = crm.running.ready.hubspot_token
    world = World(tmp_path / "home", crm, tmp_path / "in", variables={"HUBSPOT_URL": crm.url, "HUBSPOT_TOKEN": token})
    models = world.copy_project() / "dbt_project/models/crm/_crm__models.yml"
    named = "crm_field: {salesforce: Name, hubspot: name}"
    if asking:
        models.write_text(models.read_text().replace(named, f"{named}, policy: if_empty", 1))
    world.arrive(day)
    night = world.command(capfd, "run", "--target", "hubspot", "--output", "json", "--as-of", day.name[:10])
    doctor = world.command(capfd, "doctor", "--target", "hubspot")
    asked = crm.asked()
    crm.close()

    told = (
        "crm_contacts.consent_at: contacts has no field consent_at",
        "crm_accounts: this login may not read companies records: it lacks crm.objects.companies.read",
        "crm_contacts: this login may not read companies records: it lacks crm.objects.companies.read",
        *(
            f"crm_opportunities: this login may not {operation} deals records: it lacks crm.objects.deals.write"
            for operation in ("create", "update", "archive")
        ),
        "crm_opportunities: this login may not read companies records: it lacks crm.objects.companies.read",
    )
    assert night.code == doctor.code == 2
    assert f"The CRM does not fit the mapping in {len(told)} places" in night.error
    for problem in told:
        assert problem in night.error
        assert problem in " ".join(doctor.out.split())
    assert "Nothing was sent" in night.error
    assert {route for route in asked if route.startswith("POST /crm")} <= {"POST /crm/v3/objects/{type}/batch/read"}
    assert asked["POST /oauth/v2/private-apps/get/access-token-info"] == 2  # of the night, and of doctor
    assert token not in night.out + night.err + doctor.out + doctor.err
