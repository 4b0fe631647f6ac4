"""Findings and a receiver's side of HTTP, shared by the tests of alerts."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from model.finding import Finding, FindingKind
from model.verdict import Severity

MINUTE_US = 60_000_000
START_US = 1_800_000_000_000_000

GUARD = Finding(
    id="g1",
    kind=FindingKind.GUARD,
    detector="guard.no-drop",
    severity=Severity.HIGH,
    title="DROP TABLE refused",
    sentence="mallory tried to drop public.orders; rule no-drop refused it",
    at_us=START_US,
    agent="db1",
    cluster="5432",
    database="shop",
    user="app",
    identity="mallory",
    object="public.orders",
    evidence_sql="SELECT * FROM verdicts WHERE rule_id = 'no-drop'",
)
DRIFT = Finding(
    id="d1",
    kind=FindingKind.DRIFT,
    detector="drift.setting",
    severity=Severity.HIGH,
    title="log_statement changed",
    sentence="alice set log_statement to none with ALTER SYSTEM",
    at_us=START_US,
    agent="db1",
    cluster="5432",
    identity="alice",
    object="log_statement",
)


def later(finding: Finding, number: int, **changes: Any) -> Finding:
    """Another finding of the same group, a second later each."""
    own = {"id": f"{finding.id}-{number}", "at_us": finding.at_us + number * 1_000_000}
    return replace(finding, **(own | changes))


def wait_until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
    return answer


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """A real HTTP server on a free loopback port. ``answer`` gives status and headers."""

    answer: Callable[[Received], tuple[int, dict[str, str]]] = lambda _: (202, {})
    port: int = 0
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> "HttpReceiver":
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Received(self.path, dict(self.headers), body)
                status, headers = outer.answer(request)
                outer.received.append(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        serve = {"poll_interval": 0.01}
        threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
