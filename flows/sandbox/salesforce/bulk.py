"""Bulk API 2.0 ingest: upload a CSV, poll, fetch three files of results.

An upload is streamed to a file and worked on 10,000 records at a time, so that its size costs no memory; a large one
by several processes, where the store is a file.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_ingest.htm
"""

from __future__ import annotations

import csv
import io
import itertools
import threading
import zlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import IO, Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from flows.sandbox.org import ObjectType
from flows.sandbox.salesforce import batches
from flows.sandbox.salesforce.batches import BATCH, BadUpload, Chunk, Layout
from flows.sandbox.salesforce.crew import Crew, Task
from flows.sandbox.salesforce.http import Call, Refused, Unread, guarded
from flows.sandbox.salesforce.jobs import DELIMITERS, LINE_ENDINGS, TERMINAL, Job, choice, find, jobs, wrong_state
from flows.sandbox.world import World

MAX_COLUMNS = 5_000
OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
RESULTS = {"successfulresults": "successful", "failedresults": "failed", "unprocessedrecords": "unprocessed"}


def create(call: Call) -> Response:
    """Answer ``POST jobs/ingest``: make a job."""
    body = call.object_body()
    operation = body.get("operation")
    if operation not in OPERATIONS:
        raise Refused(400, "INVALIDJOB", f"InvalidJob : operation {operation!r} is none of {list(OPERATIONS)}")
    kind = call.world.org.object(str(body.get("object")))
    if kind is None or not kind.writable:
        message = f"InvalidJob : Unable to find object: {body.get('object')}"
        raise Refused(400, "INVALIDJOB", message)
    if body.get("contentType", "CSV") != "CSV":
        raise Refused(400, "INVALIDJOB", "InvalidJob : contentType must be CSV")
    key = _key(kind, body) if operation == "upsert" else ""
    job = jobs(call).add(
        operation=operation,
        object=kind.name,
        version=call.path["version"],
        delimiter=choice(body, "columnDelimiter", DELIMITERS, "COMMA"),
        line_ending=choice(body, "lineEnding", LINE_ENDINGS, "LF"),
        key=key,
    )
    return JSONResponse(job.as_dict())


def _key(kind: ObjectType, body: dict[str, Any]) -> str:
    name = body.get("externalIdFieldName")
    if not name:
        raise Refused(400, "INVALIDJOB", "InvalidJob : External ID was blank for upsert")
    field = kind.find(str(name))
    if field is None or not (field.external_id or field.type == "id"):
        message = (
            f"InvalidJob : Field name provided, {name} does not match an External ID, Salesforce Id, or indexed "
            f"field for {kind.name}"
        )
        raise Refused(400, "INVALIDJOB", message)
    return field.name


def upload_route(path: str) -> Route:
    """Serve the upload, whose body is not held in memory."""

    async def endpoint(request: Request) -> Response:
        async def answer(call: Call) -> Response:
            return await upload(call, _inflated(request))

        return await guarded(request, path, answer, read_body=False)

    return Route(path, endpoint, methods=["PUT"])


async def upload(call: Call, body: AsyncIterator[bytes]) -> Response:
    """Answer ``PUT jobs/ingest/{id}/batches``: take the job's one upload."""
    job = find(call, query=False)
    if job.state != "Open":
        raise wrong_state(job, "given data")
    if job.uploaded:
        message = f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the current job"
        raise Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : {message}")
    size = 0
    limit = call.world.config.max_upload_bytes
    path = job.folder / "part.csv"
    with path.open("wb") as file:
        async for chunk in body:
            size += len(chunk)
            if size <= limit:
                file.write(chunk)
                jobs(call).crew.ready(size)
    if size > limit:
        path.unlink()
        raise Unread(413, "Request Entity Too Large")
    path.rename(job.folder / "upload.csv")
    job.uploaded = True
    return Response(status_code=201)


async def _inflated(request: Request) -> AsyncIterator[bytes]:
    if request.headers.get("content-encoding", "") != "gzip":
        async for chunk in request.stream():
            yield chunk
        return
    inflate = zlib.decompressobj(wbits=31)
    async for chunk in request.stream():
        yield inflate.decompress(chunk)


def change(call: Call) -> Response:
    """Answer ``PATCH jobs/ingest/{id}``: close the upload, or abort."""
    job = find(call, query=False)
    state = call.object_body().get("state")
    if state == "Aborted":
        if not job.move("Aborted", "Open", "UploadComplete", "InProgress"):
            raise wrong_state(job, "aborted")
    elif state == "UploadComplete":
        if not job.move("UploadComplete", "Open"):
            raise wrong_state(job, "closed")
        job.faults = [dict(fault) for fault in call.exchange.faults]
        answer = JSONResponse(job.as_dict())  # before it runs: a client sees every state
        crew = jobs(call).crew
        jobs(call).start(job, lambda started: process(call.world, started, crew))
        return answer
    else:
        raise Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : {state!r} is not a state to be set")
    return JSONResponse(job.as_dict())


def info(call: Call) -> Response:
    """Answer ``GET jobs/ingest/{id}``: the state and the counts."""
    return JSONResponse(find(call, query=False).details())


def results(call: Call) -> Response:
    """Answer ``GET jobs/ingest/{id}/…Results``: one of the three files."""
    job = find(call, query=False)
    name = RESULTS.get(call.path["results"].lower())
    if name is None:
        raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
    if job.state not in TERMINAL:
        raise wrong_state(job, "asked for results")
    path = job.folder / f"{name}.csv"
    if not path.exists():
        if name == "unprocessed" and (job.folder / "upload.csv").exists() and not job.processed:
            path = job.folder / "upload.csv"
        else:
            return Response("", media_type="text/csv")
    return FileResponse(path, media_type="text/csv")


# Running a job.


def process(world: World, job: Job, crew: Crew) -> None:
    """Work on a job's upload until it is done, or the job is aborted or fails."""
    message = job.fault("fail_job")
    stop = job.fault("unprocessed")
    after, final = (stop["after"], stop.get("state", "Failed")) if isinstance(stop, dict) else (stop, "Failed")
    if message is None or stop is not None:
        try:
            _process(world, job, crew, after)
        except UnicodeDecodeError:
            message = message or "InvalidBatch : the upload is not UTF-8"
        except (BadUpload, csv.Error) as error:
            message = message or f"InvalidBatch : {error}"
    if stop is not None and message is None and final == "Failed":
        message = "TooManyLockFailure : Too many lock failure attempts, some records were not processed"
    job.message = message or ""
    job.move("Failed" if message else "JobComplete", "InProgress")


def _process(world: World, job: Job, crew: Crew, after: int | None) -> None:
    path = job.folder / "upload.csv"
    if not path.exists():
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        layout = _layout(world, job, path, file)
        with _Results(job, layout) as out:
            if job.faults or not crew.ready(path.stat().st_size) or (first := _second_line(path)) is None:
                _alone(world, job, file, out, after)
                return
            task = Task(world.store, path, layout, lambda count: _may_write(world, job, count), out.count, out.append)
            if (left := crew.work(task, first)) is not None:
                with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as rest:
                    raw.seek(left)
                    _alone(world, job, rest, out, None)


def _alone(world: World, job: Job, file: IO[str], out: _Results, left: int | None) -> None:
    """Work on what is left of an upload, so many rows or all of them."""
    while chunk := batches.read(file, out.layout.delimiter, BATCH if left is None else min(BATCH, left)):
        if job.state != "InProgress":
            out.unprocessed(chunk.rows)
            break
        _batch(world, job, chunk, out)
        left = None if left is None else left - len(chunk.rows)
    if job.state != "InProgress" or left is not None:
        out.unprocessed(batches.reader(file, out.layout.delimiter))


def _second_line(path: Path) -> int | None:
    """Where the rows begin, in bytes; None where the header is no plain line."""
    with path.open("rb") as file:
        line = file.readline(1_000_000)
        return None if line.count(b'"') % 2 or not line.endswith(b"\n") else file.tell()


def _layout(world: World, job: Job, path: Path, lines: IO[str]) -> Layout:
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    if line.endswith(b"\n") and line.endswith(b"\r\n") != (job.line_ending == "CRLF"):
        message = f"LineEnding is invalid on user data. Current LineEnding setting is {job.line_ending}"
        raise BadUpload(message)
    delimiter = DELIMITERS[job.delimiter]
    header = next(batches.reader(iter(lines.readline, ""), delimiter), [])
    _check_header(world, job, header)
    return Layout(job.operation, job.object, job.key, delimiter, LINE_ENDINGS[job.line_ending], tuple(header))


def _check_header(world: World, job: Job, header: list[str]) -> None:
    kind = world.org.objects[job.object]
    if job.operation in {"delete", "hardDelete"} and [name.lower() for name in header] != ["id"]:
        raise BadUpload("InvalidBatch : The 'delete' batch must contain only ids")
    if len(header) > MAX_COLUMNS:
        raise BadUpload(f"a record has more than {MAX_COLUMNS} fields")
    if len({name.lower() for name in header}) < len(header):
        raise BadUpload("Duplicate field names in the header")
    for name in header:
        parent, _, rest = name.partition(".")
        lookup = kind.relationship(parent) if rest else None
        known = world.org.objects[lookup.reference_to].find(rest) if lookup else kind.find(name)
        if known is None or (rest and not (known.external_id or known.type == "id")):
            raise BadUpload(f"Field name not found : {name}")
    if job.operation == "upsert" and job.key.lower() not in {name.lower() for name in header}:
        raise BadUpload(f"Field name not found : {job.key}")


def _may_write(world: World, job: Job, count: int) -> bool:
    """Whether a batch may be written, which then counts against the day."""
    return job.state == "InProgress" and (not count or (world.batches.take() and world.bulk_records.take(count)))


def _batch(world: World, job: Job, chunk: Chunk, out: _Results) -> None:
    count = len(chunk.rows)
    if not count:
        return
    if not world.batches.take() or not world.bulk_records.take(count):
        raise BadUpload("ExceededQuota : ApiBatchItems Limit exceeded.")
    columns = batches.by_column(out.layout, chunk)
    faults = [fault for fault in job.faults if not fault.keys().isdisjoint(("lock_rows", "reject", "change"))]
    done = batches.write(world, out.layout.how(world.org, faults=faults), columns, count)
    successful, failed = batches.told(out.layout, chunk, done)
    out.append(successful.encode(), failed.encode())
    out.count(count, sum(row.error is not None for row in done))


class _Results:
    """The three files of a job, in the upload's delimiter and line ending."""

    def __init__(self, job: Job, layout: Layout) -> None:
        self.layout = layout
        self._job = job
        self._files: dict[str, IO[bytes]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> _Results:
        header = self.layout.header
        headers = {
            "successful": ("sf__Id", "sf__Created", *header),
            "failed": ("sf__Id", "sf__Error", *header),
            "unprocessed": header,
        }
        for name, columns in headers.items():
            self._files[name] = (self._job.folder / f"{name}.csv").open("wb")
            self._files[name].write(batches.as_csv(self.layout, [columns]).encode())
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files.values():
            file.close()

    def append(self, successful: bytes, failed: bytes) -> None:
        """Write what became of rows."""
        with self._lock:
            self._files["successful"].write(successful)
            self._files["failed"].write(failed)

    def count(self, rows: int, failed: int) -> None:
        """Tell the job that so many rows were tried."""
        self._job.processed += rows
        self._job.failed += failed

    def unprocessed(self, lines: Iterable[list[str]]) -> None:
        """Write rows that were not tried."""
        waiting = iter(lines)
        while part := list(itertools.islice(waiting, BATCH)):
            self._files["unprocessed"].write(batches.as_csv(self.layout, part).encode())
