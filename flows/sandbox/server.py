"""Starts the sandbox: one process, one port on loopback, all dialects and sources.

Besides the dialects there are the sandbox's own paths: ``POST /_sandbox/faults`` sets the script of faults (see
`flows.sandbox.faults`), ``GET`` tells how often each rule acted; ``GET /_sandbox/stats`` tells what was asked so far,
``DELETE`` starts the counts anew.
"""

from __future__ import annotations

import gc
import importlib
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from flows.sandbox import faults
from flows.sandbox.config import Ready, SandboxConfig
from flows.sandbox.hubspot.http import failed as hubspot_failed
from flows.sandbox.hubspot.portal import Portal
from flows.sandbox.hubspot.routes import routes as hubspot_routes
from flows.sandbox.middleware import HUBSPOT, TRANSPORT, Around
from flows.sandbox.salesforce.crew import Crew
from flows.sandbox.salesforce.http import failed as salesforce_failed
from flows.sandbox.salesforce.jobs import Jobs
from flows.sandbox.salesforce.query import Cursors
from flows.sandbox.salesforce.routes import routes as salesforce_routes
from flows.sandbox.world import World

__all__ = ["Ready", "Running", "SandboxConfig", "create_app", "serve", "start"]

_HOST = "127.0.0.1"


def create_app(config: SandboxConfig) -> Starlette:
    """Build the sandbox as an ASGI application; its state is closed when the application shuts down.

    Args:
        config: how it behaves.

    Raises:
        BadScript: the script of faults cannot be understood.
    """
    world = World(config)
    jobs = Jobs(world.scratch, world.stats.ended, Crew(config))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        jobs.close()
        world.close()

    own: list[BaseRoute] = [
        Route("/_sandbox/faults", _set_faults, methods=["POST"]),
        Route("/_sandbox/faults", _get_faults, methods=["GET"]),
        Route("/_sandbox/stats", _get_stats, methods=["GET"]),
        Route("/_sandbox/stats", _reset_stats, methods=["DELETE"]),
    ]
    app = Starlette(
        routes=[*own, *hubspot_routes(), *salesforce_routes(), *_sources(config)],
        middleware=[Middleware(Around, world=world)],
        lifespan=lifespan,
        exception_handlers={HTTPException: _failed, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.world = world
    app.state.hubspot = Portal(config, world.store)
    app.state.jobs = jobs
    app.state.cursors = Cursors()
    return app


def _sources(config: SandboxConfig) -> list[BaseRoute]:
    """The staging sources, under /shop."""
    if not Path(__file__).with_name("sources").joinpath("shop.py").exists():
        return []
    shop = importlib.import_module("flows.sandbox.sources.shop")
    return [Mount("/shop", routes=shop.routes(config))]


async def _failed(request: Request, error: Exception) -> Response:
    """Answer what no path answered, in the dialect of the path."""
    hubspot = request.scope["path"].startswith(HUBSPOT)
    return await (hubspot_failed if hubspot else salesforce_failed)(request, error)


async def _set_faults(request: Request) -> Response:
    world: World = request.app.state.world
    try:
        world.faults.set(await request.json())
    except (faults.BadScript, json.JSONDecodeError) as error:
        return JSONResponse([{"message": str(error), "errorCode": "BAD_SCRIPT"}], 400)
    return JSONResponse(world.faults.counts())


async def _get_faults(request: Request) -> Response:
    return JSONResponse(request.app.state.world.faults.counts())


async def _get_stats(request: Request) -> Response:
    world: World = request.app.state.world
    api = {"used": world.requests.used, "limit": world.requests.limit}
    counts = {"api_requests": api, "hubspot_requests": request.app.state.hubspot.counts()}
    return JSONResponse(world.stats.as_dict() | counts)


async def _reset_stats(request: Request) -> Response:
    request.app.state.world.stats.reset()
    request.app.state.hubspot.reset_counts()
    return Response(status_code=204)


class _Protocol(H11Protocol):
    """HTTP/1.1 that hands the connection's transport to the application, so that a fault can drop it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        inner: ASGIApp = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = app


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens, and for which a signal is an ordinary end."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGINT and SIGTERM; uvicorn itself raises them again in the end, which would fail the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(config: SandboxConfig, port: int, on_ready: Callable[[Ready], None]) -> tuple[_Server, socket.socket]:
    app = create_app(config)
    # asyncio turns Nagle's delay (40 ms an answer) off only for sockets that say that they are TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError:
        listener.close()
        app.state.jobs.close()
        app.state.world.close()
        raise
    ready = Ready(
        base_url=f"http://{_HOST}:{listener.getsockname()[1]}",
        client_id=config.client_id,
        client_secret=config.client_secret,
        access_token=app.state.world.access_token,
        hubspot_token=config.hubspot_token,
    )
    settings = uvicorn.Config(
        app, http=_Protocol, log_level="critical", access_log=False, lifespan="on", timeout_graceful_shutdown=2
    )
    return _Server(settings, lambda: on_ready(ready)), listener


def serve(config: SandboxConfig, *, port: int = 0, on_ready: Callable[[Ready], None]) -> None:
    """Run the sandbox until the process gets SIGINT or SIGTERM, then close its store and return.

    Args:
        config: how it behaves.
        port: the port on 127.0.0.1; 0 takes a free one.
        on_ready: called once, when it listens.

    Raises:
        OSError: the port is taken.
        BadScript: the script of faults cannot be understood.
    """
    server, listener = _listen(config, port, on_ready)
    # Batches of ten thousand short-lived rows make the collector look over and over at what it cannot free.
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
    with listener:
        server.run(sockets=[listener])


class Running:
    """A sandbox in a thread of this process; use it as a context manager, or call `stop`.

    Attributes:
        ready: what a client needs.
    """

    def __init__(self, config: SandboxConfig, port: int = 0) -> None:
        told: list[Ready] = []
        listening = threading.Event()

        def on_ready(ready: Ready) -> None:
            told.append(ready)
            listening.set()

        self._server, self._listener = _listen(config, port, on_ready)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._thread.start()
        if not listening.wait(30):
            raise RuntimeError("the sandbox did not start within 30 s")
        self.ready = told[0]

    def _run(self) -> None:
        with self._listener:
            self._server.run(sockets=[self._listener])

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self.ready.base_url

    def stop(self) -> None:
        """Stop it and wait until its store is closed."""
        self._server.should_exit = True
        self._thread.join(30)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def start(config: SandboxConfig | None = None, port: int = 0) -> Running:
    """Start a sandbox in a thread of this process.

    Args:
        config: how it behaves; the defaults if None.
        port: the port on 127.0.0.1; 0 takes a free one.
    """
    return Running(config or SandboxConfig(), port)
