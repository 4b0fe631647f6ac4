"""The thread that reads the probes and settles held statements before anything else."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from agent.guard.hold import Guard
from agent.guard.watchdog_link import WatchdogError, WatchdogLink
from agent.judge import Directory
from agent.pipeline import Held
from model.event import Event, Lost, SessionEnded, StatementStarted

log = structlog.get_logger(__name__)

POLL_MS = 20
HOUSEKEEPING_SECONDS = 0.5
QUEUE_POLLS = 4_000
"""Polls that may wait for the pipeline; what exceeds it is counted, the server never waits."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What one look at a source brought. ``confirm`` is called once it is durable."""

    events: list[Event | Held]
    confirm: Callable[[], None] | None = None


@dataclass(slots=True)
class Inbox:
    """From all sources to the pipeline, bounded."""

    polls: queue.Queue[Polled] = field(default_factory=lambda: queue.Queue(QUEUE_POLLS))
    overflow: deque[Lost] = field(default_factory=deque)

    def offer(self, events: list[Event | Held]) -> None:
        """Never waits: the caller has backends to let go."""
        try:
            self.polls.put_nowait(Polled(events))
        except queue.Full:
            self.overflow.append(Lost(time.time_ns(), "agent", "queue_full", len(events)))

    def deliver(
        self, events: list[Event | Held], confirm: Callable[[], None], stop: threading.Event
    ) -> None:
        """Waits for room: what this source has not handed over stays in the server's log."""
        polled = Polled(events, confirm)
        while not stop.is_set():
            with suppress(queue.Full):
                self.polls.put(polled, timeout=0.5)
                return


class ProbeSource(Protocol):
    def poll(self, timeout_ms: int) -> list[Event]: ...
    def losses(self) -> list[Lost]: ...
    def beat(self) -> None: ...
    def set_hold(self, hold: bool) -> None: ...


class Capture:
    """Reads ``source`` until ``stop``; with a guard, statements are held while it beats."""

    def __init__(
        self,
        source: ProbeSource,
        inbox: Inbox,
        directory: Directory,
        guard: Guard | None,
        watchdog: WatchdogLink | None,
    ) -> None:
        self._source = source
        self._inbox = inbox
        self._directory = directory
        self._guard = guard
        self._watchdog = watchdog
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.released_by_watchdog = 0

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
            self._take(self._source.poll(0))

    def _take(self, events: list[Event]) -> None:
        if not events:
            return
        out: list[Event | Held] = []
        for event in events:
            if isinstance(event, StatementStarted):
                if event.held and self._guard is not None:
                    out.append(Held(event, self._guard.settle(event)))
                    continue
            else:
                self._directory.observe(event)
                if isinstance(event, SessionEnded) and self._guard is not None:
                    self._guard.forget(event.backend)
            out.append(event)
        self._inbox.offer(out)

    def _keep_house(self) -> None:
        self._inbox.overflow.extend(self._source.losses())
        if self._watchdog is None:
            return
        try:
            released = self._watchdog.check()
        except WatchdogError as error:
            log.error("guard.off", reason=str(error))
            self._source.set_hold(False)
            self._watchdog = None
            return
        for release in released:
            self.released_by_watchdog += 1
            log.warning("guard.released_late", pid=release.pid, held_ms=release.held_ms)
