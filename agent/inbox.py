"""Where all sources leave what they saw for the recorder, bounded by weight."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.judging import Held
from model.event import (
    AuditLogged,
    Event,
    Lost,
    ResponseSent,
    SessionEnded,
    StatementsCounted,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey

QUEUE_WEIGHT = 20_000
WEIGHT_BYTES = 512
"""What may wait for the recorder: 1 for an execution and 1 for so much text, so about 10 MiB. What
exceeds it is counted, the server never waits (docs/decisions/0083-memory-under-load.md)."""
RESERVED = 1.25
"""Up to here the inbox takes what is urgent, and all that says who is connected."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What one look at a source brought. ``confirm`` is called once it is durable. ``log_read``:
    a server whose log has been read, as of when (monotonic microseconds; 0: not any more).
    """

    events: list[Event | Held]
    confirm: Callable[[], None] | None = None
    log_read: tuple[str, int] | None = None


class Inbox:
    """From all sources to the recorder, bounded by weight: events, and their text."""

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
        self._count("queue_full", "urgent_queue_full", events, kept)

    def _follow(self, events: list[Event | Held]) -> list[Event | Held]:
        """What of these is kept when there is little room: what is urgent, with its answers."""
        kept: list[Event | Held] = []
        for event in events:
            if isinstance(event, StatementsExecuted):  # most of all: it comes first
                if event.urgent:
                    kept.append(event)
            elif isinstance(event, ResponseSent):
                if event.backend in self._urgent:
                    kept.append(event)
                    if event.ready:
                        self._urgent.discard(event.backend)
            elif isinstance(event, Held | StatementStarted) and _is_urgent(event):
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
        self,
        events: list[Event | Held],
        confirm: Callable[[], None] | None,
        stop: threading.Event,
        log_read: tuple[str, int] | None = None,
    ) -> None:
        """Waits for room: what this source has not handed over stays in the server's log."""
        with self._changed:
            while self._weight >= self._limit:
                if stop.is_set():
                    return
                self._changed.wait(0.5)
            self._append(Polled(events, confirm, log_read))

    def note(self, log_read: tuple[str, int]) -> None:
        """Never waits."""
        with self._changed:
            self._append(Polled([], None, log_read))

    def give_up(self, *, urgent_too: bool) -> None:
        """What waits for nobody any more is counted: at the end of an agent, when there is no time
        left for all of it. What came from a log is read from there once more by the next one."""
        with self._changed:
            polls, self._polls, self._weight = self._polls, deque(), 0
            waiting: list[Event | Held] = []
            kept: list[Event | Held] = []
            for polled, _ in polls:
                waiting += polled.events
                if not urgent_too and polled.confirm is None:
                    kept += self._follow(polled.events)
            if kept:
                self._append(Polled(kept))
        self._count("stopped", "urgent_stopped", waiting, kept)

    def count_stopped(self, events: Sequence[Event | Held]) -> None:
        """They were taken, and there was no time left for them."""
        self._count("stopped", "urgent_stopped", events, ())

    def _count(
        self,
        ordinary: str,
        urgent: str,
        events: Sequence[Event | Held],
        kept: Sequence[Event | Held],
    ) -> None:
        for lost, which in ((ordinary, _is_ordinary), (urgent, _is_urgent)):
            of_class = [sum(map(_statements, filter(which, each))) for each in (events, kept)]
            if count := of_class[0] - of_class[1]:
                self.overflow.append(Lost(time.time_ns(), "agent", lost, count))

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
        weight = (
            sum(map(_weight, polled.events)) + sum(map(_text_bytes, polled.events)) // WEIGHT_BYTES
        )
        weight = max(weight, 1)  # how far a log has been read waits here as well
        self._polls.append((polled, weight))
        self._weight += weight


def _weight(event: Event | Held) -> int:
    return len(event.executions) if isinstance(event, StatementsExecuted) else 1


def _is_everyday(event: Event | Held) -> bool:
    return isinstance(event, StatementStarted | StatementsCounted)


def _is_urgent(event: Event | Held) -> bool:
    if isinstance(event, StatementStarted | StatementsExecuted):
        return event.urgent
    return isinstance(event, Held)


def _is_ordinary(event: Event | Held) -> bool:
    return not _is_urgent(event)


def _statements(event: Event | Held) -> int:
    if isinstance(event, StatementsExecuted):
        return len(event.executions)
    if isinstance(event, StatementsCounted):
        return event.count
    if isinstance(event, ResponseSent):
        return event.failed_text is not None
    return isinstance(event, Held | StatementStarted)


def _text_bytes(event: Event | Held) -> int:
    if isinstance(event, StatementsExecuted):
        return len(event.text) + len(event.parameters)
    if isinstance(event, Held):
        event = event.event
    if isinstance(event, StatementStarted):
        return len(event.text) + len(event.parameters)
    if isinstance(event, ResponseSent):
        return len(event.failed_text or b"") + (len(event.error.message) if event.error else 0)
    return len(event.text) + len(event.parameters) if isinstance(event, AuditLogged) else 0
