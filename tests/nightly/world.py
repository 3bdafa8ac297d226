"""A staging world and a home of its own: nights are run through the real command, in this process or in another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import yaml
from _pytest.capture import CaptureFixture
from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from flows import cli
from flows.sandbox.server import Running, SandboxConfig, start
from flows.warehouse import Warehouse
from tests.conftest import PROJECT
from tests.dbt import independent
from tests.dbt.raw import Person

COMMAND = (sys.executable, "-m", "flows.cli")
QUERY = "/services/data/v62.0/query"
FIELDS = {
    "Account": (
        *("Name", "BillingCountry", "First_Order_Date__c", "Last_Order_Date__c", "Order_Count__c", "Return_Count__c"),
        *("Lifetime_Value__c", "Segment__c"),
    ),
    "Contact": ("FirstName", "LastName", "Email", "Phone", "Consent_At__c", "Account.External_Id__c"),
    "Opportunity": (
        *("Name", "StageName", "CloseDate", "Amount", "Returned_Amount__c", "Line_Count__c", "Account.External_Id__c"),
    ),
}
MODELS = {"Account": "crm_accounts", "Contact": "crm_contacts", "Opportunity": "crm_opportunities"}


class Crm:
    """The sandbox, asked over its own REST API and never through the connector."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.url = running.base_url
        self._http = httpx.Client(base_url=self.url, timeout=30, headers=self._login())

    def _login(self) -> dict[str, str]:
        ready = self.running.ready
        form = {"grant_type": "client_credentials", "client_id": ready.client_id, "client_secret": ready.client_secret}
        token = httpx.post(f"{self.url}/services/oauth2/token", data=form).raise_for_status().json()["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def leave(self) -> None:
        """Hang up; the sandbox goes on."""
        self._http.close()

    def close(self) -> None:
        self.leave()
        self.running.stop()

    def faults(self, *rules: Mapping[str, Any]) -> None:
        self._http.post("/_sandbox/faults", json=list(rules)).raise_for_status()

    def acted(self) -> list[int]:
        return [rule["acted"] for rule in self._http.get("/_sandbox/faults").json()]

    def reset_stats(self) -> None:
        self._http.delete("/_sandbox/stats").raise_for_status()

    def asked(self) -> dict[str, int]:
        """Route of the CRM -> requests; the staging shop is no CRM."""
        routes = self._http.get("/_sandbox/stats").json()["routes"]
        return {name: seen["requests"] for name, seen in routes.items() if "/shop/" not in name}

    def writes(self) -> dict[str, int]:
        """Route -> requests of everything that may change a record."""
        read = ("/oauth2/token", "/describe", "/query", "/sobjects (GET)")
        return {n: c for n, c in self.asked().items() if not n.startswith("GET ") and not any(r in n for r in read)}

    def query(self, soql: str) -> list[dict[str, Any]]:
        page = self._http.get(QUERY, params={"q": soql}).raise_for_status().json()
        found: list[dict[str, Any]] = page["records"]
        while not page["done"]:
            page = self._http.get(page["nextRecordsUrl"]).raise_for_status().json()
            found += page["records"]
        return found

    def update(self, kind: str, record_id: str, values: Mapping[str, Any]) -> None:
        self._http.patch(f"/services/data/v62.0/sobjects/{kind}/{record_id}", json=values).raise_for_status()

    def create(self, kind: str, values: Mapping[str, Any]) -> str:
        made = self._http.post(f"/services/data/v62.0/sobjects/{kind}", json=values).raise_for_status().json()
        return str(made["id"])

    def delete(self, kind: str, record_id: str) -> None:
        self._http.delete(f"/services/data/v62.0/sobjects/{kind}/{record_id}").raise_for_status()

    def shop(self, params: Mapping[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = self._http.get("/shop/customers", params=params).raise_for_status().json()
        return page

    def ids(self) -> dict[str, dict[str, str]]:
        """Object -> external id -> CRM id."""
        return {
            kind: {row["External_Id__c"]: row["Id"] for row in self.query(f"SELECT Id, External_Id__c FROM {kind}")}
            for kind in FIELDS
        }

    def held(self) -> dict[str, dict[str, tuple[Any, ...]]]:
        """Model -> external id -> every mapped field, in the order and the types of the independent computation."""
        found: dict[str, dict[str, tuple[Any, ...]]] = {}
        for kind, names in FIELDS.items():
            rows = self.query(f"SELECT External_Id__c, {', '.join(names)} FROM {kind}")
            found[MODELS[kind]] = {
                row["External_Id__c"]: tuple(typed(name, _at(row, name)) for name in names) for row in rows
            }
            assert len(found[MODELS[kind]]) == len(rows), f"{kind}: an external id stands twice"
        return found


def _at(row: Any, path: str) -> Any:
    for part in path.split("."):
        row = row[part]
    return row


def typed(name: str, value: Any) -> Any:
    """A value of the CRM's JSON in the type of the independent computation."""
    if value is None:
        return None
    if "Date" in name:
        return date.fromisoformat(value)
    if name == "Consent_At__c":
        return datetime.fromisoformat(value).replace(tzinfo=None)
    if name in ("Amount", "Returned_Amount__c", "Lifetime_Value__c"):
        return Decimal(str(value)).quantize(Decimal("0.01"))
    return int(value) if name.endswith("Count__c") else value


@dataclass
class Night:
    """How one command ended."""

    code: int
    out: str
    err: str
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> str:
        """What, safe and todo in one text."""
        told = self.summary.get("error") or {}
        return "\n".join(str(told.get(key, "")) for key in ("what", "safe", "todo")) if told else self.err

    def total(self, count: str) -> int:
        return sum(sync[count] for sync in self.summary["syncs"].values())

    @property
    def operations(self) -> int:
        return sum(self.total(count) for count in ("creates", "updates", "archives"))


@dataclass
class World:
    """One home, one sandbox, one folder of files.

    Attributes:
        home: NIGHTSHIFT_HOME.
        crm: the sandbox.
        files: where the till's files arrive.
        project: the checkout, or a copy that the test may edit.
    """

    home: Path
    crm: Crm
    files: Path
    project: Path = PROJECT
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            "NIGHTSHIFT_HOME": str(self.home),
            "NIGHTSHIFT_PROJECT": str(self.project),
            "SANDBOX_URL": self.crm.url,
            "SHOP_URL": f"{self.crm.url}/shop",
            "RETAIL_FILES": f"{self.files}/*.csv.gz",
            **self.variables,
        }

    def copy_project(self) -> Path:
        """From now on, work in a copy of the project."""
        copy = self.home.parent / "project"
        for part in ("dbt_project", "profiles", "expectations"):
            shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("target", "logs", ".user.yml"))
        self.project = copy
        return copy

    def arrive(self, *days: Path) -> None:
        """Let the till's files of these days arrive."""
        self.files.mkdir(parents=True, exist_ok=True)
        for day in days:
            shutil.copy2(day, self.files / day.name)

    def command(self, capfd: CaptureFixture[str], *words: str) -> Night:
        """Run a command in this process, as the console script does."""
        before = dict(os.environ)
        argv, sys.argv = sys.argv, ["nightshift", *words]
        os.environ.update(self.environment())
        capfd.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(before)
            # dbt holds on to the last warehouse; another home's nights come next.
            DuckDBConnectionManager.close_all_connections()
        out, err = capfd.readouterr()
        return _night(int(code or 0), out, err)

    def run(self, capfd: CaptureFixture[str], as_of: str | None = None) -> Night:
        """Run a night in this process."""
        return self.command(capfd, "run", "--output", "json", *(("--as-of", as_of) if as_of else ()))

    def process(self, *words: str, **more: str) -> Night:
        """Run a command in a process of its own."""
        environment = {**os.environ, **self.environment(), **more}
        done = subprocess.run(
            [*COMMAND, *words], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300
        )
        return _night(done.returncode, done.stdout, done.stderr)

    def warehouse(self) -> Warehouse:
        return Warehouse.open(self.home / "sandbox.duckdb")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self.warehouse() as db:
            return db.execute(sql)


def _night(code: int, out: str, err: str) -> Night:
    last = out.rstrip("\n").rsplit("\n", 1)[-1]
    return Night(code, out, err, json.loads(last) if last.startswith("{") else {})


def people(crm: Crm, until: str) -> list[Person]:
    """What the shop tells of its customers at the end of a day, page by page."""
    found: list[Person] = []
    params: dict[str, str] = {"updated_until": f"{until}T23:59:59.999999Z", "limit": "500"}
    while True:
        page = crm.shop(params)
        found += [
            Person(
                **{n: item[n] for n in ("customer_id", "company", "person", "email", "phone", "consent")},
                updated_at=datetime.fromisoformat(item["updated_at"]).replace(tzinfo=None),
            )
            for item in page["items"]
        ]
        if page["next"] is None:
            return found
        params["page"] = page["next"]


def wanted(crm: Crm, files: Sequence[Path], until: str) -> dict[str, dict[str, tuple[Any, ...]]]:
    """What a Salesforce should hold of these files: the independent computation, without what other CRMs get."""
    return for_salesforce(independent.crm(files, people(crm, until)))


def for_salesforce(models: Mapping[str, Mapping[str, tuple[Any, ...]]]) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The rows of the models without the columns that only other CRMs get."""
    document = yaml.safe_load((PROJECT / "dbt_project/models/crm/_crm__models.yml").read_text())
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for model, rows in models.items():
        [columns] = [one["columns"] for one in document["models"] if one["name"] == model]
        sent = [_is_for_salesforce(column) for column in columns[1:] if column["name"] != "changed_at"]
        found[model] = {
            key: tuple(value for value, is_sent in zip(row, sent, strict=True) if is_sent) for key, row in rows.items()
        }
    return found


def _is_for_salesforce(column: Mapping[str, Any]) -> bool:
    meta = column["config"]["meta"]
    field = meta.get("crm_field") or meta["lookup"]["field"]
    return isinstance(field, str) or "salesforce" in field


def sandbox(files: Path, **config: Any) -> Crm:
    """Start a sandbox whose shop knows the customers of these files."""
    return Crm(start(SandboxConfig(retail_files=f"{files}/*.csv.gz", **config)))
