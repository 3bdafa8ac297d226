"""What is to be sent, straight from a batch's Parquet file: DuckDB writes the values as JSON, not Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flows import warehouse
from flows.crm.hubspot.shape import Shape
from flows.records import Batch, Operation
from flows.warehouse import literal, quoted

FETCHED = 2_000
"""Records that are taken from DuckDB at once."""
_NONE: Mapping[str, str | None] = {}


class Outgoing(NamedTuple):
    """One record to write.

    Attributes:
        external_id: our key of the record.
        crm_id: HubSpot's id, None where it is not known yet.
        body: the batch's input as a JSON object, but for its last brace.
        lookups: the lookups to write: field -> the parent's external id, None for no parent.
    """

    external_id: str
    crm_id: str | None
    body: str
    lookups: Mapping[str, str | None]


def outgoing(shape: Shape, batch: Batch) -> Iterator[Outgoing]:
    """Read a batch.

    Args:
        shape: the sync as HubSpot sees it.
        batch: the batch.
    """
    names = [] if batch.operation is Operation.ARCHIVE else list(shape.lookups)
    columns = [f"{_changed(name)}, {quoted(name)}::varchar" for name in names]
    with warehouse.scratch() as database:
        database.execute(
            f"select {', '.join(['external_id', 'crm_id', _body_sql(shape, batch.operation), *columns])} "
            f"from read_parquet({literal(str(batch.path))})"
        )
        while rows := database.fetchmany(FETCHED):
            if not names:
                yield from [Outgoing(external_id, crm_id, body, _NONE) for external_id, crm_id, body in rows]
                continue
            for external_id, crm_id, body, *values in rows:
                lookups = {name: values[2 * n + 1] for n, name in enumerate(names) if values[2 * n]}
                yield Outgoing(external_id, crm_id, body, lookups)


def _changed(name: str) -> str:
    return f"list_contains(changed, {literal(name)})"


def _body_sql(shape: Shape, operation: Operation) -> str:
    """SQL that writes an input. HubSpot refuses an update of nothing.

    A record whose lookup alone changes is sent its own key, which it has already.
    """
    if operation is Operation.ARCHIVE:
        return """'{"id":' || to_json(coalesce(crm_id, ''))::varchar"""
    key = f"to_json({quoted('external_id')})::varchar"
    known = [
        f"case when {_changed(name)} then {literal(_label(name))} || {json} end" for name, json in shape.encoded.items()
    ]
    listed = f"concat_ws(',', {', '.join(known)})" if known else "''"
    sent = f"coalesce(nullif({listed}, ''), {literal(_label(shape.external_id))} || {key})"
    record = f"""{key} || {literal(f',"idProperty":"{shape.external_id}"')}"""
    if operation is Operation.UPDATE:
        record = "to_json(coalesce(crm_id, ''))::varchar"
    return f"""'{{"id":' || {record} || ',"properties":{{' || {sent} || '}}'"""


def _label(name: str) -> str:
    return f'"{name}":'
