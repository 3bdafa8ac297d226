"""What a run did to one CRM object, and the samples of it that people are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from flows.summary.redaction import clipped, redact

MAX_SAMPLES = 20
"""Most before/after samples kept of one operation of a sync."""
MAX_DETAILS = 50
"""Most rejections, and most mismatches, kept of one sync; the counts beside them stay whole."""
MAX_SENT = 8
"""Most sent values kept of one rejection, those of the fields that it names first."""
LONGEST_SENT = 80
"""Characters of a sent value that a rejection keeps."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One field of one planned change, as text; personal data is masked by whoever makes it.

    A create's ``before`` and an archive's ``after`` are None; without a field it speaks of the whole record.
    """

    external_id: str
    operation: str
    field: str | None = None
    before: str | None = None
    after: str | None = None


def _some_of_each(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Bound the samples of each operation, by whole records: half a record would look like all that was sent of it."""
    kept: list[Sample] = []
    room: dict[str, int] = {}
    for (operation, _), group in groupby(samples, key=lambda sample: (sample.operation, sample.external_id)):
        of_record = [*group][:MAX_SAMPLES]
        room[operation] = room.get(operation, MAX_SAMPLES) - len(of_record)
        kept += of_record if room[operation] >= 0 else []
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class RejectionSummary:
    """A record that the CRM refused, with the CRM's own code and words.

    Attributes:
        external_id: our key of the record.
        code: the CRM's code.
        message: its words.
        fields: the CRM fields that it names.
        sent: CRM field -> what was sent, masked where it is personal; at most `MAX_SENT`.
        other_id: of a duplicate, the CRM's id of the record that is there already.
        attempts: runs that have tried.
        first_seen_at: when it was first refused, UTC.
        gone: whether it was refused because somebody deleted it in the CRM.
    """

    external_id: str
    code: str
    message: str
    fields: tuple[str, ...] = ()
    sent: Mapping[str, str | None] = field(default_factory=dict)
    other_id: str | None = None
    attempts: int = 1
    first_seen_at: datetime | None = None
    gone: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", redact(self.message))
        named_first = sorted(self.sent.items(), key=lambda item: item[0] not in self.fields)[:MAX_SENT]
        sent = {name: value if value is None else clipped(value, LONGEST_SENT) for name, value in named_first}
        object.__setattr__(self, "sent", sent)


@dataclass(frozen=True, slots=True)
class MismatchSummary:
    """A field that reads back otherwise than it was sent.

    Without a field it speaks of the whole record, which is missing, or is still there though ``archived`` was sent.
    """

    external_id: str
    field: str | None = None
    sent: str | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True)
class AdoptedSummary:
    """What ``nightshift adopt`` found of a model's records: rows, those known before, and those found in the CRM."""

    wanted: int
    known: int
    found: int


@dataclass(frozen=True, slots=True)
class SyncSummary:
    """One model's way into one CRM object; counts are records.

    Attributes:
        name: the dbt model.
        object: the CRM object.
        crm: the connection's name.
        creates: planned creates.
        updates: planned updates.
        archives: planned archives.
        applied: records that the CRM acknowledged.
        rejected: records that the CRM refused, those that are gone included.
        gone: records that somebody deleted in the CRM.
        deleted: what the sync does about those: report, recreate or forget.
        unknown: records without an answer.
        reconciled: records that read back as they were sent.
        mismatched: records that do not.
        fields: CRM field -> updates that change it.
        kept: CRM field -> records in which a person's value stays, by the field's policy.
        quarantined: records held back by the gate, for which there was something to do.
        waiting: records that wait for a new parent which is held back.
        unmatched: rows that the CRM holds no record for, in a sync that never creates.
        withheld: records that left the model and are not archived, since a source shrank or for what goes with them.
        attached: object -> records that the CRM would delete with those, and that the plan does not archive; 0 where
            this login may not read it. Empty where a source shrank.
        left: records that wait for the next night, since the requests of this one are used up.
        notes: what else people should know of the plan, in words.
        samples: planned changes, at most `MAX_SAMPLES` of each operation, in whole records.
        rejections: refused records, at most `MAX_DETAILS`.
        rejection_codes: code -> refused records, all but those that are gone; counted from ``rejections`` where not
            given.
        mismatches: what reads back otherwise, at most `MAX_DETAILS`.
        adopted: what was found in the CRM; None but for ``nightshift adopt``.
    """

    name: str
    object: str
    crm: str = "main"
    creates: int = 0
    updates: int = 0
    archives: int = 0
    applied: int = 0
    rejected: int = 0
    gone: int = 0
    deleted: str = "report"
    unknown: int = 0
    reconciled: int = 0
    mismatched: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    quarantined: int = 0
    waiting: int = 0
    unmatched: int = 0
    withheld: int = 0
    attached: Mapping[str, int] = field(default_factory=dict)
    left: int = 0
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    rejections: tuple[RejectionSummary, ...] = ()
    rejection_codes: Mapping[str, int] = field(default_factory=dict)
    mismatches: tuple[MismatchSummary, ...] = ()
    adopted: AdoptedSummary | None = None

    def __post_init__(self) -> None:
        if not self.rejection_codes:
            counted = Counter(rejection.code for rejection in self.rejections if not rejection.gone)
            object.__setattr__(self, "rejection_codes", dict(counted.most_common()))
        object.__setattr__(self, "samples", _some_of_each(self.samples))
        object.__setattr__(self, "rejections", self.rejections[:MAX_DETAILS])
        object.__setattr__(self, "mismatches", self.mismatches[:MAX_DETAILS])

    @property
    def operations(self) -> int:
        """Planned creates, updates and archives."""
        return self.creates + self.updates + self.archives
