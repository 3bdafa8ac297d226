"""The types that a mapped column may have: what all else knows them by, and what a CRM cannot be sent.

DuckDB has several names for most types, and types that no CRM has. A declared type is brought to one of few here, so
that nothing that handles values needs to know the others.
"""

from __future__ import annotations

TEXT = "varchar"
TEXTS = "varchar[]"
HUGE = "decimal(38,0)"

_NAMES = {
    **dict.fromkeys(("varchar", "text", "string", "char", "bpchar", "nvarchar", "character varying"), TEXT),
    # A CRM has no types of its own for these: they are texts to it.
    **dict.fromkeys(("uuid", "json", "enum"), TEXT),
    **dict.fromkeys(("tinyint", "int1"), "tinyint"),
    **dict.fromkeys(("smallint", "int2", "int16", "short"), "smallint"),
    **dict.fromkeys(("integer", "int", "int4", "int32", "signed"), "integer"),
    **dict.fromkeys(("bigint", "int8", "int64", "long"), "bigint"),
    **dict.fromkeys(("utinyint", "uint8"), "utinyint"),
    **dict.fromkeys(("usmallint", "uint16"), "usmallint"),
    **dict.fromkeys(("uinteger", "uint32"), "uinteger"),
    **dict.fromkeys(("ubigint", "uint64"), "ubigint"),
    # Parquet has no integers of 128 bits, and would round them to doubles.
    **dict.fromkeys(("hugeint", "int128", "uhugeint", "uint128"), HUGE),
    **dict.fromkeys(("decimal", "numeric", "dec"), "decimal"),
    **dict.fromkeys(("float", "float4", "real"), "float"),
    **dict.fromkeys(("double", "float8", "double precision"), "double"),
    **dict.fromkeys(("boolean", "bool", "logical"), "boolean"),
    "date": "date",
    **dict.fromkeys(("timestamp", "datetime", "timestamp without time zone", "timestamp_us"), "timestamp"),
    **{name: name for name in ("timestamp_s", "timestamp_ms", "timestamp_ns")},
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), "timestamptz"),
}
_FAMILIES = {
    TEXT: "text",
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), "whole"),
    **dict.fromkeys(("utinyint", "usmallint", "uinteger", "ubigint"), "whole"),
    **dict.fromkeys(("decimal", HUGE, "float", "double"), "number"),
    "boolean": "boolean",
    "date": "date",
    **dict.fromkeys(("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamptz"), "time"),
}


def sendable(data_type: str) -> str | None:
    """The type that a column is sent as.

    Args:
        data_type: a DuckDB type, as a model declares it.

    Returns:
        One of few types, with the digits of a decimal; ``varchar`` and ``varchar[]`` for what are texts to a CRM. None
        for what a CRM cannot be sent.
    """
    kind = data_type.strip().lower()
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return TEXTS if family(inner) in ("text", "whole") else None
    name = _NAMES.get(_base(kind))
    return data_type.strip() if name == "decimal" else name


def family(data_type: str) -> str | None:
    """What a DuckDB type holds: text, whole, number, boolean, date, time or list; None where no CRM takes it."""
    kind = data_type.strip().lower()
    if kind.endswith("]"):
        return "list"
    return _FAMILIES.get(_NAMES.get(_base(kind), ""))


def is_exact(data_type: str) -> bool:
    """Whether a text that DuckDB casts to a type may be bent unseen: 10.499 to 10.50, a moment to its day, yes to true.

    Only what is written as DuckDB writes it is then that very value.
    """
    name = _NAMES.get(_base(data_type.strip().lower()), "")
    return name in ("boolean", "date", "decimal", HUGE) or _FAMILIES.get(name) == "whole"


def advice(data_type: str) -> str:
    """How a column of a type that no CRM takes can be sent all the same, in words."""
    cast = TEXTS if data_type.strip().endswith("]") else TEXT
    return f"cast the column in the model (such as `cast(... as {cast})`) and declare `data_type: {cast}`"


def _base(kind: str) -> str:
    return kind.partition("(")[0].strip()
