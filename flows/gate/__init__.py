"""The gate: suites of expectations judge a table before the transform, before the push, and after it.

A suite is a YAML file in ``expectations/`` (`flows.gate.suites`); Great Expectations judges it in SQL, on the
warehouse's own connection (`flows.gate.judge`). What follows when an expectation fails is decided in one place,
`Suite.on_fail`: the run stops (`verdict`), the rows that fail are held back (`flows.gate.quarantine`), or it is told.
"""

from flows.gate.after import suites_after, verdict_after
from flows.gate.before import suites_before
from flows.gate.declared import Expectation, Suite
from flows.gate.engine import warm_up
from flows.gate.judge import check
from flows.gate.quarantine import withdraw
from flows.gate.results import ExpectationResult, GateReport, Quarantine, verdict
from flows.gate.suites import load_suite, suites, with_keys

__all__ = [
    "Expectation",
    "ExpectationResult",
    "GateReport",
    "Quarantine",
    "Suite",
    "check",
    "load_suite",
    "suites",
    "suites_after",
    "suites_before",
    "verdict",
    "verdict_after",
    "warm_up",
    "with_keys",
    "withdraw",
]
