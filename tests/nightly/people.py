"""People in the CRM by day: they edit, clear, put back, move, delete, and make records of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.nightly.memory import FIELDS, KEY, PARENT, Line, Memory, Wanted
from tests.nightly.world import Crm, typed

EDITED: dict[str, dict[str, Callable[[int], Any]]] = {
    "Account": {
        "Name": lambda n: f"Called {n} by hand",
        "BillingCountry": lambda n: f"Land {n}",
        "Last_Order_Date__c": lambda n: date(2015, 1, 1) + timedelta(n),
        "Segment__c": lambda n: ("Champions", "Loyal", "At Risk", "Lost")[n % 4],
        "Order_Count__c": lambda n: 10_000 + n,
        "Lifetime_Value__c": lambda n: Decimal(n) + Decimal("0.07"),
    },
    "Contact": {
        "LastName": lambda n: f"Hand-{n}",
        "Email": lambda n: f"hand{n}@people.example",
        "Phone": lambda n: f"+0 {n}",
    },
    "Opportunity": {"Amount": lambda n: Decimal(n) + Decimal("0.13"), "Returned_Amount__c": lambda n: Decimal(n)},
}
"""Mapped fields that people edit, and what they write on their n-th action."""
CLEARED = {"Account": ("BillingCountry", "Last_Order_Date__c", "Segment__c"), "Contact": ("Phone", "FirstName")}
NOTES = {"Account": "Description", "Contact": "Title", "Opportunity": "NextStep"}
"""Fields that no model maps."""


class People:
    """Some people with a CRM, and the memory of what they did there.

    Args:
        crm: where they work.
        memory: told of everything they do.
        dice: what they do is drawn by it.
    """

    def __init__(self, crm: Crm, memory: Memory, dice: random.Random) -> None:
        self.crm, self.memory, self.dice = crm, memory, dice
        self.did: dict[str, int] = {}
        self.notes: dict[tuple[str, str], str] = {}
        self.own: dict[tuple[str, str], dict[str, Any]] = {}
        self._count = 0

    def day(self, wanted: Wanted) -> None:
        """Do this and that.

        Args:
            wanted: what the models will want in the coming night: half of what people do is done to records that the
                night will write.
        """
        deeds = [self.edit] * 5 + [self.note] * 2 + [self.clear, self.put_back, self.move, self.add_their_own]
        deeds += [self.be_first] * 2 + [self.delete] * self.dice.randint(1, 3)
        for deed in self.dice.sample(deeds, len(deeds)):
            self._count += 1
            if deed(wanted):
                self.did[deed.__name__] = self.did.get(deed.__name__, 0) + 1

    def edit(self, wanted: Wanted) -> bool:
        """Write another value into a mapped field."""
        kind = self._kind()
        name = self.dice.choice(list(EDITED[kind]))
        return self._set(kind, self._pick(kind, wanted), name, EDITED[kind][name](self._count))

    def clear(self, wanted: Wanted) -> bool:
        """Empty a mapped field."""
        kind = self.dice.choice(list(CLEARED))
        return self._set(kind, self._pick(kind, wanted), self.dice.choice(CLEARED[kind]), None)

    def put_back(self, wanted: Wanted) -> bool:
        """Put back what stood in a field before somebody edited it."""
        kind = self._kind()
        edited = [
            (key, name)
            for key, line in sorted(self.memory.live(kind).items())
            for name in sorted(line.by_hand - {PARENT})
            if line.told and line.told[name] is not None
        ]
        if not edited:
            return False
        key, name = self.dice.choice(edited)
        told = self.memory.lines[kind][key].told
        return told is not None and self._set(kind, key, name, told[name])

    def move(self, wanted: Wanted) -> bool:
        """Move a contact or an invoice to another account."""
        kind = self.dice.choice(("Contact", "Opportunity"))
        key, other = self._pick(kind, wanted), self._pick("Account", wanted)
        if key is None or other is None:
            return False
        self.crm.update(kind, self._id(kind, key), {PARENT: self._id("Account", other)})
        self._remember(kind, key, PARENT, self.memory.parent(other))
        return True

    def note(self, wanted: Wanted) -> bool:
        """Write into a field that no model maps."""
        kind = self._kind()
        if (key := self._pick(kind, wanted)) is None:
            return False
        record_id, text = self._id(kind, key), f"Note {self._count}"
        self.crm.update(kind, record_id, {NOTES[kind]: text})
        self.notes[kind, record_id] = text
        return True

    def delete(self, wanted: Wanted) -> bool:
        """Delete a record; with an account goes what belongs to it."""
        kind = self._kind()
        if (key := self._pick(kind, wanted)) is None:
            return False
        record_id = self._id(kind, key)
        gone = {one: self._id(*one) for one in self.memory.delete(kind, key)}
        self.crm.delete(kind, record_id)
        for (of, _), one in gone.items():
            self.notes.pop((of, one), None)
        self.own = {one: values for one, values in self.own.items() if values.get(PARENT) != record_id}
        return True

    def add_their_own(self, wanted: Wanted) -> bool:
        """Make a record that no model knows, with an external id of somebody else's or without one."""
        kind = self._kind()
        values = {name: make(self._count) for name, make in EDITED[kind].items()} | self._required(kind)
        if self.dice.random() < 0.5:
            values[KEY] = f"HAND-{self._count}"
        if kind != "Account" and (account := self._pick("Account", wanted)):
            values[PARENT] = self._id("Account", account)
        self.own[kind, self.crm.create(kind, _json(values))] = values
        return True

    def be_first(self, wanted: Wanted) -> bool:
        """Make a record by hand that the models will want in the coming night, under its external id."""
        kind = self._kind()
        lines = self.memory.lines[kind]
        new = sorted(key for key in wanted[kind] if key not in lines or not lines[key].generation)
        if not new:
            return False
        key = self.dice.choice(new)
        names = self.dice.sample(list(EDITED[kind]), 2)
        values = {name: EDITED[kind][name](self._count) for name in names} | self._required(kind)
        self.crm.create(kind, _json({KEY: key, **values}))
        line = lines.setdefault(key, Line())
        line.appear({**dict.fromkeys(FIELDS[kind]), **values})
        line.by_hand = set(values)
        return True

    def _kind(self) -> str:
        return self.dice.choice(("Account", "Account", "Contact", "Opportunity"))

    def _pick(self, kind: str, wanted: Wanted) -> str | None:
        """One of our records that the CRM holds."""
        live = {key: line for key, line in self.memory.live(kind).items() if line.told}
        stirred = sorted(key for key, line in live.items() if wanted[kind].get(key) != line.told)
        keys = stirred if stirred and self.dice.random() < 0.5 else sorted(live)
        return self.dice.choice(keys) if keys else None

    def _set(self, kind: str, key: str | None, name: str, value: Any) -> bool:
        if key is None:
            return False
        self.crm.update(kind, self._id(kind, key), _json({name: value}))
        self._remember(kind, key, name, value)
        return True

    def _remember(self, kind: str, key: str, name: str, value: Any) -> None:
        line = self.memory.lines[kind][key]
        line.holds[name] = value
        line.by_hand.add(name)

    def _id(self, kind: str, key: str) -> str:
        [row] = self.crm.query(f"SELECT Id FROM {kind} WHERE {KEY} = '{key}'")
        return str(row["Id"])

    def _required(self, kind: str) -> dict[str, Any]:
        """What no record can be without."""
        n = self._count
        needed: dict[str, dict[str, Any]] = {
            "Account": {"Name": f"Made {n} by hand"},
            "Contact": {"LastName": f"Made-{n}"},
            "Opportunity": {"Name": f"Deal {n}", "StageName": "Prospecting", "CloseDate": date(2011, 6, 1)},
        }
        return needed[kind]


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(v) if isinstance(v, Decimal) else v.isoformat() if isinstance(v, (date, datetime)) else v
        for name, v in values.items()
    }


def differences(crm: Crm, memory: Memory, people: People) -> list[str]:
    """Say where the CRM is not as remembered; a record that stands twice, or that nobody made, is one, too."""
    found: list[str] = []
    accounts: dict[str, str] = {}
    for kind, names in FIELDS.items():
        rows = crm.query(f"SELECT Id, {KEY}, {', '.join((*names, NOTES[kind]))} FROM {kind}")
        if kind == "Account":
            accounts = {row["Id"]: row[KEY] for row in rows}
        live, seen = memory.live(kind), set[str]()
        for row in rows:
            key, where = row[KEY], f"{kind} {row[KEY] or row['Id']}"
            if (own := people.own.get((kind, row["Id"]))) is not None:
                wrong = {name for name, value in own.items() if typed(name, row[name]) != value}
                wrong |= {name for name in names if name not in own and row[name] is not None}
                found += [f"{where}: {name} of somebody's own record is {row[name]!r}" for name in sorted(wrong)]
                continue
            if key in seen or key not in live:
                found.append(f"{where} stands twice" if key in seen else f"{where} should not be there")
                continue
            seen.add(key)
            found += [f"{where}: {text}" for text in _wrong(memory, live[key], row, names, accounts)]
            if row[NOTES[kind]] != people.notes.get((kind, row["Id"])):
                found.append(f"{where}: a person's note is {row[NOTES[kind]]!r}")
        found += [f"{kind} {key} is missing" for key in sorted(live.keys() - seen)]
        ids = {row["Id"] for row in rows}
        found += [
            f"{kind} {own_id} of somebody's own is missing"
            for k, own_id in people.own
            if k == kind and own_id not in ids
        ]
    return found


def _wrong(
    memory: Memory, line: Line, row: Mapping[str, Any], names: tuple[str, ...], accounts: Mapping[str, str]
) -> list[str]:
    wrong = []
    for name in names:
        if name == PARENT:
            lookup = line.holds[PARENT]
            # A deleted account may still be pointed to; it is no account any more.
            held, found = lookup[0] if memory.leads_somewhere(lookup) else None, accounts.get(row[PARENT])
        else:
            held, found = line.holds[name], typed(name, row[name])
        if held != found:
            wrong.append(f"{name} is {found!r}, remembered is {held!r}; told {line.told and line.told[name]!r}")
    return wrong
