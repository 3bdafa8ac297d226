"""Sixty real nights with people in the way: edits, deletions, records of their own, refusals, outages."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dbt.independent import Books
from tests.nightly.memory import FIELDS, PARENT, Memory, Outage, Refusal, Terms, Wanted
from tests.nightly.people import People, differences
from tests.nightly.world import MODELS, Night, World, for_salesforce, people

NIGHTS = 60
TERMS = {
    "Account": Terms(
        {
            "Name": "if_unchanged",
            "Last_Order_Date__c": "if_unchanged",
            "BillingCountry": "if_empty",
            "Segment__c": "if_empty",
        }
    ),
    "Contact": Terms({"Phone": "if_unchanged"}, mirror=True, deleted="forget"),
    "Opportunity": Terms(mirror=True),
}
CURED: list[dict[str, Any]] = [
    {"status": 500, "after": True},
    {"status": 503},
    {"status": 429, "headers": {"Retry-After": "0"}},
    {"drop": "before"},
    {"drop": "after"},
    {"expire_token": True},
    {"delay": 0.2},
]
"""What goes wrong with one request, and is cured by the next."""
REFUSALS = {
    range(9, 14): Refusal(("Return_Count__c", 1), "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
    range(22, 25): Refusal(("Segment__c", "New"), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    range(34, 40): Refusal(("Line_Count__c", 1), "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
    range(45, 58): Refusal(("LastName", "Hollis"), "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
}
WRITES = "composite/sobjects"
OUTAGES = {
    6: Outage("PATCH", WRITES, written=True, covers=lambda kind, operation: operation != "archive"),
    17: Outage("PATCH", WRITES, written=False, covers=lambda kind, operation: operation != "archive"),
    29: Outage(
        *("PATCH", f"{WRITES}/Opportunity"), written=True, covers=lambda k, op: (k, op) == ("Opportunity", "create")
    ),
    38: Outage(
        *("PATCH", f"{WRITES}/Opportunity"), written=False, covers=lambda k, op: (k, op) == ("Opportunity", "create")
    ),
    48: Outage("DELETE", WRITES, written=True, covers=lambda kind, operation: operation == "archive"),
    53: Outage("DELETE", WRITES, written=False, covers=lambda kind, operation: operation == "archive"),
}


def prepare(copy: Path) -> None:
    """Give the syncs of a copied project the settings of this test.

    Suites and dbt tests are left out: they are half of a night, and judged every night in other tests.
    """
    shutil.rmtree(copy / "dbt_project" / "tests")
    for suite in (copy / "expectations").rglob("*.yml"):
        suite.unlink()
    connections = copy / "profiles" / "connections.yml"
    document = yaml.safe_load(connections.read_text())
    document["targets"]["sandbox"]["crms"]["main"]["deadline_seconds"] = "{{ env_var('CRM_DEADLINE', '60') }}"
    connections.write_text(yaml.safe_dump(document))
    for file in (copy / "dbt_project" / "models").rglob("*.yml"):
        document = yaml.safe_load(file.read_text())
        if "unit_tests" in document:
            file.unlink()
            continue
        tables = [table for source in document.get("sources", []) for table in source["tables"]]
        for one in [*document.get("models", []), *tables]:
            one.pop("data_tests", None)
            for column in one.get("columns", []):
                column.pop("data_tests", None)
            if "sync" in one.get("config", {}).get("meta", {}):
                settle(one)
        file.write_text(yaml.safe_dump(document, sort_keys=False))


def settle(model: dict[str, Any]) -> None:
    """Write `TERMS` into a model's YAML."""
    sync = model["config"]["meta"]["sync"]
    terms = TERMS[sync["object"]["salesforce"]]
    sync |= {"mode": "mirror" if terms.mirror else "upsert", "deleted": terms.deleted}
    sync["guard"] = {"max_archives": "100%"}
    for column in model["columns"]:
        meta = column.get("config", {}).get("meta", {})
        name = meta.get("crm_field", {}).get("salesforce")
        if name in terms.policies:
            meta["policy"] = terms.policies[name]


def weather(dice: random.Random, number: int) -> tuple[list[dict[str, Any]], list[Refusal], Outage | None]:
    """What goes wrong in a night: the sandbox's rules, the refusals and the outage among them."""
    refusals = [refusal for nights, refusal in REFUSALS.items() if number in nights]
    outage = OUTAGES.get(number)
    rules = [refusal.rule() for refusal in refusals]
    if outage:
        return [*rules, outage.rule()], refusals, outage
    if number % 3 == 0:
        rules.append({"path": WRITES, "lock_rows": 0.02})
    cured = {"path": WRITES, "method": "PATCH", "nth": dice.randint(1, 3), **dice.choice(CURED)}
    return [*rules, cured], refusals, None


def counted(night: Night) -> dict[str, Counter[str]]:
    """What a night says that it did, in the words of the memory."""
    words = {"creates": "create", "updates": "update", "archives": "archive"}
    words |= {outcome: outcome for outcome in ("applied", "rejected", "unknown")}
    return {
        kind: Counter({word: night.summary["syncs"][model][count] for count, word in words.items()})
        for kind, model in MODELS.items()
    }


@dataclass
class Play:
    """Sixty nights of one world: what the files say so far, the staff, and what should have come of it all."""

    world: World
    dice: random.Random
    memory: Memory
    staff: People
    books: Books = field(default_factory=Books)
    rejected: int = 0
    unknown: int = 0

    def wanted(self, files: list[Path], day: str) -> Wanted:
        """What the models want at the end of a day, by an independent reading of the files."""
        self.books.read(files)
        models = for_salesforce(self.books.crm(people(self.world.crm, day)))
        return {
            kind: {key: dict(zip(names, row, strict=True)) for key, row in models[MODELS[kind]].items()}
            for kind, names in FIELDS.items()
        }

    def night(self, capfd: pytest.CaptureFixture[str], number: int, file: Path) -> None:
        """Let a day and a night pass, and compare what the night did with what it should have done."""
        day, where = file.name[:10], f"night {number}, {file.name[:10]}"
        wanted = self.wanted([file], day)
        self.staff.day(wanted)
        rules, refusals, outage = weather(self.dice, number)
        expected = self.memory.night(wanted, refusals, outage)
        self.world.variables["CRM_DEADLINE"] = "2" if outage else "60"
        self.world.crm.faults(*rules)
        night = self.world.run(capfd, day)
        self.world.crm.faults()
        assert night.code == (1 if any(count["unknown"] for count in expected.values()) else 0), (where, night.error)
        assert counted(night) == expected, where
        assert night.total("mismatched") == 0, where
        assert opened(self.world) == self.memory.open, where
        if number % 10 == 0 or outage:
            assert differences(self.world.crm, self.memory, self.staff) == [], where
        self.rejected += night.total("rejected")
        self.unknown += night.total("unknown")


@pytest.mark.parametrize("seed", [60])
def test_sixty_nights_with_people_and_refusals_converge(
    seed: int, make_world: Callable[..., World], shared_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    days = sorted((shared_data / "data" / "online-retail" / "by-day").glob("*.csv.gz"))[:NIGHTS]
    world, memory = make_world(), Memory(TERMS)
    prepare(world.copy_project())
    world.arrive(*days)
    play = Play(world, random.Random(seed), memory, People(world.crm, memory, random.Random(seed + 1)))
    for number, file in enumerate(days, start=1):
        play.night(capfd, number, file)
    assert_much_happened(play)

    last = days[-1].name[:10]
    wanted = play.wanted([], last)
    for _ in range(2):
        expected, quiet = memory.night(wanted), world.run(capfd, last)
        assert (quiet.code, counted(quiet)) == (0, expected), quiet.error
    assert [text for kind in FIELDS for text in unsettled(memory, kind, wanted[kind])] == []
    assert opened(world) == memory.open == {}
    assert differences(world.crm, memory, play.staff) == []

    world.crm.reset_stats()
    nothing = world.run(capfd, last)
    assert (nothing.code, nothing.operations, world.crm.writes()) == (0, 0, {})


def assert_much_happened(play: Play) -> None:
    """See that the nights were as eventful as they were meant to be."""
    assert min(play.staff.did.values()) > NIGHTS // 2, play.staff.did
    assert play.rejected > 100
    assert play.unknown > 100
    for kind, terms in TERMS.items():
        live = play.memory.live(kind).values()
        assert terms.policies.keys() <= {name for line in live for name in line.by_hand}, kind
        assert any(line.generation > 1 for line in live) is (terms.deleted == "recreate"), kind
    assert any(line.forgotten for line in play.memory.lines["Contact"].values())


def unsettled(memory: Memory, kind: str, wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say where a model's records do not stand in the CRM as they are wanted, and no person is why."""
    found = []
    for key, values in wanted.items():
        line = memory.lines[kind][key]
        if not line.live:
            if not line.forgotten and line.told != values:
                found.append(f"{kind} {key} is missing")
            continue
        for name, value in values.items():
            held = line.holds[name]
            if name == PARENT and held:
                account = memory.lines["Account"][held[0]]
                # An account that is missing for a reason of its own takes nobody along; one that is there is the one.
                held = held[0] if memory.leads_somewhere(held) or not account.live else f"an older {held[0]}"
            is_filled = TERMS[kind].policies.get(name) == "if_empty" and held is not None
            if held != value and name not in line.by_hand and not is_filled:
                found.append(f"{kind} {key}: {name} is {held!r}, wanted is {value!r}")
    return found


def opened(world: World) -> dict[tuple[str, str], str]:
    """Object and external id -> code of every rejection that is open."""
    kinds = {model: kind for kind, model in MODELS.items()}
    rows = world.ask("select sync, external_id, code from sync.rejections where closed_at is null")
    return {(kinds[sync], key): code for sync, key, code in rows}
