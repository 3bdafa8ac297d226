"""What is wrong with a mapping, and stops a run before anything is sent."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from flows.crm.base import FieldInfo, ObjectInfo
from flows.errors import ConfigError
from flows.preflight.described import Described
from flows.project import Sync
from flows.project.types import family


def check(described: Described, syncs: Sequence[Sync]) -> None:
    """Compare each sync's mapping with its object.

    Args:
        described: what the CRMs say.
        syncs: the syncs that are to be pushed; of other objects nothing is asked here.

    Raises:
        ConfigError: lists every mismatch, and every object of theirs that could not be described.
    """
    problems: list[str] = []
    for sync in syncs:
        if (info := described.of(sync)) is not None:
            problems.extend(mismatches(sync, info))
            problems.extend(f"{sync.declared_in}: {sync.name}: {more}" for more in described.more.get(sync.name, ()))
    wanted = {(sync.crm, sync.object) for sync in syncs}
    refused = {error.what: error for key, error in described.refused.items() if key in wanted}
    if len(refused) == 1 and not problems:
        raise next(iter(refused.values()))  # most likely the login: it has its own words for what to do
    problems.extend(refused)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"The CRM does not fit the mapping in {len(problems)} place{'s' if len(problems) > 1 else ''}:\n{listed}",
            safe="Nothing was sent; the ledger is as it was.",
            todo="Correct crm_field in the model's YAML, make the field in the CRM, or give the login the permission; "
            "then `nightshift doctor`.",
        )


def mismatches(sync: Sync, info: ObjectInfo) -> list[str]:
    """Say where a sync's mapping and the CRM's object disagree.

    Args:
        sync: the sync.
        info: its object as the CRM describes it.

    Returns:
        One sentence for each mismatch, with file, model and field.
    """
    where = f"{sync.declared_in}: {sync.name}"
    problems = []
    key = info.fields.get(sync.external_id_field)
    if key is None:
        problems.append(f"{where}: {_missing(sync.external_id_field, info)} (external id)")
    elif not key.external_id:
        problems.append(f"{where}: {info.name}.{key.name} is not marked as a unique external id in the CRM")
    creates = sync.mode != "update_only"
    for mapped in sync.fields:
        found = info.fields.get(mapped.crm_field)
        if found is None:
            problems.append(f"{where}.{mapped.column}: {_missing(mapped.crm_field, info)}")
            continue
        if (creates and not found.createable) or (sync.mode != "create_only" and not found.updateable):
            problems.append(f"{where}.{mapped.column}: this login may not write {info.name}.{found.name}")
        if not mapped.parent_object and not fits(mapped.type, found):
            problems.append(
                f"{where}.{mapped.column}: a {mapped.type} does not fit {info.name}.{found.name} ({found.type})"
            )
        if mapped.parent_object and mapped.parent_object not in found.references:
            refers = ", ".join(found.references) or "nothing"
            problems.append(
                f"{where}.{mapped.column}: {info.name}.{found.name} refers to {refers}, not to {mapped.parent_object}"
            )
    if creates:
        mapped_fields = {sync.external_id_field, *sync.types}
        problems.extend(
            f"{where}: a new {info.name} needs {field.name}, and no column is mapped to it"
            for field in info.fields.values()
            if field.createable and not field.nullable and not field.defaulted and field.name not in mapped_fields
        )
    needed = {
        "create": (creates, info.createable),
        "update": (sync.mode != "create_only", info.updateable),
        "archive": (sync.mode == "mirror", info.deletable),
    }
    why = f": it lacks {info.lacks}" if info.lacks else ""
    problems.extend(
        f"{where}: this login may not {operation} {info.name} records{why}"
        for operation, (is_needed, is_allowed) in needed.items()
        if is_needed and not is_allowed
    )
    return problems


def fits(data_type: str, field: FieldInfo) -> bool:
    """Whether a CRM field takes values of a DuckDB type; a type that is not known here is left to the CRM.

    Text takes what connectors write as text; what is counted, dated or true must be so in the model, too.
    """
    kind = family(data_type)
    if kind == "list":
        return field.type.lower() in _TAKES_LISTS
    wanted = _TAKES.get(field.type.lower())
    return wanted is None or kind is None or kind in wanted


_TAKES = {
    **dict.fromkeys(("double", "currency", "percent", "number", "int", "long"), ("whole", "number")),
    **dict.fromkeys(("boolean", "bool"), ("boolean",)),
    "date": ("date",),
    "datetime": ("time", "date"),
}
"""The CRM's own type -> families of DuckDB's types."""
_TAKES_LISTS = frozenset({"multipicklist"})
"""Types of fields that hold several values at once."""


def _missing(field: str, info: ObjectInfo) -> str:
    near = difflib.get_close_matches(field, info.fields, n=1)
    return f"{info.name} has no field {field}" + (f"; did you mean {near[0]}?" if near else "")
