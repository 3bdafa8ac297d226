"""The gate: suites of expectations judge a table before the transform (raw) and before the push (crm).

A suite is a YAML file in ``expectations/`` (`flows.gate.suites`); Great Expectations judges it in SQL, on the
warehouse's own connection (`flows.gate.judge`). A row-level expectation asks of each row whether it is fit: its
failures are counted and shown, and the row goes on. A table-level expectation asks of the whole table, and stops the
run when it is critical. What stops a run is decided in one place, `ExpectationResult.stops`.
"""

from flows.gate.judge import check, warm_up
from flows.gate.results import ExpectationResult, GateReport, verdict
from flows.gate.suites import Expectation, Suite, load_suite, suites

__all__ = [
    "Expectation",
    "ExpectationResult",
    "GateReport",
    "Suite",
    "check",
    "load_suite",
    "suites",
    "verdict",
    "warm_up",
]
