"""Rows that the gate holds back, for people: list them, look at one, release some by hand.

The gate fills ``quality.quarantine`` and ends what passes; the plan leaves held rows out. Here is what a reviewer does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from flows import ledger
from flows.errors import ConfigError
from flows.quality.stated import Table
from flows.records import MASK
from flows.warehouse import Warehouse, literal, quoted

MOST_CHILDREN = 20
"""Most waiting children whose keys are told; the count beside them is whole."""


@dataclass(frozen=True, slots=True)
class Held:
    """One expectation that one row fails, or has failed.

    Attributes:
        table: the model, as ``<schema>.<table>``.
        key: the row's external id.
        expectation: the expectation's name.
        expectation_id: what it is known by in ``quality.results``.
        column: the column or columns that it judges.
        value: what failed; masked where it is personal.
        severity: critical, warning or info.
        detail: why the expectation is there.
        owner: whom to ask.
        since_run_id: the run that first found it.
        since_at: when that was, UTC.
        last_run_id: the last run that found it.
        ended_at: when it was let go, UTC; None while it is held.
        ended_as: passed, gone (it left the model) or released.
        released_by: who released it.
        reason: why.
    """

    table: str
    key: str
    expectation: str
    expectation_id: str
    column: str | None
    value: str | None
    severity: str
    detail: str | None
    owner: str
    since_run_id: str
    since_at: datetime
    last_run_id: str
    ended_at: datetime | None
    ended_as: str | None
    released_by: str | None
    reason: str | None

    @property
    def days(self) -> int:
        """How many whole days it is or was held."""
        return ((self.ended_at or datetime.now(UTC).replace(tzinfo=None)) - self.since_at).days


@dataclass(frozen=True, slots=True)
class Listed:
    """Some of what is held: at most as many entries as were asked for, and how many entries and rows there are."""

    entries: tuple[Held, ...]
    total: int
    rows: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Records of one model that wait, because their parent is held and not in the CRM.

    Attributes:
        table: the children's model, as ``<schema>.<table>``.
        column: its column that names the parent.
        count: how many there are.
        keys: the first of them.
    """

    table: str
    column: str
    count: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """All that there is to say of one row.

    Attributes:
        table: the model.
        key: the row's external id.
        held: what it fails now; empty for a row that is not held itself.
        ended: what it failed before, newest first.
        values: the model's columns -> the value as text, masked where it is personal; empty where the row is gone.
        in_crm: whether the CRM is known to hold it.
        parents: table and key of each parent that it waits for.
        children: who waits for it.
    """

    table: str
    key: str
    held: tuple[Held, ...]
    ended: tuple[Held, ...]
    values: Mapping[str, str | None]
    in_crm: bool
    parents: tuple[tuple[str, str], ...]
    children: tuple[Waiting, ...]


_COLUMNS = (
    "table_name as table, key, expectation, expectation_id, column_name as column, value, severity, detail, "
    "coalesce(owner, '') as owner, since_run_id, since_at, last_run_id, ended_at, ended_as, released_by, reason"
)
_FROM = (
    "quality.quarantine left join (select expectation_id, arg_max(owner, checked_at) as owner from quality.results "
    "where expectation_id is not null group by expectation_id) using (expectation_id)"
)


def listed(db: Warehouse, *, table: str | None = None, ended: bool = False, limit: int | None = None) -> Listed:
    """List what is held back, longest first.

    Args:
        db: the warehouse.
        table: only this model, with or without its schema.
        ended: also what was let go.
        limit: at most so many entries.

    Raises:
        ConfigError: nothing of that table was ever held.
    """
    where = "true" if ended else "ended_at is null"
    if table is not None:
        where += f" and table_name = {literal(_table(db, table))}"
    [(total, rows)] = db.execute(f"select count(*), count(distinct (table_name, key)) from {_FROM} where {where}")
    found = db.rows(
        f"select {_COLUMNS} from {_FROM} where {where} order by table_name, since_at, key, expectation, expectation_id"
        + (f" limit {limit}" if limit is not None else "")
    )
    return Listed(tuple(Held(**row) for row in found), total, rows)


def row(
    db: Warehouse, key: str, *, table: str | None, tables: Mapping[str, Table], pii: Mapping[str, Collection[str]]
) -> Row:
    """Tell all that there is to say of one row.

    Args:
        db: the warehouse.
        key: the row's external id.
        table: its model, with or without its schema; needed where several models hold such a key back.
        tables: what dbt states (`flows.quality.stated.tables`).
        pii: table in lower case -> columns that its suite calls personal.

    Raises:
        ConfigError: no such row is or was held, or waits; or rows of several tables are.
    """
    by_node = {t.node: t for t in tables.values() if t.key}
    name = _named(db, table, by_node) if table else _holds(db, key, by_node)
    stated = tables.get(name.lower())
    entries = [
        Held(**found)
        for found in db.rows(
            f"select {_COLUMNS} from {_FROM} where table_name = ? and key = ? order by since_at desc, expectation",
            (name, key),
        )
    ]
    values, parents, children, in_crm = {}, [], [], False
    if stated is not None and stated.key is not None and db.exists(*name.split(".", 1)):
        hidden = {column.lower() for column in (*stated.personal, *pii.get(name.lower(), ()))}
        values = _values(db, stated, key, hidden)
        in_crm = key in _known(db, stated.node, [key])
        parents = list(_parents(db, stated, key, by_node))
        held = any(entry.ended_at is None for entry in entries)
        children = list(_children(db, stated, key, by_node)) if parents or (held and not in_crm) else []
    if not entries and not parents:
        raise ConfigError(
            f"{name} {key} is not held back, was never, and waits for nobody.", todo="nightshift quarantine list"
        )
    return Row(
        table=name,
        key=key,
        held=tuple(entry for entry in entries if entry.ended_at is None),
        ended=tuple(entry for entry in entries if entry.ended_at is not None),
        values=values,
        in_crm=in_crm,
        parents=tuple(parents),
        children=tuple(children),
    )


def release(
    db: Warehouse, keys: Sequence[str], *, table: str, reason: str, by: str, expectation: str | None = None
) -> tuple[Held, ...]:
    """Let rows go although they fail; all of them or none.

    A row stays released while what fails stays the same; with another value that fails it is held again.

    Args:
        db: the warehouse.
        keys: the rows' external ids.
        table: their model, with or without its schema.
        reason: why; kept with who, and when.
        by: who decides.
        expectation: only this one, by name (with or without ``expect_``) or id; else all that the rows fail.

    Returns:
        What was ended.

    Raises:
        ConfigError: there is no reason or name, or a key is not held; all such keys are named.
    """
    if not reason.strip() or not by.strip():
        what = "a reason" if not reason.strip() else "the name of who decides"
        raise ConfigError(
            f"A release needs {what}: it is kept with the row.",
            safe="Nothing was released.",
            todo="Say it with --reason." if not reason.strip() else "Say it with --by.",
        )
    name = _table(db, table)
    wanted = list(dict.fromkeys(keys))
    where = "table_name = ? and ended_at is null and key in (select unnest(?))"
    parameters: list[object] = [name, wanted]
    if expectation is not None:
        where += " and ? in (expectation, expectation_id, replace(expectation, 'expect_', ''))"
        parameters.append(expectation)
    with db.transaction():
        held = {key for (key,) in db.execute(f"select distinct key from quality.quarantine where {where}", parameters)}
        if unknown := [key for key in wanted if key not in held]:
            raise _not_held(db, name, unknown, expectation)
        db.execute(
            "update quality.quarantine set ended_at = now()::timestamp, ended_as = 'released', released_by = ?, "
            f"reason = ? where {where}",
            (by.strip(), reason.strip(), *parameters),
        )
        found = db.rows(
            f"select {_COLUMNS} from {_FROM} where table_name = ? and key in (select unnest(?)) "
            "and ended_as = 'released' and ended_at = now()::timestamp order by key, expectation",
            (name, wanted),
        )
    return tuple(Held(**entry) for entry in found)


def held_of(db: Warehouse, table: str, keys: Collection[str]) -> frozenset[str]:
    """Those of a table's keys that are held; after a release of one expectation, for another."""
    found = db.execute(
        "select distinct key from quality.quarantine where table_name = ? and ended_at is null "
        "and key in (select unnest(?))",
        (table, list(keys)),
    )
    return frozenset(key for (key,) in found)


def _not_held(db: Warehouse, name: str, keys: Sequence[str], expectation: str | None) -> ConfigError:
    last = {
        key: f"{ended_as} {ended_at:%Y-%m-%d %H:%M} UTC"
        for key, ended_as, ended_at in db.execute(
            "select key, arg_max(ended_as, ended_at), max(ended_at) from quality.quarantine where table_name = ? "
            "and ended_at is not null and key in (select unnest(?)) group by key",
            (name, list(keys)),
        )
    }
    told = "\n".join(f"  - {key}" + (f" ({last[key]})" if key in last else "") for key in keys[:20])
    more = f"\n  - and {len(keys) - 20:,} more" if len(keys) > 20 else ""
    of = f" for {expectation}" if expectation else ""
    return ConfigError(
        f"{len(keys):,} of the keys {'is' if len(keys) == 1 else 'are'} not held in {name}{of}:\n{told}{more}",
        safe="Nothing was released, not the other keys either.",
        todo=f"nightshift quarantine list --table {name}",
    )


def _table(db: Warehouse, words: str) -> str:
    """The table that a person means, among those that had rows in quarantine."""
    known = [name for (name,) in db.execute("select distinct table_name from quality.quarantine order by 1")]
    found = [name for name in known if words.lower() in (name.lower(), name.lower().rpartition(".")[2])]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise ConfigError(f"{words} may be {' or '.join(found)}.", todo="Name it with its schema.")
    near = get_close_matches(words, [*known, *(name.rpartition(".")[2] for name in known)], n=1)
    hint = f"; did you mean {near[0]}?" if near else (f" (known: {', '.join(known)})." if known else ".")
    raise ConfigError(f"No row of {words} is or was held back{hint}", todo="nightshift quarantine list --all")


def _named(db: Warehouse, words: str, by_node: Mapping[str, Table]) -> str:
    """The table that a person means, among synced models and those that had rows in quarantine."""
    for stated in by_node.values():
        if words.lower() in (stated.name.lower(), stated.node.lower()):
            return stated.name
    return _table(db, words)


def _holds(db: Warehouse, key: str, by_node: Mapping[str, Table]) -> str:
    """The one table that holds such a key back, or did, or in which it waits."""
    found = [
        (str(name), bool(held))
        for name, held in db.execute(
            "select table_name, bool_or(ended_at is null) from quality.quarantine where key = ? group by 1 order by 1",
            (key,),
        )
    ]
    for chosen in ([name for name, held in found if held], [name for name, _ in found]):
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise ConfigError(f"{key} is a key in {' and in '.join(chosen)}.", todo="Say which with --table.")
    waits = [t.name for t in by_node.values() if any(_parents(db, t, key, by_node))]
    if len(waits) == 1:
        return waits[0]
    if waits:
        raise ConfigError(f"{key} waits in {' and in '.join(waits)}.", todo="Say which with --table.")
    raise ConfigError(
        f"No row {key} is held back, was ever, or waits for a parent.", todo="nightshift quarantine list --all"
    )


def _relation(stated: Table) -> str:
    schema, _, table = stated.name.partition(".")
    return f"{quoted(schema)}.{quoted(table)}"


def _key(stated: Table) -> str:
    return f"cast({quoted(stated.key or '')} as varchar)"


def _values(db: Warehouse, stated: Table, key: str, hidden: Collection[str]) -> dict[str, str | None]:
    columns = list(db.columns(_relation(stated)))
    # A personal value does not leave the database.
    shown = ", ".join(
        f"case when {quoted(column)} is not null then {literal(MASK)} end"
        if column.lower() in hidden
        else f"cast({quoted(column)} as varchar)"
        for column in columns
    )
    found = db.execute(f"select {shown} from {_relation(stated)} where {_key(stated)} = ? limit 1", (key,))
    return dict(zip(columns, found[0], strict=True)) if found else {}


def _known(db: Warehouse, model: str, keys: Collection[str]) -> set[str]:
    """Those of the keys that the CRM is known to hold."""
    if not db.exists("sync", f"ledger__{model}"):
        return set()
    found = db.execute(
        f"select _external_id from {ledger.relation(model)} where _external_id in (select unnest(?))", (list(keys),)
    )
    return {key for (key,) in found}


def _parents(
    db: Warehouse, stated: Table, key: str, by_node: Mapping[str, Table], seen: frozenset[tuple[str, str]] = frozenset()
) -> Iterator[tuple[str, str]]:
    """The parents that a row waits for: held ones, and those that wait themselves."""
    if not db.exists(*stated.name.split(".", 1)):
        return
    seen |= {(stated.node, key)}  # a model may look up itself, in a ring
    for column, model in stated.parents.items():
        parent = by_node.get(model)
        found = db.execute(
            f"select cast({quoted(column)} as varchar) from {_relation(stated)} where {_key(stated)} = ?", (key,)
        )
        for value in sorted({value for (value,) in found if value is not None}):
            if parent is None or (model, value) in seen or value in _known(db, model, [value]):
                continue
            if value in held_of(db, parent.name, [value]) or any(_parents(db, parent, value, by_node, seen)):
                yield parent.name, value


def _children(db: Warehouse, stated: Table, key: str, by_node: Mapping[str, Table]) -> Iterator[Waiting]:
    for child in by_node.values():
        for column, model in child.parents.items():
            if model != stated.node or not db.exists(*child.name.split(".", 1)):
                continue
            where = f"{_relation(child)} where cast({quoted(column)} as varchar) = ?"
            count = int(db.scalar(f"select count(*) from {where}", (key,)))
            if count:
                keys = db.execute(f"select {_key(child)} from {where} order by 1 limit {MOST_CHILDREN}", (key,))
                yield Waiting(child.name, column, count, tuple(one for (one,) in keys))
