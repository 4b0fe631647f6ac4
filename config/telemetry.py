"""What the metrics of both programs share: an HTTP endpoint, bounded labels, the top few of many.

A label per user or query has taken monitoring servers down, and here the names come from whoever
can connect to the database. So no label takes a value from outside without a bound.
"""

import heapq
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

OTHER = "other"
MOST_SAMPLES = 200
"""Of one family, unless it says otherwise."""
Samples = Mapping[Any, float]
"""Tuples of label values to numbers; Any because a Mapping is invariant in its keys."""
Check = Callable[[], list[str]]
"""What is wrong, one sentence each; empty is good. Called from the HTTP thread: must not block."""


class Bounded:
    """Admits the first ``limit`` values of a label; later ones become ``other``.

    >>> rule = Bounded(1)
    >>> rule("no-drop"), rule("no-truncate"), rule("no-drop")
    ('no-drop', 'other', 'no-drop')
    """

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._limit = limit
        self._admitted = set(known)
        self._lock = threading.Lock()

    def __call__(self, value: str) -> str:
        value = _label(value)
        if value in self._admitted:
            return value
        with self._lock:
            if len(self._admitted) >= self._limit:
                return OTHER
            self._admitted.add(value)
        return value


class TopCounter(Collector):
    """Counts many values, shows the ``shown`` largest of one label.

    Keeps at most ten times as many; when full, the smallest is dropped and starts again at 0 if it
    returns, which ``rate()`` takes for a restart.
    """

    def __init__(self, name: str, text: str, label: str, shown: int) -> None:
        self._family = (name, text, [label])
        self._shown = shown
        self._counts: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, counts: Mapping[str, float]) -> None:
        with self._lock:
            for value, count in counts.items():
                self._counts[value] = self._counts.get(value, 0.0) + count
            if len(self._counts) > 10 * self._shown:
                self._counts = dict(self._largest(5 * self._shown))

    def collect(self) -> Iterable[Metric]:
        name, text, labels = self._family
        family = CounterMetricFamily(name, text, labels=labels)
        with self._lock:
            largest = self._largest(self._shown)
        for value, count in largest:
            family.add_metric([_label(value)], count)
        return [family]

    def _largest(self, number: int) -> list[tuple[str, float]]:
        return heapq.nlargest(number, self._counts.items(), key=lambda item: (item[1], item[0]))


@dataclass(frozen=True)
class Watched(Collector):
    """A family whose samples are read when somebody scrapes: no bookkeeping in between.

    ``read`` gives label values and a number each, and must not block. At most ``limit`` samples,
    the largest. When it fails, this family alone is empty, and the log says why.
    """

    name: str
    text: str
    labels: tuple[str, ...]
    read: Callable[[], Samples]
    counter: bool = False
    limit: int = MOST_SAMPLES

    def collect(self) -> Iterable[Metric]:
        try:
            return self._family(self.read())
        except Exception:  # somebody else's code: the other metrics must still be scraped
            log.exception("metric cannot be read", metric=self.name)
            return self._family({})

    def describe(self) -> Iterable[Metric]:
        """Names without a call of ``read``, which the wiring may not be ready for."""
        return self._family({})

    def _family(self, samples: Samples) -> list[Metric]:
        kind = CounterMetricFamily if self.counter else GaugeMetricFamily
        family = kind(self.name, self.text, labels=list(self.labels))
        for values, number in heapq.nlargest(self.limit, samples.items(), key=lambda item: item[1]):
            family.add_metric([_label(value) for value in values], number)
        return [family]


class MetricsServer:
    """``/metrics``, ``/healthz`` and ``/readyz`` on a thread of their own."""

    def __init__(self, registry: CollectorRegistry, healthy: Check, ready: Check) -> None:
        self._pages: dict[str, Callable[[str], _Page]] = {
            "/metrics": lambda accept: _metrics_page(registry, accept),
            "/healthz": lambda _: _check_page(healthy),
            "/readyz": lambda _: _check_page(ready),
        }
        self._server: ThreadingHTTPServer | None = None

    def start(self, host: str, port: int) -> int:
        """The port that was bound. Raises OSError when it cannot be."""
        self._server = _Server((host, port), _handler(self._pages))
        serve = self._server.serve_forever
        threading.Thread(
            target=serve, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True
        ).start()
        return self._server.server_port

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


_Page = tuple[int, str, bytes]


def _handler(pages: Mapping[str, Callable[[str], _Page]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # a client that sends nothing does not keep a thread
        server_version = "pgwarden"
        sys_version = ""

        def do_GET(self) -> None:
            page = pages.get(self.path.split("?", 1)[0])
            if page is None:
                self._reply((404, "text/plain", b"see /metrics, /healthz, /readyz\n"))
            else:
                self._reply(page(self.headers.get("Accept", "")))

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not logged."""

        def _reply(self, page: _Page) -> None:
            status, content_type, body = page
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _metrics_page(registry: CollectorRegistry, accept: str) -> _Page:
    encode, content_type = choose_encoder(accept)
    return 200, content_type, encode(registry)


def _check_page(check: Check) -> _Page:
    wrong = check()
    body = "".join(f"{' '.join(sentence.split())}\n" for sentence in wrong) or "ok\n"
    return (503 if wrong else 200), "text/plain; charset=utf-8", body.encode("utf-8", "replace")


def _label(value: str) -> str:
    """At most 200 printable characters: one lone surrogate would fail every scrape."""
    value = value[:200]
    if value.isprintable():
        return value
    return "".join(character if character.isprintable() else "?" for character in value)
