"""The HubSpot records: tables of their own in the sandbox's SQLite store.

A record's properties are one JSON text, so that properties can be created while the sandbox runs; unique values have
a table that finds and guards them. Whoever calls holds the store's lock (`Store.locked`) where steps belong together.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.sandbox.hubspot.schema import Kind, Property
from flows.sandbox.store import Store

_FIRST_ID = 20_000_000_001
_TABLES = (
    "CREATE TABLE IF NOT EXISTS _hubspot_records (object TEXT, id INTEGER, properties TEXT NOT NULL, "
    "created INTEGER NOT NULL, updated INTEGER NOT NULL, archived INTEGER, indexed TEXT, "
    "PRIMARY KEY (object, id)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS _hubspot_unique (object TEXT, property TEXT, value TEXT, id INTEGER NOT NULL, "
    "PRIMARY KEY (object, property, value)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS _hubspot_sequence (next INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS _hubspot_properties (object TEXT, name TEXT, definition TEXT NOT NULL, "
    "PRIMARY KEY (object, name)) WITHOUT ROWID",
)
_json = json.JSONEncoder(ensure_ascii=False).encode
_COLUMNS = "id, properties, created, updated, archived"


@dataclass(slots=True)
class Record:
    """One record.

    Attributes:
        id: the record's number.
        properties: name -> value; what was cleared is an empty text.
        created: milliseconds since 1970.
        updated: milliseconds since 1970.
        archived: milliseconds since 1970; None while it is not archived.
    """

    id: int
    properties: dict[str, str] = field(default_factory=dict)
    created: int = 0
    updated: int = 0
    archived: int | None = None


def now_ms() -> int:
    """The present in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Records:
    """The records of all object types.

    Args:
        store: the sandbox's store.
        index_seconds: how long a search lags behind a write.
    """

    def __init__(self, store: Store, index_seconds: float = 0.0) -> None:
        self.locked = store.locked
        self._lag = int(index_seconds * 1000)
        with self.locked() as db:
            for table in _TABLES:
                db.execute(table)
            if not db.execute("SELECT 1 FROM _hubspot_sequence").fetchone():
                db.execute("INSERT INTO _hubspot_sequence VALUES (?)", (_FIRST_ID,))

    def get(self, kind: Kind, ids: Iterable[int], *, archived: bool = False) -> dict[int, Record]:
        """Read records by id; those that are missing are absent."""
        sql = (
            f"SELECT {_COLUMNS} FROM _hubspot_records WHERE object = ? AND id IN (SELECT value FROM json_each(?)) "
            f"AND archived IS {'NOT ' if archived else ''}NULL"
        )
        with self.locked() as db:
            rows = db.execute(sql, (kind.name, json.dumps(list(ids)))).fetchall()
        return {row[0]: _record(row) for row in rows}

    def owners(self, kind: Kind, name: str, values: Iterable[str]) -> dict[str, int]:
        """Find records by the values of a unique property: value -> id."""
        sql = (
            "SELECT value, id FROM _hubspot_unique WHERE object = ? AND property = ? "
            "AND value IN (SELECT value FROM json_each(?))"
        )
        with self.locked() as db:
            return dict(db.execute(sql, (kind.name, name, json.dumps(list(values), ensure_ascii=False))).fetchall())

    def insert(self, kind: Kind, properties: Sequence[dict[str, str]]) -> list[Record]:
        """Insert records; answers them in the same order."""
        moment = now_ms()
        with self.locked() as db:
            sql = "UPDATE _hubspot_sequence SET next = next + ? RETURNING next"
            first = db.execute(sql, (len(properties),)).fetchone()[0] - len(properties)
            records = [Record(first + n, values, moment, moment) for n, values in enumerate(properties)]
            db.executemany(
                "INSERT INTO _hubspot_records VALUES (?, ?, ?, ?, ?, NULL, NULL)",
                [(kind.name, r.id, _json(r.properties), moment, moment) for r in records],
            )
            self._claim(db, kind, [(r.id, r.properties) for r in records])
        return records

    def update(self, kind: Kind, changes: Sequence[tuple[Record, dict[str, str]]]) -> None:
        """Write changed properties into records, and into the given values too."""
        moment = now_ms()
        with self.locked() as db:
            self._release(db, kind, changes)
            if self._lag:  # what the search goes on showing until it has caught up
                sql = "UPDATE _hubspot_records SET indexed = properties WHERE object = ? AND id = ? AND updated <= ?"
                db.executemany(sql, [(kind.name, record.id, moment - self._lag) for record, _ in changes])
            for record, values in changes:
                record.properties |= values
                record.updated = moment
            db.executemany(
                "UPDATE _hubspot_records SET properties = ?, updated = ? WHERE object = ? AND id = ?",
                [(_json(r.properties), moment, kind.name, r.id) for r, _ in changes],
            )
            self._claim(db, kind, [(record.id, values) for record, values in changes])

    def archive(self, kind: Kind, ids: Iterable[int]) -> None:
        """Archive records: they are gone from ordinary reads, and their unique values are free again."""
        moment = now_ms()
        wanted = list(ids)
        live = self.get(kind, wanted) if kind.unique else {}
        with self.locked() as db:
            sql = (
                "UPDATE _hubspot_records SET archived = ?, updated = ? WHERE object = ? AND id = ? AND archived IS NULL"
            )
            db.executemany(sql, [(moment, moment, kind.name, key) for key in wanted])
            for prop in kind.unique:
                sql = "DELETE FROM _hubspot_unique WHERE object = ? AND property = ? AND value = ?"
                held = [record.properties.get(prop.name, "") for record in live.values()]
                db.executemany(sql, [(kind.name, prop.name, value) for value in held if value])

    def page(self, kind: Kind, after: int, limit: int, *, archived: bool) -> list[Record]:
        """Read records in the order of their ids, those behind one of them."""
        sql = (
            f"SELECT {_COLUMNS} FROM _hubspot_records WHERE object = ? AND id > ? "
            f"AND archived IS {'NOT ' if archived else ''}NULL ORDER BY id LIMIT ?"
        )
        with self.locked() as db:
            return [_record(row) for row in db.execute(sql, (kind.name, after, limit)).fetchall()]

    def search(
        self, kind: Kind, where: str, values: Sequence[Any], order: str, offset: int, limit: int
    ) -> tuple[int, list[Record]]:
        """Run a search over what is indexed by now.

        Args:
            kind: the object type.
            where: an SQL condition over ``id``, ``properties``, ``created`` and ``updated``.
            values: its parameters.
            order: an SQL order.
            offset: how many records to leave out.
            limit: how many to answer.

        Returns:
            How many match in all, and the records asked for.
        """
        source = f"(SELECT {_COLUMNS} FROM _hubspot_records WHERE object = ? AND archived IS NULL)"
        bound: list[Any] = [kind.name]
        if self._lag:
            seen = now_ms() - self._lag
            source = (
                "(SELECT id, iif(updated <= ?, properties, indexed) AS properties, created, updated, archived "
                "FROM _hubspot_records WHERE object = ? AND archived IS NULL "
                "AND (updated <= ? OR indexed IS NOT NULL))"
            )
            bound = [seen, kind.name, seen]
        with self.locked() as db:
            total = db.execute(f"SELECT count(*) FROM {source} WHERE {where}", [*bound, *values]).fetchone()[0]
            sql = f"SELECT {_COLUMNS} FROM {source} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
            rows = db.execute(sql, [*bound, *values, limit, offset]).fetchall()
        return total, [_record(row) for row in rows]

    def definitions(self) -> list[tuple[str, dict[str, Any]]]:
        """The properties that were created through the API: object type's name, definition."""
        with self.locked() as db:
            rows = db.execute("SELECT object, definition FROM _hubspot_properties").fetchall()
        return [(name, json.loads(text)) for name, text in rows]

    def define(self, kind: Kind, prop: Property, definition: dict[str, Any]) -> None:
        """Keep a property that was created or changed through the API."""
        with self.locked() as db:
            sql = "INSERT OR REPLACE INTO _hubspot_properties VALUES (?, ?, ?)"
            db.execute(sql, (kind.name, prop.name, json.dumps(definition)))

    def undefine(self, kind: Kind, name: str) -> None:
        """Forget a property that was created through the API."""
        with self.locked() as db:
            db.execute("DELETE FROM _hubspot_properties WHERE object = ? AND name = ?", (kind.name, name))

    def _claim(self, db: sqlite3.Connection, kind: Kind, rows: Sequence[tuple[int, dict[str, str]]]) -> None:
        for prop in kind.unique:
            values = [(kind.name, prop.name, v, key) for key, row in rows if (v := row.get(prop.name))]
            db.executemany("INSERT OR REPLACE INTO _hubspot_unique VALUES (?, ?, ?, ?)", values)

    def _release(self, db: sqlite3.Connection, kind: Kind, changes: Sequence[tuple[Record, dict[str, str]]]) -> None:
        for prop in kind.unique:
            name = prop.name
            gone = [
                (kind.name, name, before)
                for record, values in changes
                if name in values and (before := record.properties.get(name)) and before != values[name]
            ]
            db.executemany("DELETE FROM _hubspot_unique WHERE object = ? AND property = ? AND value = ?", gone)


def _record(row: tuple[Any, ...]) -> Record:
    return Record(row[0], json.loads(row[1]), row[2], row[3], row[4])
