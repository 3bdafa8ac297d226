"""Bulk API 2.0 query: ask, poll, fetch the answer as CSV in parts.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

from __future__ import annotations

import base64
import binascii
import bisect
import csv
import io
from collections.abc import Iterator
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from flows.sandbox.salesforce import query, values
from flows.sandbox.salesforce.http import Call, Refused
from flows.sandbox.salesforce.jobs import DELIMITERS, LINE_ENDINGS, Job, choice, find, jobs, wrong_state
from flows.sandbox.world import World

BLOCK = 1_000
PART = 50_000


def create(call: Call) -> Response:
    """Answer ``POST jobs/query``: make a job, which starts at once."""
    body = call.object_body()
    operation = body.get("operation")
    if operation not in {"query", "queryAll"}:
        raise Refused(400, "INVALIDJOB", f"InvalidJob : operation {operation!r} is neither query nor queryAll")
    translated = query.translate(call, str(body.get("query") or ""), deleted=operation == "queryAll")
    if translated.count or translated.counted:
        raise Refused(400, "FEATURENOTENABLED", "Aggregate queries are not supported in bulk queries")
    if not call.world.query_jobs.take():
        raise Refused(400, "EXCEEDEDQUOTA", "ExceededQuota : DailyBulkV2QueryJobs Limit exceeded.")
    job = jobs(call).add(
        operation=operation,
        object=translated.kind.name,
        version=call.path["version"],
        delimiter=choice(body, "columnDelimiter", DELIMITERS, "COMMA"),
        line_ending=choice(body, "lineEnding", LINE_ENDINGS, "LF"),
        query=translated,
        state="UploadComplete",
        faults=[dict(fault) for fault in call.exchange.faults],
    )
    answer = JSONResponse(job.as_dict())
    jobs(call).start(job, lambda started: process(call.world, started))
    return answer


def change(call: Call) -> Response:
    """Answer ``PATCH jobs/query/{id}``: abort."""
    job = find(call, query=True)
    if call.object_body().get("state") != "Aborted" or not job.move("Aborted", "UploadComplete", "InProgress"):
        raise wrong_state(job, "aborted")
    return JSONResponse(job.as_dict())


def info(call: Call) -> Response:
    """Answer ``GET jobs/query/{id}``: the state and the count."""
    return JSONResponse(find(call, query=True).details())


def process(world: World, job: Job) -> None:
    """Write the whole answer to a file, and note where its blocks begin."""
    if job.query is None or (message := job.fault("fail_job")):
        job.message = str(message)
        job.move("Failed", "InProgress")
        return
    chosen = job.query.selected
    with (job.folder / "result.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, **_style(job))
        for batch in world.store.batches(job.query.sql, job.query.values, BLOCK):
            job.blocks.append((job.processed, file.tell()))
            columns = list(zip(*batch, strict=True))[: len(chosen)]
            texts = [
                [values.as_csv(one.field, value) for value in column]
                for one, column in zip(chosen, columns, strict=True)
            ]
            writer.writerows(zip(*texts, strict=True))
            job.processed += len(batch)
            if job.state != "InProgress":
                return
        job.blocks.append((job.processed, file.tell()))
    job.move("JobComplete", "InProgress")


def results(call: Call) -> Response:
    """Answer ``GET jobs/query/{id}/results?maxRecords=&locator=``: a part of the answer.

    The header ``Sforce-Locator`` tells where the next part begins, ``null`` after the last.
    """
    job = find(call, query=True)
    if job.state != "JobComplete":
        raise wrong_state(job, "asked for results")
    start = _start(call.query.get("locator", ""))
    asked = call.query.get("maxRecords", str(PART))
    if start is None or start > job.processed or not asked.isdigit() or not int(asked):
        raise Refused(400, "INVALID_QUERY_LOCATOR", "the locator or maxRecords is not valid")
    end = min(start + int(asked), job.processed)
    locator = base64.urlsafe_b64encode(str(end).encode()).decode() if end < job.processed else "null"
    call.exchange.records += end - start
    headers = {"Sforce-Locator": locator, "Sforce-NumberOfRecords": str(end - start)}
    return StreamingResponse(_part(job, start, end), media_type="text/csv", headers=headers)


def _start(locator: str) -> int | None:
    if not locator or locator == "null":
        return 0
    try:
        return int(base64.urlsafe_b64decode(locator))
    except (binascii.Error, ValueError):
        return None


def _part(job: Job, start: int, end: int) -> Iterator[bytes]:
    """The header and the rows from start up to end; whole blocks are passed on as they lie in the file."""
    names = [one.name for one in job.query.selected] if job.query else []
    yield _csv(job, [names])
    first = bisect.bisect_right(job.blocks, start, key=lambda block: block[0]) - 1
    with (job.folder / "result.csv").open("rb") as file:
        for (row, begin), (after, stop) in zip(job.blocks[first:], job.blocks[first + 1 :], strict=False):
            if row >= end:
                return
            file.seek(begin)
            data = file.read(stop - begin)
            if row < start or after > end:
                text = io.StringIO(data.decode(), newline="")
                lines = list(csv.reader(text, delimiter=DELIMITERS[job.delimiter]))
                data = _csv(job, lines[max(start - row, 0) : end - row])
            yield data


def _csv(job: Job, lines: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, **_style(job)).writerows(lines)
    return text.getvalue().encode()


def _style(job: Job) -> dict[str, Any]:
    return {
        "delimiter": DELIMITERS[job.delimiter],
        "lineterminator": LINE_ENDINGS[job.line_ending],
        "quoting": csv.QUOTE_ALL,
    }
