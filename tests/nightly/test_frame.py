"""What is around a run: whatever goes wrong while people are told, they are told, and the run's row is written."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import frame
from flows.errors import GateFailed
from flows.journal import Journal, new_run_id
from flows.notify import message
from flows.settings import Settings
from flows.warehouse import Warehouse
from tests.conftest import PROJECT


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A target with a channel that cannot be reached, so that the run says whether it was tried."""
    for name in ("SANDBOX_URL", "SHOP_URL", "RETAIL_FILES"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NIGHTSHIFT_NOTIFY", "json://127.0.0.1:9/hook")
    return Settings(PROJECT, tmp_path, "sandbox")


def carried(settings: Settings, body: Callable[[Warehouse], None]) -> tuple[Journal, BaseException | None]:
    """Carry a run of these stages, in a flow."""
    run = Journal(new_run_id(), settings.target)

    @flow(name="small")
    def small() -> Any:
        return [frame.carry(settings, run, body)]  # an exception that is returned bare would be the flow's own

    [error] = small()
    return run, error


def written(settings: Settings, run: Journal) -> dict[str, Any]:
    """The run's row: its state, whether it has ended, and its summary."""
    with Warehouse.open(settings.warehouse) as db:
        [(state, ended_at, summary)] = db.execute(
            "select state, ended_at, summary from ops.runs where run_id = ?", (run.summary.run_id,)
        )
    return {"state": state, "ended": ended_at is not None, "summary": json.loads(summary)}


def nothing(db: Warehouse) -> None:
    """A run without stages."""


def fails(db: Warehouse) -> None:
    raise GateFailed("It is not fit.", safe="Nothing was sent.", todo="Mend it.")


@pytest.mark.parametrize(("body", "state"), [(nothing, "done"), (fails, "failed")])
def test_a_page_that_cannot_be_written_is_told_and_the_run_ends_as_it_ended(
    settings: Settings, body: Callable[[Warehouse], None], state: str
) -> None:
    settings.reports.write_text("no folder")

    run, error = carried(settings, body)

    assert (type(error) if error else None) is (GateFailed if body is fails else None)
    row = written(settings, run)
    assert (row["state"], row["ended"]) == (state, True)
    assert row["summary"]["page"] is None
    assert [told["channel"] for told in row["summary"]["notified"]] == ["json://***"]
    [problem] = row["summary"]["problems"]
    assert problem["what"] == "The morning page could not be written: NotADirectoryError (Not a directory)"
    text = message(run.summary)[1]
    assert "- The morning page could not be written: " in text
    assert "`nightshift report` writes it anew" in text
    assert str(settings.reports) in (settings.run_folder(run.summary.run_id) / "error.txt").read_text(encoding="utf-8")


def test_docs_that_are_not_built_as_asked_are_told_on_the_page(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_DOCS", "sometimes")

    run, error = carried(settings, nothing)

    assert error is None
    [problem] = written(settings, run)["summary"]["problems"]
    assert problem["what"].startswith("NIGHTSHIFT_DOCS is 'sometimes', expected always")
    assert "NIGHTSHIFT_DOCS is" in Path(str(run.summary.page)).read_text(encoding="utf-8")


@pytest.fixture
def without_artifacts(prefect_api: str) -> Iterator[None]:
    """Prefect's server, which has no room for artifacts."""

    class Relay(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = httpx.Response(507, text="no room")
            if "/artifacts" not in self.path:
                told = {"Content-Type": self.headers.get("Content-Type", "application/json")}
                answer = httpx.request(self.command, urljoin(prefect_api, self.path), content=body, headers=told)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, *args: object) -> None:
            """Nothing: what is asserted is what the run says."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with temporary_settings(updates={PREFECT_API_URL: f"http://127.0.0.1:{server.server_address[1]}/api"}):
        yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("without_artifacts")
def test_artifacts_that_prefect_does_not_take_are_told_and_cost_nothing_else(settings: Settings) -> None:
    run, error = carried(settings, nothing)

    assert error is None
    row = written(settings, run)
    assert (row["state"], row["ended"]) == ("done", True)
    assert [told["channel"] for told in row["summary"]["notified"]] == ["json://***"]
    [problem] = row["summary"]["problems"]
    assert problem["what"] == "Prefect's artifacts could not be made: PrefectHTTPStatusError"
    assert "artifacts could not be made" in Path(row["summary"]["page"]).read_text(encoding="utf-8")
