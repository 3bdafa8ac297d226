"""Salesforce's own command line (@salesforce/cli from npm), unchanged, against the sandbox."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.sandbox.config import SandboxConfig
from flows.sandbox.org import ORGANIZATION
from flows.sandbox.server import Running
from tests.sandbox.conftest import Api
from tests.sandbox.npm import Client

QUIET = {
    "SF_DISABLE_AUTOUPDATE": "true",
    "SF_DISABLE_TELEMETRY": "true",
    "SF_SKIP_NEW_VERSION_CHECK": "true",
    "SF_USE_GENERIC_UNIX_KEYCHAIN": "true",  # else it asks the desktop for a place for the token
}
DEAL = {"StageName": "Prospecting", "CloseDate": "2026-11-23"}


class Sf(Client):
    """The command ``sf``, logged in to a sandbox."""

    def __init__(self, home: Path, sandbox: Running) -> None:
        super().__init__("salesforce-cli", home, SF_ACCESS_TOKEN=sandbox.ready.access_token, **QUIET)
        self.login = self.told("org", "login", "access-token", "-r", sandbox.base_url, "--no-prompt", "--set-default")

    def told(self, *command: str, status: int = 0) -> Any:
        """Run a command; answers its result, or the whole of what it says where it is to fail."""
        done = self.run("sf", *command, "--json", cwd=self.home)
        assert done.returncode == status, done.stdout + done.stderr
        answer = json.loads(done.stdout)
        return answer if status else answer["result"]

    def file(self, name: str, *rows: tuple[str, ...]) -> str:
        """Write a CSV file; answers its name."""
        with (self.home / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        return name


@pytest.fixture(scope="module")
def sf(sandbox: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sf]:
    command = Sf(tmp_path_factory.mktemp("sf"), sandbox)
    yield command
    started = list(command.home.rglob("autoupdate.log"))
    assert started == [], "the CLI's updater was started, which outlives the command"


def test_login_and_describe(sf: Sf) -> None:
    assert (sf.login["orgId"], sf.login["username"]) == (ORGANIZATION, SandboxConfig().username)
    described = sf.told("sobject", "describe", "-s", "Contact")
    assert {field["name"]: field["type"] for field in described["fields"]}["Email"] == "email"
    limits = {one["name"]: one["max"] for one in sf.told("org", "list", "limits")}
    assert limits["DailyApiRequests"] == 100_000


def test_single_records(sf: Sf, api: Api) -> None:
    made = sf.told("data", "create", "record", "-s", "Account", "-v", "Name='One & Only' External_Id__c=one")
    which = ("-s", "Account", "-w", "External_Id__c=one")
    assert sf.told("data", "get", "record", *which)["Name"] == "One & Only"
    changed = sf.told("data", "update", "record", "-s", "Account", "-i", made["id"], "-v", "Name=Two")
    assert (changed["success"], api.soql("SELECT Name FROM Account")) == (True, [{"Name": "Two"}])
    assert sf.told("data", "delete", "record", *which)["id"] == made["id"]
    assert api.soql("SELECT Id FROM Account") == []
    refused = sf.told("data", "create", "record", "-s", "Account", "-v", "External_Id__c=two", status=1)
    assert refused["name"] == "REQUIRED_FIELD_MISSING"


def test_trees(sf: Sf, api: Api) -> None:
    api.upsert("Opportunity", *({"External_Id__c": f"t{n}", "Name": f"Tree {n}", **DEAL} for n in range(3)))
    soql = "SELECT External_Id__c, Name, StageName, CloseDate FROM Opportunity ORDER BY External_Id__c"
    sf.told("data", "export", "tree", "-q", soql)
    tree = json.loads((sf.home / "Opportunity.json").read_text(encoding="utf-8"))
    for record in tree["records"]:
        record["External_Id__c"] = record["External_Id__c"].replace("t", "copy")
    (sf.home / "copies.json").write_text(json.dumps(tree), encoding="utf-8")
    made = sf.told("data", "import", "tree", "-f", "copies.json")
    assert [api.soql(f"SELECT Name FROM Opportunity WHERE Id = '{one['id']}'") for one in made] == [
        [{"Name": f"Tree {n}"}] for n in range(3)
    ]

    refused = sf.told("data", "import", "tree", "-f", "copies.json", status=1)  # the same external ids once more
    assert "DUPLICATE_VALUE" in json.dumps(refused)
    assert len(api.soql("SELECT Id FROM Opportunity")) == 6


def test_bulk_and_queries(sf: Sf, api: Api) -> None:
    wait = ("-s", "Contact", "-w", "1")
    rows = [(f"c{n}", f"Contact {n}") for n in range(2500)]
    loaded = sf.told("data", "import", "bulk", *wait, "-f", sf.file("new.csv", ("External_Id__c", "LastName"), *rows))
    assert (loaded["processedRecords"], loaded["failedRecords"]) == (2500, 0)

    file = sf.file("upsert.csv", ("External_Id__c", "LastName"), ("c1", 'Ünï "q", 🌙'), ("new", "New"), ("bad", ""))
    done = sf.told("data", "upsert", "bulk", *wait, "-i", "External_Id__c", "-f", file, status=1)
    assert done["name"] == "FailedRecordDetailsError"
    assert [one["LastName"] for one in api.soql("SELECT LastName FROM Contact WHERE External_Id__c = 'c1'")] == [
        'Ünï "q", 🌙'
    ]

    where = "WHERE External_Id__c IN ('c1', 'new')"
    found = sf.told("data", "query", "-q", f"SELECT Id, Name FROM Contact {where}")
    assert (found["totalSize"], found["done"], len(found["records"])) == (2, True, 2)
    everything = sf.told("data", "query", "-q", "SELECT Id, External_Id__c FROM Contact")  # two pages
    ids = {one["External_Id__c"]: one["Id"] for one in everything["records"]}
    assert len(ids) == 2501

    export = ("data", "export", "bulk", "-q", "SELECT External_Id__c, LastName FROM Contact", "-r", "csv")
    assert sf.told(*export, "--output-file", "all.csv", "-w", "1")["totalSize"] == 2501
    with (sf.home / "all.csv").open(encoding="utf-8", newline="") as lines:
        assert {row["External_Id__c"] for row in csv.DictReader(lines)} == set(ids)

    file = sf.file("update.csv", ("Id", "FirstName"), (ids["c2"], "Updated"))
    assert sf.told("data", "update", "bulk", *wait, "-f", file)["successfulRecords"] == 1
    assert api.soql("SELECT External_Id__c FROM Contact WHERE FirstName = 'Updated'") == [{"External_Id__c": "c2"}]
    deleted = sf.told("data", "delete", "bulk", *wait, "-f", sf.file("delete.csv", ("Id",), (ids["c3"],), (ids["c4"],)))
    assert deleted["jobInfo"]["numberRecordsProcessed"] == 2
    assert not api.soql("SELECT Id FROM Contact WHERE External_Id__c IN ('c3', 'c4')")
