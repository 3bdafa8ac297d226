"""Bulk API 2.0 ingest: upload a CSV, poll, fetch three files of results.

An upload is streamed to a file and worked on 10,000 records at a time, so that its size costs no memory.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0_ingest.htm
"""

from __future__ import annotations

import csv
import itertools
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from flows.sandbox.org import ObjectType
from flows.sandbox.salesforce import rows
from flows.sandbox.salesforce.http import Call, Refused, Unread, guarded
from flows.sandbox.salesforce.jobs import DELIMITERS, LINE_ENDINGS, TERMINAL, Job, choice, find, jobs, wrong_state
from flows.sandbox.salesforce.rows import RowResult, UnknownColumn, Write
from flows.sandbox.world import World

BATCH = 10_000
MAX_VALUE = 32_000
MAX_COLUMNS = 5_000
OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
_CREATED = ("false", "true")
RESULTS = {"successfulresults": "successful", "failedresults": "failed", "unprocessedrecords": "unprocessed"}


class BadUpload(Exception):
    """An upload that fails its job."""


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
        jobs(call).start(job, lambda started: process(call.world, started))
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


def process(world: World, job: Job) -> None:
    """Work on a job's upload until it is done, or the job is aborted or fails."""
    message = job.fault("fail_job")
    stop = job.fault("unprocessed")
    after, final = (stop["after"], stop.get("state", "Failed")) if isinstance(stop, dict) else (stop, "Failed")
    if message is None or stop is not None:
        try:
            _process(world, job, after)
        except (BadUpload, csv.Error, UnicodeDecodeError) as error:
            message = message or f"InvalidBatch : {error}"
    if stop is not None and message is None and final == "Failed":
        message = "TooManyLockFailure : Too many lock failure attempts, some records were not processed"
    job.message = message or ""
    job.move("Failed" if message else "JobComplete", "InProgress")


def _process(world: World, job: Job, after: int | None) -> None:
    path = job.folder / "upload.csv"
    if not path.exists():
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = _header(world, job, path, file)
        with _Results(job, header) as out:
            left = after
            while chunk := _chunk(file, job, BATCH if left is None else min(BATCH, left)):
                if job.state != "InProgress":
                    out.unprocessed(chunk.rows)
                    break
                _batch(world, job, header, chunk, out)
                left = None if left is None else left - len(chunk.rows)
            if job.state != "InProgress" or left is not None:
                out.unprocessed(_reader(file, job))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some rows of an upload, and their lines as they came where no value is quoted."""

    rows: list[list[str]]
    lines: list[str] | None


def _reader(lines: Iterable[str], job: Job) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=DELIMITERS[job.delimiter], strict=True)


def _chunk(file: IO[str], job: Job, size: int) -> _Chunk | None:
    """Read the next rows; blank lines do not count. Plain lines are split, for that takes half of the time."""
    lines = list(itertools.islice(file, size))
    if not lines:
        return None
    if any('"' in line for line in lines):
        # A row has at least one line, so that no line is left over.
        rows = list(itertools.islice(_reader(itertools.chain(lines, file), job), size))
        return _Chunk([row for row in rows if row], None)
    plain = [line for text in lines if (line := text.rstrip("\r\n"))]
    delimiter = DELIMITERS[job.delimiter]
    return _Chunk([line.split(delimiter) for line in plain], plain)


def _header(world: World, job: Job, path: Path, lines: IO[str]) -> list[str]:
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    if line.endswith(b"\n") and line.endswith(b"\r\n") != (job.line_ending == "CRLF"):
        message = f"LineEnding is invalid on user data. Current LineEnding setting is {job.line_ending}"
        raise BadUpload(message)
    header = next(_reader(iter(lines.readline, ""), job), [])
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
    return header


def _batch(world: World, job: Job, header: list[str], chunk: _Chunk, out: _Results) -> None:
    count = len(chunk.rows)
    if not count:
        return
    if not world.batches.take() or not world.bulk_records.take(count):
        raise BadUpload("ExceededQuota : ApiBatchItems Limit exceeded.")
    try:
        columns = dict(zip(header, zip(*chunk.rows, strict=True), strict=True))
    except ValueError:
        raise BadUpload("a row has more or fewer values than the header") from None
    if any(max(map(len, column)) > MAX_VALUE for column in columns.values()):
        raise BadUpload(f"a value is longer than {MAX_VALUE} characters")
    if "Id" not in columns:
        columns = {("Id" if name.lower() == "id" else name): column for name, column in columns.items()}
    kind = world.org.objects[job.object]
    key = kind.find(job.key) if job.key else None
    faults = [fault for fault in job.faults if "lock_rows" in fault or "reject" in fault]
    try:
        done = rows.write(world, Write(job.operation, kind, key, csv=True, faults=faults), columns, count)
    except UnknownColumn as error:
        raise BadUpload(f"Field name not found : {error}") from error
    out.write(chunk, done)
    job.processed += count
    job.failed = out.failures


class _Results:
    """The three files of a job, in the upload's delimiter and line ending."""

    def __init__(self, job: Job, header: list[str]) -> None:
        self.job = job
        self.header = header
        self.failures = 0
        self.files: dict[str, IO[str]] = {}
        self.style: dict[str, Any] = {
            "delimiter": DELIMITERS[job.delimiter],
            "lineterminator": LINE_ENDINGS[job.line_ending],
        }

    def __enter__(self) -> _Results:
        headers = {
            "successful": ["sf__Id", "sf__Created", *self.header],
            "failed": ["sf__Id", "sf__Error", *self.header],
            "unprocessed": self.header,
        }
        for name, header in headers.items():
            self.files[name] = (self.job.folder / f"{name}.csv").open("w", encoding="utf-8", newline="")
            self.append(name, [header])
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self.files.values():
            file.close()

    def append(self, name: str, lines: Iterator[Any] | Sequence[Any]) -> None:
        """Write rows to one of the files."""
        csv.writer(self.files[name], **self.style).writerows(lines)

    def write(self, chunk: _Chunk, done: list[RowResult]) -> None:
        """Write what became of a batch; last row first, for Salesforce promises no order."""
        good = [row for row in reversed(range(len(done))) if not done[row].error]
        bad = [row for row in reversed(range(len(done))) if done[row].error] if len(good) < len(done) else []
        self.failures += len(bad)
        self.append("failed", [[done[row].id or "", _error(done[row]), *chunk.rows[row]] for row in bad])
        if chunk.lines is None:
            self.append("successful", [[done[row].id, _CREATED[done[row].created], *chunk.rows[row]] for row in good])
            return
        d, end, lines = self.style["delimiter"], self.style["lineterminator"], chunk.lines
        self.files["successful"].writelines(
            f"{done[row].id}{d}{_CREATED[done[row].created]}{d}{lines[row]}{end}" for row in good
        )

    def unprocessed(self, lines: Iterator[list[str]] | Sequence[list[str]]) -> None:
        """Write rows that were not tried."""
        self.append("unprocessed", lines)


def _error(result: RowResult) -> str:
    if result.error is None:
        return ""
    fields = ",".join(result.error.fields)
    return f"{result.error.code}:{result.error.message}:{fields}{' ' if fields else ''}--"
