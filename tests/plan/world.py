"""A model to sync, a ledger, and answers: what tests of plan and ledger work with, all of it in a real DuckDB."""

# ruff: noqa: DTZ001 -- DuckDB's TIMESTAMP has no zone

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from flows import ledger, plan
from flows.project import Guard, MappedField, Source, Sync
from flows.records import Batch, Operation, Outcome, Receipt, Record, Value
from flows.warehouse import Warehouse, quoted
from tests.syncs import sync

TYPES = {
    "name": "varchar",
    "amount": "decimal(14,2)",
    "day": "date",
    "at": "timestamp",
    "active": "boolean",
    "orders": "bigint",
    "parent": "varchar",
}
CRM_FIELD = {column: f"{column.title()}__c" for column in TYPES}
NAMES = tuple(CRM_FIELD.values())
NO_GUARD = Guard(max_archives=None)

Row = tuple[Value, ...]
"""Values in the order of TYPES."""
Rows = dict[str, Row]
"""External id -> row."""

SYNC = sync(
    "crm_things",
    "Thing",
    "thing_id",
    (
        MappedField(column, CRM_FIELD[column], kind, parent="crm_parents" if column == "parent" else None)
        for column, kind in TYPES.items()
    ),
    guard=NO_GUARD,
    declared_in="models/crm/_crm__models.yml",
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["", " ", "a", "A", "NULL", "#N/A", 'q"', "a\nb", "a\r\n", "\u2028", "é", "e\u0301", "小林", "😀", "'; --", "\\n"]
)
KEYS = st.sampled_from(["1", "01", "a", "A", " a", "é", "e\u0301", 'q"', "a\nb", "小林", "😀", "\\", "', '", "%"])
VALUES = (
    st.none() | TEXTS,
    st.none() | st.decimals("-99999.99", "99999.99", places=2).map(abs),
    st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | KEYS,
)
ROWS = st.dictionaries(KEYS, st.tuples(*VALUES), max_size=7)


def near(rows: Rows) -> st.SearchStrategy[Rows]:
    """Rows that differ from these in a few values and a few records, as one night differs from the night before."""

    def edited(drawn: tuple[Rows, list[str], list[tuple[str, int, Row]]]) -> Rows:
        fresh, gone, edits = drawn
        result = {key: row for key, row in rows.items() if key not in gone} | fresh
        for key, position, other in edits:
            if key in result:
                result[key] = (*result[key][:position], other[position], *result[key][position + 1 :])
        return result

    keys = st.sampled_from(sorted(rows)) if rows else KEYS
    edits = st.lists(st.tuples(keys, st.integers(0, len(TYPES) - 1), st.tuples(*VALUES)), max_size=4)
    return st.tuples(st.dictionaries(KEYS, st.tuples(*VALUES), max_size=2), st.lists(keys, max_size=2), edits).map(
        edited
    )


PAIRS = ROWS.flatmap(lambda rows: st.tuples(st.just(rows), near(rows) | ROWS))

Answer = Callable[[Operation, Record], Receipt | None]
"""What the CRM says about one record; None where the run died before it was said."""


def applied(operation: Operation, record: Record) -> Receipt:
    """The CRM takes everything."""
    return Receipt(record.external_id, Outcome.APPLIED, record.crm_id or f"crm-{record.external_id}")


def rejected(operation: Operation, record: Record) -> Receipt:
    """The CRM refuses everything."""
    return Receipt(record.external_id, Outcome.REJECTED, code="NO", message="refused", fields=("Name__c",))


@dataclass
class World:
    """One warehouse with one model and its ledger."""

    db: Warehouse
    folder: Path
    sync: Sync = SYNC
    size: int = 3
    most: int | None = None
    sources: Sequence[Source] = ()
    there: Rows = field(default_factory=dict)
    runs: count[int] = field(default_factory=lambda: count(1))

    def reset(self) -> None:
        """Forget everything but the warehouse itself."""
        self.sync, self.size, self.most, self.sources, self.there = SYNC, 3, None, (), {}
        for table in ("changes", "rejections", "doubts", "forgotten", "plans", "mismatches"):
            self.db.execute(f"delete from sync.{table}")
        self.db.execute("delete from quality.quarantine; delete from ops.source_sizes")
        self.db.execute(f"drop table if exists {ledger.relation(SYNC.name)}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def declare(self, **changes: Any) -> None:
        """Declare the sync otherwise."""
        self.sync = replace(self.sync, **changes)

    def model(self, rows: Mapping[str | None, Row] | Iterable[tuple[str | None, Row]]) -> None:
        """Let the model hold these rows."""
        listed = list(rows.items() if isinstance(rows, Mapping) else rows)
        columns = "".join(f", {quoted(name)} {kind}" for name, kind in TYPES.items())
        self.db.execute("create schema if not exists crm")
        self.db.execute(f"create or replace table {SYNC.relation} (thing_id varchar{columns})")
        if listed:
            one = f"({', '.join('?' * (len(TYPES) + 1))})"
            values = [value for key, row in listed for value in (key, *row)]
            self.db.execute(f"insert into {SYNC.relation} values {', '.join([one] * len(listed))}", values)

    def plan(self, only: plan.Only | None = None) -> plan.Plan:
        """Make the next run's plan."""
        run = f"run-{next(self.runs):04d}"
        return plan.make(self.db, run, [self.sync], self.folder / run, self.crm, sources=self.sources, only=only)

    @property
    def crm(self) -> plan.Crm:
        """What the plan asks of the CRM; one request a record."""
        return plan.Crm(
            batch_size=lambda sync, operation, total: self.size,
            requests=lambda sync, operation, counts: sum(counts),
            most_requests=lambda sync: self.most,
            read=self._read,
        )

    def _read(self, sync: Sync, records: Sequence[Record], sink: Callable[[list[Record]], None]) -> int:
        for record in records:
            found = self.there.get(record.external_id)
            if found is not None and record.crm_id in (None, f"crm-{record.external_id}"):
                sink([Record(record.external_id, f"crm-{record.external_id}", dict(zip(NAMES, found, strict=True)))])
        return len(records)

    def answer(self, made: plan.Plan, answer: Answer = applied) -> None:
        """Write down what the CRM says about every record of a plan."""
        (made.folder / "receipts").mkdir(parents=True, exist_ok=True)
        for batch in made.batches:
            receipts = [answer(batch.operation, record) for record in batch.records()]
            text = "".join(line(receipt) for receipt in receipts if receipt is not None)
            (made.folder / "receipts" / f"{batch.name}.jsonl").write_text(text, encoding="utf-8")

    def merge(self, made: plan.Plan) -> dict[str, ledger.Merged]:
        """Move the ledger."""
        return ledger.merge(self.db, made.run_id, made.batches, made.folder / "receipts", made.terms)

    def push(self, answer: Answer = applied) -> plan.Plan:
        """Plan, answer and merge."""
        made = self.plan()
        self.answer(made, answer)
        self.merge(made)
        return made

    def held(self) -> Rows:
        """What the ledger says that the CRM holds."""
        fields = ", ".join(quoted(name) for name in NAMES)
        rows = self.db.execute(f"select _external_id, {fields} from {ledger.relation(self.sync.name)}")
        return {row[0]: tuple(row[1:]) for row in rows}

    def open_rejections(self) -> dict[str, int]:
        """External id -> attempts of every rejection that is open."""
        return dict(self.db.execute("select external_id, attempts from sync.rejections where closed_at is null"))

    def state(self) -> list[list[tuple[Any, ...]]]:
        """Everything that a merge may change."""
        tables = [ledger.relation(self.sync.name), "sync.changes", "sync.rejections", "sync.doubts", "sync.plans"]
        tables += ["sync.forgotten"]
        return [self.db.execute(f"select * from {table} order by all") for table in tables]

    def replayed(self) -> dict[str, dict[str, str | None]]:
        """The ledger as ``sync.changes`` tells it from the beginning, as text."""
        rows: dict[str, dict[str, str | None]] = {}
        changes = self.db.execute(
            "select external_id, operation, field, after from sync.changes where outcome = 'applied' "
            "order by run_id, operation = 'archive'"
        )
        for key, operation, name, after in changes:
            if operation == "archive":
                rows.pop(key, None)
                continue
            record = rows.setdefault(key, dict.fromkeys(NAMES))
            if name is not None:
                record[name] = after
        return rows

    def as_text(self) -> dict[str, dict[str, str | None]]:
        """The ledger as text."""
        fields = ", ".join(f"cast({quoted(name)} as varchar)" for name in NAMES)
        rows = self.db.execute(f"select _external_id, {fields} from {ledger.relation(self.sync.name)}")
        return {row[0]: dict(zip(NAMES, row[1:], strict=True)) for row in rows}


def line(receipt: Receipt) -> str:
    """A receipt as it stands in its file."""
    return json.dumps(asdict(receipt), ensure_ascii=False) + "\n"


def records(batches: Sequence[Batch], operation: Operation) -> dict[str, Record]:
    """External id -> record of all batches of one operation."""
    return {r.external_id: r for batch in batches if batch.operation is operation for r in batch.records()}


def money(text: str) -> Decimal:
    """A decimal of the scale that the model declares."""
    return Decimal(text).quantize(Decimal("0.01"))
