"""A reviewer lists what is held back, looks at one row, and lets some go."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.capture import CaptureFixture
from typer.testing import CliRunner

from flows import cli, gate
from flows.report.quarantine import COLUMNS, harmless
from flows.warehouse import Warehouse
from tests.quality.conftest import Home

HELD = "select key from quality.quarantine where ended_at is null order by key"


def test_nothing_held_is_said(home: Home, capfd: CaptureFixture[str]) -> None:
    told = home.command(capfd, "quarantine", "list")
    assert (told.code, told.out, told.err) == (0, "Nothing is held back.\n", "")
    assert home.command(capfd, "quarantine", "list", "--all").out == "Nothing was ever held back.\n"
    assert home.command(capfd, "quarantine", "list", "-o", "json").json == {"rows": 0, "total": 0, "entries": []}


def test_the_list_says_which_why_since_when_and_whom_to_ask(home: Home, capfd: CaptureFixture[str]) -> None:
    home.hold("12349")
    home.hold("12349", expectation_id="b", expectation="between", column_name="order_count", value="999")
    home.hold("12350", value=None)
    home.hold("12351", table="crm.crm_contacts", column_name="email", value="•••", expectation_id="c")
    home.hold("12352", ended_at="2026-01-04 02:00:00", ended_as="passed")
    told = home.command(capfd, "quarantine", "list", "--output", "json").json
    assert (told["rows"], told["total"]) == (3, 4)
    first = next(entry for entry in told["entries"] if entry["expectation_id"] == "set")
    days = home.ask("select date_diff('day', timestamp '2026-01-01 02:00:00', now()::timestamp - interval 2 hours)")[0][
        0
    ]
    assert list(first) == list(COLUMNS)
    assert first["days"] == days
    assert {name: first[name] for name in ("table", "key", "column", "value", "owner", "since")} == {
        **{"table": "crm.crm_accounts", "key": "12349", "column": "country", "value": "Narnia"},
        **{"owner": "new@x.example", "since": "2026-01-01T02:00:00+00:00"},
    }
    text = home.command(capfd, "quarantine", "list").out
    for said in ("crm.crm_accounts", "crm.crm_contacts", "Narnia", "null", "•••", "2026-01-01", "new@x.example"):
        assert said in text
    home.variables["COLUMNS"] = "70"
    narrow = home.command(capfd, "quarantine", "list").out
    home.variables.clear()
    assert "new@x.example" not in narrow
    assert all(len(line) <= 70 for line in narrow.splitlines())
    assert "12349" in narrow
    assert "3 rows are held" in text
    assert "12352" not in text
    ended = home.command(capfd, "quarantine", "list", "--all").out
    assert re.search(r"12352.*2026-01-04 passed", ended)
    one = home.command(capfd, "quarantine", "list", "--table", "crm_contacts", "-o", "json").json
    assert [entry["key"] for entry in one["entries"]] == ["12351"]
    some = home.command(capfd, "quarantine", "list", "--limit", "2").out
    assert "2 of 4 entries shown" in some
    wrong = home.command(capfd, "quarantine", "list", "--table", "crm_acounts")
    assert wrong.code == 2
    assert "did you mean crm_accounts?" in wrong.err


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "\uff1d1+1"]
ODD = ['say "hi"', "a,b", "a\nb", "é•", "", "1=1", "'quoted", "<b>x</b>"]


def test_the_csv_is_a_spreadsheet_without_formulas(home: Home, capfd: CaptureFixture[str]) -> None:
    for at, value in enumerate([*FORMULAS, *ODD, None]):
        home.hold(f"k{at:02}", value=value)
    home.hold("=k", value="v")
    told = home.command(capfd, "quarantine", "list", "--output", "csv")
    raw = told.out
    assert raw.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(raw.removeprefix("\ufeff"), newline="")))
    assert list(rows[0]) == list(COLUMNS)
    by_key = {row["key"]: row for row in rows}
    found = [by_key[f"k{at:02}"]["value"] for at in range(len(FORMULAS) + len(ODD) + 1)]
    assert found == [*(f"'{value}" for value in FORMULAS), *ODD, ""]
    assert by_key["'=k"]["since"] == "2026-01-01 02:00:00"
    assert all(not cell.startswith(tuple("=+-@\t\r\n")) for row in rows for cell in row.values())
    assert harmless("plain") == "plain"
    # A spreadsheet that splits at semicolons, or takes a quoted line end for one of its own.
    assert [harmless(text) for text in ("x;=1+1", "a;b", "x\n@y;-1", "1-2;3", "a,=b")] == [
        *("x;'=1+1", "a;b", "x\n'@y;'-1", "1-2;3", "a,=b"),
    ]


def test_csv_lines_end_as_they_should_in_a_pipe(home: Home) -> None:
    home.hold("12349")
    environment = {"NIGHTSHIFT_HOME": str(home.folder), "PATH": "/usr/bin:/bin", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "flows.cli", "quarantine", "list", "--output", "csv"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, cwd=home.project)
    lines = done.stdout.split(b"\r\n")
    assert lines[0].startswith(b"\xef\xbb\xbftable,key,")
    assert lines[1].startswith(b"crm.crm_accounts,12349,")
    assert (len(lines), lines[2], done.stdout.count(b"\n")) == (3, b"", 2)


def test_nothing_in_a_value_steers_the_terminal(home: Home, capfd: CaptureFixture[str]) -> None:
    home.hold("12349", value="\x1b[31mred\x07[bold]x", detail="\x1b]0;title\x07")
    home.hold("k\x1b[2J", value="[bold]x")
    for words in (("list",), ("show", "12349"), ("list", "--all"), ("show", "k\x1b[2J")):
        told = home.command(capfd, "quarantine", *words)
        assert told.code == 0
        assert "\x1b" not in told.out
        assert "\x07" not in told.out
        assert "[bold]x" in told.out.replace("\n", "").replace(" ", "")


def test_show_tells_all_of_a_row(home: Home, capfd: CaptureFixture[str]) -> None:
    home.hold("12346", "12349")
    home.hold("12346", expectation_id="b", expectation="between", column_name="order_count", value="999")
    ended = {"ended_at": "2025-12-04 02:00:00", "since_at": "2025-12-01 02:00:00"}
    home.hold("12346", expectation_id="old", expectation="not_null", ended_as="passed", **ended)
    home.hold("12346", expectation_id="o2", ended_as="released", released_by="anna", reason="was right", **ended)
    told = home.command(capfd, "quarantine", "show", "12346", "-o", "json").json
    assert [entry["expectation_id"] for entry in told["held"]] == ["b", "set"]
    assert {entry["ended_as"] for entry in told["ended"]} == {"passed", "released"}
    assert told["row"]["name"] == "Shop 0"
    assert told["in_crm"] is False
    assert told["waits_for"] == []
    opportunities = {child["table"]: child for child in told["children"]}["crm.crm_opportunities"]
    assert (opportunities["count"], len(opportunities["keys"]), opportunities["column"]) == (30, 20, "account_id")
    assert {child["table"] for child in told["children"]} == {"crm.crm_contacts", "crm.crm_opportunities"}
    text = home.command(capfd, "quarantine", "show", "12346").out
    for said in (
        *("not in the CRM", "country = Narnia", "Real countries only.", "ask new@x.example", "and 10 more", "Shop 0"),
        *("released by anna: was right", "nightshift quarantine release 12346 --table crm.crm_accounts --reason TEXT"),
    ):
        assert said in text, said
    # Whose record the CRM holds already, its children do not wait.
    known = home.command(capfd, "quarantine", "show", "12349", "-o", "json").json
    assert (known["in_crm"], known["children"]) == (True, [])


def test_personal_values_stay_masked(home: Home, capfd: CaptureFixture[str], project: Path) -> None:
    home.hold("12350", table="crm.crm_contacts", column_name="email", value="•••")
    told = home.command(capfd, "quarantine", "show", "12350", "--output", "json")
    assert told.json["row"]["email"] == "•••"
    assert told.json["row"]["account_id"] == "12350"
    assert not re.search("Secretperson|secret.example|1234 567", told.out)
    home.hold("12350")
    suite = project / "expectations" / "crm" / "crm_accounts.yml"
    suite.write_text(suite.read_text().replace("expectations:", "pii: [NAME]\nexpectations:", 1))
    masked = home.command(capfd, "quarantine", "show", "12350", "--table", "crm_accounts", "--output", "json")
    assert masked.json["row"]["name"] == "•••", "what a suite calls personal is, too"


def test_a_child_that_waits_says_for_whom(home: Home, capfd: CaptureFixture[str]) -> None:
    home.hold("12346")
    told = home.command(capfd, "quarantine", "show", "500003", "-o", "json").json
    assert (told["table"], told["held"]) == ("crm.crm_opportunities", [])
    assert told["waits_for"] == [{"table": "crm.crm_accounts", "key": "12346"}]
    home.hold("12349")  # which the CRM holds
    assert home.command(capfd, "quarantine", "show", "12349", "--table", "crm_contacts").code == 2
    assert "not held itself, but it waits" in home.command(capfd, "quarantine", "show", "500003").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "nobody"), "No row nobody is held back"),
        (("show", "12350", "--table", "crm_contacts"), "crm.crm_contacts 12350 is not held back"),
        (("show", "12346"), "is a key in crm.crm_accounts and in crm.crm_contacts"),
        (("release", "12346", "--table", "crm_accounts", "--reason", "  "), "A release needs a reason"),
        (("release", "12346", "--table", "crm_accounts", "--reason", "x", "--by", " "), "the name of who decides"),
        (("release", "12346", "--table", "crm_acounts", "--reason", "x"), "did you mean crm_accounts?"),
        (("release", "12346", "--table", "crm_accounts"), "--reason"),
        (("release", "--table", "crm_accounts", "--reason", "x"), "KEY"),
        (("release", "12346", "--table", "crm_accounts", "--reason", "x", "--expectation", "y"), "for y"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    home: Home, capfd: CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    home.hold("12346")
    home.hold("12346", table="crm.crm_contacts")
    told = home.command(capfd, "quarantine", *words)
    assert (told.code, told.out) == (2, "")
    assert said in " ".join(told.err.split())
    assert "Traceback" not in told.err
    assert len(home.ask(HELD)) == 2


def test_unknown_keys_are_named_and_nothing_is_released(home: Home, capfd: CaptureFixture[str]) -> None:
    home.hold("12346", "12347")
    home.hold("12348", ended_at="2026-01-04 02:00:00", ended_as="passed")
    words = ("release", "12346", "nobody", "12348", "--table", "crm_accounts", "--reason", "x")
    told = home.command(capfd, "quarantine", *words)
    assert told.code == 2
    assert "- nobody" in told.err
    assert "- 12348 (passed 2026-01-04 02:00 UTC)" in told.err
    assert "12346" not in told.err
    assert home.ask(HELD) == [("12346",), ("12347",)]


def test_rows_are_released_with_name_and_reason(home: Home, capfd: CaptureFixture[str]) -> None:
    home.hold("12346", "12347", "12348")
    home.hold("12347", expectation_id="b", expectation="between", column_name="order_count")
    home.hold("12346", table="crm.crm_contacts", expectation_id="c")
    words = ("12346", "12347", "12346", "--table", "CRM_Accounts", "--reason", " it is right ", "--by", "anna")
    told = home.command(capfd, "quarantine", "release", *words, "--expectation", "in_set", "-o", "json").json
    assert (told["table"], told["released"], told["still_held"]) == ("crm.crm_accounts", ["12346"], ["12347"])
    assert {entry["expectation_id"] for entry in told["entries"]} == {"set"}
    rows = home.ask(
        "select table_name, key, expectation_id, ended_as, released_by, reason, ended_at between "
        "now()::timestamp - interval 1 minute and now()::timestamp from quality.quarantine order by 1, 2, 3"
    )
    free = ("released", "anna", "it is right", True)
    held = (None, None, None, None)
    assert rows == [
        ("crm.crm_accounts", "12346", "set", *free),
        ("crm.crm_accounts", "12347", "b", *held),
        ("crm.crm_accounts", "12347", "set", *free),
        ("crm.crm_accounts", "12348", "set", *held),
        ("crm.crm_contacts", "12346", "c", *held),
    ]
    short = ("--table", "crm_accounts", "--reason", "x", "--expectation", "set")
    home.hold("12349", expectation="expect_set", expectation_id="d")
    assert home.command(capfd, "quarantine", "release", "12349", *short).code == 0
    by_id = home.command(
        capfd, *("quarantine", "release", "12347", "--table", "crm.crm_accounts", "--reason", "x", "--expectation", "b")
    )
    assert by_id.code == 0
    assert "1 row released by" in by_id.out
    assert "The next night plans it" in by_id.out
    assert home.ask(HELD) == [("12346",), ("12348",)]


def test_the_gate_keeps_to_a_release_while_the_value_stays(home: Home, capfd: CaptureFixture[str]) -> None:
    path = home.folder / "crm_accounts.yml"
    path.write_text(
        "table: crm.crm_accounts\nmax_quarantined: 100\nowner: gate@x.example\nexpectations:\n"
        "  - expect_column_values_to_not_be_null: {column: country}\n"
        "  - expect_column_values_to_be_in_set: {column: name, value_set: [Shop 0, Shop 1, Shop 2, Shop 4]}\n"
    )
    [suite] = gate.with_keys([gate.load_suite(path)], {"crm.crm_accounts": "account_id"})

    def night(run_id: str, **names: str) -> list[str]:
        with Warehouse.open(home.settings.warehouse) as db:
            for key, name in names.items():
                db.execute("update crm.crm_accounts set name = ? where account_id = ?", (name, key.removeprefix("k")))
            gate.check(suite, db, run_id=run_id, stage="crm")
        return [entry["key"] for entry in home.command(capfd, "quarantine", "list", "-o", "json").json["entries"]]

    held = ["12349", *(str(key) for key in range(12350, 12356))]
    assert sorted(night("n1")) == held
    asked = home.command(capfd, "quarantine", "list").out
    assert "column_values_to_not_be_null" in asked
    release = ("quarantine", "release", "--table", "crm_accounts", "--reason", "right", "--by", "anna")
    assert home.command(capfd, *release, "12349", "12350").code == 0
    assert sorted(night("n2")) == held[2:], "what was released stays so"
    assert "12349" in night("n3", k12349="Shop X"), "another value that fails is held again"
    assert "12351" not in night("n4", k12351="Shop 1"), "what passes goes by itself"
    assert "passed" in home.command(capfd, "quarantine", "show", "12351").out


@pytest.fixture
def owned(home: Home) -> Iterator[None]:
    """Another process holds the warehouse, as a run does."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom flows.warehouse import Warehouse\n"
        f"with Warehouse.open(Path({str(home.settings.warehouse)!r})):\n"
        "    print('open', flush=True)\n    sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[2], **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        yield
        other.communicate(timeout=20)


@pytest.mark.usefixtures("owned")
def test_a_run_that_owns_the_warehouse_is_named(home: Home, capfd: CaptureFixture[str]) -> None:
    for words in (
        ("list",),
        ("show", "12346"),
        ("release", "12346", "--table", "crm_accounts", "--reason", "x"),
    ):
        told = home.command(capfd, "quarantine", *words)
        assert (told.code, told.out) == (1, "")
        said = " ".join(told.err.split())
        assert "is held by another process" in said
        assert "Wait until the other run has ended" in said


@pytest.mark.parametrize("command", ["list", "show", "release"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(cli.app, ["quarantine", command, "--help"], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    assert f"Example: nightshift quarantine {command}" in " ".join(shown.output.split())
