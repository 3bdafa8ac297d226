"""What a CRM gave back, as texts on its way into DuckDB: each value as DuckDB would write it.

So it is seen where a cast would bend one.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from flows.project import types
from flows.records import Value


def text(value: Value) -> str | list[str] | None:
    """A value as the text that DuckDB would write of it; a list stays one."""
    if value is None or isinstance(value, (str, list)):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return str(value)


def misfits(column: str, data_type: str) -> str:
    """Whether a text is no value of a type, as SQL that is never null.

    Args:
        column: SQL of the text, as `text` writes it.
        data_type: a DuckDB type; of a text or a list, all fit.
    """
    if types.family(data_type) in ("text", "list"):
        return "false"
    cast = f"try_cast({column} as {data_type})"
    # DuckDB's own cast would round 10.499 to 10.50, and take "yes" for true.
    kept = f"{cast}::varchar is not distinct from {column}" if types.is_exact(data_type) else f"{cast} is not null"
    return f"({column} is not null and not ({kept}))"
