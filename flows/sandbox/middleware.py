"""What lies around every request: the script of faults, and the counts."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.sandbox.world import CONTEXT, Exchange, World

TRANSPORT = "nightshift.transport"
"""Where the connection's transport lies in a request's ASGI scope, for faults that drop it."""

HUBSPOT = ("/crm", "/account-info", "/oauth")
"""Below these lie the paths of the HubSpot dialect."""

_OWN = "/_sandbox"


class Around:
    """ASGI middleware that lets the script of faults act, and counts all requests but those to the sandbox itself.

    Args:
        app: the application.
        world: the sandbox.
    """

    def __init__(self, app: ASGIApp, world: World) -> None:
        self.app = app
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith("//"):
            # Salesforce's CLI puts its paths behind an instance URL that ends with a slash; Salesforce does not mind.
            scope["path"] = "/" + scope["path"].lstrip("/")
        exchange = scope[CONTEXT] = Exchange(f"{scope['method']} {scope['path']}")
        if scope["path"].startswith(_OWN):
            await self.app(scope, receive, send)
            return
        status: int | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._faulty(scope, receive, noting, exchange)
        finally:
            self.world.stats.count(exchange.route, exchange.records, status)

    async def _faulty(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        query = scope["query_string"].decode("latin-1")
        target = scope["path"] + (f"?{query}" if query else "")
        faults = self.world.faults.match(scope["method"], target)
        exchange.faults = faults
        await asyncio.sleep(sum(fault.get("delay", 0) for fault in faults))
        if any(fault.get("expire_token") for fault in faults):
            self.world.tokens.discard(_token(scope))
            self.world.hubspot_tokens.discard(_token(scope))
        ending = next((fault for fault in faults if "status" in fault or "drop" in fault), None)
        if ending is None:
            await self.app(scope, receive, send)
            return
        if ending.get("after") or ending.get("drop") == "after":
            await self.app(scope, receive, _swallow)
        else:
            await _drain(receive)
        if "drop" in ending:
            scope[TRANSPORT].abort()
            await asyncio.sleep(0.01)  # so that the server sees the connection gone, and answers nothing
        else:
            await _answer(send, ending, _default(scope["path"], ending["status"]))


def _token(scope: Scope) -> str:
    header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return str(header.decode("latin-1").partition(" ")[2])


async def _swallow(message: Message) -> None:
    """Take an answer that nobody will see."""


async def _drain(receive: Receive) -> None:
    """Read the request to its end: a client that is still sending might not see the answer."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


def _default(path: str, status: int) -> Any:
    """What is answered where the script gives no body, in the dialect of the path."""
    if path.startswith(HUBSPOT):
        body = {"status": "error", "message": "internal error", "correlationId": str(uuid4())}
        if status == 429:
            text = "You have reached your ten_secondly_rolling limit."
            return body | {"message": text, "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}
        return body | {"category": "INTERNAL_ERROR"}
    code = {429: "REQUEST_LIMIT_EXCEEDED", 503: "SERVER_UNAVAILABLE"}.get(status, "UNKNOWN_EXCEPTION")
    return [{"message": "An unexpected error occurred.", "errorCode": code}]


async def _answer(send: Send, fault: dict[str, Any], default: Any) -> None:
    body = json.dumps(fault.get("body", default)).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **fault.get("headers", {})}
    raw = [(name.lower().encode(), str(value).encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": fault["status"], "headers": raw})
    await send({"type": "http.response.body", "body": body})
