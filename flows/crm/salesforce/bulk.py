"""Bulk API 2.0 ingest: a batch becomes one CSV and one job (more where it is too large), answered in three files.

The CSV is made and the answers are matched by DuckDB, straight from the batch's Parquet file: no record passes through
Python on the way out, and on the way back only its receipt.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm
"""

from __future__ import annotations

import asyncio
import csv
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from flows import warehouse
from flows.crm.retry import NoAnswer, jitter
from flows.crm.salesforce import collections, jobs
from flows.crm.salesforce.client import Client, Refused
from flows.crm.salesforce.collections import TRANSIENT, is_archived
from flows.crm.salesforce.encode import NULL, bulk_error, column_sql, is_text, text_sql
from flows.crm.salesforce.refusals import Refusals, rejected
from flows.crm.salesforce.shape import Shape, refused
from flows.errors import ConfigError, PushError
from flows.records import Batch, Operation, Outcome, Receipt, Record
from flows.warehouse import literal, quoted

T = TypeVar("T")

MOST_BYTES = 100_000_000
"""A raw upload: 150 MB after base64."""
MOST_TEXT = 32_000
"""Bytes of one value, of which Salesforce takes as many characters."""
FEW = 1_000
"""Records that are held at once where they go by Collections."""
ROUNDS = 4
"""In how many jobs a row may be sent that was left unprocessed or met a transient error."""
UPLOADS = 3
"""How many jobs are tried for one upload. An upload whose answer was lost cannot be repeated in its own job."""
BUFFER = 4_000_000
"""Bytes of a result file that are read at once; a record has at most 400,000 characters."""
RECEIPTS = 10_000
"""Receipts that are given out together."""
RESULTS = ("successfulResults", "failedResults", "unprocessedRecords")
VERBS = {Operation.CREATE: "upsert", Operation.UPDATE: "update", Operation.ARCHIVE: "delete"}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of ``todo`` that go into one job.

    Attributes:
        first: the lowest ``n``.
        end: one more than the highest.
        cleared: the lookups that these rows set to null; such rows need a header of their own.
        apart: whether these rows hold what a bulk CSV cannot, so that they go by Collections.
    """

    first: int
    end: int
    cleared: tuple[str, ...]
    apart: bool = False

    @property
    def count(self) -> int:
        """How many rows."""
        return self.end - self.first

    def halves(self) -> tuple[Part, Part]:
        """Cut in two."""
        middle = (self.first + self.end) // 2
        return Part(self.first, middle, self.cleared), Part(middle, self.end, self.cleared)


Answer = tuple[int, str, str | None, str | None, str | None, str | None, str | None]
"""Row in the file, external id, known CRM id, answer's kind, sf__Id, sf__Created, sf__Error."""


class Files:
    """A batch between its Parquet file, the CSV that is sent and the CSVs that come back.

    Args:
        shape: the sync as Salesforce sees it.
        batch: the batch.
        folder: an empty folder for the CSVs.
        database: a scratch DuckDB.
    """

    def __init__(self, shape: Shape, batch: Batch, folder: Path, database: Any) -> None:
        self._shape = shape
        self._operation = batch.operation
        self._folder = folder
        self._database = database
        creates = batch.operation is Operation.CREATE
        self._header, self._key = (shape.external_id, "external_id") if creates else ("Id", "crm_id")
        database.execute(
            f"create view batch as select *, {self._key} as key, file_row_number as row "
            f"from read_parquet({literal(str(batch.path))}, file_row_number = true)"
        )
        self._straight = not shape.lookups and not self._any_apart()
        """Whether the rows go out as they stand in the batch: then they are not held in memory."""
        if self._straight:
            database.execute("create view todo as select row, external_id, crm_id, key, row as n from batch")
        else:
            self._choose()

    def _choose(self) -> None:
        """Make the table of the rows that are to be sent."""
        cleared = [
            f"case when list_contains(changed, {literal(name)}) and {quoted(name)} is null then {literal(name)} end"
            for name in (() if self._operation is Operation.ARCHIVE else self._shape.lookups)
        ]
        parent = quoted(next(iter(self._shape.lookups))) if self._shape.lookups else "null"
        self._database.execute(
            f"create table todo as select row, external_id, crm_id, key, {parent} as parent, "
            f"concat_ws(',', {', '.join(cleared) or 'null'}) as cleared, {self._apart()} as apart, 0 as n from batch"
        )

    def _any_apart(self) -> bool:
        return bool(self._database.execute(f"select 1 from batch where {self._apart()} limit 1").fetchall())

    def _apart(self) -> str:
        """SQL that says of a row whether a bulk CSV cannot hold it: a text that means null there, or too long a one."""
        texts = [
            (f"list_contains(changed, {literal(name)})", text_sql(quoted(name), data_type))
            for name, data_type in self._shape.types.items()
            if is_text(data_type) and self._operation is not Operation.ARCHIVE
        ]
        unfit = [f"({text} = {literal(NULL)} or strlen({text}) > {MOST_TEXT}) and {sent}" for sent, text in texts]
        return f"coalesce({' or '.join([f'{self._key} = {literal(NULL)}', *unfit])}, false)"

    def parts(self, rows: list[int] | None) -> list[Part]:
        """Choose the rows that are still to be sent, the children of one parent side by side.

        Args:
            rows: rows in the file; None for all that are there.

        Returns:
            One part for each set of lookups that is cleared, and those for rows that go apart.
        """
        if self._straight and rows is None:
            (count,) = self._database.execute("select count(*) from batch").fetchall()[0]
            return [Part(0, count, ())]
        if self._straight:
            self._straight = False
            self._database.execute("drop view todo")
            self._choose()
        chosen = "" if rows is None else "where row in (select unnest($rows))"
        self._database.execute(
            "create or replace table todo as select * "
            f"replace (row_number() over (order by apart, cleared, parent, row) as n) from todo {chosen}",
            {} if rows is None else {"rows": rows},
        )
        found = self._database.execute(
            "select min(n), max(n) + 1, cleared, apart from todo group by cleared, apart order by 1"
        )
        return [
            Part(first, end, tuple(cleared.split(",")) if cleared else (), apart)
            for first, end, cleared, apart in found.fetchall()
        ]

    def external_ids(self, part: Part) -> set[str]:
        """The external ids of a part's rows."""
        found = self._database.execute(f"select external_id from todo where n >= {part.first} and n < {part.end}")
        return {row[0] for row in found.fetchall()}

    def write(self, part: Part) -> Path:
        """Write a part as CSV: LF, UTF-8, a blank for what is not sent, ``#N/A`` for null."""
        columns = [f"key as {quoted(self._header)}"]
        if self._operation is not Operation.ARCHIVE:
            columns += self._columns(part)
        target = self._folder / "upload.csv"
        chosen = f"select row, n from todo where n >= {part.first} and n < {part.end}"
        source = f"batch join ({chosen}) using (row) order by n"
        if self._straight:
            source = f"batch where row >= {part.first} and row < {part.end}"
        select = f"select {', '.join(columns)} from {source}"
        self._database.execute(
            f"copy ({select}) to {literal(str(target))} (format csv, header, delimiter ',', quote '\"', escape '\"')"
        )
        return target

    def _columns(self, part: Part) -> Iterator[str]:
        rows = "batch" if self._straight else "batch semi join todo using (row)"
        found = self._database.execute(f"select distinct unnest(changed) from {rows}").fetchall()
        changed = {name for (name,) in found}
        for name, data_type in self._shape.types.items():
            lookup = self._shape.lookups.get(name)
            if name not in changed:
                continue
            if name in part.cleared:
                yield f"{literal(NULL)} as {quoted(name)}"
            else:
                header = lookup.header if lookup else name
                yield f"{column_sql(name, data_type)} as {quoted(header)}"

    def result(self, kind: str) -> Path:
        """Where a result file belongs."""
        return self._folder / f"{kind}.csv"

    def answers(self, part: Part) -> Iterator[list[Answer]]:
        """Match the result files with the part's rows, whatever order they came in."""
        scans = [scan for kind in RESULTS if (scan := self._scan(kind)) is not None]
        empty = "select null::varchar as key, null as kind, null as id, null as created, null as error where false"
        self._database.execute(
            f"select t.row, t.external_id, t.crm_id, r.kind, r.id, r.created, r.error from todo t "
            f"left join ({' union all '.join([empty, *scans])}) r on r.key = t.key "
            f"where t.n >= {part.first} and t.n < {part.end}"
        )
        while chunk := self._database.fetchmany(RECEIPTS):
            yield chunk

    def _scan(self, kind: str) -> str | None:
        path = self.result(kind)
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file), [])
        if self._header not in header:
            return None
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        told = {name: quoted(name) if name in header else "null" for name in ("sf__Id", "sf__Created", "sf__Error")}
        return (
            f"select {quoted(self._header)} as key, {literal(kind)} as kind, {told['sf__Id']} as id, "
            f"{told['sf__Created']} as created, {told['sf__Error']} as error "
            f"from read_csv({literal(str(path))}, header = true, auto_detect = false, delim = ',', quote = '\"', "
            f"escape = '\"', buffer_size = {BUFFER}, columns = {{{columns}}})"
        )


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
                        safe="Every record without a receipt stays as it was in the ledger; the next run sends it.",
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
