"""The sandbox's records: SQLite, one table per object, one column per field, deleted rows kept but marked.

Every method takes the store's lock, so that a write is one step for everybody else; `locked` holds it over several.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.sandbox import ids as record_ids
from flows.sandbox.org import NUMBER_TYPES, ORGANIZATION, USER, Field, ObjectType, Org

_PRAGMAS = (
    "page_size=8192",
    "journal_mode=WAL",
    "synchronous=OFF",
    "wal_autocheckpoint=10000",
    "cache_size=-65536",
    "temp_store=MEMORY",
)


def now() -> str:
    """The present as records hold it: UTC, to the millisecond."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


class Store:
    """The records of all objects.

    Args:
        path: the SQLite file; None keeps everything in memory.
        org: the objects and their fields. Fields that an existing file does not have yet are added to it.
        username: the login name of the one user.
    """

    def __init__(self, path: Path | None, org: Org, username: str) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.org = org
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE IF NOT EXISTS _sequence (object TEXT PRIMARY KEY, next INTEGER NOT NULL)")
        for kind in org.objects.values():
            self._create(kind)
        self._seed(username)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """Keep everybody else out, in one transaction that an exception rolls back; gives the connection."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Keep everybody else in this process out, while another process writes to the file."""
        with self._lock:
            yield

    def find(self, kind: ObjectType, field: Field, keys: Sequence[Any]) -> dict[Any, list[str]]:
        """Find live records by the values of a field.

        Args:
            kind: the object.
            field: the field; an indexed one is fast.
            keys: the values; text is found whatever its case, unless the field is case sensitive.

        Returns:
            Key, folded by `fold` -> the ids that have it.
        """
        sql = (
            f"SELECT {quoted(field.name)}, Id FROM {quoted(kind.name)} "
            f"WHERE {quoted(field.name)} IN (SELECT value FROM json_each(?)) AND IsDeleted = 0"
        )
        with self._lock:
            rows = self._db.execute(sql, (json.dumps(list(keys), ensure_ascii=False),)).fetchall()
        if field.unique:
            return {fold(field, key): [record_id] for key, record_id in rows}
        found: dict[Any, list[str]] = {}
        for key, record_id in rows:
            found.setdefault(fold(field, key), []).append(record_id)
        return found

    def states(self, kind: ObjectType, wanted: Sequence[str]) -> dict[str, bool]:
        """Tell which of some ids exist.

        Returns:
            Id -> whether the record is deleted; ids that never existed are absent.
        """
        sql = f"SELECT Id, IsDeleted FROM {quoted(kind.name)} WHERE Id IN (SELECT value FROM json_each(?))"
        with self._lock:
            return {key: bool(gone) for key, gone in self._db.execute(sql, (json.dumps(list(wanted)),))}

    def insert(self, kind: ObjectType, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
        """Insert records.

        Args:
            kind: the object.
            columns: the fields of each row.
            rows: the values, in the order of the columns.

        Returns:
            The new ids, in the order of the rows.
        """
        # What all rows have in common stands in the statement: binding it for each would take a tenth of the time.
        stamps = ", ".join([f"'{now()}'"] * 3)
        names = ["CreatedDate", "LastModifiedDate", "SystemModstamp", "Id", *columns]
        values = f"{stamps}, {marks(1 + len(columns))}"
        sql = f"INSERT INTO {quoted(kind.name)} ({', '.join(map(quoted, names))}) VALUES ({values})"
        with self.locked():
            new = record_ids.make_ids(kind.prefix, self._take(kind, len(rows)), len(rows))
            self._db.executemany(sql, [(key, *row) for key, row in zip(new, rows, strict=True)])
        return new

    def update(
        self, kind: ObjectType, columns: Sequence[str], wanted: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Set the same fields of several records.

        Args:
            kind: the object.
            columns: the fields of each row.
            wanted: the records' ids.
            rows: the values, in the order of the columns, one row for each id.
        """
        stamp = now()
        sets = "".join(f"{quoted(name)} = ?, " for name in columns)
        sql = f"UPDATE {quoted(kind.name)} SET {sets}LastModifiedDate = ?, SystemModstamp = ? WHERE Id = ?"
        with self.locked():
            self._db.executemany(sql, [(*row, stamp, stamp, key) for key, row in zip(wanted, rows, strict=True)])

    def delete(self, kind: ObjectType, wanted: Sequence[str], *, hard: bool = False) -> None:
        """Mark records as deleted, or remove them, and with them the records that go with their parent.

        Args:
            kind: the object.
            wanted: the records' ids.
            hard: remove them for good.

        Source: https://developer.salesforce.com/docs/platform/api/guide/sforce-api-calls-delete.md
        """
        stamp = now()
        with self.locked():
            if hard:
                self._db.executemany(f"DELETE FROM {quoted(kind.name)} WHERE Id = ?", [(key,) for key in wanted])
            else:
                self._db.executemany(
                    f"UPDATE {quoted(kind.name)} SET IsDeleted = 1, LastModifiedDate = ?, SystemModstamp = ? "
                    "WHERE Id = ?",
                    [(stamp, stamp, key) for key in wanted],
                )
            # Last, so that records which lie in each other come to an end.
            for other, field in self.org.children(kind):
                if field.cascade and (children := self._having(other, field, wanted, deleted=hard)):
                    self.delete(other, children, hard=hard)

    def _having(self, kind: ObjectType, lookup: Field, parents: Sequence[str], *, deleted: bool) -> list[str]:
        sql = f"SELECT Id FROM {quoted(kind.name)} WHERE {quoted(lookup.name)} IN (SELECT value FROM json_each(?))" + (
            "" if deleted else " AND IsDeleted = 0"
        )
        return [key for (key,) in self._db.execute(sql, (json.dumps(list(parents)),))]

    def count(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a query that answers one number."""
        with self._lock:
            return int(self._db.execute(sql, values).fetchone()[0])

    def batches(self, sql: str, values: Sequence[Any], size: int) -> Generator[list[tuple[Any, ...]]]:
        """Run a query and hand its rows out in lists; nobody writes until it is finished.

        Args:
            sql: the query.
            values: its parameters.
            size: rows in a list.
        """
        with self._lock:
            cursor = self._db.execute(sql, values)
            while rows := cursor.fetchmany(size):
                yield rows

    def _take(self, kind: ObjectType, count: int) -> int:
        sql = (
            "INSERT INTO _sequence VALUES (?, ? + 1) ON CONFLICT (object) DO UPDATE SET next = next + ? "
            "RETURNING next - ?"
        )
        return int(self._db.execute(sql, (kind.name, count, count, count)).fetchone()[0])

    def _create(self, kind: ObjectType) -> None:
        columns = ", ".join(_column(field) for field in kind.fields.values())
        self._db.execute(f"CREATE TABLE IF NOT EXISTS {quoted(kind.name)} ({columns}) WITHOUT ROWID")
        there = {row[1] for row in self._db.execute(f"PRAGMA table_xinfo({quoted(kind.name)})")}
        for field in kind.fields.values():
            if field.name not in there:
                self._db.execute(f"ALTER TABLE {quoted(kind.name)} ADD COLUMN {_column(field)}")
            if field.indexed:
                name = quoted(f"{kind.name}.{field.name}")
                unique = "UNIQUE " if field.unique else ""
                self._db.execute(
                    f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {quoted(kind.name)} "
                    f"({quoted(field.name)}) WHERE IsDeleted = 0"
                )

    def _seed(self, username: str) -> None:
        """Put the one user and the organization in, where the store is new."""
        rows = {
            "User": {"Username": username, "FirstName": "Nightly", "LastName": "Run", "Email": username},
            "Organization": {
                "Name": "Nightshift Sandbox",
                "InstanceName": "NS0",
                "OrganizationType": "Developer Edition",
                "LanguageLocaleKey": "en_US",
            },
        }
        for name, wanted in (("User", USER), ("Organization", ORGANIZATION)):
            kind = self.org.objects.get(name)
            if kind and not self.states(kind, [wanted]):
                values = {key: value for key, value in rows[name].items() if key in kind.fields}
                self.insert(kind, list(values), [list(values.values())])


_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def fold(field: Field, key: Any) -> Any:
    """Bring a key to the form under which `Store.find` answers: lower case, unless the field tells cases apart."""
    # SQLite's NOCASE knows ASCII only, and so must this.
    if field.case_sensitive or not isinstance(key, str):
        return key
    return key.lower() if key.isascii() else key.translate(_LOWER)


def quoted(name: str) -> str:
    """Quote a table's or a column's name."""
    return '"' + name.replace('"', '""') + '"'


def marks(count: int) -> str:
    """Placeholders for values."""
    return ", ".join("?" * count)


def _column(field: Field) -> str:
    name = quoted(field.name)
    if field.type == "boolean":
        kind = "INTEGER"
    elif field.type in NUMBER_TYPES:
        kind = "INTEGER" if field.type == "int" else "REAL"
    elif field.type in {"id", "reference", "date", "datetime"} or field.case_sensitive:
        kind = "TEXT"
    else:
        kind = "TEXT COLLATE NOCASE"
    if field.name == "Id":
        return f"{name} TEXT PRIMARY KEY NOT NULL"
    if field.formula:
        return f"{name} {kind} GENERATED ALWAYS AS ({field.formula}) VIRTUAL"
    if field.default is None:
        return f"{name} {kind}"
    default = field.default if isinstance(field.default, str) else int(field.default)
    return f"{name} {kind} DEFAULT " + (f"'{default}'" if isinstance(default, str) else str(default))
