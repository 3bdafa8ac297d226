"""Desired state against ledger, in SQL: one row for each record to write.

Both sides are hashed row by row and the hashes are joined, eight bytes a record: only rows whose hash stands on one
side alone are looked at value by value. That the rest are pairs is counted, so a repeated key, or two rows that share a
hash by chance, cannot hide a change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from flows import ledger, warehouse
from flows.errors import ConfigError, GateFailed
from flows.project import MappedField, Sync
from flows.project.types import family
from flows.warehouse import Warehouse, literal, quoted

Only = Literal["rejections"]
"""A plan of some records alone: those that the CRM refused, and those that it gave no answer for."""


def relation(sync: Sync) -> str:
    """The temp table of a sync's difference, quoted for SQL.

    Its columns: ``external_id``, ``crm_id``, ``_operation``, ``changed`` (the CRM fields to send), ``_acknowledged``
    (whether the ledger knew the record), ``_doubted`` (fields that were sent without an answer), ``_depth`` and
    ``_turn`` (in which order they go: `flows.plan.batches.deepen`, `flows.plan.cap`), and for every CRM field its
    desired value and, as ``before <field>``, the ledger's.
    """
    return relation_of(sync.name)


def relation_of(sync: str) -> str:
    """The same, by the sync's name."""
    return f"temp.{quoted('diff__' + sync)}"


def before(name: str) -> str:
    """The column that holds what the ledger says of a field, quoted for SQL."""
    return quoted("before " + name)


def make(db: Warehouse, sync: Sync, only: Only | None = None, planned: Collection[str] = ()) -> None:
    """Make the temp table of a sync's difference.

    Args:
        db: the warehouse; its ledger has the sync's fields.
        sync: the sync.
        only: plan only these records.
        planned: the syncs whose difference is made already, parents first.

    Raises:
        ConfigError: the model has not been built, or lacks a mapped column.
        GateFailed: an external id is null or stands twice, or a value does not fit its declared type.
    """
    desired = model(db, sync)
    try:
        _candidates(db, sync, desired, only)
        if not only:
            _led_astray(db, sync, desired, planned)
        _compare(db, sync)
        # On a first night they are as large as the model.
        db.execute("drop table temp.ours; drop table temp.theirs; drop table if exists temp.candidates")
    except warehouse.Error as error:
        raise GateFailed(
            f"{sync.declared_in}: {sync.name}: a value of {sync.relation} does not fit its column's data_type: "
            + warehouse.first_line(error, private=bool(sync.personal)),
            safe="Nothing was sent; the ledger is as it was.",
            todo="Cast the column in the model, or declare the data_type that it has.",
        ) from error


def settled(db: Warehouse, sync: Sync) -> set[str]:
    """The external ids of open rejections that a sync's difference does not hold."""
    refused = f"from sync.rejections where sync = {literal(sync.name)} and closed_at is null"
    # The difference is read whole for it, so only where there is anything.
    if not db.scalar(f"select 1 {refused} limit 1"):
        return set()
    rows = db.execute(f"select external_id {refused} and external_id not in (select external_id from {relation(sync)})")
    return {external_id for (external_id,) in rows}


def model(db: Warehouse, sync: Sync) -> str:
    """The model's table, quoted for SQL; a view is copied into one first, since rows are told apart by their rowids.

    Raises:
        ConfigError: the model has not been built, or lacks a mapped column.
    """
    try:
        columns = db.columns(sync.relation)
    except warehouse.Error as error:
        raise ConfigError(
            f"{sync.declared_in}: {sync.name}: the table {sync.relation} does not exist.",
            safe="Nothing was sent.",
            todo="Build the dbt project (nightshift plan does, and sends nothing), or remove the sync.",
        ) from error
    wanted = [sync.external_id_column, *(f.column for f in sync.fields)]
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise ConfigError(
            f"{sync.declared_in}: {sync.name}: the table {sync.relation} has no column {', '.join(missing)}.",
            safe="Nothing was sent.",
            todo="Correct the mapping, or select the column in the model.",
        )
    # A view has no rowids. (The catalogue knows which it is, too, but takes a third of a second for a large file.)
    with warehouse.suppressed():
        db.execute(f"select rowid from {sync.relation} limit 0")
        return sync.relation
    db.execute(f"create or replace temp table desired as select * from {sync.relation}")
    return "temp.desired"


def key(sync: Sync) -> str:
    """SQL: a model row's external id as text; null where it is empty."""
    return f"nullif(cast({quoted(sync.external_id_column)} as varchar), '')"


def _candidates(db: Warehouse, sync: Sync, desired: str, only: Only | None) -> None:
    """Fetch the rows that are to be compared: of the model into ``ours``, of the ledger into ``theirs``."""
    if only:
        keys = f"select external_id from sync.rejections where sync = {literal(sync.name)} and closed_at is null"
        _check_keys(db, sync, desired)
        _fetch(db, sync, desired, f"{key(sync)} in ({keys})", f"_external_id in ({keys})")
    else:
        _differing_rows(db, sync, desired)
    doubted = f"select external_id from sync.doubts where sync = {literal(sync.name)}"
    _fetch_too(db, sync, desired, doubted)


def _led_astray(db: Warehouse, sync: Sync, desired: str, planned: Collection[str]) -> None:
    """Fetch the children of parents that this plan makes again, as if the ledger knew no parent of theirs.

    What they point to went with the parent's former record. They are not sent before, while there is no parent.
    """
    for mapped in sync.fields:
        if not (made := _made(sync, mapped, planned)):
            continue
        name = quoted(mapped.crm_field)
        db.execute(
            "create or replace temp table astray as "
            f"select _external_id from {ledger.relation(sync.name)} where {name} in ({made})"
        )
        if not db.scalar("select count(*) from astray"):
            continue
        # A parent that we never wrote may be there all the same: then they lead to it.
        before = ledger.known_before(str(mapped.parent))
        db.execute(
            "delete from astray where _external_id not in "
            f"(select _external_id from {ledger.relation(sync.name)} where {name} in ({before}))"
        )
        _fetch_too(db, sync, desired, "from astray")
        db.execute(f"update theirs set {name} = null where _external_id in (from astray)")


def _made(sync: Sync, mapped: MappedField, planned: Collection[str]) -> str:
    """SQL: the records that this plan makes, of the sync that a field looks up; empty where it makes none.

    For those that were tried before, without an answer, `flows.ledger.merge` has seen to it.
    """
    if mapped.parent is None or mapped.parent not in (sync.name, *planned):
        return ""
    doubts = f"select external_id from sync.doubts where sync = {literal(mapped.parent)}"
    tried, archived = f"({doubts} and operation <> 'archive')", f"({doubts} and operation = 'archive')"
    if mapped.parent != sync.name:
        created = f"select external_id from {relation_of(mapped.parent)} where _operation = 'create'"
        return f"{created} and external_id not in {tried}"
    if sync.mode == "update_only":
        return ""
    return (
        "select _external_id from ours where (_external_id not in (select _external_id from theirs) "
        f"or _external_id in {archived}) and _external_id not in {tried} "
        f"and _external_id not in (select external_id from sync.forgotten where sync = {literal(sync.name)})"
    )


def as_held(sync: Sync) -> str:
    """SQL: a model's row as a ledger's: its key, and the CRM fields in their types."""
    return f"{key(sync)} as _external_id" + "".join(f", {_cast(f)} as {quoted(f.crm_field)}" for f in sync.fields)


def _fetch(db: Warehouse, sync: Sync, desired: str, ours: str, theirs: str) -> None:
    """Make the temp tables ``ours`` and ``theirs`` of the rows for which these conditions hold."""
    db.execute(f"create or replace temp table ours as select {as_held(sync)} from {desired} where {ours}")
    db.execute(f"create or replace temp table theirs as from {ledger.relation(sync.name)} where {theirs}")


def _fetch_too(db: Warehouse, sync: Sync, desired: str, keys: str) -> None:
    """Fetch the records with these external ids as well, which are SQL, on whichever side they are not there yet."""
    for table, rows, id_ in (
        ("ours", f"select {as_held(sync)} from {desired}", key(sync)),
        ("theirs", f"select * from {ledger.relation(sync.name)}", "_external_id"),
    ):
        db.execute(
            f"insert into {table} {rows} where {id_} in ({keys}) and {id_} not in (select _external_id from {table})"
        )


def _differing_rows(db: Warehouse, sync: Sync, desired: str) -> None:
    """Fetch the rows whose hash stands on one side alone."""
    ours = ", ".join([key(sync), *(_cast(f) for f in sync.fields)])
    theirs = ", ".join(["_external_id", *(quoted(f.crm_field) for f in sync.fields)])
    db.execute(
        "create or replace temp table candidates as select a.r as d, b.r as l "
        f"from (select hash({ours}) as h, rowid as r from {desired}) a "
        f"full join (select hash({theirs}) as h, rowid as r from {ledger.relation(sync.name)}) b using (h) "
        "where a.r is null or b.r is null"
    )
    one_side = "rowid in (select {0} from candidates where {0} is not null)"
    _fetch(db, sync, desired, one_side.format("d"), one_side.format("l"))
    if not _pairs(db, sync, desired):
        _check_keys(db, sync, desired)
        # Every key is a key, so two rows share a hash by chance: compare them all.
        _fetch(db, sync, desired, "true", "true")


def _pairs(db: Warehouse, sync: Sync, desired: str) -> bool:
    """Whether the rows that were not fetched are pairs of one model row and one ledger row of the same key."""
    known = ledger.relation(sync.name)
    rows, held = (int(db.scalar(f"select count(*) from {table}")) for table in (desired, known))
    ours, keys = db.execute("select count(*), count(distinct _external_id) from ours")[0]
    theirs = int(db.scalar("select count(*) from theirs"))
    if rows - ours != held - theirs or ours != keys:
        return False
    # A row of ours whose key stands in the ledger, but not among what was fetched of it, is a second row of that key.
    new = "select _external_id from ours except select _external_id from theirs"
    if not db.scalar(f"select count(*) from ({new})"):
        return True
    return not db.scalar(f"select count(*) from {known} where _external_id in ({new})")


def _check_keys(db: Warehouse, sync: Sync, desired: str) -> None:
    """See that the model's key is a key; a query over every row, for when something is wrong."""
    nulls, rows, keys = db.execute(
        f"select count(*) - count(k), count(k), count(distinct k) from (select {key(sync)} as k from {desired})"
    )[0]
    if not nulls and rows == keys:
        return
    doubled = db.execute(
        f"select {key(sync)} as k from {desired} group by k having count(*) > 1 and k is not null order by k limit 3"
    )
    what = (
        f"{rows - keys} rows repeat an external id (such as {', '.join(row[0] for row in doubled)})"
        if doubled
        else f"{nulls} rows have no external id"
    )
    raise GateFailed(
        f"{sync.declared_in}: {sync.name}: {what} in the column {sync.external_id_column}.",
        safe="Nothing was sent; the ledger is as it was.",
        todo=f"Make {sync.external_id_column} unique and not null in the model, and add those dbt tests.",
    )


def _cast(mapped: MappedField) -> str:
    """SQL: a model's column in its field's type; of a list, only what is a value, since a CRM keeps nothing else."""
    cast = f"cast({quoted(mapped.column)} as {mapped.type})"
    if mapped.parent is not None:
        return f"nullif({cast}, '')"
    return f"list_filter({cast}, lambda x: x <> '')" if mapped.type.strip().endswith("[]") else cast


def _compare(db: Warehouse, sync: Sync) -> None:
    names = [f.crm_field for f in sync.fields]
    # A record that may have been archived without an answer is made again, by its external id.
    lost = "k._acknowledged is distinct from true" + (" or k._doubt = 'archive'" if sync.mode != "update_only" else "")
    both = "".join(f", d.{quoted(n)} as {quoted(n)}, k.{quoted(n)} as {before(n)}" for n in names)
    wanted = {
        "create": sync.mode != "update_only",
        "update": sync.mode != "create_only",
        "archive": sync.mode == "mirror",
    }
    db.execute(
        f"create or replace temp table {relation(sync)} as "
        f"with known as ({_known(sync, names)}) "
        "select coalesce(d._external_id, k._external_id) as external_id, "
        "case when d._external_id is null then 'archive' "
        f"when {lost} then 'create' else 'update' end as _operation, "
        # What may be gone may also have come back under another id: it is found by its external id.
        "case when k._doubt = 'archive' and _operation <> 'update' then null else k._crm_id end as crm_id, "
        f"case _operation when 'create' then {_listed(_told_to_new(sync))} "
        f"when 'update' then {_listed(_differing(sync))} else [] end as changed, "
        f"coalesce(k._acknowledged, false) as _acknowledged, k._doubted, 0 as _depth, 0 as _turn{both} "
        "from ours d full join known k on d._external_id = k._external_id "
        f"where _operation in ({', '.join(literal(name) for name, is_wanted in wanted.items() if is_wanted)}) "
        "and (_operation <> 'update' or len(changed) > 0) "
        # Only what we wrote ourselves is archived, not what was only found there.
        "and (_operation <> 'archive' or k._written) "
        "and not exists (select 1 from sync.forgotten f where "
        f"f.sync = {literal(sync.name)} and f.external_id = d._external_id)"
    )


def _differing(sync: Sync) -> dict[str, str]:
    """CRM field -> SQL: whether an update sends it, before its policy is asked."""
    tests = {}
    for mapped in sync.fields:
        name = quoted(mapped.crm_field)
        ours, theirs = f"d.{name}", f"k.{name}"
        if mapped.type.strip().endswith("[]"):
            # A multi-picklist's values have no order; the CRM gives them back in its own.
            ours, theirs = f"list_sort({ours})", f"list_sort({theirs})"
        test = f"{ours} is distinct from {theirs} or list_contains(k._doubted, {literal(mapped.crm_field)})"
        tests[mapped.crm_field] = f"{_given(mapped)} and ({test})" if mapped.nulls == "ignore" else test
    return tests


def _told_to_new(sync: Sync) -> dict[str, str]:
    """CRM field -> SQL: whether a create sends it.

    A new record need not be told what it does not have; one that may be there already must be.
    """
    return {
        mapped.crm_field: _given(mapped)
        if mapped.nulls == "ignore"
        else f"d.{quoted(mapped.crm_field)} is not null or k._doubt is not null"
        for mapped in sync.fields
    }


def _given(mapped: MappedField) -> str:
    """SQL: whether the model has a value; to a CRM an empty text or list is none, and would empty its field."""
    name = f"d.{quoted(mapped.crm_field)}"
    empty = {"text": "''", "list": "[]"}.get(family(mapped.type) or "")
    return f"nullif({name}, {empty}) is not null" if empty else f"{name} is not null"


def _known(sync: Sync, names: Sequence[str]) -> str:
    """SQL: what the CRM holds or may hold of the candidates, one row for each external id."""
    held = "".join(f", l.{quoted(name)}" for name in names)
    return (
        "select coalesce(l._external_id, t.external_id) as _external_id, l._crm_id, "
        "l._external_id is not null as _acknowledged, l._acked_at is not null or t.operation is not null as _written, "
        f"t.operation as _doubt, t.fields as _doubted{held} "
        f"from theirs l full join (from sync.doubts where sync = {literal(sync.name)}) t "
        "on t.external_id = l._external_id"
    )


def _listed(tests: Mapping[str, str]) -> str:
    """SQL: the list of the names whose test is true."""
    cases = ", ".join(f"case when {test} then {literal(name)} end" for name, test in tests.items())
    return f"list_filter([{cases}]::varchar[], lambda x: x is not null)"
