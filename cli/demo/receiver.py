"""A pager's stand-in end: an HTTP server on loopback that keeps the alerts it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

MAX_BODY_BYTES = 1 << 20


class Receiver:
    def __init__(self, on_alert: Callable[[dict[str, Any]], None]) -> None:
        self.received: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805 - http.server's name; self is ours
                length = min(int(handler.headers.get("Content-Length", 0)), MAX_BODY_BYTES)
                alert = orjson.loads(handler.rfile.read(length))
                self.received.append(alert)
                on_alert(alert)
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
