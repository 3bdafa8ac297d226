"""What Great Expectations measures in pandas or Spark alone, or in a way that costs DuckDB much, measured by DuckDB.

Importing this module registers the metrics with Great Expectations; `flows.gate.engine` does so, late. A condition that
is registered gives everything that is asked of it: the count of the rows that fail, in one scan with the other counts,
and the rows themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import dateutil.parser  # type: ignore[import-untyped]  # a dependency of Great Expectations
import sqlalchemy as sa
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.metrics.column_aggregate_metrics.column_outlier_statistics import (
    ColumnOutlierStatistics,
    OutlierStatistics,
)
from great_expectations.expectations.metrics.map_metric_provider import is_sqlalchemy_metric_selectable
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.metric_provider import metric_value
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from flows.warehouse import Warehouse


class _Unique(ColumnMapMetricProvider):
    """Values that stand there once, by grouping: a window over the table takes DuckDB three times as long."""

    condition_metric_name = "column_values.unique"

    @column_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(cls, column: Any, _table: Any, **_: Any) -> Any:
        values = sa.select(column).select_from(_table).where(column.is_not(None))
        return column.not_in(values.group_by(column).having(sa.func.count() > 1))


# Great Expectations' own condition brings its table with it; ours is one on the rows.
is_sqlalchemy_metric_selectable.SQLALCHEMY_SELECTABLE_METRICS.discard(_Unique.condition_metric_name)


class _Strftime(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_strftime_format"
    condition_value_keys = ("strftime_format",)

    @column_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(cls, column: Any, strftime_format: str, **_: Any) -> Any:
        return sa.func.try_strptime(column, strftime_format).is_not(None)


class _Json(ColumnMapMetricProvider):
    condition_metric_name = "column_values.json_parseable"

    @column_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(cls, column: Any, **_: Any) -> Any:
        return sa.func.json_valid(column)


class _JsonSchema(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_json_schema"
    condition_value_keys = ("json_schema",)

    @column_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(cls, column: Any, json_schema: Mapping[str, Any], **_: Any) -> Any:
        return sa.func.nightshift_fits_json_schema(column, json.dumps(json_schema, sort_keys=True))


class _Dateutil(ColumnMapMetricProvider):
    condition_metric_name = "column_values.dateutil_parseable"

    @column_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(cls, column: Any, **_: Any) -> Any:
        return sa.func.nightshift_is_date(column)


class _OutlierStatistics(ColumnOutlierStatistics):
    """Quartiles by DuckDB's own function; Great Expectations knows those of other databases."""

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(
        cls,
        execution_engine: Any,
        metric_domain_kwargs: Mapping[str, Any],
        metric_value_kwargs: Mapping[str, Any],
        metrics: Mapping[str, Any],
        runtime_configuration: Mapping[str, Any],
    ) -> OutlierStatistics:
        column: Any = sa.column(metric_domain_kwargs["column"])
        rows = execution_engine.get_domain_records(domain_kwargs=metric_domain_kwargs)
        if metric_value_kwargs["method"] == "std":
            wanted = sa.func.avg(column), sa.func.stddev_samp(column)
        else:
            wanted = sa.func.quantile_cont(column, 0.25), sa.func.quantile_cont(column, 0.75)
        first, second = (
            None if value is None else float(value)
            for value in execution_engine.execute_query(sa.select(*wanted).select_from(rows)).fetchone()
        )
        if metric_value_kwargs["method"] == "std":
            return OutlierStatistics.symmetric(center=first, spread=second)
        spread = None if first is None or second is None else second - first
        return OutlierStatistics(lower_reference=first, upper_reference=second, spread=spread)


def define(warehouse: Warehouse) -> None:
    """Make what only Python can judge callable in the warehouse's SQL: value by value, so slower than SQL's own."""
    warehouse.define("nightshift_is_date", _is_date, ["varchar"], "boolean")
    warehouse.define("nightshift_fits_json_schema", _fits, ["varchar", "varchar"], "boolean")


def _is_date(text: str) -> bool:
    try:
        dateutil.parser.parse(text)
    except (ValueError, OverflowError):
        return False
    return True


def _fits(text: str, schema: str) -> bool:
    try:
        return bool(_validator(schema).is_valid(json.loads(text)))
    except json.JSONDecodeError:
        return False


@cache
def _validator(schema: str) -> Any:
    return Draft7Validator(json.loads(schema))
