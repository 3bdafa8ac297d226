"""How many requests it takes to write records and to read them back, reckoned without asking."""

from __future__ import annotations

import math

from flows.crm.salesforce import collections, jobs, readback
from flows.project import Sync
from flows.records import Operation

RECORDS_PER_SECOND = 20_000
"""What a bulk job is reckoned to do. A slower org is looked at a few times more a job, since the pauses grow."""
INGEST = 6
"""Requests of an ingest job beside the looks at it: create, upload, close, three results."""


def by_collections(sync: Sync, count: int, batch: int) -> int:
    """Requests of sObject Collections, and of the queries by id that read back.

    Args:
        sync: what is written.
        count: records.
        batch: records in a batch file, each of which may leave a request half full.
    """
    if not count:
        return 0
    half_full = math.ceil(count / batch) - 1
    return math.ceil(count / collections.MOST) + math.ceil(count / readback.ids_in_a_query(sync)) + half_full


def by_bulk(operation: Operation, count: int, batch: int, poll_seconds: float) -> int:
    """Requests of the ingest jobs, and of one query job each that reads back.

    Args:
        operation: what is done to them.
        count: records.
        batch: records in a job.
        poll_seconds: the first pause between two looks.
    """
    if not count:
        return 0
    files = math.ceil(count / batch)
    looks = jobs.looks(min(count, batch) / RECORDS_PER_SECOND, poll_seconds)
    # What a job creates lies together; what it updates lies anywhere among what the other jobs do.
    pages = math.ceil((min(count, batch) if operation is Operation.CREATE else count) / readback.PAGE)
    return files * (INGEST + looks + 1 + looks + pages)
