"""A real webhook server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def webhooks(answer: Callable[[str, dict[str, Any]], int]) -> Iterator[int]:
    """Serve; gives the port.

    Args:
        answer: takes the path and the message that was posted to it, gives the status.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing: what is asserted is what came, not what the server prints."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
