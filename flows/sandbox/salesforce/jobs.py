"""What Bulk API 2.0 ingest and query jobs share: their states, their answers, and the threads that run them.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_info.htm
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from flows.sandbox.ids import make_ids, normalise
from flows.sandbox.org import USER
from flows.sandbox.salesforce.crew import Crew
from flows.sandbox.salesforce.http import Call, Refused
from flows.sandbox.salesforce.soql import Query
from flows.sandbox.store import now

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
TERMINAL = frozenset({"JobComplete", "Failed", "Aborted"})

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """A job.

    Attributes:
        id: its id.
        folder: where its files lie.
        operation: insert, update, upsert, delete, hardDelete, query or queryAll.
        object: the object's name.
        version: the API version that it was made with.
        delimiter: the name of the column delimiter.
        line_ending: LF or CRLF.
        key: the external id field of an upsert.
        query: the translated query of a query job.
        state: Open, UploadComplete, InProgress, JobComplete, Failed or Aborted.
        message: why it failed.
        processed: records that were tried, refused ones included.
        failed: records that were refused.
        faults: what is to go wrong with it.
        blocks: of a query job, the first row's number and first byte of every block of its result.
    """

    id: str
    folder: Path
    operation: str
    object: str
    version: str
    delimiter: str = "COMMA"
    line_ending: str = "LF"
    key: str = ""
    query: Query | None = None
    state: str = "Open"
    message: str = ""
    processed: int = 0
    failed: int = 0
    seconds: float = 0.0
    created: str = field(default_factory=now)
    modified: str = field(default_factory=now)
    faults: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    uploaded: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_query(self) -> bool:
        """Whether it reads."""
        return self.query is not None

    def move(self, state: str, *expected: str) -> bool:
        """Go to another state, if the present one is as expected.

        Returns:
            Whether it went.
        """
        with self.lock:
            if expected and self.state not in expected:
                return False
            self.state = state
            self.modified = now()
            return True

    def fault(self, name: str) -> Any:
        """What the script of faults says under a name, None where nothing."""
        return next((fault[name] for fault in self.faults if name in fault), None)

    def as_dict(self) -> dict[str, Any]:
        """The job as the API answers it."""
        answer: dict[str, Any] = {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": USER,
            "createdDate": self.created[:-1] + "+0000",
            "systemModstamp": self.modified[:-1] + "+0000",
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
            "jobType": "V2Query" if self.is_query else "V2Ingest",
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
        }
        if self.key:
            answer["externalIdFieldName"] = self.key
        if not self.is_query and self.state == "Open":
            answer["contentUrl"] = f"services/data/v{self.version}/jobs/ingest/{self.id}/batches"
        return answer

    def details(self) -> dict[str, Any]:
        """The job with its progress."""
        spent = int(self.seconds * 1000)
        answer = self.as_dict() | {
            "retries": 0,
            "totalProcessingTime": spent,
            "numberRecordsProcessed": self.processed,
        }
        if not self.is_query:
            answer |= {
                "numberRecordsFailed": self.failed,
                "apiActiveProcessingTime": spent,
                "apexProcessingTime": 0,
            }
        return answer | ({"errorMessage": self.message} if self.message else {})


class Jobs:
    """The jobs of one sandbox, and the threads that run them.

    Args:
        folder: where the jobs' files go.
        ended: told ``ingest.JobComplete`` and the like when a job ends.
        crew: the processes that work on large uploads.
    """

    def __init__(self, folder: Path, ended: Callable[[str], None], crew: Crew) -> None:
        self.folder = folder
        self.ended = ended
        self.crew = crew
        self.known: dict[str, Job] = {}
        self.closing = threading.Event()
        self._numbers = itertools.count(1)
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sandbox-job")

    def close(self) -> None:
        """Stop what is under way, and wait for it."""
        self.closing.set()
        self._threads.shutdown(cancel_futures=True)
        self.crew.close()

    def add(self, **values: Any) -> Job:
        """Make a job."""
        key = make_ids("750", next(self._numbers), 1)[0]
        folder = self.folder / key
        folder.mkdir()
        job = self.known[key] = Job(key, folder, **values)
        return job

    def start(self, job: Job, work: Callable[[Job], None]) -> None:
        """Run a job in a thread; an error in it makes the job fail."""
        self._threads.submit(self._run, job, work)

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        started = time.monotonic()
        slow = job.fault("slow_job") or 0
        try:
            self.closing.wait(slow)
            if job.move("InProgress", "UploadComplete"):
                self.closing.wait(slow)
                work(job)
        except Exception:
            _log.exception("job %s", job.id)
            job.message = "InternalServerError : the job could not be processed"
            job.move("Failed", "InProgress")
        job.seconds = time.monotonic() - started
        self.ended(f"{'query' if job.is_query else 'ingest'}.{job.state}")


def jobs(call: Call) -> Jobs:
    """The jobs of the sandbox that is asked."""
    found: Jobs = call.request.app.state.jobs
    return found


def find(call: Call, *, query: bool) -> Job:
    """Find the path's job.

    Raises:
        Refused: there is none (404).
    """
    job = jobs(call).known.get(normalise(call.path["id"]) or "")
    if job is None or job.is_query != query:
        raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
    return job


def listed(call: Call, *, query: bool) -> Response:
    """Answer the list of jobs of one kind, newest last."""
    records = [job.as_dict() for job in list(jobs(call).known.values()) if job.is_query == query]
    return JSONResponse({"done": True, "nextRecordsUrl": None, "records": records})


def delete(call: Call, *, query: bool) -> Response:
    """Delete a job that ended, and its files."""
    job = find(call, query=query)
    if job.state not in TERMINAL:
        raise wrong_state(job, "deleted")
    jobs(call).known.pop(job.id, None)
    for file in job.folder.iterdir():
        file.unlink()
    job.folder.rmdir()
    return Response(status_code=204)


def wrong_state(job: Job, what: str) -> Refused:
    """The refusal of what a job's state does not allow."""
    return Refused(400, "INVALIDJOBSTATE", f"InvalidJobState : the job is {job.state} and cannot be {what}")


def choice(body: dict[str, Any], name: str, allowed: dict[str, str], default: str) -> str:
    """Read a setting of a new job.

    Raises:
        Refused: it is none of those allowed (400).
    """
    value = body.get(name, default)
    if value not in allowed:
        raise Refused(400, "INVALIDJOB", f"InvalidJob : {name} {value!r} is none of {sorted(allowed)}")
    return str(value)
