"""Quality beside the gate: what is unusual, what people see of quarantine, and help to write suites that are right.

What judges a night is in `flows.gate`. Here is what looks at tables, at what dbt states of them and at suites without
judging: figures against history (`anomalies`), the rows held back (`quarantine`), a suite to begin with (`suggest`),
and what a suite names that is not there (`suite_check`).
"""
