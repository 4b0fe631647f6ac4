"""The thread that reads the probes and settles held statements before anything else."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent.guard.allowances import Allowances
from agent.guard.hold import DecisionKind, Guard, Settled
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.judge import Directory
from agent.pipeline import Held
from model.event import (
    AuditLogged,
    Event,
    Lost,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey
from model.statement import Shape

log = structlog.get_logger(__name__)

POLL_MS = 20
HOUSEKEEPING_SECONDS = 0.5
QUEUE_WEIGHT = 20_000
"""What may wait for the recorder: 1 for an execution and 1 for each KiB of text, so about 20 MiB.
What exceeds it is counted, the server never waits."""
RESERVED = 1.25
"""Up to here the inbox takes what is urgent, and all that says who is connected."""
PRESSED, RELIEVED = 0.5, 0.1
"""Fill of the inbox from which on the kernel counts what is repeated, until it is down again."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What one look at a source brought. ``confirm`` is called once it is durable."""

    events: list[Event | Held]
    confirm: Callable[[], None] | None = None


class Inbox:
    """From all sources to the recorder, bounded by weight: events plus KiB of text."""

    def __init__(self, limit_weight: int = QUEUE_WEIGHT) -> None:
        self._limit = limit_weight
        self._polls: deque[tuple[Polled, int]] = deque()
        self._weight = 0
        self._changed = threading.Condition()
        self._urgent: set[BackendKey] = set()
        """Backends whose urgent statement has not been answered."""
        self.overflow: deque[Lost] = deque()

    def offer(self, events: list[Event | Held]) -> None:
        """Never waits: the caller has backends to let go. What does not fit is counted."""
        with self._changed:
            # One poll is taken whole when there is room at all: it may be larger than the limit.
            if self._weight < self._limit:
                self._append(Polled(events))
                self._follow(events)
                return
            kept = self._follow(events) if self._weight < self._limit * RESERVED else []
            if kept:
                self._append(Polled(kept))
        count = sum(map(_statements, events)) - sum(map(_statements, kept))
        if count:
            self.overflow.append(Lost(time.time_ns(), "agent", "queue_full", count))

    def _follow(self, events: list[Event | Held]) -> list[Event | Held]:
        """What of these is kept when there is little room: what is urgent, with its answers."""
        kept: list[Event | Held] = []
        for event in events:
            if isinstance(event, ResponseSent):
                if event.backend in self._urgent:
                    kept.append(event)
                    if event.ready:
                        self._urgent.discard(event.backend)
            elif isinstance(event, Held) or (isinstance(event, StatementStarted) and event.urgent):
                kept.append(event)
                started = event.event if isinstance(event, Held) else event
                self._urgent.add(started.backend)
            elif isinstance(event, SessionEnded):
                kept.append(event)
                self._urgent.discard(event.backend)
            elif not _is_everyday(event):
                kept.append(event)
        return kept

    @property
    def fill(self) -> float:
        """From 0 to 1 (and above: one poll may be larger than the limit)."""
        return self._weight / self._limit

    def deliver(
        self, events: list[Event | Held], confirm: Callable[[], None], stop: threading.Event
    ) -> None:
        """Waits for room: what this source has not handed over stays in the server's log."""
        with self._changed:
            while self._weight >= self._limit:
                if stop.is_set():
                    return
                self._changed.wait(0.5)
            self._append(Polled(events, confirm))

    def take(self, timeout_seconds: float) -> Polled | None:
        with self._changed:
            if not self._polls and timeout_seconds:
                # Nobody wakes us: each wake-up would take the interpreter from the thread that
                # lets backends go.
                self._changed.wait(timeout_seconds)
            if not self._polls:
                return None
            polled, weight = self._polls.popleft()
            self._weight -= weight
            self._changed.notify_all()
            return polled

    def _append(self, polled: Polled) -> None:
        weight = sum(map(_weight, polled.events)) + sum(map(_text_bytes, polled.events)) // 1024
        self._polls.append((polled, weight))
        self._weight += weight


def _weight(event: Event | Held) -> int:
    return len(event.executions) if isinstance(event, StatementsExecuted) else 1


def _is_everyday(event: Event | Held) -> bool:
    if isinstance(event, StatementsExecuted):
        return not event.urgent
    return isinstance(event, StatementStarted | StatementsCounted)


def _statements(event: Event | Held) -> int:
    if isinstance(event, StatementsExecuted):
        return len(event.executions)
    if isinstance(event, StatementsCounted):
        return event.count
    if isinstance(event, ResponseSent):
        return event.failed_text is not None
    return isinstance(event, Held | StatementStarted)


def _text_bytes(event: Event | Held) -> int:
    if isinstance(event, Held):
        event = event.event
    if isinstance(event, StatementStarted | StatementsExecuted):
        return len(event.text) + len(event.parameters)
    if isinstance(event, ResponseSent):
        return len(event.failed_text or b"") + (len(event.error.message) if event.error else 0)
    return len(event.text) + len(event.parameters) if isinstance(event, AuditLogged) else 0


class ProbeSource(Protocol):
    def poll(self, timeout_ms: int) -> list[Event]: ...
    def losses(self) -> list[Lost]: ...
    def finish(self) -> list[Event]: ...
    def beat(self) -> None: ...
    def set_hold(self, hold: bool) -> None: ...
    def press(self, pressed: bool) -> None: ...


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
    ) -> None:
        """``allowances``: what need not be held again is told there; ``known_shape`` answers from
        memory what a text is that has just been judged. ``on_sessions`` must not wait: it is
        called while backends may be held."""
        self._allowances = allowances
        self._known_shape = known_shape
        self._on_sessions = on_sessions
        self._source = source
        self._inbox = inbox
        self._directory = directory
        self._guard = guard
        self._watchdog = watchdog
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.released_by_watchdog = 0
        self.problem = ""
        """Why nothing is held any more; empty while all is well."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def run_soon(self, task: Callable[[], None]) -> None:
        """Source and watchdog belong to this thread; others hand it what to do with them."""
        self._tasks.put(task)

    def _run(self) -> None:
        housekeeping_at = 0.0
        if self._guard is not None:
            self._source.beat()
            self._source.set_hold(True)
        try:
            while not self._stop.is_set():
                if self._guard is not None:
                    self._source.beat()
                while not self._tasks.empty():
                    self._tasks.get()()
                self._take(self._source.poll(POLL_MS))
                if time.monotonic() >= housekeeping_at:
                    housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
                    self._keep_house()
        finally:
            # From here on nothing new is held; what was held before is let go by a last look.
            self._source.set_hold(False)
            self._take(self._source.finish())

    def _take(self, events: list[Event]) -> None:
        if not events:
            return
        out: list[Event | Held] = []
        for event in events:
            if isinstance(event, StatementStarted):
                if event.held and self._guard is not None:
                    settled = self._guard.settle(event)
                    self._allow(event, settled)
                    out.append(Held(event, settled))
                    continue
            elif isinstance(event, Lost):
                self._inbox.overflow.append(event)
                continue
            elif not isinstance(event, ResponseSent | StatementsExecuted):
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
            self._source.press(fill >= PRESSED)

    def _allow(self, event: StatementStarted, settled: Settled) -> None:
        """After the backend was let go: it need not wait for this."""
        if self._allowances is None or self._known_shape is None:
            return
        if settled.late or settled.reason:
            return
        if settled.decision.kind is DecisionKind.ALLOW and settled.outcome is None:
            shape = self._known_shape(event.text, event.text_bytes)
            if shape is not None:
                self._allowances.allow(event, shape)

    def _keep_house(self) -> None:
        self._inbox.overflow.extend(self._source.losses())
        if self._watchdog is None:
            return
        try:
            released = self._watchdog.check()
        except WatchdogError as error:
            log.error("guard.off", reason=str(error))
            self.problem = f"nothing is held: {error}"
            self._source.set_hold(False)
            self._watchdog = None
            return
        for release in released:
            self.released_by_watchdog += 1
            log.warning("guard.released_late", pid=release.pid, held_ms=release.held_ms)
