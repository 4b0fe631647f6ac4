"""The thread that turns what the sources saw into durable batches."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable
from functools import partial

import structlog

from agent.clock_steps import ClockSteps
from agent.inbox import Inbox, Polled
from agent.log_follower import LogsRead
from agent.pipeline import Pipeline
from agent.positions import UnwrittenPositions
from agent.spool.spool import Spool
from model.event import ClockMoved, Lost

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.25
FLUSH_ROWS = 2_000
TICK_SECONDS = 0.1
CONFIRM_MARGIN_SECONDS = 1.0
TAKE_SECONDS = 0.02
PART_EVENTS = 100
URGENT_SECONDS = 0.5
"""For what is urgent, when there is no time left for the rest."""
WRITE_SECONDS = 10.0
LOG_EVERY_SECONDS = 1.0
"""How often the same kind of error may be logged."""


class Recorder:
    """``pipeline`` belongs to this thread; others hand it work through ``run_soon``."""

    def __init__(
        self,
        inbox: Inbox,
        pipeline: Pipeline,
        spool: Spool,
        wake: Callable[[], None],
        on_lost: Callable[[Lost], None],
        merge_window_seconds: float,
        clock: ClockSteps | None = None,
    ) -> None:
        self._inbox = inbox
        self._pipeline = pipeline
        self._spool = spool
        self._wake = wake
        self._on_lost = on_lost
        # A log position may be confirmed once its records have left the merge window and are on
        # disk, not before: a crash between would lose them.
        self._confirm_after_us = int((merge_window_seconds + CONFIRM_MARGIN_SECONDS) * 1_000_000)
        self._confirms: deque[tuple[int, Callable[[], None]]] = deque()
        self._unwritten = UnwrittenPositions()
        self._logs = LogsRead()
        self._clock = clock or ClockSteps()
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._logged_at: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()
        self._stop = threading.Event()
        self._work_until = float("inf")
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, work_seconds: float = 5.0) -> None:
        """Work off what is there, make it durable, end. What is left after ``work_seconds`` is
        given up and counted; for the disk alone we wait longer."""
        self._work_until = time.monotonic() + work_seconds
        self._stop.set()
        self._thread.join(work_seconds + WRITE_SECONDS)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def run_soon(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)

    def _run(self) -> None:
        tick_at = flush_at = 0.0
        self._pipeline.mix(self._spool.mixed_room)
        while True:
            stopping = self._stop.is_set()
            took = self._take(0.0 if stopping else TAKE_SECONDS)
            now = time.monotonic()
            if now >= tick_at:
                tick_at = now + TICK_SECONDS
                self._tick()
            if now >= flush_at or self._pipeline.rows >= FLUSH_ROWS:
                flush_at = now + FLUSH_SECONDS
                self._flush()
            if stopping and took:
                self._hurry(now)
            elif stopping:
                self._tick()  # with what was lost until the last moment
                self._pipeline.finish(self._clock.now_us)
                self._flush()
                if self._inbox.overflow:
                    self._tick()  # with what the last batch lost
                    self._flush()
                return

    def _hurry(self, now: float) -> None:
        """Whoever stopped us waits: what is urgent goes before the rest, and the end before all."""
        if now >= self._work_until:
            self._inbox.give_up(urgent_too=now >= self._work_until + URGENT_SECONDS)

    def _follow_clock(self) -> None:
        by_us = self._clock.moved_us()
        if not by_us:
            return
        log.warning("clock.moved", seconds=by_us / 1e6)
        self._confirms = deque((due_us + by_us, confirm) for due_us, confirm in self._confirms)
        moved = ClockMoved(time.time_ns(), by_us)
        self._guarded(lambda: self._pipeline.take([moved], self._clock.now_us))

    def _take(self, timeout_seconds: float) -> bool:
        polled = self._inbox.take(timeout_seconds)
        # After that: what is dated by the new time is heard of after the step.
        self._follow_clock()
        if polled is None:
            return False
        if not self._observe(polled):
            return True
        if polled.log_read is not None:
            self._logs.note(*polled.log_read)
        if polled.confirm is not None:
            due_us = self._logs_read_us() + self._confirm_after_us
            self._confirms.append((due_us, polled.confirm))
        return True

    def _observe(self, polled: Polled) -> bool:
        """In parts: who stops us does not wait for megabytes of a log. False where that was given
        up: the log is not confirmed then, and read once more by the next agent."""
        patience_seconds = 0.0 if polled.confirm is not None else URGENT_SECONDS
        for first in range(0, len(polled.events), PART_EVENTS):
            if time.monotonic() > self._work_until + patience_seconds:
                self._inbox.count_stopped(polled.events[first:])
                return False
            part = polled.events[first : first + PART_EVENTS]
            self._guarded(partial(self._pipeline.take, part, self._clock.now_us))
        return True

    def _tick(self) -> None:
        while self._inbox.overflow:
            lost = self._inbox.overflow.popleft()
            self._on_lost(lost)
            self._pipeline.take([lost], self._clock.now_us)
        while not self._tasks.empty():
            self._guarded(self._tasks.get())
        now_us = self._clock.now_us
        self._guarded(lambda: self._pipeline.tick(now_us, self._logs_read_us()))

    def _flush(self) -> None:
        # Refused earlier: on_lost has heard of them, the record has not.
        self._pipeline.take(self._spool.owed(), self._clock.now_us)
        payloads = self._pipeline.payloads()
        if payloads:
            self._spool.append(*payloads)
            self._wake()
        self._pipeline.mix(self._spool.mixed_room)
        read_us = self._logs_read_us()
        due: dict[Hashable, tuple[int, Callable[[], None]]] = {}
        while self._confirms and self._confirms[0][0] <= read_us:
            newest = self._confirms.popleft()
            due[_source_of(newest[1])] = newest  # it covers the older: each costs two fsyncs
        for due_us, confirm in due.values():
            self._guarded(partial(self._confirm, due_us, confirm))

    def _confirm(self, due_us: int, confirm: Callable[[], None]) -> None:
        """Where there is no room for the position nothing is lost: it is written with the next
        flush, or by then a newer one; until then a restart would read those lines once more."""
        source = _source_of(confirm)
        try:
            confirm()
        except OSError as error:
            self._confirms.appendleft((due_us, confirm))
            self._unwritten.failed(source, error.strerror or type(error).__name__)
        else:
            self._unwritten.written(source)

    def _logs_read_us(self) -> int:
        return self._logs.as_of(self._clock.now_us, time.monotonic_ns() // 1000)

    def _guarded(self, work: Callable[[], None]) -> None:
        """One poisonous event must not end the record: it is counted, logged without its text."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the supervising loop
            self._log(error)
            lost = Lost(time.time_ns(), "agent", f"error_{type(error).__name__}", 1)
            self._on_lost(lost)
            self._pipeline.take([lost], self._clock.now_us)

    def _log(self, error: Exception) -> None:
        """At most once a second for each kind of error; what was left out is told with the next."""
        kind, now = type(error).__name__, time.monotonic()
        if now - self._logged_at.get(kind, -LOG_EVERY_SECONDS) < LOG_EVERY_SECONDS:
            self._unlogged[kind] += 1
            return
        self._logged_at[kind] = now
        # Not the error's own text: it may quote a statement.
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        reason = error.strerror if isinstance(error, OSError) else None
        log.error(
            "recorder.failed",
            error=kind,
            reason=reason or "",
            where=where,
            suppressed=self._unlogged.pop(kind, 0),
        )


def _source_of(confirm: Callable[[], None]) -> Hashable:
    return confirm.func if isinstance(confirm, partial) else confirm
