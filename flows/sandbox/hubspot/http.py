"""How the HubSpot dialect answers: the token, the rates and their headers, the JSON error.

Sources: https://developers.hubspot.com/docs/api/error-handling,
https://developers.hubspot.com/docs/api/usage-details (rates, headers, the body of a 429)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flows.sandbox.hubspot.portal import Portal
from flows.sandbox.hubspot.schema import Kind
from flows.sandbox.world import CONTEXT, Exchange, World

Context = dict[str, list[str]]
CRM = "/crm"
"""Where all paths but those of the account itself are."""

_UNAUTHENTICATED = (
    "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details "
    "at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
)


class Refused(Exception):
    """A request, or one of its inputs, that is refused.

    Args:
        status: the HTTP status of a request that is refused for it.
        category: HubSpot's error category.
        message: HubSpot's error text.
        context: what it is about.
        errors: the details, each with a message.
        sub_category: HubSpot's finer category.
        existing_id: of a duplicate, the record that is there already; told in the context of a batch's error.
        more: further keys of the body.
    """

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        context: Context | None = None,
        errors: Iterable[dict[str, Any]] = (),
        sub_category: str = "",
        existing_id: str = "",
        **more: str,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message
        self.context = context or {}
        self.errors = list(errors)
        self.sub_category = sub_category
        self.existing_id = existing_id
        self.more = more

    def response(self) -> Response:
        """The answer to a request that is refused."""
        body: dict[str, Any] = {"status": "error", "message": self.message, "correlationId": str(uuid4())}
        body |= self.more
        if self.category:
            body["category"] = self.category
        if self.sub_category:
            body["subCategory"] = self.sub_category
        if self.context:
            body["context"] = self.context
        if self.errors:
            body["errors"] = self.errors
        return answer(body, self.status)

    def entry(self, trace: str | None = None, *, as_published: bool = False) -> dict[str, Any]:
        """One of the ``errors`` of an answer that tells of several inputs."""
        context = self.context | ({"objectWriteTraceId": [trace]} if trace is not None else {})
        context |= {"existingId": [self.existing_id]} if self.existing_id else {}
        body = {
            "status": "error",
            "category": self.category,
            "message": self.message,
            "context": context,
            "errors": self.errors,
            "links": {},
        }
        if self.sub_category and not as_published:
            body["subCategory"] = self.sub_category
        return body


def invalid_input(message: str) -> Refused:
    """A request whose body or query cannot be used."""
    return Refused(400, "VALIDATION_ERROR", message)


def answer(body: Any, status: int = 200) -> Response:
    """An answer with a JSON body."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode(), status, media_type="application/json;charset=utf-8")


class Call:
    """One request.

    Attributes:
        world: the sandbox.
        portal: the HubSpot account.
        request: the request.
        exchange: what is noted about it.
    """

    __slots__ = ("_body", "exchange", "portal", "request", "world")

    def __init__(self, request: Request, body: bytes) -> None:
        self.world: World = request.app.state.world
        self.portal: Portal = request.app.state.hubspot
        self.request = request
        self.exchange: Exchange = request.scope[CONTEXT]
        self._body = body

    @property
    def path(self) -> dict[str, str]:
        """The path's parameters."""
        return self.request.path_params

    @property
    def dated(self) -> bool:
        """Whether the request came by a date-versioned path."""
        return "/2026-03/" in self.request.scope["path"]

    def kind(self, parameter: str = "type") -> Kind:
        """Find the object type that the path names.

        Raises:
            Refused: there is none (400).
        """
        name = self.path[parameter]
        found = self.portal.schema.find(name)
        if found is None:
            raise invalid_input(f"Unable to infer object type from: {name}")
        return found

    def flag(self, name: str) -> bool:
        """A query parameter that is true or false.

        Raises:
            Refused: it is neither (400).
        """
        value = self.request.query_params.get(name, "false").lower()
        if value not in {"true", "false"}:
            raise invalid_input(f"{name} must be true or false, but was {value}")
        return value == "true"

    def names(self, name: str) -> list[str]:
        """A query parameter that lists names, repeated or with commas."""
        return [one for value in self.request.query_params.getlist(name) for one in value.split(",") if one]

    def number(self, name: str, default: int, most: int) -> int:
        """A query parameter that is a whole number from 1 on.

        Raises:
            Refused: it is none, or too large (400).
        """
        text = self.request.query_params.get(name, str(default))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
            raise invalid_input(f"{name} must be a number between 1 and {most}, but was {text}")
        return int(text)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Refused: it is not JSON (400).
        """
        try:
            value = json.loads(self._body, parse_constant=_no_constant)
            if b"\\ud" in self._body.lower():
                json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
            return value
        except (ValueError, RecursionError) as error:
            place = getattr(error, "colno", 1)
            raise invalid_input(f"Invalid input JSON on line {getattr(error, 'lineno', 1)}, column {place}") from error

    def fields(self, **required: type | tuple[type, ...]) -> dict[str, Any]:
        """The body as a JSON object that has certain keys.

        Args:
            required: key -> the type that its value must have.

        Raises:
            Refused: it is something else (400).
        """
        body = self.json()
        checked(body, **required)
        return dict(body)


def checked(body: Any, **required: type | tuple[type, ...]) -> None:
    """Check that a JSON value is an object with certain keys.

    Raises:
        Refused: it is not (400).
    """
    if not isinstance(body, dict):
        raise invalid_input("Invalid input JSON on line 1, column 1: a JSON object is needed")
    missing = sorted(key for key in required if body.get(key) is None)
    if missing:
        raise Refused(
            400,
            "VALIDATION_ERROR",
            f"Some required fields were not set: [{', '.join(missing)}]",
            errors=[{"message": f"{key} is required", "in": key} for key in missing],
        )
    for key, kind in required.items():
        if not isinstance(body[key], kind):
            raise invalid_input(f"Invalid input JSON on line 1, column 1: {key} has a value of another type")


def texts(body: dict[str, Any], name: str) -> list[str]:
    """A list of texts in a body; an empty one where there is none.

    Raises:
        Refused: it is something else (400).
    """
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise invalid_input(f"Invalid input JSON on line 1, column 1: {name} is no list of texts")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


Handler = Callable[[Call], Response]


def route(path: str, handlers: dict[str, Handler], *, search: bool = False, root: str = CRM) -> Route:
    """Serve a path.

    Args:
        path: the path template, below the root.
        handlers: method -> what answers it, run in a thread.
        search: whether it counts against the rate of searches, and has no headers of rates.
        root: where it is mounted.
    """

    async def endpoint(request: Request) -> Response:
        exchange: Exchange = request.scope[CONTEXT]
        exchange.route = f"{request.method} {root}{path}"
        try:
            _check(request, search)
            call = Call(request, await request.body())
            response = await run_in_threadpool(handlers[request.method], call)
        except Refused as refused:
            response = refused.response()
        if response.status_code != 401 and not search:
            response.headers.update(request.app.state.hubspot.rate_headers())
        return response

    return Route(path, endpoint, methods=list(handlers))


async def failed(request: Request, error: Exception) -> Response:
    """Answer what no path answered, in the form that every error has."""
    if not isinstance(error, HTTPException):
        return Refused(500, "INTERNAL_ERROR", "internal error").response()
    if error.status_code == 405:
        return Refused(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed").response()
    return Refused(error.status_code, "OBJECT_NOT_FOUND", "resource not found").response()


def _check(request: Request, search: bool) -> None:
    world: World = request.app.state.world
    portal: Portal = request.app.state.hubspot
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or token not in world.hubspot_tokens:
        raise Refused(401, "INVALID_AUTHENTICATION", _UNAUTHENTICATED)
    policy = portal.take(enforce=world.config.throttle == "real", search=search)
    if policy is not None:
        name = policy.lower()
        raise Refused(
            429,
            "RATE_LIMITS" if world.config.hubspot_as_published else "",
            f"You have reached your {name} limit.",
            errorType="RATE_LIMIT",
            policyName=policy,
            requestId=str(uuid4()),
        )
