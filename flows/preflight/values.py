"""Values that a CRM will not take as they are, counted in SQL before they are sent; they stop nothing.

What is counted are the rows that are to be sent: a plan's batch files, and of an update only the fields that changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows import ledger
from flows.crm.base import FieldInfo, ObjectInfo
from flows.preflight.described import Described
from flows.project import MappedField, Sync
from flows.project.types import family
from flows.records import MASK, Batch, Operation
from flows.summary.findings import MAX_EXAMPLES, Example, FindingSummary
from flows.warehouse import Warehouse, literal, quoted

UNKNOWN_VALUES = 10
"""Values of one picklist that are told one by one, those of the most rows first; the others are told together."""
LONGEST_READ = 1_000
"""Characters of a value that are read for an example."""
BIGINT_DIGITS = 18


@dataclass(frozen=True, slots=True)
class _Test:
    """What may be wrong with one field's values.

    Attributes:
        field: the CRM field.
        column: the model's column.
        pii: whether people may only see its values masked.
        what: in words.
        bad: SQL that is true of a row with such a value.
        text: SQL of the value as text.
        unknown: of a picklist, SQL of the list of the values that it does not know.
    """

    field: str
    column: str
    pii: bool
    what: str
    bad: str
    text: str
    unknown: str | None = None


def planned_values(
    db: Warehouse, described: Described, syncs: Sequence[Sync], batches: Sequence[Batch]
) -> tuple[FindingSummary, ...]:
    """Count what the CRM will not take among the rows that a plan sends.

    Args:
        db: the warehouse.
        described: what the CRMs say.
        syncs: the syncs that are to be pushed.
        batches: the plan's batches.

    Returns:
        One finding for each field and each thing that is wrong with it, those of the most rows first.
    """
    found: list[FindingSummary] = []
    for sync in syncs:
        files = {
            operation: [literal(str(b.path)) for b in batches if b.sync == sync.name and b.operation is operation]
            for operation in (Operation.CREATE, Operation.UPDATE)
        }
        rows = " union all by name ".join(
            f"select {literal(operation)} as _operation, * from read_parquet([{', '.join(paths)}])"
            for operation, paths in files.items()
            if paths
        )
        if rows:
            found.extend(_findings(db, described, sync, rows))
            sent = f"select hash(lower(external_id)) from ({rows})"
            known = f"select _external_id from {ledger.relation(sync.name)} where hash(lower(_external_id)) in ({sent})"
            found.extend(_alike(db, described, sync, rows, known if _has_ledger(db, sync) else None))
    return _most_first(found)


def model_values(db: Warehouse, described: Described, syncs: Sequence[Sync]) -> tuple[FindingSummary, ...]:
    """Count what the CRM would not take among all rows of the models, as if each were new.

    Args:
        db: the warehouse.
        described: what the CRMs say.
        syncs: syncs whose models are built.

    Returns:
        As `planned_values`.

    Raises:
        flows.warehouse.Error: a model is not built, or lacks a mapped column.
    """
    found: list[FindingSummary] = []
    for sync in syncs:
        operation = Operation.UPDATE if sync.mode == "update_only" else Operation.CREATE
        fields = "".join(f", try_cast({quoted(f.column)} as {f.type}) as {quoted(f.crm_field)}" for f in sync.fields)
        sent = ", ".join(literal(f.crm_field) for f in sync.fields)
        key = f"cast({quoted(sync.external_id_column)} as varchar) as external_id"
        rows = (
            f"select {literal(operation)} as _operation, {key}, [{sent}]::varchar[] as changed{fields} "
            f"from {sync.relation}"
        )
        found.extend(_findings(db, described, sync, rows))
        found.extend(_alike(db, described, sync, rows))
    return _most_first(found)


def _most_first(found: Sequence[FindingSummary]) -> tuple[FindingSummary, ...]:
    return tuple(sorted(found, key=lambda finding: -finding.rows))


def _findings(db: Warehouse, described: Described, sync: Sync, rows: str) -> Iterator[FindingSummary]:
    """Count all tests in one pass over the rows, then look closer at those that failed."""
    info = described.of(sync)
    tests = [] if info is None else list(_tests(sync, info))
    if not tests:
        return
    counts = db.execute(f"select {', '.join(f'count(*) filter (where {t.bad})' for t in tests)} from ({rows})")[0]
    for test, count in zip(tests, counts, strict=True):
        if not count:
            continue
        if test.unknown is None or test.pii:
            yield _finding(sync, test, test.what, count, _examples(db, test, rows))
        else:
            yield from _unknown_values(db, sync, test, rows)


def _alike(
    db: Warehouse, described: Described, sync: Sync, rows: str, known: str | None = None
) -> Iterator[FindingSummary]:
    """Count the rows whose external id the CRM takes for another's: the last one that is written wins.

    Args:
        db: the warehouse.
        described: what the CRMs say.
        sync: the sync.
        rows: SQL of the rows that are to be sent.
        known: SQL of the external ids that it may hold of us already.
    """
    info = described.of(sync)
    field = info.fields.get(sync.external_id_field) if info else None
    if field is None or field.case_sensitive:
        return
    # Hashes alone are grouped at first: there may be as many rows as the model has.
    found = db.execute(
        f"with keys as (select external_id as k, true as sent from ({rows})"
        + (f" union all select _external_id, false from ({known})" if known else "")
        + "), twins as materialized (select hash(lower(k)) as h from keys "
        "group by h having min(hash(k)) <> max(hash(k))), "
        "alike as (select list_sort(list(distinct k)) as all_of_it, list(distinct k) filter (sent) as sent "
        "from keys where hash(lower(k)) in (from twins) group by lower(k) having count(distinct k) > 1) "
        "select k, list_filter(all_of_it, lambda x: x <> k), count(*) over () "
        f"from (select unnest(sent) as k, all_of_it from alike) order by k limit {MAX_EXAMPLES}"
    )
    if found:
        what = "the CRM takes it for another external id, in other letters: both write to one record"
        column, examples = sync.external_id_column, tuple(Example(key, ", ".join(others)) for key, others, _ in found)
        yield FindingSummary(
            "value", sync.crm, sync.object, what, field.name, sync.name, column, rows=found[0][2], examples=examples
        )


def _has_ledger(db: Warehouse, sync: Sync) -> bool:
    return bool(db.scalar("select count(*) from duckdb_tables() where table_name = ?", ("ledger__" + sync.name,)))


def _finding(sync: Sync, test: _Test, what: str, rows: int, examples: tuple[Example, ...]) -> FindingSummary:
    return FindingSummary(
        "value", sync.crm, sync.object, what, test.field, sync.name, test.column, rows=rows, examples=examples
    )


def _examples(db: Warehouse, test: _Test, rows: str) -> tuple[Example, ...]:
    found = db.execute(
        f"select external_id, left({test.text}, {LONGEST_READ}) from ({rows}) where {test.bad} "
        f"order by external_id limit {MAX_EXAMPLES}"
    )
    return tuple(Example(key, MASK if test.pii and value is not None else value) for key, value in found)


def _unknown_values(db: Warehouse, sync: Sync, test: _Test, rows: str) -> Iterator[FindingSummary]:
    """One finding for each value that the picklist does not know, with the rows that carry it."""
    found = db.execute(
        f"select value, count(*), min(external_id, {MAX_EXAMPLES}), count(*) over () from "
        f"(select external_id, unnest(list_distinct({test.unknown})) as value from ({rows}) where {test.bad}) "
        f"group by value order by 2 desc, 1 limit {UNKNOWN_VALUES}"
    )
    for value, count, keys, _ in found:
        examples = tuple(Example(key, value) for key in keys)
        yield _finding(sync, test, f"not in the picklist: {examples[0].value}", count, examples)
    others = found[0][3] - len(found)
    if others:
        told = ", ".join(literal(value) for value, *_ in found)
        rest = f"list_filter({test.unknown}, lambda x: x not in ({told}))"
        [[count]] = db.execute(f"select count(*) from ({rows}) where {test.bad} and len({rest}) > 0")
        yield _finding(sync, test, f"not in the picklist: {others:,} other values", count, ())


def _tests(sync: Sync, info: ObjectInfo) -> Iterator[_Test]:
    key = info.fields.get(sync.external_id_field)
    if key is not None and key.length is not None:
        bad = f"_operation = 'create' and length(external_id) > {key.length}"
        what = f"longer than {key.length:,} characters"
        yield _Test(sync.external_id_field, sync.external_id_column, False, what, bad, "external_id")
    for mapped in sync.fields:
        found = info.fields.get(mapped.crm_field)
        if found is not None:
            yield from _of_field(mapped, found)


def _of_field(mapped: MappedField, found: FieldInfo) -> Iterator[_Test]:
    """The tests of one field; a lookup's values are the parents' business."""
    value, sent = quoted(mapped.crm_field), f"list_contains(changed, {literal(mapped.crm_field)})"
    text = f"cast({value} as varchar)"

    def test(what: str, bad: str, unknown: str | None = None) -> _Test:
        return _Test(mapped.crm_field, mapped.column, mapped.pii, what, bad, text, unknown)

    if not found.nullable:
        # A create leaves out what has no value; what the CRM fills in by itself is missed by updates alone.
        missed = f"{sent} and _operation = 'update'" if found.defaulted else f"({sent} or _operation = 'create')"
        yield test("no value, and the field is required", f"{missed} and coalesce({text}, '') = ''")
    if mapped.parent is not None:
        return
    is_list = mapped.type.strip().endswith("[]")
    if found.picklist is not None:
        unknown = _unknown(value, text, found, is_list)
        yield test("not in the picklist", f"{sent} and len({unknown}) > 0", unknown)
    elif found.length is not None and not is_list:
        yield test(f"longer than {found.length:,} characters", f"{sent} and length({text}) > {found.length}")
    kind = family(mapped.type)
    if found.precision is not None and kind in ("whole", "number"):
        scale = found.scale or 0
        whole = found.precision - scale
        limit = str(10**whole) if whole <= BIGINT_DIGITS else f"1e{whole}"
        # Not by abs(), which the least integer of a type has none of in that type.
        beyond = f"({value} >= {limit} or {value} <= -{limit})"
        yield test(f"more than {whole} digits before the point", f"{sent} and {beyond}")
        if kind == "number":
            what = f"more than {scale} digits after the point" if scale else "not a whole number"
            yield test(what, f"{sent} and {value} <> round({value}, {scale})")


def _unknown(value: str, text: str, found: FieldInfo, is_list: bool) -> str:
    """SQL: the list of a value's elements that a picklist does not know; a text may hold several, as the CRM's does."""
    several = found.type.lower() in _SEVERAL
    elements = f"{value}::varchar[]" if is_list else f"string_split({text}, ';')" if several else f"[{text}]"
    known = ", ".join(literal(one) for one in (*(found.picklist or ()), ""))
    return f"list_filter({elements}, lambda x: x not in ({known}))"


_SEVERAL = frozenset({"multipicklist"})
"""Types of fields that hold several values at once, in a text separated by semicolons."""
