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


class Outgoing(NamedTuple):
    """One record to write.

    Attributes:
        external_id: our key of the record.
        crm_id: HubSpot's id, None where it is not known yet.
        sent: the properties to write, as the inside of a JSON object.
        lookups: the lookups to write: field -> the parent's external id, None for no parent.
    """

    external_id: str
    crm_id: str | None
    sent: str
    lookups: Mapping[str, str | None]


def outgoing(shape: Shape, batch: Batch) -> Iterator[Outgoing]:
    """Read a batch.

    Args:
        shape: the sync as HubSpot sees it.
        batch: the batch.
    """
    names = [] if batch.operation is Operation.ARCHIVE else list(shape.lookups)
    columns = [f"{_changed(name)}, {quoted(name)}::varchar" for name in names]
    sent = "''" if batch.operation is Operation.ARCHIVE else _sent_sql(shape)
    with warehouse.scratch() as database:
        database.execute(
            f"select {', '.join(['external_id', 'crm_id', sent, *columns])} "
            f"from read_parquet({literal(str(batch.path))})"
        )
        while rows := database.fetchmany(FETCHED):
            for external_id, crm_id, text, *values in rows:
                lookups = {name: values[2 * n + 1] for n, name in enumerate(names) if values[2 * n]}
                yield Outgoing(external_id, crm_id, text, lookups)


def _changed(name: str) -> str:
    return f"list_contains(changed, {literal(name)})"


def _sent_sql(shape: Shape) -> str:
    """SQL that lists the properties to write. HubSpot refuses an update of nothing.

    A record whose lookup alone changes is sent its own key, which it has already.
    """
    key = quoted("external_id")
    known = [
        f"case when {_changed(name)} then {literal(_label(name))} || {json} end" for name, json in shape.encoded.items()
    ]
    listed = f"concat_ws(',', {', '.join(known)})" if known else "''"
    return f"coalesce(nullif({listed}, ''), {literal(_label(shape.external_id))} || to_json({key})::varchar)"


def _label(name: str) -> str:
    return f'"{name}":'
