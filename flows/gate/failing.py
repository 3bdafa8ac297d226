"""The rows that fail an expectation, as SQL of Great Expectations' own making: none of them comes to Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.gate.declared import Expectation
from flows.warehouse import Warehouse, quoted

ROWS = "judged_rows"
"""What a query's own SQL calls the rows that it judges."""
KEY = "_key"
"""The column that holds a failing row's key, where it was asked for."""
FILE, ROW = "_file", "_row"
"""Where an extracted row stands, in a table that comes from files."""
MOST_SAMPLED = 20
"""Failing rows that are looked at to find a few different values."""


class KeylessError(Exception):
    """A query whose rows are to be held back does not say whose they are."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A query for the rows that fail one expectation.

    Attributes:
        sql: selects the columns, and `KEY` where there is a key.
        parameters: what stands for ``$1`` and so on in it.
        columns: the columns of a row that show why it fails, as the query calls them -> as people do.
        key: what people call the key; None where it was not asked for.
        place: the columns by which people find a row, as the query calls them -> as the table does.
    """

    sql: str
    parameters: Sequence[Any]
    columns: Mapping[str, str]
    key: str | None = None
    place: Mapping[str, str] = field(default_factory=dict)

    def few(self, warehouse: Warehouse, *, keyed: bool, values: bool) -> list[tuple[dict[str, Any], str]]:
        """A few failing rows, each with where it is: by its key, or by its file and its place there.

        Args:
            warehouse: where the rows are.
            keyed: whether a row's values begin with its key, where there is one.
            values: whether its values are asked for at all.

        Returns:
            What people call a column -> its value; and where the row is, empty where nothing tells.
        """
        wanted = {**({KEY: self.key} if keyed and self.key else {}), **self.columns} if values else {}
        if not wanted and not self.place:
            return []
        listed = ", ".join(map(quoted, (*wanted, *self.place)))
        rows = warehouse.execute(f"select {listed} from (\n{self.sql}\n) limit {MOST_SAMPLED}", self.parameters)
        return [
            (dict(zip(wanted.values(), row, strict=False)), self._where(row[len(wanted) :]))  # the places are left over
            for row in rows
        ]

    def _where(self, values: Sequence[Any]) -> str:
        if (*self.place.values(),) == (FILE, ROW):
            return "{}, row {:,}".format(*values)
        return ", ".join(map(str, values))

    def keys(self, warehouse: Warehouse, key: str, among: str) -> list[dict[str, Any]]:
        """A few failing rows' keys alone; none of a query that does not select them.

        Args:
            warehouse: where the rows are.
            key: the column of the keys.
            among: a query for all keys that there are: a query may call any value by the key's name.
        """
        called = {KEY: self.key} if self.key else self.columns
        for label, column in called.items():
            if column is not None and column.lower() == key.lower():
                own = f"{quoted(label)}::varchar"
                known = f"select key::varchar from ({among}) as known (key)"
                sql = f"select {own} from (\n{self.sql}\n) where {own} in ({known}) limit {MOST_SAMPLED}"
                rows = warehouse.execute(sql, self.parameters)
                return [{column: value} for (value,) in rows]
        return []


def own_sql(expectation: Expectation) -> str:
    """What of an expectation is SQL of the suite's own, as a query over `ROWS`; empty where nothing is."""
    rows = f"select * from {ROWS}" + (f" where ({expectation.row_condition}\n)" if expectation.row_condition else "")
    if expectation.is_query:
        return query(expectation, rows)
    return rows if expectation.row_condition else ""


def query(expectation: Expectation, rows: str) -> str:
    """An expectation's own query over the rows that it judges, in a form that may stand between brackets.

    Args:
        expectation: the expectation.
        rows: the rows, as a query.

    Returns:
        The query. Braces of its own stand there twice if, and only if, ``rows`` has ``{batch}`` in it, for Great
        Expectations to fill in.
    """
    (own,) = expectation.arguments.values()
    text = own.strip().rstrip(";").format(batch=ROWS)
    if "{batch}" in rows:
        text = text.replace("{", "{{").replace("}", "}}")
    # The rows get a name here, so that the query may give them one of its own or not. It may end in a comment.
    return f"with {ROWS} as not materialized (\n{rows}\n) select * from (\n{text}\n) as unexpected_rows"


def of_rows(
    expectation: Expectation, built: Any, batch: Any, engine: Any, key: str | None, place: Sequence[str] = ()
) -> Failing:
    """The rows that fail an expectation on rows, by the condition that they were counted by.

    Args:
        expectation: the expectation.
        built: it, as Great Expectations' object.
        batch: what it judged.
        engine: Great Expectations' execution engine, which holds the batch.
        key: the column of the rows' keys; None where they have none.
        place: the columns by which people find a row.
    """
    import sqlalchemy as sa
    from great_expectations.expectations.metrics.map_metric_provider.is_sqlalchemy_metric_selectable import (
        _is_sqlalchemy_metric_selectable,
    )
    from great_expectations.expectations.registry import get_metric_provider
    from great_expectations.util import get_sqlalchemy_selectable
    from great_expectations.validator.metric_configuration import MetricConfiguration
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    name = f"{built.map_metric}.condition"
    counted = built.get_validation_dependencies(execution_engine=engine, runtime_configuration=None)
    how = counted.metric_configurations[f"{built.map_metric}.unexpected_count"]
    domain = {**how.metric_domain_kwargs, "batch_id": batch.id}
    metric = MetricConfiguration(name, metric_domain_kwargs=domain, metric_value_kwargs=how.metric_value_kwargs)
    condition, compute_domain, accessor_domain = MetricsCalculator(engine).get_metric(metric)
    columns = {f"_{position}": column for position, column in enumerate(expectation.columns)}
    wanted: list[Any] = [sa.column(column).label(label) for label, column in columns.items()]
    wanted += [sa.column(key).label(KEY)] if key else []
    places = {f"_place_{position}": column for position, column in enumerate(place)}
    wanted += [sa.column(column).label(label) for label, column in places.items()]
    query = sa.select(*wanted).where(condition)
    provider, _ = get_metric_provider(name, engine)
    # Some conditions bring the rows that they judge with them.
    if not _is_sqlalchemy_metric_selectable(provider):  # type: ignore[arg-type]
        rows = engine.get_domain_records(domain_kwargs={**compute_domain, **accessor_domain})
        query = query.select_from(get_sqlalchemy_selectable(rows))
    compiled = query.compile(dialect=engine.engine.dialect)
    # Names as they are, as SQLAlchemy itself has it: it fails over a list for a column such as "Price (EUR)" otherwise.
    expanded = compiled.construct_expanded_state(escape_names=False)
    return Failing(expanded.statement, expanded.positional_parameters, columns, key, places)


def of_query(expectation: Expectation, rows: str, warehouse: Warehouse, key: str | None) -> Failing:
    """What an expectation that is a query finds.

    Args:
        expectation: the expectation.
        rows: the rows that it judges, as a query.
        warehouse: knows which columns the query has.
        key: the column of the rows' keys; None where they have none, or are not asked for.

    Raises:
        KeylessError: the query does not select the key.
        Error: the query fails.
    """
    sql = query(expectation, rows)
    found = list(warehouse.columns(f"(\n{sql}\n)"))
    own = next((column for column in found if key is not None and column.lower() == key.lower()), None)
    columns = {f"_{position}": column for position, column in enumerate(found) if column != own}
    wanted = [f"{quoted(column)} as {label}" for label, column in columns.items()]
    if key is not None:
        if own is None:
            raise KeylessError(f"on_fail: quarantine holds rows by {key}, which the query does not select")
        wanted.append(f"{quoted(own)} as {KEY}")
    return Failing(f"select {', '.join(wanted)} from (\n{sql}\n) as failing", (), columns, key)
