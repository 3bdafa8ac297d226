"""Who wrote what last: what the CRM should hold after nights, people's days and refusals, kept without a CRM.

This says in Python, record by record, what the settings promise. It reads neither the ledger nor the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PARENT = "AccountId"
"""The lookup of contacts and invoices."""
KEY = "External_Id__c"

Wanted = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Object -> external id -> field -> value; a lookup's value is the parent's external id."""


@dataclass(frozen=True)
class Terms:
    """What a sync's settings say.

    Attributes:
        policies: field -> ``if_empty`` or ``if_unchanged``; any other field is always sent.
        mirror: whether what left the model is archived.
        deleted: ``recreate`` or ``forget``.
    """

    policies: Mapping[str, str] = field(default_factory=dict)
    mirror: bool = False
    deleted: str = "recreate"


@dataclass(frozen=True)
class Refusal:
    """Rows that hold this value are refused.

    Attributes:
        where: field (or `KEY`, in creates) and value.
        code: the CRM's code.
    """

    where: tuple[str, Any]
    code: str

    def hits(self, step: Step) -> bool:
        name, value = self.where
        sent = {KEY: step.key, **step.sent} if step.operation == "create" else step.sent
        return name in sent and str(sent[name]) == str(value)

    def rule(self) -> dict[str, Any]:
        """The sandbox's rule for it."""
        name, value = self.where
        return {"path": "composite/sobjects", "reject": {"code": self.code, "where": {name: value}}}


@dataclass(frozen=True)
class Outage:
    """Writes that get no answer, however often they are tried.

    Attributes:
        method: of the requests.
        path: a regular expression for their path.
        written: whether the CRM carries them out all the same.
        covers: object and operation -> whether such a write is among them.
    """

    method: str
    path: str
    written: bool
    covers: Callable[[str, str], bool]

    def rule(self) -> dict[str, Any]:
        """The sandbox's rule for it."""
        return {"method": self.method, "path": self.path, "drop": "after" if self.written else "before"}


@dataclass
class Line:
    """One external id.

    Attributes:
        holds: what the CRM holds; a lookup is the parent's external id and its generation.
        by_hand: the fields that a person wrote last.
        told: what the CRM last acknowledged to us; None while we know of no record.
        doubt: the operation and the fields that were sent without an answer.
        generation: how many records with this external id there were; 0: none yet.
        live: whether the newest of them is there.
        forgotten: whether it is left alone, since a person deleted it.
    """

    holds: dict[str, Any] = field(default_factory=dict)
    by_hand: set[str] = field(default_factory=set)
    told: dict[str, Any] | None = None
    doubt: tuple[str, frozenset[str]] | None = None
    generation: int = 0
    live: bool = False
    forgotten: bool = False

    def appear(self, values: Mapping[str, Any]) -> None:
        """A record comes to be."""
        self.holds, self.by_hand = dict(values), set()
        self.generation, self.live = self.generation + 1, True


@dataclass(frozen=True)
class Step:
    """One write that a night should plan: the operation, and the values to send."""

    kind: str
    key: str
    operation: str
    sent: dict[str, Any] = field(default_factory=dict)


class Memory:
    """All records of all objects, by external id.

    Args:
        terms: object -> what its sync says; parents first.
    """

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.terms = terms
        self.lines: dict[str, dict[str, Line]] = {kind: {} for kind in terms}
        self.open: dict[tuple[str, str], str] = {}

    def live(self, kind: str) -> dict[str, Line]:
        """The records that the CRM holds."""
        return {key: line for key, line in self.lines[kind].items() if line.live}

    def parent(self, key: str | None) -> tuple[str, int] | None:
        """A lookup's value, as the CRM holds it: which account, and the how manieth of that external id."""
        return None if key is None else (key, self.lines["Account"][key].generation)

    def leads_somewhere(self, lookup: tuple[str, int] | None) -> bool:
        """Whether the record that a lookup points to is still there."""
        return lookup is not None and self.lines["Account"][lookup[0]].live and self.parent(lookup[0]) == lookup

    def delete(self, kind: str, key: str) -> set[tuple[str, str]]:
        """A record goes, and with an account its contacts and opportunities; returns object and key of all of them."""
        gone = {(kind, key)}
        if kind == "Account":
            lookup = self.parent(key)
            gone |= {(k, c) for k in self.terms for c, line in self.live(k).items() if line.holds.get(PARENT) == lookup}
        for of, name in gone:
            self.lines[of][name].live = False
        return gone

    # A night.

    def night(
        self, wanted: Wanted, refusals: Sequence[Refusal] = (), outage: Outage | None = None
    ) -> dict[str, Counter[str]]:
        """Remember a night.

        Args:
            wanted: what the models want.
            refusals: rows that the CRM refuses in this night.
            outage: writes that get no answer in this night.

        Returns:
            Object -> how many creates, updates and archives are planned, and how many are rejected or unanswered.
        """
        steps = [step for kind in self.terms for step in self._planned(kind, wanted[kind])]
        counts = {kind: Counter(step.operation for step in steps if step.kind == kind) for kind in self.terms}
        planned = {(step.kind, step.key) for step in steps}
        begun = True
        for wave in self._waves(steps):
            answers = Counter[str]()
            for step in wave if begun else ():
                outcome = self._push(step, refusals, outage)
                answers[outcome] += 1
                counts[step.kind][outcome] += 1
            if not begun:
                for step in wave:
                    counts[step.kind]["unknown"] += 1
            elif not answers["applied"] + answers["rejected"]:
                begun = False  # the CRM is gone: what follows is not tried
        self.open = {which: code for which, code in self.open.items() if which in planned}
        return counts

    def _waves(self, steps: Sequence[Step]) -> Iterator[list[Step]]:
        """Parents, children, and the archives."""
        first = next(iter(self.terms))
        yield from filter(
            None,
            (
                [s for s in steps if s.kind == first and s.operation != "archive"],
                [s for s in steps if s.kind != first and s.operation != "archive"],
                [s for s in steps if s.operation == "archive"],
            ),
        )

    def _planned(self, kind: str, wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[Step]:
        lines = self.lines[kind]
        for key in sorted(wanted.keys() | lines.keys()):
            line = lines.setdefault(key, Line())
            if key not in wanted:
                line.forgotten = False
                if self.terms[kind].mirror and (line.told is not None or line.doubt):
                    yield Step(kind, key, "archive")
            elif not line.forgotten:
                yield from self._step(kind, key, line, wanted[key])

    def _step(self, kind: str, key: str, line: Line, wanted: Mapping[str, Any]) -> Iterator[Step]:
        doubted = line.doubt[1] if line.doubt else frozenset[str]()
        if line.told is None or (line.doubt and line.doubt[0] == "archive"):
            # Only where the record may be there already must it be told what it does not have.
            sent = {name: value for name, value in wanted.items() if value is not None or line.doubt}
            yield Step(kind, key, "create", self._allowed(kind, line, sent, doubted))
            return
        differs = {n: value for n, value in wanted.items() if value != line.told[n] or n in doubted}
        if sent := self._allowed(kind, line, differs, doubted):
            yield Step(kind, key, "update", sent)

    def _allowed(self, kind: str, line: Line, sent: dict[str, Any], doubted: frozenset[str]) -> dict[str, Any]:
        """Leave out what a field's policy keeps for people."""
        allowed = dict(sent)
        for name, policy in self.terms[kind].policies.items() if line.live else ():
            if name not in sent or name in doubted:
                continue
            holds, told = line.holds.get(name), line.told[name] if line.told else None
            if holds == sent[name]:
                if line.told:
                    line.told[name] = holds  # nothing is to be sent, and nothing is a person's any more
                    line.by_hand.discard(name)
                del allowed[name]
            elif holds is not None if policy == "if_empty" else holds != told:
                del allowed[name]
        return allowed

    def _push(self, step: Step, refusals: Sequence[Refusal], outage: Outage | None) -> str:
        """Carry a step out; returns its outcome."""
        line = self.lines[step.kind][step.key]
        silent = outage if outage and outage.covers(step.kind, step.operation) else None
        refused = self._refused(step, line, refusals)
        if silent:
            operation, fields = line.doubt or (step.operation, frozenset[str]())
            operation = operation if operation == "archive" else step.operation
            line.doubt = operation, fields | step.sent.keys()
            if silent.written and not refused:
                self._write(step, line)
            return "unknown"
        if refused:
            self.open[step.kind, step.key] = refused
            if refused == "ENTITY_IS_DELETED":
                line.told = line.doubt = None
                line.forgotten = self.terms[step.kind].deleted == "forget"
                if line.forgotten:
                    del self.open[step.kind, step.key]
                else:
                    self._let_go(step.key)
            return "rejected"
        self._write(step, line)
        if step.operation == "archive":
            line.told = None
        else:
            before = line.told or dict.fromkeys(self._fields(step.kind))
            line.told = {**before, **step.sent}
        line.doubt = None
        self.open.pop((step.kind, step.key), None)
        return "applied"

    def _let_go(self, account: str) -> None:
        """What led to the account that is gone is to be led to the next one."""
        for child in (line for kind in self.terms for line in self.lines[kind].values()):
            if child.told and child.told.get(PARENT) == account:
                child.told[PARENT] = None

    def _refused(self, step: Step, line: Line, refusals: Sequence[Refusal]) -> str | None:
        if step.operation == "archive":
            return None
        if found := next((refusal.code for refusal in refusals if refusal.hits(step)), None):
            return found
        account = step.sent.get(PARENT)
        if account is not None and not self.lines["Account"][account].live:
            return "INVALID_FIELD"
        return "ENTITY_IS_DELETED" if step.operation == "update" and not line.live else None

    def _write(self, step: Step, line: Line) -> None:
        if step.operation == "archive":
            line.live = False
            return
        values = {n: self.parent(value) if n == PARENT else value for n, value in step.sent.items()}
        if line.live:
            line.holds.update(values)
            line.by_hand -= values.keys()
        else:
            line.appear({**dict.fromkeys(self._fields(step.kind)), **values})

    def _fields(self, kind: str) -> Sequence[str]:
        return FIELDS[kind]


FIELDS: dict[str, tuple[str, ...]] = {
    "Account": (
        *("Name", "BillingCountry", "First_Order_Date__c", "Last_Order_Date__c", "Order_Count__c", "Return_Count__c"),
        *("Lifetime_Value__c", "Segment__c"),
    ),
    "Contact": ("FirstName", "LastName", "Email", "Phone", "Consent_At__c", PARENT),
    "Opportunity": (*("Name", "StageName", "CloseDate", "Amount", "Returned_Amount__c", "Line_Count__c", PARENT),),
}
"""Object -> mapped fields, in the order of the independent computation."""
