"""A world to extract from: a folder of files, a web server that answers what it is told, and a warehouse."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.extract import Extracted, extract, prepare
from flows.project import FilesExtract, RestExtract, Source
from flows.warehouse import Warehouse

LINES = {"no": "varchar", "quantity": "bigint", "price": "decimal(18, 4)", "at": "timestamp", "note": "varchar"}
HEADER = ",".join(LINES)
PEOPLE = {"id": "varchar", "name": "varchar", "consent": "boolean", "score": "decimal(9,2)", "updated_at": "timestamp"}


@dataclass
class World:
    """One source, its warehouse and its folder."""

    warehouse: Warehouse
    folder: Path
    source: Source
    nights: int = 0

    def night(self, as_of: date | None = None, **told: Any) -> Extracted:
        """Prepare and extract, as a run does."""
        self.nights += 1
        prepare([self.source], self.warehouse)
        with self.warehouse.cursor() as cursor:
            return extract(
                self.source, cursor, run_id=f"run-{self.nights}", as_of=as_of, project_dir=self.folder.parent, **told
            )

    def declare(self, **changes: Any) -> None:
        """Declare the extraction otherwise."""
        self.source = replace(self.source, extract=self.source.extract.model_copy(update=changes))

    def rows(self, columns: str = "*", order: str = "all") -> list[tuple[Any, ...]]:
        return self.warehouse.execute(f"select {columns} from {self.source.relation} order by {order}")

    def state(self) -> list[Any]:
        """All that an extraction may change in the warehouse."""
        prepare([self.source], self.warehouse)
        tables = (self.source.relation, "ops.files", "ops.extracts")
        return [self.warehouse.execute(f"select * from {table} order by all") for table in tables]

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file as a supplier does; gzipped where its name says so."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
        return path

    def day(self, name: str, *lines: str, header: str = HEADER) -> Path:
        """Write a day of lines."""
        return self.write(name, "".join(f"{line}\n" for line in (header, *lines)))


@pytest.fixture
def files(warehouse: Warehouse, tmp_path: Path) -> World:
    """A folder ``in`` of daily CSV.gz files, not made yet."""
    declared = FilesExtract(kind="files", path="in/*.csv.gz", date_in_name=True)
    source = Source("till.lines", "till__lines", {**LINES, "_row": "bigint"}, declared, declared_in="_till.yml")
    return World(warehouse, tmp_path / "in", source)


Answer = Callable[[Request], Response]


@dataclass
class Web:
    """A web server whose answers a test sets, and what it was asked."""

    url: str
    answer: Answer
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def pages(self, *pages: list[dict[str, Any]]) -> None:
        """Answer these pages, whatever is asked for; tokens count from 2."""

        def answer(request: Request) -> Response:
            number = int(request.query_params.get("page", 1))
            token = number + 1 if number < len(pages) else None
            return JSONResponse({"items": pages[number - 1], "next": token})

        self.answer = answer

    def script(self, *answers: Response | Answer) -> None:
        """Answer one after the other; the last one for ever."""
        left = list(answers)

        def answer(request: Request) -> Response:
            now = left.pop(0) if len(left) > 1 else left[0]
            return now if isinstance(now, Response) else now(request)

        self.answer = answer


@pytest.fixture(scope="session")
def web_server() -> Iterator[Web]:
    web = Web("", lambda request: Response(status_code=500))

    def answer(request: Request) -> Response:
        web.asked.append(dict(request.query_params))
        web.headers.append(dict(request.headers))
        return web.answer(request)

    app = Starlette(routes=[Route("/{path:path}", answer)])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    web.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield web
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def web(web_server: Web) -> Web:
    """The web server, with nothing to tell yet."""
    web_server.pages([])
    web_server.asked.clear()
    web_server.headers.clear()
    return web_server


@pytest.fixture
def api(warehouse: Warehouse, tmp_path: Path, web: Web) -> World:
    """The web server's people as a source."""
    declared = RestExtract(
        kind="rest", url=f"{web.url}/people", key="id", cursor="updated_at", timeout_seconds=0.5, deadline_seconds=0.5
    )
    source = Source("shop.people", "shop__people", {**PEOPLE, "_page": "varchar"}, declared, declared_in="_shop.yml")
    return World(warehouse, tmp_path / "in", source)


def person(number: int, day: int = 1, **values: Any) -> dict[str, Any]:
    """A record of the API, updated on a day of December 2010."""
    return {
        "id": str(number),
        "name": f"P{number}",
        "consent": True,
        "score": 1.5,
        "updated_at": f"2010-12-{day:02}T08:00:00Z",
        **values,
    }
