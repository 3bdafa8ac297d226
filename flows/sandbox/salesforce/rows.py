"""Writing rows: one path for single records, Collections and Bulk, with the platform's rules and row errors.

Rows are held by column, so that a rule looks at ten thousand values at once.

Source: the StatusCode values of the partner WSDL,
https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flows.sandbox.faults import Faults, changed
from flows.sandbox.ids import normalise
from flows.sandbox.org import Field, ObjectType
from flows.sandbox.salesforce import values
from flows.sandbox.salesforce.values import KEEP, Duplicates, RowError, Wrong
from flows.sandbox.store import Store, fold
from flows.sandbox.world import World

LOCKED = "unable to obtain exclusive access to this record"
ROLLED_BACK = RowError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)


Column = tuple[Sequence[Any], Mapping[int, Wrong]]
"""A column's values as the store holds them, and what is wrong by row number."""


class RowResult(NamedTuple):
    """What became of a row: its id (None where it has none), whether it is new, and why it was refused."""

    id: str | None
    created: bool
    error: RowError | None


class Unreadable(Exception):
    """A JSON body holds a value that its field's type cannot take, so that the whole request is refused."""


class UnknownColumn(Exception):
    """A CSV header names a field that the object does not have."""


@dataclass(frozen=True, slots=True)
class Write:
    """What is to be done with rows.

    Attributes:
        operation: insert, update, upsert, delete or hardDelete.
        kind: the object.
        key: the field that an upsert matches by.
        csv: whether the values came as CSV.
        all_or_none: whether one refused row rolls all of them back.
        faults: what is to go wrong with rows (see `flows.sandbox.faults`).
        known: columns that are converted already; see `read_ahead`.
    """

    operation: str
    kind: ObjectType
    key: Field | None = None
    csv: bool = False
    all_or_none: bool = False
    faults: Sequence[Mapping[str, Any]] = ()
    known: Mapping[str, Column] | None = None


class _RolledBack(Exception):
    pass


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn JSON records into columns; a parent given by its external id becomes a column ``Parent.Field``.

    Returns:
        Column -> one value for each row, `KEEP` where the record did not give one.
    """
    flat = [dict(_flatten(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return {name: [row.get(name, KEEP) for row in flat] for name in names}


def _flatten(row: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if name == "attributes":
            continue
        if isinstance(value, dict):
            for inner, deep in value.items():
                if inner != "attributes":
                    yield f"{name}.{inner}", deep
        else:
            yield name, value


def read_ahead(how: Write, columns: Mapping[str, Sequence[Any]]) -> dict[str, Column]:
    """Convert what can be converted without the store, for `Write.known`."""
    return {
        name: values.column(found, raw, csv=how.csv)
        for name, raw in columns.items()
        if name.lower() != "id" and (found := how.kind.find(name)) is not None
    }


def write(world: World, how: Write, columns: Mapping[str, Sequence[Any]], count: int) -> list[RowResult]:
    """Write rows.

    Args:
        world: the sandbox.
        how: what is to be done with them.
        columns: column -> one raw value for each row.
        count: how many rows.

    Returns:
        One result for each row, in their order.

    Raises:
        Unreadable: a JSON value cannot be read as its field's type.
        UnknownColumn: a CSV column is no field of the object.
    """
    work = _Work(world.store, how, count)
    try:
        with world.store.locked():
            work.apply_faults(world.faults, columns)
            if how.operation in {"delete", "hardDelete"}:
                work.delete(columns.get("Id", [KEEP] * count))
            else:
                work.save(world, columns)
            if how.all_or_none and work.errors:
                raise _RolledBack
    except _RolledBack:
        return [RowResult(None, False, work.errors.get(row, ROLLED_BACK)) for row in range(count)]
    errors = work.errors
    created = work.created
    if not errors and len(created) in (0, count):
        return [RowResult(key, bool(created), None) for key in work.ids]
    return [RowResult(key, row in created, errors.get(row)) for row, key in enumerate(work.ids)]


class _Work:
    """Rows on their way into the store."""

    def __init__(self, store: Store, how: Write, count: int) -> None:
        self.store = store
        self.how = how
        self.kind = how.kind
        self.count = count
        self.ids: list[str | None] = [None] * count
        self.errors: dict[int, RowError] = {}
        self.created: set[int] = set()
        self.values: dict[str, Sequence[Any]] = {}
        self.given: dict[str, Field] = {}

    def refuse(self, row: int, code: str, message: str, *fields: str) -> None:
        """Note the first thing that is wrong with a row."""
        if row not in self.errors:
            self.errors[row] = RowError(code, message, fields)

    def apply_faults(self, chance: Faults, columns: Mapping[str, Sequence[Any]]) -> None:
        """Refuse the rows that the script of faults wants refused."""
        for fault in self.how.faults:
            if share := fault.get("lock_rows"):
                for row in range(self.count):
                    if chance.picks(share):
                        self.refuse(row, "UNABLE_TO_LOCK_ROW", LOCKED)
            if reject := fault.get("reject"):
                where = {name: str(value) for name, value in reject.get("where", {}).items()}
                for row in range(self.count):
                    if all(str(columns.get(n, {row: None})[row]) == v for n, v in where.items()) and chance.picks(
                        reject.get("share", 1.0)
                    ):
                        message = reject.get("message", "refused by the script of faults")
                        self.refuse(row, reject["code"], message, *reject.get("fields", ()))

    # Deleting.

    def delete(self, raw: Sequence[Any]) -> None:
        """Delete the rows' records."""
        self.match_ids(raw)
        rows = self.live()
        hard = self.how.operation == "hardDelete"
        self.store.delete(self.kind, [str(self.ids[row]) for row in rows], hard=hard)

    # Creating and updating.

    def save(self, world: World, columns: Mapping[str, Sequence[Any]]) -> None:
        """Create or update the rows' records."""
        self.parse(world, columns)
        if self.how.operation == "update":
            self.match_ids(columns.get("Id", [KEEP] * self.count))
            creating = set[int]()
        elif self.how.operation == "upsert" and self.how.key and self.how.key.name != "Id":
            creating = self.match_key(self.how.key)
        elif self.how.operation == "upsert":
            creating = {row for row, key in enumerate(columns.get("Id", [KEEP] * self.count)) if not _given(key)}
            self.match_ids(columns.get("Id", [KEEP] * self.count), creating)
        else:
            creating = set(range(self.count))
        self.check_writable(creating)
        self.check_references(world)
        self.check_required(creating)
        self.check_unique()
        self.check_duplicates()
        self.store_rows(creating)

    def live(self, rows: Iterable[int] | None = None) -> list[int]:
        """The rows that nothing is wrong with."""
        wanted = range(self.count) if rows is None else rows
        return [row for row in wanted if row not in self.errors] if self.errors else list(wanted)

    def parse(self, world: World, columns: Mapping[str, Sequence[Any]]) -> None:
        """Convert all values, and replace a parent's external id by the parent's id."""
        for name, raw in columns.items():
            if name.lower() == "id":
                continue
            found = self.kind.find(name)
            if found is not None:
                parsed, wrong = (self.how.known or {}).get(name) or values.column(found, raw, csv=self.how.csv)
                self.note(wrong)
            elif "." in name and (lookup := self.kind.relationship(name.split(".", 1)[0])):
                found, parsed = lookup, self.parents(world, lookup, name, raw)
            else:
                self.unknown(name, raw)
                continue
            if (before := self.values.get(found.name)) is not None:
                # A lookup may come by id in some rows, and by the parent's external id in others.
                parsed = [old if new is KEEP else new for old, new in zip(before, parsed, strict=True)]
            self.values[found.name] = parsed
            self.given[found.name] = found
        for change in [fault["change"] for fault in self.how.faults if "change" in fault]:
            if (sent := self.values.get(change["field"])) is not None:
                self.values[change["field"]] = [KEEP if one is KEEP else changed(change, one) for one in sent]

    def note(self, wrong: Mapping[int, Wrong]) -> None:
        """Take over what was wrong with values."""
        for row, problem in wrong.items():
            if problem.parser:
                raise Unreadable(str(problem))
            self.errors.setdefault(row, problem.error)

    def unknown(self, name: str, raw: Sequence[Any]) -> None:
        """Refuse the rows that name a field which the object does not have."""
        if self.how.csv:
            raise UnknownColumn(name)
        message = f"No such column '{name}' on sobject of type {self.kind.name}"
        for row, value in enumerate(raw):
            if value is not KEEP:
                self.refuse(row, "INVALID_FIELD", message)

    def parents(self, world: World, lookup: Field, name: str, raw: Sequence[Any]) -> Sequence[Any]:
        """Find the parents that are given by an external id."""
        parent = world.org.objects[lookup.reference_to]
        field = parent.find(name.split(".", 1)[1])
        if field is None or not (field.external_id or field.name == "Id"):
            self.unknown(name, raw)
            return [KEEP] * self.count
        keys, wrong = values.column(field, raw, csv=self.how.csv)
        self.note(wrong)
        if field.name == "Id":
            return keys
        known = self.store.find(parent, field, list({key for key in keys if _given(key)}))
        found: list[Any] = []
        for row, key in enumerate(keys):
            match = known.get(fold(field, key), ()) if _given(key) else ()
            if _given(key) and len(match) != 1:
                what = "not found" if not match else "matches several records"
                message = (
                    f"Foreign key external ID: {key.lower()} {what} for field {field.name} in entity {parent.name}"
                )
                self.refuse(row, "INVALID_FIELD", message)
            found.append(match[0] if match else KEEP if _given(key) else key)
        return found

    def match_ids(self, raw: Sequence[Any], without: set[int] | frozenset[int] = frozenset()) -> None:
        """Find the records that the rows name by id."""
        for row, text in enumerate(raw):
            if row in without:
                continue
            if not _given(text):
                self.refuse(row, "MISSING_ARGUMENT", "Id not specified in an update call")
                continue
            self.ids[row] = key = normalise(text)
            if key is None or not key.startswith(self.kind.prefix):
                self.refuse(row, "MALFORMED_ID", f"{self.kind.name} ID: id value of incorrect type: {text}", "Id")
        known = self.store.states(self.kind, list({key for key in self.ids if key}))
        for row, key in enumerate(self.ids):
            if key is None or row in self.errors:
                continue
            gone = known.get(key)
            if gone is None:
                self.refuse(row, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            elif gone and self.how.operation != "hardDelete":
                self.refuse(row, "ENTITY_IS_DELETED", "entity is deleted")

    def match_key(self, field: Field) -> set[int]:
        """Find the records of an upsert; answers the rows that have none yet."""
        keys = self.values.get(field.name, [KEEP] * self.count)
        known = self.store.find(self.kind, field, [key for key in keys if _given(key)])
        if field.unique and KEEP not in keys and None not in keys:
            folded = [fold(field, key) for key in keys]
            if len(set(folded)) == len(folded):  # nothing is wrong with any row: no need to look at each
                self.ids = [known[key][0] if key in known else None for key in folded]
                return {row for row, key in enumerate(self.ids) if key is None}
        creating: set[int] = set()
        seen: set[Any] = set()
        for row, raw in enumerate(keys):
            if raw is KEEP or raw is None:
                self.refuse(row, "MISSING_ARGUMENT", f"{field.name} not specified", field.name)
                continue
            key = fold(field, raw)
            if key in seen:
                self.refuse(row, "DUPLICATE_VALUE", f"Duplicate external id specified: {raw}", field.name)
                continue
            seen.add(key)
            match = known.get(key)
            if match is None:
                creating.add(row)
            elif len(match) > 1:
                message = f"{field.name}: more than one record found for external id field: [{', '.join(match)}]"
                self.refuse(row, "DUPLICATE_EXTERNAL_ID", message, field.name)
            else:
                self.ids[row] = match[0]
        return creating

    def check_writable(self, creating: set[int]) -> None:
        """Refuse rows that set what only the platform sets."""
        for name, field in self.given.items():
            if field.createable and field.updateable:
                continue
            for row, value in enumerate(self.values[name]):
                if value is KEEP or (field.createable if row in creating else field.updateable):
                    continue
                message = (
                    f"Unable to create/update fields: {name}. Please check the security settings of this field "
                    "and verify that it is read/write for your profile or permission set."
                )
                self.refuse(row, "INVALID_FIELD_FOR_INSERT_UPDATE", message, name)

    def check_references(self, world: World) -> None:
        """Refuse rows whose parent is of another object, does not exist, or is deleted."""
        for name, field in self.given.items():
            if field.type != "reference":
                continue
            parent = world.org.objects[field.reference_to]
            known = self.store.states(parent, list({key for key in self.values[name] if _given(key)}))
            if len(known) and not any(known.values()) and all(k in known for k in self.values[name]):
                continue
            for row, key in enumerate(self.values[name]):
                if not _given(key):
                    continue
                if not key.startswith(parent.prefix):
                    self.refuse(row, "MALFORMED_ID", f"{field.label}: id value of incorrect type: {key}", name)
                elif key not in known:
                    self.refuse(row, "INVALID_CROSS_REFERENCE_KEY", f"invalid cross reference id: {key}", name)
                elif known[key]:
                    self.refuse(row, "ENTITY_IS_DELETED", "entity is deleted", name)

    def check_required(self, creating: set[int]) -> None:
        """Refuse rows that leave out, or empty, what must be there."""
        missing: dict[int, list[str]] = {}
        for name, field in self.kind.fields.items():
            if field.nillable or not field.createable or field.type == "boolean":
                continue
            given = self.values.get(name)
            if given is None:
                for row in creating if field.default is None else ():
                    missing.setdefault(row, []).append(name)
            elif None in given or KEEP in given:
                for row, value in enumerate(given):
                    if value is None or (value is KEEP and row in creating and field.default is None):
                        missing.setdefault(row, []).append(name)
        for row, names in missing.items():
            self.refuse(row, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(names)}]", *names)

    def check_unique(self) -> None:
        """Refuse rows that repeat a value which another record, or an earlier row, has."""
        for name, field in self.given.items():
            if not field.unique or (self.how.operation == "upsert" and field is self.how.key):
                continue
            known = self.store.find(self.kind, field, [key for key in self.values[name] if _given(key)])
            taken: set[Any] = set()
            for row, raw in enumerate(self.values[name]):
                if row in self.errors or not _given(raw):
                    continue
                key = fold(field, raw)
                other = next((found for found in known.get(key, ()) if found != self.ids[row]), None)
                if other or key in taken:
                    what, whom = (name, other[:15]) if other else ("<unknown>", "<unknown>")
                    message = f"duplicate value found: {what} duplicates value on record with id: {whom}"
                    self.refuse(row, "DUPLICATE_VALUE", message)
                taken.add(key)

    def check_duplicates(self) -> None:
        """Refuse rows that an administrator's rule takes for another record; rows of one request are not compared."""
        for rule in self.kind.duplicate_rules:
            if not rule.active or not set(rule.fields) <= set(self.given):
                continue
            for row in self.live():
                alike = [self.having(self.given[name], self.values[name][row]) for name in rule.fields]
                if others := tuple(sorted(set.intersection(*alike) - {str(self.ids[row])})):
                    self.errors[row] = RowError("DUPLICATES_DETECTED", rule.message, (), Duplicates(rule.name, others))

    def having(self, field: Field, value: Any) -> set[str]:
        """The ids of the live records that have a value; none have no value."""
        return set(self.store.find(self.kind, field, [value]).get(fold(field, value), ())) if _given(value) else set()

    def store_rows(self, creating: set[int]) -> None:
        """Write the rows that nothing is wrong with."""
        names = list(self.values)
        table = list(zip(*self.values.values(), strict=True)) if names else [()] * self.count
        new = self.live(sorted(creating))
        if new:
            defaults = [self.given[name].default for name in names]
            sparse = any(KEEP in self.values[name] for name in names)
            rows = [
                [d if v is KEEP else v for v, d in zip(table[row], defaults, strict=True)] if sparse else table[row]
                for row in new
            ]
            for row, key in zip(new, self.store.insert(self.kind, names, rows), strict=True):
                self.ids[row] = key
            self.created.update(new)
        changed = self.live(row for row in range(self.count) if row not in creating)
        for kept, group in self.patterns(names, changed).items():
            places = [place for place, name in enumerate(names) if name in kept]
            rows = [[table[row][place] for place in places] for row in group]
            columns = [names[place] for place in places]
            self.store.update(self.kind, columns, [str(self.ids[row]) for row in group], rows)

    def patterns(self, names: Sequence[str], rows: Sequence[int]) -> dict[tuple[str, ...], list[int]]:
        """Group rows by the fields that they set."""
        if not rows:
            return {}
        key = self.how.key.name if self.how.operation == "upsert" and self.how.key else ""
        names = [name for name in names if name != key]
        sparse = [name for name in names if KEEP in self.values[name]]
        if not sparse:
            return {tuple(names): list(rows)}
        groups: dict[tuple[str, ...], list[int]] = {}
        for row in rows:
            kept = tuple(name for name in names if self.values[name][row] is not KEEP)
            groups.setdefault(kept, []).append(row)
        return groups


def _given(value: Any) -> bool:
    return value is not None and value is not KEEP and value != ""
