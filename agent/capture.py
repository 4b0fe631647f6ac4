"""The thread that reads the probes and settles held statements before anything else."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol as Interface

import structlog

from agent.directory import Directory
from agent.guard.allowances import Allowances
from agent.guard.decision import DecisionKind
from agent.guard.hold import Guard, Settled
from agent.guard.priority import prefer
from agent.guard.watchdog_link import WatchdogLink
from agent.inbox import Inbox
from agent.judging import Held
from agent.sql.fastpath import shape_of_call
from model.event import (
    Event,
    Lost,
    Protocol,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey
from model.statement import Shape
from model.verdict import Outcome

log = structlog.get_logger(__name__)

POLL_MS = 20
BEAT_SECONDS = 0.01
"""A sign of life that is younger than this will do for the next statement as well: to give one
takes a part of the time that a backend waits."""
HOUSEKEEPING_SECONDS = 0.5
LAST_LOOK_SECONDS = 0.005
MANY = (StatementsExecuted, StatementsCounted)
UNWATCHED = "no watchdog can be started, or answers"
PRESSED, RELIEVED = 0.5, 0.1
"""Fill of the inbox from which on the kernel counts what is repeated, until it is down again."""


class Heartbeat(Interface):
    def beat(self) -> None: ...
    def set_hold(self, hold: bool) -> None: ...
    def pause(self, paused: bool) -> None: ...
    def press(self, pressed: bool) -> None: ...


class ProbeSource(Interface):
    @property
    def holding(self) -> Heartbeat: ...
    def poll(self, timeout_ms: int) -> list[Event]: ...
    def losses(self) -> list[Lost]: ...
    def finish(self) -> list[Event]: ...
    def forget(self, backend: BackendKey) -> None: ...


class Capture:
    """Reads ``source`` until ``stop``; with a guard, statements are held while it beats."""

    def __init__(
        self,
        source: ProbeSource,
        inbox: Inbox,
        directory: Directory,
        guard: Guard | None,
        watchdog: WatchdogLink | None,
        allowances: Allowances | None = None,
        known_shape: Callable[[bytes, int], Shape | None] | None = None,
        on_sessions: Callable[[list[SessionSeen]], None] = lambda seen: None,
        on_turn: Callable[[], None] = lambda: None,
        on_passed: Callable[[BackendKey, bytes], None] = lambda backend, text: None,
        on_events: Callable[[list[Event]], None] = lambda events: None,
    ) -> None:
        """``allowances``: what need not be held again is told there; ``known_shape`` answers from
        memory what a text is that has just been judged. ``on_sessions`` must not wait: it is
        called while backends may be held. ``on_turn`` is called between two looks at the source.
        ``on_passed`` hears of each statement that nobody refused, and must not wait either;
        ``on_events`` of everything, as it comes."""
        self._on_events = on_events
        self._on_turn = on_turn
        self._on_passed = on_passed
        self._allowances = allowances
        self._known_shape = known_shape
        self._on_sessions = on_sessions
        self._source = source
        self._inbox = inbox
        self._directory = directory
        self._guard = guard
        self._watchdog = watchdog
        self._beat_at = 0.0
        self._begun: dict[BackendKey, tuple[object, ...]] = {}
        """What is being judged for long, and as of when."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.released_by_watchdog = 0
        self.problem = ""
        """Why nothing is held any more; empty while all is well."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """The probes go, one after the other, and what is held is let go."""
        self._stop.set()
        self._thread.join(timeout_seconds)

    @property
    def guarded(self) -> bool:
        """Whether what is held is judged, and watchdogs look after it."""
        return self._guard is not None and self._watchdog is not None

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def run_soon(self, task: Callable[[], None]) -> None:
        """The source belongs to this thread; others hand it what to do with it."""
        self._tasks.put(task)

    def run(self, task: Callable[[], None]) -> None:
        """At once if this is that thread, else soon."""
        if threading.current_thread() is self._thread:
            task()
        else:
            self.run_soon(task)

    def end(self, sessions: list[BackendKey]) -> None:
        """They have ended without a record. For ``run_soon``."""
        for backend in sessions:
            self._source.forget(backend)
        self._take([SessionEnded(time.time_ns(), backend) for backend in sessions])

    def _run(self) -> None:
        housekeeping_at = 0.0
        if self._guard is not None:
            prefer(threading.get_native_id())
            self._source.holding.beat()
            self._source.holding.set_hold(True)
        try:
            while not self._stop.is_set():
                if self._guard is not None:
                    self.mind_watchdogs()
                    self._beat()
                while not self._tasks.empty():
                    self._tasks.get()()
                self._on_turn()
                self._take(self._source.poll(self._patience_ms()))
                self._finish()
                if time.monotonic() >= housekeeping_at:
                    housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
                    self._keep_house()
        finally:
            # From here on nothing new is held; what was held before is let go by a last look.
            self._source.holding.set_hold(False)
            self._take(self._source.finish())
            while self._guard is not None and self._guard.oldest_ns:
                self._finish()
                time.sleep(LAST_LOOK_SECONDS)

    def _beat(self) -> None:
        """For the kernel, which holds, and for those who release what we do not."""
        self._source.holding.beat()
        if self._watchdog is not None:
            self._watchdog.beat(self._guard.oldest_ns if self._guard is not None else 0)
        self._beat_at = time.monotonic()

    def _patience_ms(self) -> int:
        if self._guard is None:
            return POLL_MS
        return int(min(POLL_MS, self._guard.patience_seconds * 1000))

    def _finish(self) -> None:
        if finished := self._finished():
            self._inbox.offer(finished)

    def _beat_for(self, event: StatementStarted) -> None:
        """Before it is judged: the kernel hears that we live, watchdogs how far we are behind."""
        if time.monotonic() - self._beat_at > BEAT_SECONDS:
            self._source.holding.beat()
            self._beat_at = time.monotonic()
        if self._watchdog is not None:
            age_ns = time.time_ns() - event.at_ns
            self._watchdog.beat(max(age_ns, self._guard.oldest_ns if self._guard else 0))

    def _take(self, events: list[Event]) -> None:
        if not events:
            return
        self._on_events(events)
        out: list[Event | Held] = []
        for event in events:
            if isinstance(event, StatementStarted):
                if event.held and self._guard is not None:
                    self._beat_for(event)
                    out += self._finished(event.backend)
                    settled = self._guard.begin(event)
                    if settled is None:
                        self._begun[event.backend] = self._as_of(event.backend)
                    else:
                        self._allow(event, settled)
                        out.append(self._settled(event, settled))
                    continue
                self._on_passed(event.backend, event.text)
            elif isinstance(event, MANY):
                self._on_passed(event.backend, event.text)
            elif isinstance(event, Lost):
                self._inbox.overflow.append(event)
                continue
            elif not isinstance(event, ResponseSent):
                if isinstance(event, SessionEnded) and self._guard is not None:
                    out += self._finished(event.backend)
                self._directory.observe(event)
                if isinstance(event, SessionEnded) and self._guard is not None:
                    self._guard.forget(event.backend)
                    if self._allowances is not None:
                        self._allowances.forget(event.backend)
            out.append(event)
        self._inbox.offer(out)
        # After the offer: what is found out about a session must not overtake it.
        if seen := [event for event in events if isinstance(event, SessionSeen)]:
            self._on_sessions(seen)
        fill = self._inbox.fill
        if fill >= PRESSED or fill <= RELIEVED:
            self._source.holding.press(fill >= PRESSED)

    def _settled(self, event: StatementStarted, settled: Settled) -> Held:
        if settled.outcome in (None, Outcome.TOO_LATE, Outcome.FAILED):
            self._on_passed(event.backend, event.text)
        return Held(event, settled)

    def _finished(self, gone_on: BackendKey | None = None) -> list[Event | Held]:
        """What took longer. Its backend has stood still, so none of its events came in between,
        unless somebody else let it go: then it is settled before its next hold."""
        out: list[Event | Held] = []
        for event, settled in self._guard.finished(gone_on) if self._guard is not None else ():
            if self._begun.pop(event.backend, None) == self._as_of(event.backend):
                self._allow(event, settled)
            out.append(self._settled(event, settled))
        return out

    def _as_of(self, backend: BackendKey) -> tuple[object, ...]:
        return self._allowances.as_of(backend) if self._allowances is not None else ()

    def _allow(self, event: StatementStarted, settled: Settled) -> None:
        """After the backend was let go: it need not wait for this."""
        if self._allowances is None or self._known_shape is None:
            return
        if settled.late or settled.reason or not settled.decision.lasting:
            return
        if settled.decision.kind is DecisionKind.ALLOW and settled.outcome is None:
            if event.protocol is Protocol.FASTPATH:
                shape: Shape | None = shape_of_call(event.text)
            else:
                shape = self._known_shape(event.text, event.text_bytes)
            if shape is not None:
                self._allowances.allow(event, shape)

    def mind_watchdogs(self) -> None:
        """Nothing is held that nobody would release, and what can be released is held again. On
        this thread: for ``run_soon``."""
        if self._watchdog is None:
            return
        if not self._watchdog.answers:
            self._hear_watchdogs()  # those that died are replaced now
        answers = self._watchdog.answers
        if answers is not bool(self.problem):
            return
        self.problem = "" if answers else f"nothing is held: {UNWATCHED}"
        self._source.holding.pause(bool(self.problem))
        if self.problem:
            log.error("guard.off", reason=UNWATCHED)
        else:
            log.info("guard.on_again")

    def _keep_house(self) -> None:
        self._inbox.overflow.extend(self._source.losses())
        self._hear_watchdogs()

    def _hear_watchdogs(self) -> None:
        if self._watchdog is None:
            return
        for release in self._watchdog.check():
            self.released_by_watchdog += 1
            log.warning("guard.released_late", pid=release.pid, held_ms=release.held_ms)
