"""What the CRM gave back, kept table by table: the last read-back of every record, in the models' own columns.

Tasks that read back write files and touch no database (`Writer`); they are loaded afterwards, one statement for each
synced model (`keep`), into ``crm_after.<model>``:

- the model's key, and every column that is mapped, in the model's types;
- ``_crm_id``: the CRM's id of the record;
- ``_run_id``, ``_read_at``: the run that last read it back, and when it was loaded, UTC;
- ``_unfit``: JSON, CRM field -> text of what does not fit its column's type; null where all does.

A value that does not fit is null in its column, since a column of texts would be of no use to a suite that compares
amounts; and a suite that judges a column must not take a text like ``1,5`` for a number. It stays visible in
``_unfit``, and as a mismatch. A record that the CRM no longer holds has no row.

What stood in a record that was found instead of made goes into the ledger (`take_up`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import IO

from flows import ledger
from flows.project import Sync
from flows.records import Record
from flows.texts import misfits, text
from flows.warehouse import Warehouse, literal, quoted

SCHEMA = "crm_after"
UNFIT = "_unfit"
OURS = {"_crm_id": "VARCHAR", "_run_id": "VARCHAR", "_read_at": "TIMESTAMP", UNFIT: "VARCHAR"}
"""The columns that are not the model's."""


class Writer:
    """Writes down what a batch's records were found to be: a line of JSON for each record that was looked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Writer:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, external_id: str, found: Record | None) -> None:
        """Write one record; None where the CRM holds no such record."""
        if self._file is None:
            raise RuntimeError("Writer is used as a context manager")
        line: dict[str, object] = {"external_id": external_id, "crm_id": found.crm_id if found else None}
        if found:
            line |= {name: text(value) for name, value in found.values.items()}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def relation(sync: str) -> str:
    """The table of what was read back of a sync, quoted for SQL."""
    return f"{quoted(SCHEMA)}.{quoted(sync)}"


def keep(db: Warehouse, run_id: str, sync: Sync, files: Sequence[Path]) -> int:
    """Take up what was read back of one sync.

    Args:
        db: the warehouse.
        run_id: the run.
        sync: the sync, for its columns.
        files: what was written by `Writer`, each record in one of them.

    Returns:
        Records of this run that the CRM holds.
    """
    listed = ", ".join(literal(str(path)) for path in files if path.exists() and path.stat().st_size)
    if not listed:
        return 0
    types = {f.column: str(db.scalar(f"select typeof(cast(null as {f.type}))")) for f in sync.fields}
    _ensure(db, sync, {sync.external_id_column: "VARCHAR", **types, **OURS})
    read = {"external_id": "VARCHAR", "crm_id": "VARCHAR"}
    read |= {f.crm_field: "VARCHAR[]" if types[f.column].endswith("[]") else "VARCHAR" for f in sync.fields}
    declared = ", ".join(f"{quoted(name)}: {literal(data_type)}" for name, data_type in read.items())
    columns = "".join(f"{_cast(f.crm_field, types[f.column])} as {quoted(f.column)}, " for f in sync.fields)
    key = quoted(sync.external_id_column)
    with db.transaction():
        db.execute(
            f"merge into {relation(sync.name)} as kept using ("
            f"select external_id as {key}, {columns}crm_id as _crm_id, $run as _run_id, "
            f"now()::timestamp as _read_at, {_unfit({f.crm_field: types[f.column] for f in sync.fields})} as {UNFIT} "
            f"from read_json([{listed}], format = 'newline_delimited', columns = {{{declared}}})"
            f") as found on kept.{key} = found.{key} "
            "when matched and found._crm_id is null then delete "
            "when matched then update by name "
            "when not matched and found._crm_id is not null then insert by name",
            {"run": run_id},
        )
    return int(db.scalar(f"select count(*) from {relation(sync.name)} where _run_id = ?", (run_id,)))


def take_up(db: Warehouse, run_id: str, sync: Sync) -> None:
    """Let the ledger know what stood in records that a run wanted to create and found, in fields that it did not send.

    A create sends no field that the model has no value for. In a record that somebody had made before, a value may
    stand there; with it in the ledger, the next plan empties the field, as it does wherever a value goes.

    Args:
        db: the warehouse; the run's receipts are merged, and what it read back is kept.
        run_id: the run.
        sync: the sync.
    """
    emptied = [f for f in sync.fields if f.nulls == "clear" and f.policy == "always"]
    stands = {f.crm_field: _standing(f"r.{quoted(f.column)}", f.type) for f in emptied}
    if not stands:
        return
    db.execute(
        f"update {ledger.relation(sync.name)} l set "
        + ", ".join(f"{quoted(name)} = coalesce(l.{quoted(name)}, {value})" for name, value in stands.items())
        + f" from {relation(sync.name)} r where r.{quoted(sync.external_id_column)} = l._external_id "
        "and r._run_id = $run and l._external_id in (select external_id from sync.changes where run_id = $run "
        "and sync = $sync and operation = 'create' and outcome = 'applied' and not created) "
        f"and ({' or '.join(f'{value} is not null' for value in stands.values())})",
        {"run": run_id, "sync": sync.name},
    )


def _standing(column: str, data_type: str) -> str:
    """A value that was read back, as SQL; null where it is an empty text or list, which is no value to a CRM."""
    empty = {"varchar": "''", "varchar[]": "[]"}.get(data_type)
    return f"nullif({column}, {empty})" if empty else column


def tables(db: Warehouse, run_id: str, syncs: Sequence[str]) -> Set[str]:
    """The syncs of which a run has read records back, and has found them."""
    return {
        name
        for name in syncs
        if db.exists(SCHEMA, name) and db.scalar(f"select 1 from {relation(name)} where _run_id = ? limit 1", (run_id,))
    }


def _cast(field: str, data_type: str) -> str:
    """A field's value in its column's type, as SQL; null where it does not fit."""
    return f"case when not {misfits(quoted(field), data_type)} then try_cast({quoted(field)} as {data_type}) end"


def _unfit(types: Mapping[str, str]) -> str:
    """What does not fit, as SQL: a JSON object, null where there is nothing in it."""
    suspects = {field: test for field, kind in types.items() if (test := misfits(quoted(field), kind)) != "false"}
    if not suspects:
        return "null"
    parts = [f"{literal(field)}, case when {test} then {quoted(field)} end" for field, test in suspects.items()]
    some = " or ".join(suspects.values())
    return f"case when {some} then json_merge_patch('{{}}', json_object({', '.join(parts)}))::varchar end"


def _ensure(db: Warehouse, sync: Sync, wanted: Mapping[str, str]) -> None:
    """Make a sync's table, or bring it to the model's columns and types; what no longer fits is null."""
    schema, name = quoted(SCHEMA), relation(sync.name)
    db.execute(f"create schema if not exists {schema}")
    there = db.columns(name) if db.exists(SCHEMA, sync.name) else {}
    if there == dict(wanted):
        return
    present = {column.casefold() for column in there}
    columns = ", ".join(
        f"try_cast({quoted(column) if column.casefold() in present else 'null'} as {data_type}) as {quoted(column)}"
        for column, data_type in wanted.items()
    )
    rows = f"from {name}" if there else "where false"
    db.execute(f"create or replace table {name} as select {columns} {rows}")
