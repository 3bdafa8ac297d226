"""Great Expectations on the warehouse: imported late, and without anything on disk.

It takes seconds to import, so nothing but this module and those it imports inside functions may bring it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flows.warehouse import Warehouse

# Great Expectations keeps its current context in a global, so that two threads must not judge at once.
_one_at_a_time = threading.Lock()


def warm_up() -> None:
    """Import Great Expectations, which takes 3 to 6 seconds; for a thread beside what waits for others.

    Raises nothing: what goes wrong here is raised by `flows.gate.check`.
    """
    with suppress(Exception):  # check() imports again, and raises
        great_expectations()


def great_expectations() -> Any:
    """The package, with our dialect and our metrics registered."""
    # Whoever configures the root logger (dbt does) would show its progress otherwise.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    # It warns of every metric that takes another's place.
    logging.getLogger("great_expectations.expectations.registry").setLevel(logging.ERROR)
    import great_expectations
    import great_expectations.expectations

    import flows.gate.dialect
    import flows.gate.metrics  # noqa: F401  # registers them

    return great_expectations


@contextmanager
def datasource(warehouse: Warehouse, *, python: bool = False) -> Iterator[Any]:
    """The warehouse as a SQL datasource of Great Expectations, in a context that leaves nothing on disk.

    Args:
        warehouse: the thread's own cursor; one thread at a time.
        python: whether something is to be judged that only Python can judge.
    """
    with _one_at_a_time:
        gx = great_expectations()
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        from flows.gate import dialect, metrics

        if python:
            metrics.define(warehouse)
        # Without a configuration of our own a context makes a temporary folder for a site that nobody asked for.
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        )
        with dialect.lent(warehouse) as url:
            context = gx.get_context(mode="ephemeral", project_config=config)
            source = context.data_sources.add_sql("warehouse", connection_string=url)
            engine = source.get_execution_engine()
            # Great Expectations knows by the dialect's module what a database can do (regular expressions, LIKE). It
            # finds the module by a list of databases without DuckDB; there is no public way to tell it, but this.
            engine.dialect_module = dialect
            try:
                yield source
            finally:
                engine.engine.dispose()
                source.get_engine().dispose()
