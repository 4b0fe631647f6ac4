"""Reads the catalog at a start, now and then, and soon after a statement may have changed it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from agent.catalog.snapshot import (
    APPLICATION_NAME,
    SnapshotError,
    fingerprint,
    list_databases,
    take_snapshot,
)
from model.catalog import Snapshot

Connect = Callable[[str], psycopg.Connection[Any]]
# A statement is seen before its transaction commits and before a reload reached all processes:
# look at once, and again a little later.
LOOKS_AFTER_POKE_SECONDS = (0.1, 0.6, 2.0, 6.0)
LEAST_GAP_SECONDS = 0.3
RESEND_SECONDS = 6 * 3600.0
MAX_DATABASES = 100

__all__ = ["APPLICATION_NAME", "Connect", "SnapshotWatcher"]


class SnapshotWatcher:
    """Watches one cluster from a thread of its own (``run``); ``poke`` may come from any thread.

    ``connect(database)`` gives an autocommit connection and should name itself
    ``application_name=pgwarden``; '' asks for the home database, the one from which what belongs
    to the whole cluster is read. ``send`` gets a snapshot when it says something new, and all of
    them again every ``resend_seconds``.
    """

    def __init__(
        self,
        connect: Connect,
        cluster: str,
        send: Callable[[Snapshot], None],
        interval_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        resend_seconds: float = RESEND_SECONDS,
    ) -> None:
        self._connect = connect
        self._cluster = cluster
        self._send = send
        self._interval = interval_seconds
        self._clock = clock
        self._resend = resend_seconds
        self._sent: dict[str, tuple[str, float]] = {}
        self._lock = threading.Condition()
        self._due: list[float] = [clock()]
        self._stopped = False
        self.taken = 0
        """Rounds that ended."""
        self.taken_at_seconds = 0.0
        """Unix time of the last round in which the home database was read."""
        self.problems: tuple[str, ...] = ()
        """Of the last round, a sentence each."""

    def poke(self) -> None:
        """Something may have changed: look soon."""
        with self._lock:
            now = self._clock()
            self._due = [now + seconds for seconds in LOOKS_AFTER_POKE_SECONDS]
            self._lock.notify()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._lock.notify()

    def run(self) -> None:
        """Until ``stop``; a server that does not answer is a problem, not an end."""
        while self._wait():
            self.look()

    def look(self) -> int:
        """One round over all databases; returns the number of snapshots sent."""
        problems: list[str] = []
        sent = 0
        for snapshot in self._snapshots(problems):
            problems += snapshot.problems
            sent += self._send_if_new(snapshot)
        self.problems = tuple(problems)
        self.taken += 1
        return sent

    def _wait(self) -> bool:
        """Sleeps until a look is due; False when it is time to stop."""
        with self._lock:
            while not self._stopped:
                now = self._clock()
                due = [moment for moment in self._due if moment <= now]
                if due:
                    later = [moment for moment in self._due if moment > now + LEAST_GAP_SECONDS]
                    self._due = later or [now + self._interval]
                    return True
                self._lock.wait(max(0.01, min(self._due) - now))
        return False

    def _snapshots(self, problems: list[str]) -> list[Snapshot]:
        """A new connection each round: an old one keeps values of settings that only new sessions
        take over (``log_disconnections``), and keeps its database from being dropped.
        """
        taken: list[Snapshot] = []
        try:
            with self._connect("") as home:
                taken.append(take_snapshot(home, self._cluster))
                self.taken_at_seconds = time.time()
                databases = list_databases(home)
                name_of_home = home.info.dbname
        except (SnapshotError, psycopg.Error, OSError) as error:
            problems.append(f"{self._cluster}: {_one_line(error)}")
            return taken
        others = [name for name in databases if name != name_of_home]
        if len(others) > MAX_DATABASES:
            problems.append(
                f"{self._cluster} has {len(others)} databases; only {MAX_DATABASES} are read"
            )
        for name in others[:MAX_DATABASES]:
            try:
                with self._connect(name) as connection:
                    taken.append(take_snapshot(connection, self._cluster, cluster_wide=False))
            except (SnapshotError, psycopg.Error, OSError) as error:
                problems.append(f"{self._cluster}/{name}: {_one_line(error)}")
        return taken

    def _send_if_new(self, snapshot: Snapshot) -> bool:
        known, at = self._sent.get(snapshot.database, ("", 0.0))
        now, said = self._clock(), fingerprint(snapshot)
        if said == known and now - at < self._resend:
            return False
        self._send(snapshot)
        self._sent[snapshot.database] = (said, now)
        return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
