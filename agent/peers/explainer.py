"""The thread that finds out who is at the other end of new sessions.

Nobody waits for it: ``ask`` never blocks, and what it finds comes back as an event.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.peers.certificates import Certificates, CertificatesUnknownError
from agent.peers.lookup import LOCAL, Lookup
from agent.peers.missing import PeerMissingError
from model.event import SessionExplained
from model.session import BackendKey, Peer

log = structlog.get_logger(__name__)

MAX_WAITING = 10_000
KNOWN = 20_000
BATCH = 100
WAIT_SECONDS = 0.5
RETRY_SECONDS = 0.3
TLS_ATTEMPTS = 3
"""A session is seen a moment before the server shows it in its views."""
ROUND_SECONDS = 0.3
REST_SHARE = 4
"""After a round it rests so many times as long as it computed or servers were at work for it: it
takes a fifth of a core at most, here and there. Waiting for a core is no reason to rest."""


@dataclass(frozen=True, slots=True)
class Question:
    backend: BackendKey
    cluster: str
    client_address: str
    client_port: int = 0


class Explainer:
    """``tell`` is called from its thread, ``count`` with (subject, result) once for each look."""

    def __init__(
        self,
        tell: Callable[[SessionExplained], None],
        count: Callable[[str, str], None],
        lookup: Lookup | None,
        certificates: Certificates | None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        """Without ``lookup`` or ``certificates`` that is not looked at. ``idle`` is called now and
        then from the same thread, for small things that must not be done on others."""
        self._tell = tell
        self._count = count
        self._lookup = lookup
        self._certificates = certificates
        self._idle = idle
        self._waiting: deque[Question] = deque()
        self._unanswered: deque[tuple[float, int, Question]] = deque()
        """When to ask the server again, how often it was asked, of whom."""
        self._known: OrderedDict[BackendKey, None] = OrderedDict()
        self._at_servers = 0.0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="explainer", daemon=True)

    def ask(self, question: Question) -> None:
        """Once for each backend; from any thread."""
        if question.backend in self._known or not question.client_address:
            return
        self._known[question.backend] = None
        if len(self._waiting) >= MAX_WAITING:
            self._count("process", "overloaded")
            return
        self._waiting.append(question)
        self._wake.set()

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Never waits."""
        self._stop.set()
        self._wake.set()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._waiting:
                self._wake.wait(RETRY_SECONDS if self._unanswered else WAIT_SECONDS)
            self._wake.clear()
            began, self._at_servers = time.thread_time(), 0.0
            try:
                self.work()
            except Exception as error:  # noqa: BLE001 - the supervising loop
                self._count("process", f"error_{type(error).__name__}")
                where = "".join(traceback.format_tb(error.__traceback__)[-3:])
                log.error("explainer.failed", error=type(error).__name__, where=where)
            worked = time.thread_time() - began + self._at_servers
            self._stop.wait(worked * REST_SHARE)
        if self._certificates is not None:
            self._certificates.close()

    def work(self) -> None:
        """One round over what waits, or a part of it."""
        batch: list[Question] = []
        until = time.monotonic() + ROUND_SECONDS
        while self._waiting and len(batch) < BATCH and time.monotonic() < until:
            question = self._waiting.popleft()
            if not self._find_process(question):
                batch.append(question)
        self._ask_servers([(1, question) for question in batch])
        now = time.monotonic()
        due = []
        while self._unanswered and self._unanswered[0][0] <= now:
            _, attempts, question = self._unanswered.popleft()
            due.append((attempts, question))
        self._ask_servers(due)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        if self._certificates is not None:
            self._certificates.close_idle()
        self._idle()

    def _find_process(self, question: Question) -> bool:
        """True when it is ourselves: of those no server needs to be asked."""
        if self._lookup is None:
            return False
        try:
            asked = question.backend, question.client_address, question.client_port
            peer = Peer(process=self._lookup.find(*asked))
            self._count("process", "found")
        except PeerMissingError as missing:
            self._count("process", missing.reason.value)
            peer = Peer(missing=str(missing))
        self._explain(question, peer)
        return peer.process is not None and peer.process.pid == os.getpid()

    def _ask_servers(self, questions: list[tuple[int, Question]]) -> None:
        """All of one server at once."""
        by_cluster: dict[str, list[tuple[int, Question]]] = {}
        for attempts, question in questions:
            if self._certificates is not None and question.client_address != LOCAL:
                by_cluster.setdefault(question.cluster, []).append((attempts, question))
        began = time.monotonic()
        for cluster, asked in by_cluster.items():
            self._ask_server(cluster, asked)
        self._at_servers += time.monotonic() - began

    def _ask_server(self, cluster: str, asked: list[tuple[int, Question]]) -> None:
        assert self._certificates is not None
        try:
            found = self._certificates.ask(cluster, [question.backend for _, question in asked])
        except CertificatesUnknownError as unknown:
            for _ in asked:
                self._count("certificate", str(unknown))
            return
        for attempts, question in asked:
            if peer := found.get(question.backend):
                self._count("certificate", "found" if peer.certificate else "none")
                self._explain(question, peer)
            elif attempts < TLS_ATTEMPTS:
                again = time.monotonic() + RETRY_SECONDS
                self._unanswered.append((again, attempts + 1, question))
            else:
                self._count("certificate", "gone")

    def _explain(self, question: Question, peer: Peer) -> None:
        self._tell(SessionExplained(time.time_ns(), question.backend, peer))
