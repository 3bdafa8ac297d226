"""Before any push: does the CRM have what the syncs are mapped to, and does it take the values that they hold?

What is wrong with the mapping stops the run, every mismatch listed at once (`check`). What is wrong with values is
counted and told beforehand (`planned_values`); those rows are sent, the CRM refuses them, and the good ones ship. What
the CRM has changed in its objects since the last run is told, too (`drift`).
"""

from flows.preflight.described import Described, describe
from flows.preflight.drift import drift, keep
from flows.preflight.mapping import check
from flows.preflight.values import model_values, planned_values

__all__ = ["Described", "check", "describe", "drift", "keep", "model_values", "planned_values"]
