"""Reads the catalog at a start, now and then, and soon after a statement may have changed it.

A cheap probe says which kinds may have changed; only these are read, and only what differs from
what was sent before is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from agent.catalog.changes import IN_DATABASE as KINDS_IN_DATABASE
from agent.catalog.changes import (
    ChangesError,
    Database,
    Digests,
    Moment,
    WatchedTable,
    all_databases,
    changed_cluster_kinds,
    changed_kinds,
    changed_watched,
    moment_of,
    names_everywhere_changed,
    probe_cluster,
    probe_database,
)
from agent.catalog.moments import Moments
from agent.catalog.schedule import EVERYTHING, Schedule, Target
from agent.catalog.sent import Sent
from agent.catalog.snapshot import APPLICATION_NAME, SnapshotError, take_snapshot
from model.catalog import CLUSTER_KINDS, CatalogKind, Snapshot

Connect = Callable[[str], psycopg.Connection[Any]]
Take = Callable[..., Snapshot]
"""``take_snapshot``, or the same with more of its arguments bound."""
RESEND_SECONDS = 6 * 3600.0
MAX_DATABASES = 100
WATCHED = frozenset((CatalogKind.WATCHED,))
SERVER = ("", "")
EXPECTED = (SnapshotError, psycopg.Error, OSError)
NOTING = frozenset((CatalogKind.SETTING, CatalogKind.SUBSCRIPTION, CatalogKind.USER_MAPPING))
"""They may be read with something left out, which is a problem too."""

__all__ = ["APPLICATION_NAME", "Connect", "SnapshotWatcher"]


@dataclass(slots=True)
class _Known:
    """One database: what the collector was told of it, and what the last probe found."""

    oid: int
    whole_at: float
    sent: Sent
    digests: Digests | None = None
    cluster: Digests | None = None
    unread: frozenset[CatalogKind] = frozenset()
    """Asked for in vain: a right is missing, or somebody held a lock."""


class SnapshotWatcher:
    """Watches one cluster from a thread of its own (``run``); ``poke`` may come from any thread.

    ``connect(database)`` gives an autocommit connection and should name itself
    ``application_name=pgwarden``; '' asks for the home database, the one from which what belongs
    to the whole cluster is read. ``send`` gets what is new: whole snapshots at the start, every
    ``resend_seconds`` and after ``resend``, otherwise changes of those before.
    """

    def __init__(
        self,
        connect: Connect,
        cluster: str,
        send: Callable[[Snapshot], None],
        interval_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        resend_seconds: float = RESEND_SECONDS,
        watched: Sequence[WatchedTable] = (),
        take: Take = take_snapshot,
        moments: Moments | None = None,
        at_home: Callable[[psycopg.Connection[Any]], None] = lambda home: None,
    ) -> None:
        """``at_home``: called with the home database's connection after each look at the server."""
        self._connect = connect
        self._cluster = cluster
        self._send = send
        self._clock = clock
        self._resend_seconds = resend_seconds
        self._watched = watched
        self._take = take
        self._known: dict[str, _Known] = {}
        self._home = ""
        self._now = Moment(0, "")
        self._moments = moments or Moments()
        self._at_home = at_home
        self._lock = threading.Condition()
        self._schedule = Schedule(interval_seconds, clock())
        self._wanted: set[str] = set()
        self._stopped = False
        self._problems: dict[tuple[str, str], tuple[str, ...]] = {}
        """By database ('' for the server) and part of it."""
        self.taken = 0
        """Looks that ended."""
        self.taken_at_seconds = 0.0
        """Unix time of the last look at the home database."""
        self.problems: tuple[str, ...] = ()
        """Of the last look at each database, a sentence each."""

    def poke(
        self,
        kinds: frozenset[CatalogKind] | None = None,
        database: str | None = None,
        watched: str = "",
    ) -> None:
        """These may have changed (None: any of them): look soon. ``watched``: a watched table, and
        nothing else."""
        with self._lock:
            self._schedule.poke(Target(database, kinds, watched), self._clock())
            self._lock.notify()

    def resend(self, database: str = "") -> None:
        """The collector lost its thread: all of this database (empty: of all) once more."""
        with self._lock:
            self._wanted.add(database)
        self.poke()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._lock.notify()

    def run(self) -> None:
        """Until ``stop``; a server that does not answer is a problem, not an end."""
        while targets := self._wait():
            self.look(targets)

    def look(self, targets: Iterable[Target] = (EVERYTHING,)) -> int:
        """Once at these; returns the number of snapshots sent."""
        targets, began = frozenset(targets), self._clock()
        self._forget_wanted()
        try:
            sent = self._look(targets)
            self._problems.pop(SERVER, None)
        except Exception as error:  # noqa: BLE001 - a problem until a look ends well; the thread goes on
            sent = 0
            self._problems[SERVER] = (f"{self._cluster}: {_why(error)}",)
        self.problems = tuple(each for told in self._problems.values() for each in told)
        self.taken += 1
        ended = self._clock()
        with self._lock:
            self._schedule.ended(targets, ended, ended - began, bool(sent))
        return sent

    @property
    def remembered(self) -> int:
        """Items whose hashes are kept."""
        return sum(known.sent.items for known in self._known.values())

    def _wait(self) -> frozenset[Target]:
        """Sleeps until a look is due; empty when it is time to stop."""
        with self._lock:
            while not self._stopped:
                now = self._clock()
                if targets := self._schedule.take(now):
                    return targets
                self._lock.wait(max(0.01, self._schedule.next_at() - now))
        return frozenset()

    def _forget_wanted(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, set()
        now = self._clock()
        for name, known in list(self._known.items()):
            if "" in wanted or name in wanted or now - known.whole_at >= self._resend_seconds:
                del self._known[name]

    def _look(self, targets: frozenset[Target]) -> int:
        """A new connection each time: an old one keeps values of settings that only new sessions
        take over (``log_disconnections``), and keeps its database from being dropped.
        """
        sent = 0
        tables = {(each.database, each.watched) for each in targets if each.watched}
        rest = [each for each in targets if not each.watched]
        if rest or not self._home:
            sent += self._look_around(rest or [EVERYTHING])
        for database, table in sorted(tables, key=str):
            for name, known in list(self._known.items()):
                if database in (None, name):
                    with self._connect(name) as connection:
                        sent += self._read_watched(connection, known, {table})
        return sent

    def _look_around(self, targets: list[Target]) -> int:
        with self._connect("") as home:
            self._home = home.info.dbname
            self._now = moment_of(home)
            self._mind_the_clock()
            databases = all_databases(home)
            # A template is not among them.
            here = Database(0, self._home, "")
            here = next((each for each in databases if each.name == self._home), here)
            sent = self._look_at_home(home, self._meet(here), targets)
            self.taken_at_seconds = time.time()
            self._at_home(home)
        names = {self._home, *(each.name for each in databases)}
        for name in [name for name in self._known if name not in names]:
            del self._known[name]  # it was dropped: kind DATABASE tells of that
        for place in [place for place in self._problems if place[0] not in (*names, "")]:
            del self._problems[place]
        wanted = {each.database for each in targets if each.in_database}
        for database in self._readable(databases):
            if None in wanted or database.name in wanted or self._meet(database).digests is None:
                sent += self._look_at(database)
        return sent

    def _readable(self, databases: Sequence[Database]) -> list[Database]:
        for each in databases:
            if each.problem and each.name != self._home:
                self._problems[each.name, ""] = (f"{self._cluster}/{each.name}: {each.problem}",)
        others = [each for each in databases if not each.problem and each.name != self._home]
        self._problems.pop(("", "databases"), None)
        if len(others) > MAX_DATABASES:
            self._problems["", "databases"] = (
                f"{self._cluster} has {len(others)} databases; only {MAX_DATABASES} are read",
            )
        return others[:MAX_DATABASES]

    def _meet(self, database: Database) -> _Known:
        known = self._known.get(database.name)
        if known is None or known.oid != database.oid:
            known = _Known(database.oid, self._clock(), Sent(self._moments.before_us))
            self._known[database.name] = known
        return known

    def _look_at_home(
        self, home: psycopg.Connection[Any], known: _Known, targets: list[Target]
    ) -> int:
        here = any(each.in_database and each.database in (None, self._home) for each in targets)
        before = known.cluster
        if before is not None and not any(each.cluster for each in targets):
            return self._read(home, known, frozenset(), here, cluster_wide=True)
        cluster = None
        try:
            cluster = probe_cluster(home, before)
            kinds = changed_cluster_kinds(before, cluster)
            if names_everywhere_changed(before, cluster):
                for each in self._known.values():
                    each.digests = None
        except ChangesError:
            kinds = CLUSTER_KINDS
        here = here or known.digests is None
        sent = self._read(home, known, kinds, here, cluster_wide=True)
        unread = kinds | known.unread
        known.sent.unchanged(CLUSTER_KINDS - unread - KINDS_IN_DATABASE, self._now.at_us)
        known.cluster = cluster
        return sent

    def _look_at(self, database: Database) -> int:
        known = self._meet(database)
        before = known.digests
        if (
            before is not None
            and before.moment.transactions == self._now.transactions
            and not known.unread
            and not self._always_read(database.name)
        ):
            known.sent.unchanged(KINDS_IN_DATABASE | WATCHED, self._now.at_us)
            return 0
        try:
            with self._connect(database.name) as connection:
                self._problems.pop((database.name, ""), None)
                return self._read(connection, known, frozenset(), True, cluster_wide=False)
        except Exception as error:  # noqa: BLE001 - the problem of this database, not of the others
            problem = f"{self._cluster}/{database.name}: {_why(error)}"
            self._problems[database.name, ""] = (problem,)
            return 0

    def _always_read(self, database: str) -> bool:
        """A query may depend on anything."""
        return any(not each.table for each in self._watched_in(database))

    def _watched_in(self, database: str) -> list[WatchedTable]:
        home = database == self._home
        return [each for each in self._watched if each.is_in(database, home=home)]

    def _read(
        self,
        connection: psycopg.Connection[Any],
        known: _Known,
        kinds: frozenset[CatalogKind],
        database_too: bool,
        *,
        cluster_wide: bool,
    ) -> int:
        """``kinds`` of the cluster, and what changed in the database if ``database_too``."""
        name = connection.info.dbname
        watched: Collection[WatchedTable] = ()
        digests = None
        if database_too:
            try:
                of_database = self._watched_in(name)
                digests = probe_database(connection, known.digests, of_database)
                kinds |= changed_kinds(known.digests, digests)
                watched = changed_watched(known.digests, digests, of_database)
            except ChangesError:
                kinds |= KINDS_IN_DATABASE
                watched = self._watched_in(name)
        kinds |= known.unread
        sent = 0
        if kinds - WATCHED:
            sent += self._read_kinds(connection, known, kinds - WATCHED, cluster_wide)
        if digests is not None:
            known.sent.unchanged(KINDS_IN_DATABASE - kinds, digests.moment.at_us)
        if watched or known.unread & WATCHED:
            sent += self._read_watched(connection, known, {each.name for each in watched})
        # Only now: what was not read for an error is asked for again.
        if digests is not None:
            if not known.unread & WATCHED:
                known.sent.unchanged(WATCHED, digests.moment.at_us)
            known.digests = digests
        return sent

    def _read_kinds(
        self,
        connection: psycopg.Connection[Any],
        known: _Known,
        kinds: frozenset[CatalogKind],
        cluster_wide: bool,
    ) -> int:
        taken, problems = self._take_kinds(connection, kinds, cluster_wide=cluster_wide)
        count = sum(self._tell(known, replace(each, cluster_wide=cluster_wide)) for each in taken)
        told = connection.info.dbname
        self._note(known, told, kinds, [kind for each in taken for kind in each.kinds], problems)
        return count

    def _take_kinds(
        self, connection: psycopg.Connection[Any], kinds: frozenset[CatalogKind], **words: Any
    ) -> tuple[list[Snapshot], tuple[str, ...]]:
        """One snapshot of these kinds, and its problems. If our own code fails at what the server
        holds, one for each kind, and that kind is the problem."""
        try:
            taken = self._take(connection, self._cluster, kinds=kinds, **words)
            return [taken], taken.problems
        except EXPECTED:
            raise
        except Exception as error:  # noqa: BLE001 - a problem of one kind: the others are still read
            if len(kinds) == 1:
                place = f"{self._cluster}/{connection.info.dbname}"
                return [], (f"the {min(kinds)} of {place} cannot be read: {_why(error)}",)
            each = [self._take_kinds(connection, frozenset((k,)), **words) for k in sorted(kinds)]
            problems = dict.fromkeys(problem for _, told in each for problem in told)
            return [taken for one, _ in each for taken in one], tuple(problems)

    def _read_watched(
        self, connection: psycopg.Connection[Any], known: _Known, names: Collection[str]
    ) -> int:
        """Rows of these tables; of all while something of them was not read."""
        name = connection.info.dbname
        of_database = self._watched_in(name)
        some = [each for each in of_database if each.name in names]
        if CatalogKind.WATCHED in known.unread or CatalogKind.WATCHED not in known.sent.kinds:
            some = of_database
        if not some:
            return 0
        home = name == self._home
        taken, problems = self._take_kinds(connection, WATCHED, cluster_wide=home, watched=some)
        only = None if len(some) == len(of_database) else {each.name for each in some}
        count = sum(self._tell(known, each, only) for each in taken)
        self._note(known, name, WATCHED, [kind for each in taken for kind in each.kinds], problems)
        return count

    def _tell(self, known: _Known, taken: Snapshot, only: Collection[str] | None = None) -> int:
        told = replace(taken, at_us=self._moments.of(taken.at_us))
        return known.sent.tell(told, self._send, only, taken.at_us)

    def _mind_the_clock(self) -> None:
        if back_us := self._moments.set_back(self._now.at_us, self._clock()):
            for each in self._known.values():
                each.sent.clock_set_back(back_us)
        self._problems["", "clock"] = self._moments.problems(self._cluster, self._now.at_us)

    def _note(
        self,
        known: _Known,
        database: str,
        asked: frozenset[CatalogKind],
        read: Collection[CatalogKind],
        problems: tuple[str, ...],
    ) -> None:
        """Kinds that could not be read are asked for again, and say so until they can be. Only
        after what was read is sent: else it would not be asked for again."""
        unread = asked.difference(read) if problems else frozenset()
        if len(problems) > len(unread):
            unread |= asked & NOTING
        known.unread = known.unread - asked | unread
        part = "watched" if asked == WATCHED else ""
        self._problems[database, part] = problems


def _why(error: Exception) -> str:
    """Not the text of an error that nobody expected: it may quote what was read."""
    if isinstance(error, EXPECTED):
        return " ".join(str(error).split())[:300]
    return f"an error in pgwarden ({type(error).__name__}); please report it"
