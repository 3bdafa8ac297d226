"""What an API can do wrong: one message that names it, no secret in it, and a warehouse as before."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from flows.errors import ConfigError, ExtractError
from flows.project import RestExtract
from tests.extract.conftest import Web, World, person


def page(*items: Any, **more: Any) -> JSONResponse:
    return JSONResponse({"items": list(items), "next": None, **more})


def status(code: int, text: str = "", **headers: str) -> Response:
    return PlainTextResponse(text, code, {name.replace("_", "-"): value for name, value in headers.items()})


def slowly(request: Request) -> Response:
    def drip() -> Any:
        for _ in range(40):
            yield b" "
            time.sleep(0.05)

    return StreamingResponse(drip(), media_type="application/json")


def silent(request: Request) -> Response:
    time.sleep(0.8)
    return page()


BROKEN: dict[str, tuple[list[Response | Callable[[Request], Response]], list[str]]] = {
    "500 for ever": ([status(500)], ["/people answered 500 Internal Server Error; tried ", "for page 1"]),
    "500 from the second page on": (
        [page(person(7), next="b"), status(503)],
        ["answered 503 Service Unavailable", "for page 2"],
    ),
    "too slow": ([slowly], ["/people answers too slowly; tried"]),
    "silent": ([silent], ["did not answer within 0.5 s"]),
    "429 beyond all patience": (
        [status(429, retry_after="3600")],
        ["answered 429 Too Many Requests and asks for 3,600 s of patience; tried 1 times"],
    ),
    "wrong credentials": (
        [status(401, "s3cret")],
        ["answered 401 Unauthorized for page 1: it wants other credentials (it was sent the header X-Api-Key)"],
    ),
    "forbidden": ([status(403, "s3cret")], ["answered 403 Forbidden for page 1: it wants other credentials"]),
    "moved": ([status(301, location="https://elsewhere/?k=s3cret")], ["answered 301", "the address has moved"]),
    "not found": ([status(404, "no such\n thing, s3cret")], ["answered 404 Not Found", "no such thing, [secret]"]),
    "bad request": ([status(400)], ["answered 400 Bad Request for page 1: it says nothing more"]),
    "no JSON": (
        [Response("<html>Log in</html>", media_type="text/html")],
        ["/people, page 1 is not JSON (text/html; charset=utf-8, 19 bytes)"],
    ),
    "half a JSON": ([Response('{"items": [{"id": 1}', media_type="application/json")], ["page 1 is not JSON"]),
    "NaN": ([Response('{"items": [{"id": NaN}]}')], ["page 1 is not JSON"]),
    "no text": ([Response(b"\xff\xfe\x00", media_type="application/json")], ["page 1 is not JSON"]),
    "half a letter": (
        [Response(b'{"items": [' + json.dumps(person(1, name="\ud83d")).encode() + b"]}")],
        ["what it sent cannot be loaded: Invalid Input Error: Malformed JSON"],
    ),
    "endless depth": ([Response("[" * 200_000, media_type="application/json")], ["page 1 is not JSON"]),
    "a list": ([JSONResponse([person(1)])], ["page 1 is a list; expected an object"]),
    "another key": ([JSONResponse({"data": [], "meta": {}})], ["no key 'items'; its keys are: 'data', 'meta'"]),
    "an empty object": ([JSONResponse({})], ["no key 'items'; its keys are: none"]),
    "no list": ([JSONResponse({"items": {"1": person(1)}})], ["'items' is an object; expected a list"]),
    "no objects": ([page(person(1), "text")], ["'items' holds a text; expected objects"]),
    "an odd token": ([page(person(1), next={"after": 1})], ["'next' is an object; expected a token"]),
    "a true token": ([page(person(1), next=True)], ["'next' is a truth value; expected a token"]),
    "a ring of pages": ([page(person(1), next="b")], ["would go on for ever: page 2 names a next page"]),
    "a wrong type": (
        [page(person(1), next="b"), page(person(2), person(3, score="high"), person(4, score="low"))],
        ["the record whose id is '3' (page 2), column 'score': 'high' is not a DECIMAL(9,2) (and 1 more"],
    ),
    "a wrong truth value": ([page(person(1, consent="maybe"))], ["column 'consent': 'maybe' is not a BOOLEAN"]),
    "a renamed column": (
        [page({("e_mail" if key == "name" else key): value for key, value in person(1, names="x").items()})],
        ["no record has the column 'name' (is it 'names' now?)", "found id, e_mail, consent, score, updated_at, names"],
    ),
    "empty objects": ([page({})], ["no record has the column 'id', 'name'", "found none"]),
    "no key": ([page(person(1), person(2, id=None))], ["1 records have no 'id', the first on page 1"]),
}


def fails(api: World, *parts: str) -> ExtractError:
    before = api.state()
    with pytest.raises(ExtractError) as caught:
        api.night()
    assert api.state() == before
    assert list(api.warehouse.path.parent.glob("extract-*")) == []
    for part in parts:
        assert part in caught.value.what
    assert "shop.people: " in caught.value.what
    assert caught.value.safe
    assert caught.value.todo
    assert "s3cret" not in f"{caught.value}{caught.value.__cause__}"
    return caught.value


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_source_is_named_and_the_next_good_night_loads_all(api: World, web: Web, case: str) -> None:
    answers, parts = BROKEN[case]
    web.pages([person(1)])
    api.source = replace(api.source, headers={"X-Api-Key": SecretStr("s3cret")})
    api.night()
    web.script(*answers)
    fails(api, *parts)
    web.pages([person(1)], [person(2, day=2)])
    done = api.night()
    assert (done.rows, done.cursor_before) == (1, "2010-12-01T08:00:00Z")
    assert api.rows("id, _run_id", "id") == [("1", "run-1"), ("2", "run-3")]


def test_what_passes_is_tried_again(api: World, web: Web) -> None:
    api.declare(deadline_seconds=20)
    web.script(
        status(500), status(429, retry_after="0"), silent, status(408), page(person(1), next="b"), status(502),
        page(person(2)),
    )  # fmt: skip
    assert api.night().rows == 2
    assert len(web.asked) == 7


def test_retry_after_is_waited_for(api: World, web: Web) -> None:
    api.declare(deadline_seconds=20)
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    started = time.monotonic()
    web.script(status(429, retry_after="1"), status(503, retry_after=at), page(person(1)))
    api.night()
    assert 1.0 <= time.monotonic() - started < 10


def test_nobody_listens(api: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api.declare(url=f"http://user:s3cret@127.0.0.1:{port}/people?key=s3cret")
    fails(api, f"http://127.0.0.1:{port}/people could not be reached (ConnectError: ", "Connection refused")


def test_a_connection_that_breaks_off(api: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        api.declare(url=f"http://127.0.0.1:{server.getsockname()[1]}/people")
        fails(api, "could not be reached (RemoteProtocolError")
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("url", ["/people", "", "ftp://host/people", "http:///people", "127.0.0.1:80/people"])
def test_an_address_that_is_not_set(api: World, url: str) -> None:
    api.declare(url=url)
    with pytest.raises(ConfigError) as caught:
        api.night()
    assert f"_shop.yml: shop.people: config.meta.extract.url: found {url!r}" in caught.value.what


@pytest.mark.parametrize("value", ["s3cret\n", "s3cret\r\nX: y", " s3cret", "s3crét"])
def test_a_header_that_cannot_be_sent(api: World, web: Web, value: str) -> None:
    api.source = replace(api.source, headers={"Authorization": SecretStr(value)})
    with pytest.raises(ConfigError) as caught:
        api.night()
    assert "sources.shop.headers.Authorization" in caught.value.what
    assert "s3cr" not in str(caught.value)
    assert web.asked == []


def test_headers_are_sent_and_empty_ones_are_not(api: World, web: Web) -> None:
    api.source = replace(api.source, headers={"X-Api-Key": SecretStr("s3cret"), "X-Other": SecretStr("")})
    api.night()
    assert web.headers[0]["x-api-key"] == "s3cret"
    assert "x-other" not in web.headers[0]


def test_no_headers_at_all(api: World, web: Web) -> None:
    web.script(status(401))
    assert "no header was sent" in fails(api).what


def test_personal_data_is_not_quoted(api: World, web: Web) -> None:
    api.source = replace(api.source, pii=frozenset({"score", "id"}))
    web.pages([person(4711, score="s3cret")])
    assert "4711" not in str(fails(api, "page 1, column 'score': the value (personal data, not shown)"))
    half = json.dumps(person(1, name="s3cret \ud83d"))  # half a letter, of which DuckDB complains
    web.script(Response(f'{{"items": [{half}]}}', media_type="application/json"))
    told = fails(api, "what it sent cannot be loaded: Invalid Input Error (its text is left out, since it may quote")
    assert "s3cret" not in str(told)


def test_replace_refuses_to_believe_in_nothing(api: World, web: Web) -> None:
    api.declare(strategy="replace")
    web.pages([person(1), person(2)])
    api.night()
    web.pages([])
    fails(api, "it answered no record at all, but 2 are known; they were kept")


SCRIPT = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from flows.errors import WarehouseError
from flows.extract import extract, prepare
from flows.project import RestExtract, Source
from flows.warehouse import Warehouse
from tests.extract.conftest import PEOPLE
declared = RestExtract(kind="rest", url=sys.argv[2], key="id", cursor="updated_at")
source = Source("shop.people", "shop__people", PEOPLE, declared)
with Warehouse.open(Path(sys.argv[1])) as opened:
    prepare([source], opened)
    if sys.argv[3] == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        print(extract(source, opened.cursor(), run_id="other", as_of=None, project_dir=Path(".")).rows)
    except WarehouseError as error:
        print(error)
"""


def elsewhere(api: World, how: str) -> subprocess.Popen[str]:
    """Extract in a process of its own."""
    declared = api.source.extract
    assert isinstance(declared, RestExtract)
    here = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(api.warehouse.path.with_name("other.duckdb")), declared.url, how, here],
        stdout=subprocess.PIPE,
        text=True,
    )


def other_world(api: World) -> World:
    from flows.warehouse import Warehouse

    return replace(api, warehouse=Warehouse.open(api.warehouse.path.with_name("other.duckdb")))


def test_a_full_disk(api: World, web: Web) -> None:
    web.pages(*[[person(number * 1000 + i) for i in range(1000)] for number in range(10)])
    with elsewhere(api, "full") as process:
        said = process.communicate(timeout=30)[0]
    assert "pages of shop.people cannot be kept: File too large" in said
    assert "Next: Free disk space" in said
    other = other_world(api)
    with other.warehouse:
        assert other.warehouse.execute("select count(*) from ops.extracts") == [(0,)]
        assert other.night().rows == 10_000


def test_a_run_killed_between_two_pages(api: World, web: Web) -> None:
    asked_twice = []

    def hang(request: Request) -> Response:
        asked_twice.append(1)
        time.sleep(1.5)
        return page(person(2))

    web.script(page(person(1), next="b"), hang)
    with elsewhere(api, "kill") as process:
        while not asked_twice:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert len(list(api.warehouse.path.parent.glob("extract-*"))) == 1
    web.pages([person(1)], [person(2)])
    other = other_world(api)
    with other.warehouse:
        assert other.night().rows == 2
        assert list(api.warehouse.path.parent.glob("extract-*")) == []
