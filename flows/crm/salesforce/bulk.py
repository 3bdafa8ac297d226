"""Bulk API 2.0 ingest: a batch becomes one CSV and one job (more where it is too large), answered in three files.

The files are `flows.crm.salesforce.bulk_files`': no record passes through Python on the way out, and on the way back
only its receipt.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from flows import warehouse
from flows.crm.common import SAFE
from flows.crm.retry import NoAnswer, jitter
from flows.crm.salesforce import collections, jobs
from flows.crm.salesforce.bulk_files import RESULTS, Answer, Files, Part
from flows.crm.salesforce.client import Client, Refused
from flows.crm.salesforce.collections import TRANSIENT, is_archived
from flows.crm.salesforce.encode import bulk_error
from flows.crm.salesforce.refusals import Refusals, rejected
from flows.crm.salesforce.shape import Shape, refused
from flows.errors import ConfigError, PushError
from flows.records import Batch, Operation, Outcome, Receipt, Record

T = TypeVar("T")

MOST_BYTES = 100_000_000
"""A raw upload: 150 MB after base64."""
FEW = 1_000
"""Records that are held at once where they go by Collections."""
ROUNDS = 4
"""In how many jobs a row may be sent that was left unprocessed or met a transient error."""
UPLOADS = 3
"""How many jobs are tried for one upload. An upload whose answer was lost cannot be repeated in its own job."""
VERBS = {Operation.CREATE: "upsert", Operation.UPDATE: "update", Operation.ARCHIVE: "delete"}


async def write(client: Client, shape: Shape, batch: Batch) -> AsyncIterator[list[Receipt]]:
    """Write a batch by bulk jobs.

    Args:
        client: the requests' way out.
        shape: the sync as Salesforce sees it.
        batch: the batch.

    Yields:
        One receipt for each record.

    Raises:
        PushError: a job could not be made, or was refused for a reason that no record causes.
    """
    with (
        TemporaryDirectory(prefix=".bulk-", dir=batch.path.parent) as folder,
        warehouse.scratch() as database,
    ):
        files = await asyncio.to_thread(Files, shape, batch, Path(folder), database)
        refusals = Refusals(client, shape, batch.operation)
        rows: list[int] | None = None
        attempt = 0
        while rows is None or rows:
            again: list[int] = []
            parts = deque(await asyncio.to_thread(files.parts, rows))
            while parts:
                part = parts.popleft()
                if part.apart:
                    async for receipts in _by_collections(client, shape, batch, files, part):
                        yield receipts
                    continue
                upload = await asyncio.to_thread(files.write, part)
                if upload.stat().st_size > MOST_BYTES and part.count > 1:
                    parts.extendleft(reversed(part.halves()))
                    continue
                job = await _run(client, shape, batch.operation, files, upload, part.count)
                unfit = _unfit(client, shape, job)
                if unfit and not job.get("numberRecordsProcessed"):
                    if part.count > collections.MOST:
                        parts.extendleft(reversed(part.halves()))
                        continue
                    async for receipts in _by_collections(client, shape, batch, files, part):
                        yield receipts
                    continue
                # A job that broke off at a bad record is not held against those that stood behind it.
                last = attempt >= ROUNDS - 1 and not unfit
                async for answers in _aside(files.answers(part)):
                    receipts = [r for answer in answers if (r := _receipt(batch.operation, answer, job, last, again))]
                    yield await refusals.explained(receipts, partial(_chosen, batch))
                if (job["state"] == "NoAnswer" or _used_up(job)) and (parts or again):
                    raise PushError(
                        f"{client.connection.url}: bulk {VERBS[batch.operation]} of {shape.object}: "
                        f"{job['errorMessage']}",
                        safe=SAFE,
                        todo="See whether the CRM is up and the day's bulk limits have room, then run again.",
                    )
            rows = again
            if again:
                await asyncio.sleep(jitter(attempt))
                attempt += 1


async def _aside(chunks: Iterator[T]) -> AsyncIterator[T]:
    """Take from a blocking iterator without stopping the event loop."""
    step: Callable[[], T | None] = lambda: next(chunks, None)  # noqa: E731
    while (chunk := await asyncio.to_thread(step)) is not None:
        yield chunk


async def _run(
    client: Client, shape: Shape, operation: Operation, files: Files, upload: Path, records: int
) -> dict[str, Any]:
    """Run one job to its end and fetch its results.

    Returns:
        The job as Salesforce describes it. Its state is ``NoAnswer`` where it began and was then lost sight of.

    Raises:
        NoAnswer: it did not begin.
        PushError: it was refused.
    """
    try:
        job_id = await _uploaded(client, shape, operation, upload)
    except Refused as error:
        raise refused(client, f"bulk {VERBS[operation]} of {shape.object}", error) from error
    upload.unlink()
    for kind in RESULTS:
        files.result(kind).write_bytes(b"")
    try:
        await jobs.set_state(client, "ingest", job_id, "UploadComplete")
        job = await jobs.ended(client, "ingest", job_id, records)
        for kind in RESULTS:
            await client.request("GET", f"jobs/ingest/{job_id}/{kind}", save_to=files.result(kind))
    except NoAnswer as error:
        for kind in RESULTS:
            files.result(kind).write_bytes(b"")
        return {"state": "NoAnswer", "errorMessage": f"bulk job {job_id}: {error.what}"}
    except Refused as error:
        raise refused(client, f"bulk job {job_id}", error) from error
    return job


async def _uploaded(client: Client, shape: Shape, operation: Operation, upload: Path) -> str:
    wanted = {
        "object": shape.object,
        "operation": VERBS[operation],
        "contentType": "CSV",
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    if operation is Operation.CREATE:
        wanted["externalIdFieldName"] = shape.external_id
    for attempt in range(UPLOADS):
        job_id = await jobs.create(client, "ingest", wanted)
        try:
            await client.request("PUT", f"jobs/ingest/{job_id}/batches", content=upload, content_type="text/csv")
        except Refused:
            if attempt == UPLOADS - 1:
                raise
        else:
            return job_id
    raise AssertionError("the last attempt returns or raises")


def _unfit(client: Client, shape: Shape, job: dict[str, Any]) -> bool:
    """Whether a job failed for what stood in it.

    Raises:
        ConfigError: it failed for a field that does not exist.
    """
    message = str(job.get("errorMessage") or "")
    if "Field name not found" in message:
        raise ConfigError(
            f"{client.connection.url}: bulk job on {shape.object} failed: {message}",
            safe="The job wrote nothing.",
            todo="Correct the mapping, or let the login's profile see the field.",
        )
    broken = message.startswith(("InvalidBatch", "ClientInputError")) and not _used_up(job)
    return job["state"] == "Failed" and broken


def _used_up(job: dict[str, Any]) -> bool:
    """Whether a job failed since the batches or records of the last 24 hours are used up: no further job is tried."""
    return "ExceededQuota" in str(job.get("errorMessage") or "")


async def _by_collections(
    client: Client, shape: Shape, batch: Batch, files: Files, part: Part
) -> AsyncIterator[list[Receipt]]:
    waiting = _chosen(batch, files.external_ids(part))
    while records := list(islice(waiting, FEW)):
        async for receipts in collections.write(client, shape, batch.operation, records):
            yield receipts


def _chosen(batch: Batch, wanted: set[str]) -> Iterator[Record]:
    return (record for record in batch.records() if record.external_id in wanted)


def _receipt(operation: Operation, answer: Answer, job: dict[str, Any], last: bool, again: list[int]) -> Receipt | None:
    """Turn an answer into a receipt, or put its row on the list of those that are sent again."""
    row, external_id, known_id, kind, crm_id, created, error = answer
    if kind == "successfulResults":
        return Receipt(external_id, Outcome.APPLIED, crm_id or known_id, created == "true")
    if kind == "failedResults":
        code, message, fields = bulk_error(error or "")
        if is_archived(operation, code):
            return Receipt(external_id, Outcome.APPLIED, known_id)
        if code not in TRANSIENT or last:
            return rejected(external_id, known_id, code, message, fields)
    elif last or job["state"] in ("Aborted", "NoAnswer"):
        message = str(job.get("errorMessage") or "the bulk job ended without a result for this record")
        code = "STALLED" if job.get("stalled") else str(job["state"])
        return Receipt(external_id, Outcome.UNKNOWN, known_id, None, f"BULK_JOB_{code.upper()}", message)
    again.append(row)
    return None
