"""Associations between records: their types, and where they are kept.

Source: https://developers.hubspot.com/docs/api/crm/associations (the ids of HubSpot's own types)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flows.sandbox.hubspot.schema import Kind, Schema
from flows.sandbox.store import Store

HUBSPOT, USER = "HUBSPOT_DEFINED", "USER_DEFINED"
_FIRST_USER_TYPE = 1001
PRIMARY = "Primary"
# from, to, type id, inverse type id, label, inverse label
_BUILT_IN = (
    ("contacts", "companies", 279, 280, "", ""),
    ("contacts", "companies", 1, 2, PRIMARY, PRIMARY),
    ("deals", "companies", 341, 342, "", ""),
    ("deals", "companies", 5, 6, PRIMARY, PRIMARY),
    ("deals", "contacts", 3, 4, "", ""),
    ("contacts", "contacts", 449, 449, "", ""),
    ("companies", "companies", 450, 450, "", ""),
    ("companies", "companies", 14, 13, "Parent Company", "Child Company"),
    ("deals", "deals", 451, 451, "", ""),
)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS _hubspot_links (object TEXT, id INTEGER, to_object TEXT, to_id INTEGER, "
    "type INTEGER, PRIMARY KEY (object, id, to_object, to_id, type)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS _hubspot_labels (object TEXT, to_object TEXT, type INTEGER PRIMARY KEY, "
    "inverse INTEGER NOT NULL, label TEXT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class LinkType:
    """One type of association, in one direction.

    Attributes:
        source: the name of the object type that it starts from.
        target: the name of the object type that it leads to.
        id: the type's id.
        inverse: the id of the same type in the other direction.
        label: what people read; empty for the type that has no label.
        category: whether HubSpot or an administrator defined it.
    """

    source: str
    target: str
    id: int
    inverse: int
    label: str
    category: str

    def spec(self, *, as_published: bool) -> dict[str, Any]:
        """The type as reads and lists answer it."""
        body: dict[str, Any] = {"category": self.category, "typeId": self.id}
        if self.label or not as_published:
            body["label"] = self.label or None
        return body


class Links:
    """The associations of all records, and their types.

    Args:
        store: the sandbox's store.
        schema: the object types.
    """

    def __init__(self, store: Store, schema: Schema) -> None:
        self.locked = store.locked
        self._types: dict[tuple[str, str], dict[int, LinkType]] = {}
        for source, target, key, inverse, label, other in _BUILT_IN:
            self._add(LinkType(source, target, key, inverse, label, HUBSPOT))
            self._add(LinkType(target, source, inverse, key, other, HUBSPOT))
        names = list(schema.kinds)
        following = _FIRST_USER_TYPE
        for number, source in enumerate(names):
            for target in names[number:]:
                if (source, target) not in self._types:
                    inverse = following if source == target else following + 1
                    self._add(LinkType(source, target, following, inverse, "", USER))
                    self._add(LinkType(target, source, inverse, following, "", USER))
                    following += 2
        with self.locked() as db:
            for table in _TABLES:
                db.execute(table)
            self._following = max(following, db.execute("SELECT max(type) FROM _hubspot_labels").fetchone()[0] or 0) + 1
            for row in db.execute("SELECT object, to_object, type, inverse, label FROM _hubspot_labels").fetchall():
                self._add(LinkType(row[0], row[1], row[2], row[3], row[4], USER))

    def types(self, source: Kind, target: Kind) -> dict[int, LinkType]:
        """The types from one object type to another, by id."""
        return self._types.get((source.name, target.name), {})

    def default(self, source: Kind, target: Kind) -> LinkType:
        """The type that has no label."""
        return next(found for found in self.types(source, target).values() if not found.label)

    def define(self, source: Kind, target: Kind, label: str, inverse_label: str | None) -> list[LinkType]:
        """Add a label that an administrator made; answers its type in both directions.

        Between records of one object type, a label without an inverse one is the same type in both.
        """
        with self.locked() as db:
            key, other = self._following, self._following + 1
            self._following += 2
            made = [LinkType(source.name, target.name, key, other, label, USER)]
            if source.name == target.name and inverse_label is None:
                made = [LinkType(source.name, source.name, key, key, label, USER)]
            else:
                made.append(LinkType(target.name, source.name, other, key, inverse_label or label, USER))
            for one in made:
                row = (one.source, one.target, one.id, one.inverse, one.label)
                db.execute("INSERT INTO _hubspot_labels VALUES (?, ?, ?, ?, ?)", row)
                self._add(one)
        return made

    def undefine(self, one: LinkType) -> None:
        """Take away a label that an administrator made, from all associations that bear it."""
        with self.locked() as db:
            for found in (one, self._inverse(one)):
                db.execute("DELETE FROM _hubspot_labels WHERE type = ?", (found.id,))
                db.execute("DELETE FROM _hubspot_links WHERE object = ? AND type = ?", (found.source, found.id))
                self._types[found.source, found.target].pop(found.id, None)

    def add(self, source: int, target: int, wanted: LinkType) -> None:
        """Associate two records, in both directions.

        The unlabelled type always goes with a labelled one. The first company of a record becomes its primary one.
        """
        between = self._types[wanted.source, wanted.target]
        plain = next(found for found in between.values() if not found.label)
        primary = next((found for found in between.values() if found.label == PRIMARY), None)
        self._put(source, target, plain)
        if primary is not None:
            # Seen from the company, it is the other record that has one primary company.
            owner, company = (source, target) if wanted.target == "companies" else (target, source)
            forth = primary if wanted.target == "companies" else self._inverse(primary)
            if wanted is primary:
                self._clear(owner, forth)
            if wanted is primary or not self._has(owner, forth):
                self._put(owner, company, forth)
        if wanted is not plain and wanted is not primary:
            self._put(source, target, wanted)

    def remove(self, source: Kind, key: int, target: Kind, other: int, types: Iterable[int] | None = None) -> None:
        """Take an association away, in both directions.

        Args:
            source: the object type that it starts from.
            key: the record's id.
            target: the object type that it leads to.
            other: that record's id.
            types: only those types; None for all. Where one of them has no label, all of them go.
        """
        known = self.types(source, target)
        chosen = [known[number] for number in types if number in known] if types is not None else []
        if types is None or not all(one.label for one in chosen):
            chosen = list(known.values())
        sql = "DELETE FROM _hubspot_links WHERE object = ? AND id = ? AND to_object = ? AND to_id = ? AND type = ?"
        rows = [(source.name, key, target.name, other, one.id) for one in chosen]
        rows += [(target.name, other, source.name, key, one.inverse) for one in chosen]
        with self.locked() as db:
            db.executemany(sql, rows)

    def of(self, source: Kind, keys: Sequence[int], target: Kind) -> dict[int, dict[int, list[LinkType]]]:
        """The associations of records: id -> the other record's id -> types."""
        sql = (
            "SELECT id, to_id, type FROM _hubspot_links WHERE object = ? AND to_object = ? "
            "AND id IN (SELECT value FROM json_each(?)) ORDER BY id, to_id, type"
        )
        known = self.types(source, target)
        found: dict[int, dict[int, list[LinkType]]] = {}
        with self.locked() as db:
            for key, other, number in db.execute(sql, (source.name, target.name, json.dumps(list(keys)))).fetchall():
                if number in known:
                    found.setdefault(key, {}).setdefault(other, []).append(known[number])
        return found

    def forget(self, kind: Kind, keys: Iterable[int]) -> None:
        """Drop all associations of records."""
        with self.locked() as db:
            for key in keys:
                sql = "DELETE FROM _hubspot_links WHERE object = ? AND id = ? RETURNING to_object, to_id"
                for other, other_id in set(db.execute(sql, (kind.name, key)).fetchall()):
                    db.execute(
                        "DELETE FROM _hubspot_links WHERE object = ? AND id = ? AND to_object = ? AND to_id = ?",
                        (other, other_id, kind.name, key),
                    )

    def _add(self, one: LinkType) -> None:
        self._types.setdefault((one.source, one.target), {})[one.id] = one

    def _inverse(self, one: LinkType) -> LinkType:
        return self._types[one.target, one.source][one.inverse]

    def _put(self, source: int, target: int, one: LinkType) -> None:
        rows = [
            (one.source, source, one.target, target, one.id),
            (one.target, target, one.source, source, one.inverse),
        ]
        with self.locked() as db:
            db.executemany("INSERT OR IGNORE INTO _hubspot_links VALUES (?, ?, ?, ?, ?)", rows)

    def _has(self, source: int, one: LinkType) -> bool:
        sql = "SELECT 1 FROM _hubspot_links WHERE object = ? AND id = ? AND to_object = ? AND type = ?"
        with self.locked() as db:
            return db.execute(sql, (one.source, source, one.target, one.id)).fetchone() is not None

    def _clear(self, source: int, one: LinkType) -> None:
        sql = "DELETE FROM _hubspot_links WHERE object = ? AND id = ? AND to_object = ? AND type = ? RETURNING to_id"
        with self.locked() as db:
            for (other,) in db.execute(sql, (one.source, source, one.target, one.id)).fetchall():
                db.execute(
                    "DELETE FROM _hubspot_links WHERE object = ? AND id = ? AND to_object = ? AND to_id = ? "
                    "AND type = ?",
                    (one.target, other, one.source, source, one.inverse),
                )
