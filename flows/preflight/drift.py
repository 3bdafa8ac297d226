"""What a CRM has changed in its objects since the last run, from the descriptions kept in ``sync.schemas``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flows.crm.base import ObjectInfo
from flows.preflight.described import Described
from flows.project import Sync
from flows.summary.findings import FindingSummary
from flows.warehouse import Warehouse

MOST_OF_AN_OBJECT = 20
"""Differences that are told of one object, those of mapped fields first; the others are only counted."""
MOST_VALUES = 10
"""Values of a picklist that came or went and are named."""

_FLAGS = {
    "createable": "may be set by a create",
    "updateable": "may be set by an update",
    "nullable": "may be empty",
    "external_id": "unique external id",
    "defaulted": "filled in by the CRM",
    "case_sensitive": "tells capitals from small letters",
}
_VALUES = {
    "type": "type",
    "length": "most characters",
    "precision": "digits in all",
    "scale": "digits after the point",
}
_LISTS = {"picklist": "picklist", "references": "refers to"}
_RIGHTS = {"createable": "may be created", "updateable": "may be updated", "deletable": "may be deleted"}

Told = dict[str, Any]
"""An `ObjectInfo` as JSON."""


def keep(db: Warehouse, run_id: str, described: Described) -> None:
    """Keep each description that differs from the one kept last; of the others, that they still hold.

    Args:
        db: the warehouse.
        run_id: the run.
        described: what the CRMs say.
    """
    with db.transaction():
        for (crm, name), info in described.objects.items():
            told = _told(info)
            if told != _last(db, crm, name):
                db.execute(
                    "insert or replace into sync.schemas (crm, object, run_id, described_at, last_run_id, "
                    "last_described_at, description) values ($crm, $object, $run, now(), $run, now(), $told)",
                    {"crm": crm, "object": name, "run": run_id, "told": json.dumps(told, ensure_ascii=False)},
                )
            else:
                db.execute(
                    "update sync.schemas set last_run_id = $run, last_described_at = now() where crm = $crm and "
                    "object = $object and described_at = (select max(described_at) from sync.schemas "
                    "where crm = $crm and object = $object)",
                    {"crm": crm, "object": name, "run": run_id},
                )


def drift(db: Warehouse, described: Described, syncs: Sequence[Sync], run_id: str = "") -> tuple[FindingSummary, ...]:
    """Compare each description with the one that was kept last.

    Args:
        db: the warehouse.
        described: what the CRMs say.
        syncs: the syncs that are to be pushed: what they map is told first.
        run_id: a run whose own description is passed over, so that it finds the same again when it goes on later.

    Returns:
        One finding for each difference, at most `MOST_OF_AN_OBJECT` of an object. An object that no run has
        described before has none.
    """
    found: list[FindingSummary] = []
    for (crm, name), info in described.objects.items():
        before = _last(db, crm, name, but=run_id)
        if before is None:
            continue
        mapped = {
            field: (item.name, column)
            for item in syncs
            if (item.crm, item.object) == (crm, name)
            for field, column in _columns(item).items()
        }
        all_of_it = []
        for field, what, was, now in _differences(before, _told(info)):
            sync, column = mapped.get(field, (None, None))
            all_of_it.append(FindingSummary("schema", crm, name, what, field, sync, column, before=was, after=now))
        # What is mapped, and the object itself, come first.
        all_of_it.sort(key=lambda finding: finding.field is not None and finding.sync is None)
        found.extend(all_of_it[:MOST_OF_AN_OBJECT])
        more = len(all_of_it) - MOST_OF_AN_OBJECT
        if more > 0:
            found.append(FindingSummary("schema", crm, name, f"{more:,} more differences"))
    return tuple(found)


def _columns(sync: Sync) -> dict[str | None, str]:
    """CRM field -> the model's column."""
    return {sync.external_id_field: sync.external_id_column, **{f.crm_field: f.column for f in sync.fields}}


def _told(info: ObjectInfo) -> Told:
    """A description as it is kept; it goes through JSON so that it equals what is read back."""
    fields = {name: asdict(field) for name, field in sorted(info.fields.items())}
    told: Told = json.loads(json.dumps({**{right: getattr(info, right) for right in _RIGHTS}, "fields": fields}))
    return told


def _last(db: Warehouse, crm: str, name: str, but: str = "") -> Told | None:
    found = db.scalar(
        "select description from sync.schemas where crm = ? and object = ? and run_id <> ? "
        "order by described_at desc limit 1",
        (crm, name, but),
    )
    return None if found is None else json.loads(found)


def _differences(before: Told, after: Told) -> Iterator[tuple[str | None, str, str | None, str | None]]:
    """Field (None: the object), what, before and after; what only one side knows to tell is no difference."""
    for key, what in _RIGHTS.items():
        if before[key] != after[key]:
            yield None, what, _yes(before[key]), _yes(after[key])
    was, now = before["fields"], after["fields"]
    for name in was.keys() - now.keys():
        yield name, "gone", was[name]["type"], None
    for name in was.keys() & now.keys():
        for what, old, new in _of_field(was[name], now[name]):
            yield name, what, old, new
    for name in now.keys() - was.keys():
        yield name, "new", None, now[name]["type"]


def _of_field(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str | None, str | None]]:
    for key in was.keys() & now.keys():
        old, new = was[key], now[key]
        if old == new:
            continue
        if key in _FLAGS:
            yield _FLAGS[key], _yes(old), _yes(new)
        elif key in _VALUES:
            yield _VALUES[key], _text(old), _text(new)
        elif key in _LISTS and set(old or ()) != set(new or ()):
            yield _LISTS[key], _named(old, new), _named(new, old)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _named(these: Sequence[str] | None, others: Sequence[str] | None) -> str | None:
    """Of one side's values, those that the other has not; None where there is no list, which means any value."""
    if these is None:
        return "any value"
    if others is None:
        return f"{len(these):,} values"
    missing = [value for value in these if value not in set(others)]
    more = len(missing) - MOST_VALUES
    return ", ".join(missing[:MOST_VALUES]) + (f" and {more:,} more" if more > 0 else "") if missing else None
