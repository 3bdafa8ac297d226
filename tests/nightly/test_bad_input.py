"""What goes wrong outside is told in one message that says what, where and what to do next; the next night goes on.

All tests share one home, in which night follows night: each spoils one night, sees it fail, mends the cause, and
sees the next night leave the CRM as an independent reading of the files says.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from flows.sandbox.sources.invoices import generate
from tests.dbt import independent
from tests.extract.conftest import Web, web, web_server
from tests.nightly.world import Night, World, sandbox, wanted
from tests.orchestration.conftest import until

__all__ = ["web", "web_server"]

MODELS = "dbt_project/models/crm/_crm__models.yml"
SHOP = "dbt_project/models/staging/shop/_shop__sources.yml"
CONNECTIONS = "profiles/connections.yml"


@dataclass
class House:
    """A world with a project of its own, and days that are still to come."""

    world: World
    store: list[Path]
    arrived: list[Path] = field(default_factory=list)
    edited: dict[Path, str] = field(default_factory=dict)

    @property
    def today(self) -> str:
        return self.arrived[-1].name[:10]

    def new_day(self) -> Path:
        """Let the next day's file arrive; returns it where it lies."""
        day = self.store.pop(0)
        self.arrived.append(day)
        self.world.arrive(day)
        return self.world.files / day.name

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of the project."""
        file = self.world.project / path
        text = file.read_text()
        assert old in text
        self.edited.setdefault(file, text)
        file.write_text(text.replace(old, new, 1))

    def mend(self) -> None:
        """Put everything back as it should be."""
        self.world.variables.clear()
        self.world.crm.faults()
        for file, text in self.edited.items():
            file.write_text(text)
        self.edited.clear()
        self.world.arrive(*self.arrived)

    def bad(self, capfd: pytest.CaptureFixture[str], code: int, *words: str) -> Night:
        """A night that fails as told, with nothing else on the screen, and without a write to the CRM."""
        self.world.crm.reset_stats()
        night = self.world.run(capfd, self.today)
        told(night, code, *words)
        assert self.world.crm.writes() == {}
        return night

    def good(self, capfd: pytest.CaptureFixture[str]) -> Night:
        """Once the cause is mended the night goes on, and nothing was lost."""
        self.mend()
        night = self.world.run(capfd, self.today)
        assert (night.code, night.error, night.err) == (0, "", "")
        assert self.world.crm.held() == wanted(self.world.crm, self.arrived, self.today)
        return night


def told(night: Night, code: int, *words: str) -> None:
    """One message with what, where and what next; no traceback, no noise of libraries."""
    assert night.code == code, night
    assert night.summary, night
    error = night.summary["error"]
    for word in words:
        assert word in night.error, night.error
    assert error["what"]
    assert error["safe"]
    assert error["todo"]
    assert night.err == ""
    assert night.out.count("\n") == 1
    assert "Traceback" not in night.out
    assert night.summary["state"] == ("held" if code == 3 else "failed")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    store = generate(folder / "store", days=30)
    crm = sandbox(folder / "store")
    made = House(World(folder / "home", crm, folder / "in"), store)
    project = made.world.copy_project()
    shop = project / SHOP
    shop.write_text(shop.read_text().replace("kind: rest", "kind: rest\n              deadline_seconds: 3"))
    # Some nights here carry the days of several: that is no reason to hold them.
    models = project / MODELS
    models.write_text(models.read_text().replace(", max_changes: 50%", ""))
    yield made
    crm.close()


@pytest.fixture(autouse=True)
def first_night(house: House, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    if not house.arrived:
        house.new_day()
        house.good(capfd)
    yield
    house.mend()


def test_a_folder_that_is_missing(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.world.variables["RETAIL_FILES"] = "/nowhere/at/all/*.csv.gz"
    house.bad(capfd, 1, "retail.invoice_lines", "/nowhere/at/all does not exist")


def test_a_night_without_a_file(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    file = house.new_day()
    file.unlink()
    house.bad(capfd, 1, "retail.invoice_lines", house.today)
    house.good(capfd)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 20]) + data[middle + 20 :]


@pytest.mark.parametrize("spoil", [cut, damaged])
def test_a_gz_file_that_is_cut_or_damaged(
    house: House, capfd: pytest.CaptureFixture[str], spoil: Callable[[bytes], bytes]
) -> None:
    file = house.new_day()
    file.write_bytes(spoil(file.read_bytes()))
    house.bad(capfd, 1, str(file))
    if spoil is damaged:
        house.good(capfd)


def rewrite(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change a file's lines."""
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    file.write_bytes(gzip.compress("".join(f"{line}\n" for line in change(lines)).encode()))


def test_a_column_that_was_renamed(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    file = house.new_day()
    rewrite(file, lambda lines: [lines[0].replace("UnitPrice", "Unit_Price"), *lines[1:]])
    house.bad(capfd, 1, str(file), "'UnitPrice' (is it 'Unit_Price' now?)")


def test_a_column_that_is_missing(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    file = house.new_day()
    rewrite(file, lambda lines: [line.rpartition(",")[0] for line in lines])
    house.bad(capfd, 1, str(file), "'Country'")


def test_a_wrong_type_in_row_50_000(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    file = house.new_day()

    def change(lines: list[str]) -> list[str]:
        good = lines[1]
        fields = good.split(",")
        fields[3] = "a dozen"
        return [lines[0], *[good] * 49_999, ",".join(fields), good]

    rewrite(file, change)
    night = house.bad(capfd, 1, str(file), "row 50,000", "'Quantity'", "'a dozen' is not a BIGINT")
    assert night.summary["stages"]["extract"]["state"] == "failed"
    house.good(capfd)


def test_a_file_that_is_empty(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    file = house.new_day()
    file.write_bytes(gzip.compress(b""))
    house.bad(capfd, 1, str(file), "empty")


def test_a_page_that_is_not_json(house: House, web: Web, capfd: pytest.CaptureFixture[str]) -> None:
    web.script(Response("<html>We are closed</html>", media_type="text/html"))
    house.world.variables["SHOP_URL"] = web.url
    house.bad(capfd, 1, "shop.customers", web.url, "JSON")


def test_a_source_that_answers_500_for_ever(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    file = house.new_day()
    house.world.crm.faults({"path": "/shop/", "status": 500})
    house.bad(capfd, 1, "shop.customers", "500", "/shop/customers")
    night = house.good(capfd)
    # The other source had been read before: its rows are there, and were not read twice.
    assert night.summary["sources"]["retail.invoice_lines"]["files_or_pages"] in (0, 1)
    assert house.world.ask(
        f"select count(distinct _run_id) from raw.retail__invoice_lines where _file = '{file.name}'"
    ) == [(1,)]


def test_wrong_credentials(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.new_day()
    house.world.variables["SANDBOX_CLIENT_SECRET"] = "not the secret"
    night = house.bad(capfd, 2, house.world.crm.url, "invalid_client", "connections.yml")
    assert "not the secret" not in night.out
    house.good(capfd)


def test_fields_and_objects_that_the_crm_does_not_have_are_all_named(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    house.new_day()
    house.edit(MODELS, "salesforce: Segment__c", "salesforce: Segmnt__c")
    house.edit(MODELS, "salesforce: Order_Count__c", "salesforce: Orders__c")
    house.bad(
        capfd, 2, "2 places", MODELS.split("/", 1)[1], "crm_accounts.segment", "Account has no field Segmnt__c",
        "did you mean Segment__c?", "crm_accounts.order_count", "Orders__c",
    )  # fmt: skip
    house.mend()
    house.edit(MODELS, "salesforce: Opportunity", "salesforce: Oportunity")
    house.bad(capfd, 2, "Oportunity")
    house.good(capfd)


def test_an_external_id_that_stands_twice_in_a_model(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """The same invoice number for two customers: the model has two rows of one key."""
    file = house.new_day()

    def change(lines: list[str]) -> list[str]:
        sales = [line.split(",") for line in lines[1:] if line[0] != "C" and line.split(",")[-2]]
        one = sales[0]
        other = next(line for line in sales if line[-2] != one[-2])
        return [*lines, ",".join([one[0], *other[1:]])]

    rewrite(file, change)
    night = house.bad(capfd, 1, "unique_int_invoices_netted_invoice_id", "Nothing was sent")
    assert night.summary["stages"]["transform"]["state"] == "failed"
    # The till takes the line back: the source is told to reload files that changed.
    house.mend()
    sources = "dbt_project/models/staging/retail/_retail__sources.yml"
    house.bad(capfd, 1, str(file), "changed after it was loaded", "changed: reload")
    house.edit(sources, "changed: error", "changed: reload")
    assert house.world.run(capfd, house.today).code == 0
    house.good(capfd)


def _recorded(kind: str, asked: object, said: str) -> str:
    """What Prefect's server holds, once it holds this: it writes a little after the fact."""

    def read() -> str:
        answer = httpx.post(f"{os.environ['PREFECT_API_URL']}/{kind}/filter", json=asked).raise_for_status()
        return answer.text if said in answer.text else ""

    return str(until(read, f"{said!r} among its {kind}"))


def test_a_model_that_fails_over_a_personal_value_does_not_quote_it(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    house.edit("dbt_project/models/crm/crm_contacts.sql", " phone,", " cast(cast(phone as date) as varchar) as phone,")
    house.world.variables["NIGHTSHIFT_DBT_NODE_RUNS"] = "true"
    night = house.bad(capfd, 1, "crm_contacts: Conversion Error in the column phone (its text is left out", "dbt.log")
    log = (house.world.home / "dbt" / "logs" / "dbt.log").read_text()
    quoted = re.findall(r'invalid date field format: "([^"]+)"', log)
    assert quoted, "the log says which value it is"
    assert not any(value in night.out for value in quoted)
    failed = {"task_runs": {"state": {"type": {"any_": ["FAILED"]}}}}
    nodes = _recorded("task_runs", failed, "crm_contacts")
    logs = _recorded("logs", {"sort": "TIMESTAMP_DESC"}, "Conversion Error in the column phone")
    assert not any(value in nodes + logs for value in quoted)
    house.good(capfd)


def test_configuration_errors_are_found_before_anything_runs(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(MODELS, "external_id: {column: contact_id,", "external: {column: contact_id,")
    house.edit(MODELS, "crm: main", "crm: mian")
    house.edit(SHOP, "kind: rest", "kind: soap")
    night = house.bad(
        capfd, 2, "4 problems", "crm_contacts: config.meta.sync.external_id: is missing", "sync.external: is no key",
        "no connection 'mian'",
        "shop.customers: config.meta.extract.kind: found 'soap'",
    )  # fmt: skip
    assert next(iter(night.summary["stages"])) == "configure"
    assert night.summary["sources"] == {}
    house.mend()


def test_max_requests_that_let_nothing_go(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(CONNECTIONS, "auth: client_", "max_requests: 1\n        auth: client_")
    told = "main: max_requests is 1, and one record of crm_accounts takes 2, read back"
    night = house.bad(capfd, 2, told, "Set it to at least 2")
    assert next(iter(night.summary["stages"])) == "configure"
    house.mend()


def test_a_variable_that_is_not_set(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(CONNECTIONS, "env_var('SANDBOX_CLIENT_ID', 'nightshift-sandbox')", "env_var('TEST_CLIENT')")
    house.bad(capfd, 2, "connections.yml: sandbox.crms.main.client_id", "TEST_CLIENT is not set")
    house.mend()


def test_a_project_that_dbt_cannot_parse(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.edit(MODELS, "models:\n", "models: [\n")
    house.bad(capfd, 2, "does not parse", "_crm__models.yml")
    house.mend()


def test_a_warehouse_that_another_process_holds(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.new_day()
    path = house.world.home / "sandbox.duckdb"
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        night = house.bad(capfd, 1, f"{path} is held by another process", f"PID {holder.pid}")
        assert night.summary["stages"] == {}
        holder.communicate("")
    house.good(capfd)


def test_a_warehouse_that_is_no_duckdb_file(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    path = house.world.home / "sandbox.duckdb"
    kept = path.with_suffix(".kept")
    path.rename(kept)
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    house.bad(capfd, 1, f"{path} cannot be opened")
    path.unlink()
    kept.rename(path)


def test_a_gate_that_fails_pushes_nothing(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.new_day()
    for stage, suite in (("raw", "retail__invoice_lines"), ("crm", "crm_accounts")):
        house.edit(
            f"expectations/{stage}/{suite}.yml",
            "expectations:\n",
            "expectations:\n  - expect_table_row_count_to_be_between: {max_value: 1}\n    description: impossible\n",
        )
        night = house.bad(capfd, 1, suite, "expect_table_row_count_to_be_between")
        assert list(night.summary["stages"])[-3] == f"gate_{stage}"
        assert night.summary["requests"] == 0
        assert [
            g["table"].rpartition(".")[2]
            for g in night.summary["gates"]
            if not g["passed"] and g["severity"] == "critical"
        ].count(suite) == 1
        house.mend()
    house.good(capfd)


def test_a_plan_over_a_guard_is_held(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.new_day()
    house.edit(MODELS, "max_archives: 5%", "max_archives: 5%, max_creates: 0")
    house.world.crm.reset_stats()
    night = house.bad(capfd, 3, "crm_accounts", "guard max_creates of 0")
    assert night.operations > 0
    assert night.total("applied") == 0
    # All that the CRM was asked is what is left of its day, for whoever decides.
    assert (night.summary["requests"], house.world.crm.writes()) == (1, {})
    assert house.world.ask(f"select state from ops.runs where run_id = '{night.summary['run_id']}'") == [("held",)]
    house.good(capfd)


def test_a_record_that_is_refused_is_tried_again_every_night_until_it_succeeds(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    house.new_day()
    here = house.world.crm.held()["crm_opportunities"].keys()
    new = min(independent.crm(house.arrived, [])["crm_opportunities"].keys() - here)
    refusal = {"code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "not today", "where": {"External_Id__c": new}}
    house.world.crm.faults({"path": "Opportunity", "reject": refusal}, {"path": "jobs/ingest", "reject": refusal})
    for attempt in (1, 2):
        night = house.world.run(capfd, house.today)
        assert (night.code, night.total("rejected")) == (0, 1)
        sync = night.summary["syncs"]["crm_opportunities"]
        assert [(r["external_id"], r["code"], r["message"]) for r in sync["rejections"]] == [
            (new, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "not today")
        ]
        assert night.operations == (1 if attempt == 2 else night.total("applied") + 1)
        assert house.world.ask("select external_id, attempts from sync.rejections where closed_at is null") == [
            (new, attempt)
        ]
    night = house.good(capfd)
    assert (night.operations, night.total("applied")) == (1, 1)
    assert house.world.ask("select count(*) from sync.rejections where closed_at is null") == [(0,)]
    assert house.world.ask("select attempts from sync.rejections") == [(2,)]
