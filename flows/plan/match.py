"""What the CRM itself holds, where the ledger cannot say it: for policies, for syncs that never create, and to adopt.

The ledger holds what we last sent. Whether a person has changed it since, or what stands in records that we never
wrote, only the CRM knows: these records are read before the plan is made, so that the plan is true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flows import ledger
from flows.crm.forms import STRIPPED, TRIMMED, Form
from flows.errors import ConfigError
from flows.plan import diff
from flows.plan.values import Crm
from flows.project import MappedField, Sync
from flows.records import Record, Value
from flows.texts import misfits, text
from flows.warehouse import Warehouse, literal, quoted

SHOWN = 10
"""External ids that are named where several records have them."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What reading a sync's records from the CRM brought.

    Attributes:
        wanted: rows of the model.
        known: those of them that the ledger knew before.
        found: those of the others that the CRM holds; the ledger knows them now.
        requests: what it took.
    """

    wanted: int
    known: int
    found: int
    requests: int


def adopt(db: Warehouse, run_id: str, sync: Sync, crm: Crm) -> Adopted:
    """Fill the ledger with what the CRM holds of a model's records that the ledger does not know.

    Fields that are only sent while unchanged are left empty in the ledger: what stands in them was not sent by us.
    What the CRM merely keeps in a form of its own is written down as the model has it, as it is after a push.
    A sync that only creates does not look for records that it sent without an answer: they are its own.

    Args:
        db: the warehouse.
        run_id: the run, for the ledger.
        sync: the sync.
        crm: reads the records.

    Raises:
        ConfigError: the CRM holds several records of one external id; none of what was found is taken up.
    """
    ledger.ensure(db, sync.name, sync.types)
    model = diff.model(db, sync)
    wanted = int(db.scalar(f"select count(*) from {model}"))
    known = f"select _external_id from {ledger.relation(sync.name)}"
    skipped = ["forgotten", "doubts"] if sync.mode == "create_only" else ["forgotten"]
    unasked = [known, *(f"select external_id from sync.{t} where sync = {literal(sync.name)}" for t in skipped)]
    rows = db.execute(
        f"select {diff.key(sync)} as k from {model} where k is not null"
        + "".join(f" and k not in ({keys})" for keys in unasked)
    )
    with _read(db, sync, crm, [Record(row[0]) for row in rows]) as requests:
        _check_found(db, sync)
        if rows and sync.fields and sync.mode != "create_only":
            _as_in_the_model(db, sync, model, crm.forms(sync))
        fields = [f.crm_field for f in sync.fields if f.policy != "if_unchanged"]
        return Adopted(wanted, wanted - len(rows), ledger.adopt(db, sync.name, run_id, "found", fields), requests)


def _as_in_the_model(db: Warehouse, sync: Sync, model: str, forms: Mapping[str, Form]) -> None:
    """Write what was found as the model has it, where the two are the same to the CRM."""
    ours = [
        f"{quoted(f.crm_field)} = case when {_same(f, 'f', 'd', forms)} then d.{quoted(f.crm_field)} "
        f"else f.{quoted(f.crm_field)} end"
        for f in sync.fields
    ]
    db.execute(
        f"update found f set {', '.join(ours)} from (select {diff.as_held(sync)} from {model}) d "
        "where d._external_id = f._external_id"
    )


def _check_found(db: Warehouse, sync: Sync) -> None:
    """See that no external id was found twice: which of the records is meant nobody can say."""
    doubled = db.execute(
        "select _external_id, string_agg(_crm_id, ' and ' order by _crm_id), count(*) over () from found "
        f"group by _external_id having count(*) > 1 order by _external_id limit {SHOWN}"
    )
    if doubled:
        listed = "\n".join(f"  - {key}: {ids}" for key, ids, _ in doubled)
        more = doubled[0][2] - len(doubled)
        raise ConfigError(
            f"{sync.declared_in}: {sync.name}: {sync.object}.{sync.external_id_field} is no key in the CRM: "
            f"several records have the same external id.\n{listed}" + (f"\n  - and {more:,} more" if more else ""),
            safe="Nothing was sent; the ledger is as it was.",
            todo="Merge or correct these records in the CRM, and make the field unique there; then run again.",
        )


def respelt(db: Warehouse, sync: Sync, crm: Crm) -> bool:
    """Let the ledger follow records whose external id the model spells with other capitals or blanks than before.

    To a CRM that does not tell the two spellings apart they are the records that they were: to archive the old one
    would be to archive the new one.

    Args:
        db: the warehouse; the sync's difference is made.
        sync: the sync.
        crm: says whether it tells them apart; asked only where it matters.

    Returns:
        Whether the ledger changed, so that the difference must be made again.
    """
    if sync.mode != "mirror":
        return False

    def alike(form: Form) -> bool:
        db.execute(
            "create or replace temp table respelt as select a.external_id as was, min(m.k) as now, "
            "row_number() over (partition by min(m.k) order by a.external_id) as n "
            f"from {diff.relation(sync)} a join (select {diff.key(sync)} as k from {sync.relation}) m "
            f"on {form.sql.format('m.k')} = {form.sql.format('a.external_id')} "
            "where a._operation = 'archive' group by a.external_id"
        )
        return bool(db.scalar("select count(*) from respelt"))

    # No form makes more texts the same than this one.
    form = crm.forms(sync).get(sync.external_id_field) if alike(TRIMMED) else None
    found = form is not None and alike(form)
    if found:
        of_sync = f"and sync = {literal(sync.name)}"
        for table, column, of in (
            (ledger.relation(sync.name), "_external_id", ""),
            ("sync.doubts", "external_id", of_sync),
        ):
            db.execute(
                f"update {table} set {column} = now from respelt where {column} = was and n = 1 {of} "
                f"and now not in (select {column} from {table} where true {of})"
            )
            db.execute(f"delete from {table} where {column} in (select was from respelt) {of}")
    db.execute("drop table temp.respelt")
    return found


def policies(db: Warehouse, sync: Sync, crm: Crm) -> tuple[dict[str, int], int]:
    """Take out of a sync's difference what its fields' policies do not allow to be sent.

    A field that was sent without an answer is sent again whatever the CRM holds: it may be our own value.

    Args:
        db: the warehouse; the sync's difference is made.
        sync: the sync.
        crm: reads the records.

    Returns:
        CRM field -> records in which a person's value stays; and the requests that it took.
    """
    careful = [f for f in sync.fields if f.policy != "always"]
    # A sync that only creates has looked for its records already, and sends those alone that are not there.
    if not careful or sync.mode == "create_only":
        return {}, 0
    table = diff.relation(sync)
    names = ", ".join(literal(f.crm_field) for f in careful)
    last_sent = "".join(f", {diff.before(f.crm_field)}" for f in careful)
    rows = db.execute(
        f"select external_id, crm_id{last_sent} from {table} "
        f"where _operation <> 'archive' and list_has_any(changed, [{names}])"
    )
    # What was last sent lets the connector give back that very value where the CRM keeps it in a form of its own.
    records = [
        Record(key, crm_id, {f.crm_field: v for f, v in zip(careful, values, strict=True) if v is not None})
        for key, crm_id, *values in rows
    ]
    kept = {}
    with _read(db, sync, crm, records) as requests:
        forms = crm.forms(sync) if records else {}
        for mapped in careful:
            if count := _apply(db, sync, mapped, forms):
                kept[mapped.crm_field] = count
    db.execute(f"delete from {table} where _operation = 'update' and len(changed) = 0")
    return kept, requests


def _apply(db: Warehouse, sync: Sync, mapped: MappedField, forms: Mapping[str, Form]) -> int:
    """Apply one field's policy; returns in how many records the CRM's value stays."""
    table, name, key = diff.relation(sync), quoted(mapped.crm_field), literal(mapped.crm_field)
    form = forms.get(mapped.crm_field)
    holds = _comparable(f"f.{name}", mapped.type, form)
    last = _comparable(f"t.{diff.before(mapped.crm_field)}", mapped.type, form)
    is_empty = _is_empty(mapped, "f", form)
    free = is_empty if mapped.policy == "if_empty" else f"({last} is null and {is_empty}) or {holds} = {last}"
    looked_at = (
        f"from found f where f._external_id = t.external_id and list_contains(t.changed, {key}) "
        f"and not coalesce(list_contains(t._doubted, {key}), false)"
    )
    same = _same(mapped, "f", "t", forms)
    # The CRM holds it already: the ledger learns that, and nothing is sent.
    db.execute(
        f"update {ledger.relation(sync.name)} l set {name} = t.{name} from {table} t, found f "
        f"where l._external_id = t.external_id and f._external_id = t.external_id and {same} "
        f"and list_contains(t.changed, {key})"
    )
    drop = f"update {table} t set changed = list_filter(t.changed, lambda x: x <> {key}) {looked_at} and "
    db.execute(f"{drop} {same}")
    return int(db.scalar(f"{drop} not coalesce({free}, false)") or 0)


def _same(mapped: MappedField, found: str, wanted: str, forms: Mapping[str, Form]) -> str:
    """SQL: whether a field of these two tables is the same to the CRM, the first of them being ``found``."""
    name, form = quoted(mapped.crm_field), forms.get(mapped.crm_field)
    ours = _comparable(f"{wanted}.{name}", mapped.type, form)
    alike = f"{_comparable(f'{found}.{name}', mapped.type, form)} is not distinct from {ours}"
    return f"{alike} and ({ours} is not null or {_is_empty(mapped, found, form)})"


def _is_empty(mapped: MappedField, found: str, form: Form | None) -> str:
    """SQL: whether the CRM holds nothing; a value that does not fit the column's type is still somebody's value."""
    told = f"{found}.{quoted('told ' + mapped.crm_field)}"
    # Blanks that we sent are read back as they were sent.
    return f"nullif({STRIPPED.sql.format(told) if form is STRIPPED else told}, '') is null"


def _comparable(column: str, data_type: str, form: Form | None) -> str:
    """SQL: a value as CRMs keep it: no empty text, times to the millisecond, lists in any order."""
    kind = data_type.partition("(")[0].strip().lower()
    if kind.endswith("[]"):
        return f"nullif(list_sort(list_distinct({column})), [])"
    if kind.startswith("timestamp") or kind == "datetime":
        return f"date_trunc('milliseconds', {column})"
    if kind not in ("varchar", "text", "string"):
        return column
    return f"nullif({form.sql.format(column) if form else column}, '')"


@contextmanager
def _read(db: Warehouse, sync: Sync, crm: Crm, records: Sequence[Record]) -> Iterator[int]:
    """Read records from the CRM into the temp table ``found`` for the body; yields the requests that it took.

    The table has ``_external_id``, ``_crm_id``, every CRM field in the sync's type (null where the CRM's value does
    not fit it) and, as ``told <field>``, the CRM's value as text.
    """
    with TemporaryDirectory(prefix=".read-", dir=db.path.parent) as folder:
        path = Path(folder) / "found.jsonl"
        requests = 0
        with path.open("w", encoding="utf-8") as file:

            def write(found: list[Record]) -> None:
                for record in found:
                    told = [_told(record.values.get(name)) for name in sync.types]
                    line = {"e": record.external_id, "c": record.crm_id, "v": told}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")

            if records:
                requests = crm.read(sync, records, write)
        columns = "{e: 'VARCHAR', c: 'VARCHAR', v: 'VARCHAR[]'}"
        values = "".join(
            f", {_typed(f'v[{at}]', f.type)} as {quoted(f.crm_field)}, v[{at}] as {quoted('told ' + f.crm_field)}"
            for at, f in enumerate(sync.fields, start=1)
        )
        db.execute(
            f"create or replace temp table found as select e as _external_id, c as _crm_id{values} "
            f"from read_json({literal(str(path))}, format = 'newline_delimited', columns = {columns})"
        )
    try:
        yield requests
    finally:
        db.execute("drop table temp.found")


def _typed(told: str, data_type: str) -> str:
    """SQL: a text from the CRM in a column's type, null where it is none of its values; a list stands in it as JSON."""
    if data_type.strip().endswith("[]"):
        return f"try_cast(from_json({told}, '[\"VARCHAR\"]') as {data_type})"
    return f"case when not {misfits(told, data_type)} then try_cast({told} as {data_type}) end"


def _told(value: Value) -> str | None:
    found = text(value)
    return json.dumps(found, ensure_ascii=False) if isinstance(found, list) else found
