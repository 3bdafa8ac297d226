"""Before any push: does the CRM have what the syncs are mapped to? Every mismatch is listed at once."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence

from flows.crm import connect
from flows.crm.base import ObjectInfo
from flows.errors import ConfigError
from flows.project import Connection, Sync


def check(connections: Mapping[str, Connection], syncs: Sequence[Sync]) -> int:
    """Compare each sync's mapping with what its CRM describes.

    Args:
        connections: CRM connections by name.
        syncs: the syncs that are to be pushed.

    Returns:
        HTTP requests that it took.

    Raises:
        ConfigError: lists every mismatch; or the login is refused; or an object does not exist.
        PushError: a CRM did not answer.
    """
    problems: list[str] = []
    requests = 0
    for name, connection in connections.items():
        mine = [sync for sync in syncs if sync.crm == name]
        if mine:
            described, sent = asyncio.run(_describe(connection, sorted({sync.object for sync in mine})))
            requests += sent
            for sync in mine:
                problems.extend(mismatches(sync, described[sync.object]))
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"The CRM does not fit the mapping in {len(problems)} place{'s' if len(problems) > 1 else ''}:\n{listed}",
            safe="Nothing was sent; the ledger is as it was.",
            todo="Correct crm_field in the model's YAML, or make the field in the CRM; then `nightshift doctor`.",
        )
    return requests


async def _describe(connection: Connection, objects: Sequence[str]) -> tuple[dict[str, ObjectInfo], int]:
    async with connect(connection) as crm:
        described = {name: await crm.describe(name) for name in objects}
        return described, crm.usage.requests


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
        if mapped.parent_object and mapped.parent_object not in found.references:
            refers = ", ".join(found.references) or "nothing"
            problems.append(
                f"{where}.{mapped.column}: {info.name}.{found.name} refers to {refers}, not to {mapped.parent_object}"
            )
    allowed = {"create": info.createable, "update": info.updateable, "archive": info.deletable}
    wanted = [op for op in allowed if not (op == "archive" and sync.mode != "mirror")]
    problems.extend(f"{where}: this login may not {op} {info.name} records" for op in wanted if not allowed[op])
    return problems


def _missing(field: str, info: ObjectInfo) -> str:
    near = difflib.get_close_matches(field, info.fields, n=1)
    return f"{info.name} has no field {field}" + (f"; did you mean {near[0]}?" if near else "")
