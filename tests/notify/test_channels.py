"""Who is told what: channels as people declare them, and the nights that each of them hears of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flows import project
from flows.errors import ConfigError
from flows.notify import REPORTS_URL, message, notify, occasions
from flows.project.declared import Channel, ChannelRules
from flows.summary import RunSummary, from_json, to_json
from flows.summary.held import HeldSummary, QuarantineSummary
from tests.conftest import PROJECT
from tests.docs.documents import table
from tests.notify.server import webhooks
from tests.report.example import failed, good, held, quiet, troubled

TOKEN = "T0pS3cretT0ken"
ENDS = {"done": "success", "failed": "failure", "held": "held"}


@dataclass
class Channels:
    """One server; every path on it is a channel of its own."""

    port: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"json://{TOKEN}@127.0.0.1:{self.port}/{name}"

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


@pytest.fixture
def channels() -> Iterator[Channels]:
    found = Channels()

    def answer(path: str, sent: dict[str, Any]) -> int:
        found.heard.append((name := path.strip("/"), sent))
        return found.statuses.get(name, 200)

    with webhooks(answer) as found.port:
        yield found


def declared(folder: Path, notify: str) -> list[Channel]:
    """What a file with this under ``notify:`` declares."""
    file = folder / "connections.yml"
    file.write_text(f"targets:\n  prod:\n    crms: {{}}\n    notify:\n{notify}", encoding="utf-8")
    return project.load_connections(file, "prod").notify


def dirty(new: int) -> RunSummary:
    """A quiet night in which rows are held back, some of them since tonight."""
    row = HeldSummary("12349", "expect_column_values_to_match_regex", "email", "zoe@example.com", "No address.")
    causes = {"expect_column_values_to_match_regex(email)": 12}
    return replace(quiet(), quarantine=(QuarantineSummary("crm.crm_contacts", 12, new, causes=causes, rows=(row,)),))


def test_each_channel_hears_of_its_nights(tmp_path: Path, channels: Channels) -> None:
    rules = declared(
        tmp_path,
        f"""
      - {channels.url("all")}
      - {{url: "{channels.url("oncall")}", on: [failure, held]}}
      - {{url: "{channels.url("quality")}", on: [quality]}}
      - {{url: "{channels.url("few")}", on: [rejections], rejections_over: 8}}
      - {{url: "{channels.url("many")}", on: [rejections], rejections_over: 9}}
""",
    )
    told = {}
    for night in (quiet(), good(), failed(), held(), troubled(), dirty(12), dirty(0)):
        channels.heard.clear()
        results = notify(night, rules)
        assert all(result.sent for result in results)
        assert len(results) == len(channels.heard)
        told[len(told)] = set(channels.names) - {"all"}
        assert "all" in channels.names

    # quiet, good (an expectation of severity warning failed in it), failed (in a gate), held, troubled, newly dirty
    # and dirty since earlier
    assert list(told.values()) == [
        set(),
        {"quality"},
        {"oncall", "quality"},
        {"oncall", "quality"},
        {"quality", "few"},
        {"quality"},
        set(),
    ]


@pytest.mark.parametrize("night", [quiet, good, failed, held, troubled])
def test_a_night_that_ended_is_one_of_three(night: Any) -> None:
    assert occasions(night()) & set(ENDS.values()) == {ENDS[night().state]}


def test_a_title_says_why_the_channel_is_told(tmp_path: Path, channels: Channels) -> None:
    [sales] = declared(tmp_path, f'      - {{url: "{channels.url("sales")}", on: [rejections]}}\n')

    notify(troubled(), [sales])

    [(_, sent)] = channels.heard
    assert sent["title"] == "Nightshift sandbox: 493 of 504 changes are in the CRM; 9 records rejected"
    first = sent["message"].partition("To look at\n")[2].splitlines()[0]
    assert first.startswith("- 9 Contact records were rejected")


def test_a_quality_message_says_how_many_and_what_to_do_and_no_value() -> None:
    title, body = message(dirty(3), of={"quality"})

    assert title.endswith("; 1 quality warning")
    assert "12 rows are held back in crm.crm_contacts, 3 of them since tonight" in body
    assert "nightshift quarantine list" in body
    for value in ("zoe", "example.com", "12349"):
        assert value not in body


def test_what_a_channel_listens_to_comes_first_however_much_there_is() -> None:
    night = replace(troubled(), quarantine=dirty(3).quarantine)

    _, body = message(night, of={"quality"})

    listed = [line for line in body.splitlines() if line.startswith("- ")]
    at = [n for n, line in enumerate(listed) if "expectation" in line or "held back" in line]
    others = [n for n, line in enumerate(listed) if "rejected" in line and ":" in line and "records were" in line]
    assert at
    assert others
    assert max(at) < min(others)


def test_a_channel_that_fails_is_in_the_summary_and_shows_no_secret(tmp_path: Path, channels: Channels) -> None:
    channels.statuses["broken"] = 403
    rules = declared(tmp_path, f"      - {channels.url('broken')}\n      - ''\n      - {channels.url('works')}\n")

    night = replace(good(), notified=tuple(notify(good(), rules)))

    assert [(one.channel, one.sent) for one in night.notified] == [
        ("json://*** (no. 1)", False),
        ("json://*** (no. 3)", True),
    ]
    assert night.notified[0].detail == "The channel refused the message with HTTP 403."
    assert from_json(to_json(night)) == night
    assert TOKEN not in json.dumps(to_json(night))


def test_a_message_links_to_where_people_can_open_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPORTS_URL, "https://nights.example/reports/")

    _, body = message(quiet(), page_url=f"/srv/var/reports/{quiet().run_id}/morning-page.html")

    assert body.endswith(f"\nPage: https://nights.example/reports/{quiet().run_id}/morning-page.html")


def test_the_old_form_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NIGHTSHIFT_NOTIFY", f"slack://{TOKEN}")
    shipped = project.load_connections(PROJECT / "profiles" / "connections.yml", "sandbox").notify
    assert [one.get_secret_value() for one in shipped] == [f"slack://{TOKEN}"]
    assert shipped[0].on == frozenset({"success", "failure", "held", "quality", "rejections"})
    assert TOKEN not in f"{shipped} {shipped!r}"

    monkeypatch.delenv("NIGHTSHIFT_NOTIFY")
    assert project.load_connections(PROJECT / "profiles" / "connections.yml", "sandbox").notify == []
    empty = """      - {url: "{{ env_var('NIGHTSHIFT_NOTIFY', '') }}", on: [failure]}\n"""
    assert declared(tmp_path, empty) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (f"{{url: 'json://{TOKEN}', when: [held]}}", "prod.notify.0.when: is no key"),
        ("{on: [held]}", "prod.notify.0.url: is missing"),
        (f"{{url: 'json://{TOKEN}', on: [holds]}}", "prod.notify.0.on.0: input should be 'success', 'failure', 'held'"),
        (f"{{url: 'json://{TOKEN}', on: []}}", "prod.notify.0.on: list should have at least 1 item"),
        (f"{{url: 'json://{TOKEN}', rejections_over: -1}}", "prod.notify.0.rejections_over: input should be greater"),
        ("3", "prod.notify.0: expected a mapping"),
    ],
)
def test_a_wrong_channel_is_told_by_its_key(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        declared(tmp_path, f"      - {wrong}\n")
    assert said in str(raised.value)
    assert TOKEN not in str(raised.value)


def test_the_reference_has_a_channels_keys() -> None:
    rows = table((PROJECT / "docs" / "reference.md").read_text(encoding="utf-8"), "A channel of `notify`")
    assert [row[0].strip("`") for row in rows] == list(ChannelRules.__annotations__)
