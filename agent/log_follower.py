"""The thread that reads one server's log, and what the recorder knows of how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg

from agent.discovery import Cluster
from agent.inbox import Inbox
from agent.sources.pgaudit import Location, LogFormat, PgauditSource, locate

POLL_SECONDS = 0.1
"""So long a statement may wait beyond the merge window: it ends when the log has been read."""
PATIENCE_US = 10_000_000
"""What a log that is read late may delay."""
LOOKS = 3
"""Looks for a server's log, one and two seconds apart, before its statements wait no longer for
pgaudit's records: it may just be starting."""


class LogsRead:
    """As of when the logs of all servers have been read, for the thread that joins statements with
    their records: on a busy host the log is read late, and a statement must not have left by then.
    Moments here are of the monotonic clock, which nobody sets.
    """

    def __init__(self) -> None:
        self._read_at_us: dict[str, int] = {}

    def note(self, cluster: str, at_us: int) -> None:
        """``at_us`` 0: it is not read any more."""
        self._read_at_us[cluster] = at_us
        if not at_us:
            del self._read_at_us[cluster]

    def as_of(self, now_us: int, monotonic_us: int) -> int:
        """Unix microseconds, at most ``now_us`` and at most 10 s before it."""
        late_us = monotonic_us - min(self._read_at_us.values(), default=monotonic_us)
        return now_us - max(0, min(late_us, PATIENCE_US))


class LogFollower:
    """``run`` until ``stop``, which belongs to the server and is set when it has gone."""

    def __init__(
        self,
        cluster: Cluster,
        connect: Callable[[Cluster], psycopg.Connection[tuple[object, ...]]],
        state_file: Path,
        inbox: Inbox,
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._connect = connect
        self._state_file = state_file
        self._inbox = inbox
        self._stop = stop
        self._looks = 0
        self.reading = False
        self.problem = ""
        """One sentence on why nothing comes; empty while all is well."""

    @property
    def may_come(self) -> bool:
        """Whether records may come: yes, until it turns out that none can be read."""
        return self.reading or self._looks < LOOKS

    @property
    def opening(self) -> bool:
        """Whether reading is about to begin. Without a saved position it does so at the end of the
        log, so what pgaudit writes before that is never read."""
        return not self.reading and not self.problem and not self._stop.is_set()

    def run(self) -> None:
        source = self._open()
        if source is None:
            return
        self.reading = True
        name = self._cluster.name
        try:
            while not self._stop.is_set():
                events = source.poll(POLL_SECONDS)
                log_read = None if source.behind else (name, time.monotonic_ns() // 1000)
                self._inbox.overflow.extend(source.losses())
                confirm = partial(source.confirm, source.position()) if events else None
                self._inbox.deliver(list(events), confirm, self._stop, log_read)
                self.problem = source.problem
        finally:
            source.close()
            self._inbox.note((name, 0))

    def _open(self) -> PgauditSource | None:
        """Asks the server where its log is, again and again until it tells or has gone."""
        wait_seconds = 1.0
        while not self._stop.is_set():
            location = self._locate()
            if location is not None:
                self.problem = ""
                return PgauditSource(
                    self._cluster.name,
                    location.directory,
                    location.pattern,
                    LogFormat(location.format),
                    self._state_file,
                    location.prefix,
                    location.zone,
                    own_pids=self._cluster.own_pids,
                )
            self._looks += 1
            self._stop.wait(wait_seconds)
            wait_seconds = min(60.0, wait_seconds * 2)
        return None

    def _locate(self) -> Location | None:
        pid = self._cluster.postmaster_pid
        try:
            with self._connect(self._cluster) as connection:
                location = locate(connection, Path(f"/proc/{pid}/root"), pid)
        except psycopg.Error as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
            self.problem = f"its log cannot be found without a login: {first}"
            return None
        if location.usable:
            return location
        self.problem = "; ".join(
            f"{problem.what} {problem.remedy}" for problem in location.problems
        )
        return None
