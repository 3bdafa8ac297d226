"""What a run has to say about itself: one frozen value for the page, the terminal, notifications and ``ops.runs``.

It is read by people and kept for long, so it is bounded (`MAX_SAMPLES`, `MAX_DETAILS` a sync) and its free texts
lose e-mail addresses, phone numbers and credentials the moment they enter it (`flows.summary.redaction`). The words
that people read are made of it in one place, `flows.summary.story`.
"""

from flows.summary.runs import (
    MAX_ANOMALIES,
    MAX_FINDINGS,
    MAX_PROBLEMS,
    ErrorSummary,
    GateSummary,
    ModelSummary,
    NotifiedSummary,
    PlanState,
    PlanSummary,
    ProblemSummary,
    RunKind,
    RunState,
    RunSummary,
    SourceSummary,
    StageState,
    StageSummary,
)
from flows.summary.stored import from_json, to_json
from flows.summary.syncs import (
    LONGEST_SENT,
    MAX_DETAILS,
    MAX_SAMPLES,
    MAX_SENT,
    AdoptedSummary,
    MismatchSummary,
    RejectionSummary,
    Sample,
    SyncSummary,
)

__all__ = [
    "LONGEST_SENT",
    "MAX_ANOMALIES",
    "MAX_DETAILS",
    "MAX_FINDINGS",
    "MAX_PROBLEMS",
    "MAX_SAMPLES",
    "MAX_SENT",
    "AdoptedSummary",
    "ErrorSummary",
    "GateSummary",
    "MismatchSummary",
    "ModelSummary",
    "NotifiedSummary",
    "PlanState",
    "PlanSummary",
    "ProblemSummary",
    "RejectionSummary",
    "RunKind",
    "RunState",
    "RunSummary",
    "Sample",
    "SourceSummary",
    "StageState",
    "StageSummary",
    "SyncSummary",
    "from_json",
    "to_json",
]
