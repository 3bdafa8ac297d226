"""How the Salesforce dialect answers: the session check, the limits, the JSON list of errors.

Source: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.sandbox.org import ObjectType
from flows.sandbox.world import CONTEXT, Exchange, World

VERSIONS = tuple(f"{number}.0" for number in range(45, 69))
MAX_BODY = 50_000_000
MAX_URI = 16_384


class Refused(Exception):
    """A request that is refused as a whole.

    Args:
        status: the HTTP status.
        code: the API's error code.
        message: the API's error text.
        fields: the fields that it is about.
        more: what else stands in the error.
    """

    def __init__(
        self, status: int, code: str, message: str, fields: Iterable[str] = (), more: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = list(fields)
        self.more = more or {}

    def response(self) -> Response:
        """The answer: a list with one error."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            error["fields"] = self.fields
        return JSONResponse([{**self.more, **error}], self.status)


class Unread(Refused):
    """A request that the web server refuses before the API sees it: the answer is a page, without an error code."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, "", reason)

    def response(self) -> Response:
        """The page."""
        text = f"<h1>Bad Message {self.status}</h1><pre>reason: {self.message}</pre>"
        return Response(text, self.status, media_type="text/html")


class Call:
    """One request to the REST API.

    Attributes:
        world: the sandbox.
        request: the request.
        body: its whole body; empty where the handler streams it.
        exchange: what is noted about it.
    """

    __slots__ = ("body", "exchange", "request", "world")

    def __init__(self, request: Request, body: bytes) -> None:
        self.world: World = request.app.state.world
        self.request = request
        self.body = body
        self.exchange: Exchange = request.scope[CONTEXT]

    @property
    def path(self) -> dict[str, str]:
        """The path's parameters."""
        return self.request.path_params

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters."""
        return dict(self.request.query_params)

    @property
    def root(self) -> str:
        """The path of this API version, such as ``/services/data/v62.0``."""
        return f"/services/data/v{self.path['version']}"

    @property
    def base_url(self) -> str:
        """Where this client reaches the sandbox."""
        return str(self.request.base_url).rstrip("/")

    def kind(self, name: str) -> ObjectType:
        """Find an object by its name.

        Raises:
            Refused: there is none (404).
        """
        found = self.world.org.object(name)
        if found is None:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        return found

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Refused: it is not JSON (400).
        """
        try:
            value = json.loads(self.body, parse_constant=_no_constant)
            if b"\\ud" in self.body.lower():
                json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
            return value
        except ValueError as error:
            text = f"Unexpected character or end of input: {error}"
            raise Refused(400, "JSON_PARSER_ERROR", text) from error

    def object_body(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            Refused: it is something else (400).
        """
        body = self.json()
        if not isinstance(body, dict):
            raise Refused(400, "JSON_PARSER_ERROR", "The HTTP entity body is required to be a JSON object.")
        return body


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


Handler = Callable[[Call], Response]


def route(path: str, handlers: dict[str, Handler], *, session: bool = True) -> Route:
    """Serve a path.

    Args:
        path: the path template.
        handlers: method -> what answers it, run in a thread.
        session: whether a valid access token is needed, and the request counts against the day.
    """

    async def endpoint(request: Request) -> Response:
        return await guarded(request, path, lambda call: run_in_threadpool(handlers[request.method], call), session)

    return Route(path, endpoint, methods=list(handlers))


async def guarded(
    request: Request,
    path: str,
    answer: Callable[[Call], Awaitable[Response]],
    session: bool = True,
    read_body: bool = True,
) -> Response:
    """Check session and limits, answer, and note what was asked; whatever is refused becomes the list of errors."""
    world: World = request.app.state.world
    exchange: Exchange = request.scope[CONTEXT]
    exchange.route = f"{request.method} {path}"
    key = id(request)
    try:
        if session:
            _check(world, request, key)
        body = await _body(request) if read_body else b""
        response = await answer(Call(request, body))
    except Refused as refused:
        response = refused.response()
    finally:
        world.long_requests.leave(key)
    if session:
        response.headers["Sforce-Limit-Info"] = f"api-usage={world.requests.used}/{world.requests.limit}"
    return response


async def failed(request: Request, error: Exception) -> Response:
    """Answer what no path answered, in the form that every error has."""
    if not isinstance(error, HTTPException):
        return Refused(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred.").response()
    if error.status_code == 405:
        message = f"HTTP Method '{request.method}' not allowed."
        return Refused(405, "METHOD_NOT_ALLOWED", message).response()
    return Refused(error.status_code, "NOT_FOUND", "The requested resource does not exist").response()


def _check(world: World, request: Request, key: int) -> None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if len(request.scope["raw_path"]) + len(request.scope["query_string"]) > MAX_URI:
        raise Unread(414, "URI Too Long")
    if kind.lower() not in {"bearer", "oauth"} or token not in world.tokens:
        raise Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
    version = request.path_params.get("version")
    if version is not None and version not in VERSIONS:
        raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
    if not world.requests.take() and world.config.throttle == "real":
        raise Refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    if not world.long_requests.enter(key) and world.config.throttle == "real":
        text = "ConcurrentPerOrgLongTxn Limit exceeded."
        raise Refused(403, "REQUEST_LIMIT_EXCEEDED", text)


async def _body(request: Request) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise Unread(413, "Request Entity Too Large")
        chunks.append(chunk)
    return b"".join(chunks)
