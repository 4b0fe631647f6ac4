"""Names of relations and functions by oid, ready before somebody asks: a held statement cannot wait
for long.

What is known is what was committed when it was last read. A table of a transaction that is still
open has no name here; one that such a transaction renames has its old one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg.rows import dict_row

from agent.catalog.doubts import Doubts
from agent.catalog.queries import query
from model.names import escaped

TEMPORARY = "pg_temp_"
MOST = 20_000
"""Relations, and functions, that are read ahead in one database; others are asked for when a plan
touches them."""
FUNCTION = 1 << 32
"""Added to the oid of a function, which a relation may have as well."""
IN_C = "C"
"""The kind of a function whose code is a library's; others are ``-``."""
MAX_DATABASES = 100
MAX_GENERATIONS = 32
"""Parents of parents; PostgreSQL has no cycles there, a torn reading might."""
VAIN_SECONDS = 1.0
"""So long an oid that nobody knew is not asked for again by whoever asked."""
IDLE_SECONDS = 5.0
"""An open session keeps its database from being dropped."""
LOOKS_AFTER_POKE_SECONDS = (0.1, 0.6, 2.0, 6.0)
"""A statement is seen before its transaction commits: as agent/catalog/watcher.py looks."""
LOAD_SHARE = 20
"""Between two readings lies this many times what one takes."""

Connect = Callable[[str, str], psycopg.Connection[Any]]
"""To this database of this cluster; autocommit. Raises psycopg.Error."""


Asker: TypeAlias = Hashable
"""Whose transaction it is that asks; None: nobody knows."""


class Place(NamedTuple):
    """Oids mean something in one database."""

    cluster: str
    database: str


class Relation(NamedTuple):
    name: str
    """``schema.name``; a temporary one is ``pg_temp.name``."""
    kind: str
    """``pg_class.relkind``."""
    parents: tuple[int, ...] = ()
    ancestors: tuple[str, ...] = ()
    """Names of what it is a partition or child of, or the toast table of, the nearest first. Of a
    function in C what it is called in its library."""


@dataclass(slots=True)
class _Question:
    wanted: tuple[int, ...]
    asker: Asker
    answered: threading.Event
    failed: bool = False


class Relations:
    """Safe for threads. Each database has a thread of its own, from ``expect`` until ``stop``."""

    def __init__(
        self,
        connect: Connect,
        on_renamed: Callable[[], None] = lambda: None,
        *,
        patience_seconds: float = 0.06,
        interval_seconds: float = 60.0,
    ) -> None:
        """``on_renamed``: what was known goes by another name or has other parents by now; called
        on the reading thread. ``patience_seconds``: the longest that ``find`` waits."""
        self._connect = connect
        self._on_renamed = on_renamed
        self._patience = patience_seconds
        self._interval = interval_seconds
        self._databases: dict[Place, _Database] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def expect(self, place: Place) -> None:
        """Statements will come from there: read ahead. Returns at once."""
        if place not in self._databases and all(place):
            self._database(place)

    def known(
        self, place: Place, oids: Iterable[int], asker: Asker = None
    ) -> dict[int, Relation] | None:
        """What each is; one that nobody knows is left out. None if somebody should be asked
        first: ``find`` does. Never waits.

        ``asker`` has been told a moment ago which ones nobody knows: it made them itself, in a
        transaction that goes on. To others they may have been committed since.
        """
        database = self._databases.get(place)
        if database is None:
            return None
        return database.known(oids, asker)

    def find(
        self, place: Place, oids: Sequence[int], asker: Asker = None
    ) -> dict[int, Relation] | None:
        """As ``known``, after asking the server for what is not; waits for ``patience_seconds``.

        None where the server did not answer in time, or does not any more: some of these may have
        names. One that never let us in gives none.
        """
        known = self.known(place, oids, asker)
        if known is not None:
            return known
        database = self._database(place)
        if database is None:
            return {}
        return database.ask(oids, self._patience, asker)

    def remembered(self, place: Place, oids: Sequence[int]) -> dict[int, Relation]:
        """Those of them that are known."""
        database = self._databases.get(place)
        return database.remembered(oids) if database is not None else {}

    def doubt(self, place: Place, text: bytes) -> None:
        """A statement with this text is about to give relations other parents: until that has been
        read, what it names is asked for each time."""
        database = self._databases.get(place)
        if database is not None:
            database.doubts.add(text)

    def doubts(self, place: Place, relations: Iterable[Relation]) -> bool:
        database = self._databases.get(place)
        return database is not None and any(map(database.is_doubtful, relations))

    def poke(self) -> None:
        """A statement may have changed names: look soon."""
        for database in list(self._databases.values()):
            database.poke()

    def problems(self) -> list[str]:
        return [each.problem for each in list(self._databases.values()) if each.problem]

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            databases = list(self._databases.values())
        for database in databases:
            database.stop()

    def keep(self, clusters: Collection[str]) -> None:
        """Only these are watched by now."""
        with self._lock:
            gone = [place for place in self._databases if place.cluster not in clusters]
            databases = [self._databases.pop(place) for place in gone]
        for database in databases:
            database.stop()

    def _database(self, place: Place) -> _Database | None:
        with self._lock:
            known = self._databases.get(place)
            if known is None and len(self._databases) < MAX_DATABASES and not self._stopped:
                known = _Database(place, self._connect, self._on_renamed, self._interval)
                self._databases[place] = known
            return known


class _Database:
    def __init__(
        self,
        place: Place,
        connect: Connect,
        on_renamed: Callable[[], None],
        interval_seconds: float,
    ) -> None:
        self._place = place
        self._connect = connect
        self._on_renamed = on_renamed
        self._interval = interval_seconds
        self._relations: dict[int, Relation] = {}
        self._vain: dict[int, tuple[float, Asker]] = {}
        self.doubts = Doubts()
        self._poked_at = 0.0
        self._changed = threading.Condition()
        self._questions: list[_Question] = []
        self._due = [0.0]
        self._not_before = 0.0
        self._stopped = False
        self._connection: psycopg.Connection[Any] | None = None
        self._asked_at = 0.0
        self.problem = ""
        """Why names could not be read the last time."""
        self._nameless = ""
        """The same, of functions."""
        name = f"relations-{place.cluster}-{place.database}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def known(self, oids: Iterable[int], asker: Asker) -> dict[int, Relation] | None:
        relations, found = self._relations, {}
        for oid in oids:
            relation = relations.get(oid)
            if relation is None:
                until, told = self._vain.get(oid, (0.0, None))
                if asker is None or told != asker or until < time.monotonic():
                    return None
            elif self.is_doubtful(relation):
                return None
            else:
                found[oid] = relation
        return found

    def is_doubtful(self, relation: Relation) -> bool:
        return self.doubts.of((relation.name, *relation.ancestors))

    def ask(
        self, oids: Sequence[int], patience_seconds: float, asker: Asker
    ) -> dict[int, Relation] | None:
        question = _Question(tuple(oids), asker, threading.Event())
        with self._changed:
            self._questions.append(question)
            self._changed.notify()
        answered = question.answered.wait(patience_seconds) and not question.failed
        relations = self._relations
        if not answered and (relations or not self.problem):
            return None
        return self.remembered(oids)

    def remembered(self, oids: Sequence[int]) -> dict[int, Relation]:
        relations = self._relations
        return {oid: relations[oid] for oid in oids if oid in relations}

    def poke(self) -> None:
        with self._changed:
            now = self._poked_at = time.monotonic()
            self._due = [now + seconds for seconds in LOOKS_AFTER_POKE_SECONDS]
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            questions, load = self._wait()
            if self._stopped:
                self._close()
                return
            if questions:
                self._answer(questions)
            if load:
                self._load()
            if not questions and not load:
                self._close()

    def _wait(self) -> tuple[list[_Question], bool]:
        """What there is to do; nothing when the connection has been idle for long."""
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                load_at = max(min(self._due), self._not_before)
                idle_at = self._asked_at + IDLE_SECONDS if self._connection else float("inf")
                if self._questions or load_at <= now:
                    questions, self._questions = self._questions, []
                    if load_at <= now:
                        self._due = [at for at in self._due if at > now] or [now + self._interval]
                    return questions, load_at <= now
                if idle_at <= now:
                    break
                self._changed.wait(min(load_at, idle_at) - now)
        return [], False

    def _answer(self, questions: list[_Question]) -> None:
        self._asked_at = time.monotonic()
        wanted = sorted({oid for question in questions for oid in question.wanted})
        found = self._read(wanted)
        if found is not None:
            found |= self._owners(found)
            until = time.monotonic() + VAIN_SECONDS
            vain = {
                oid: (until, question.asker)
                for question in questions
                for oid in question.wanted
                if oid not in found
            }
            self._take(self._relations | found, vain)
        for question in questions:
            question.failed = found is None
            question.answered.set()

    def _owners(self, found: dict[int, Relation]) -> dict[int, Relation]:
        """Of toast tables, and what these descend from, where nobody knows it yet."""
        parents = {oid for each in found.values() for oid in each.parents}
        missing = sorted(parents - found.keys() - self._relations.keys())
        return (self._read(missing) or {}) if missing else {}

    def _load(self) -> None:
        began = time.monotonic()
        found = self._read(None)
        ended = time.monotonic()
        self._not_before = ended + LOAD_SHARE * (ended - began)
        if found is not None:
            functions = sum(oid >= FUNCTION for oid in found)
            whole = max(functions, len(found) - functions) < MOST
            more = {} if whole else self._relations
            self._take(more | found, {})
            if self._poked_at + LOOKS_AFTER_POKE_SECONDS[-1] <= began:
                self.doubts.settle(self._poked_at)

    def _take(self, relations: dict[int, Relation], vain: dict[int, tuple[float, Asker]]) -> None:
        before = self._relations
        told = {
            oid: each._replace(ancestors=_ancestors(each, relations)) if each.parents else each
            for oid, each in relations.items()
        }
        self._relations, self._vain = told, vain
        if any(told[oid] != each for oid, each in before.items() if oid in told):
            self._on_renamed()

    def _read(self, wanted: list[int] | None) -> dict[int, Relation] | None:
        """All of them if ``wanted`` is None. None, and a problem, if nothing could be read."""
        for attempt in range(2):
            fresh = self._connection is None
            try:
                rows = self._rows(wanted)
            except (psycopg.Error, OSError) as error:
                self._close()
                if not fresh and not attempt:
                    continue  # the server was restarted since
                reason = " ".join(str(error).split())[:200]
                self.problem = f"{self._place.cluster}/{self._place.database}: {reason}"
                return None
            self.problem = self._nameless
            return dict(_relation(row) for row in rows)
        return None

    def _rows(self, wanted: list[int] | None) -> list[dict[str, Any]]:
        if self._connection is None:
            self._connection = self._connect(*self._place)
        functions = [oid - FUNCTION for oid in wanted or () if oid >= FUNCTION]
        relations = [oid for oid in wanted or () if oid < FUNCTION]
        rows = []
        if wanted is None or relations:
            rows += self._ask("relations", wanted is None, relations)
        if wanted is None or functions:
            rows += self._functions(wanted is None, functions)
        return rows

    def _functions(self, everything: bool, wanted: list[int]) -> list[dict[str, Any]]:
        """None where somebody took SELECT on ``pg_proc`` from everybody: relations count more."""
        self._nameless = ""
        try:
            return self._ask("plan_functions", everything, wanted)
        except psycopg.errors.InsufficientPrivilege as error:
            reason = " ".join(str(error).split())[:200]
            self._nameless = f"{self._place.cluster}/{self._place.database}: {reason}"
            return []

    def _ask(self, name: str, everything: bool, wanted: list[int]) -> list[dict[str, Any]]:
        assert self._connection is not None
        text = query(name, self._connection.info.server_version // 10_000)
        values = {"all": everything, "wanted": wanted, "most": MOST, "bit": FUNCTION}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(text, values, prepare=False).fetchall()

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error, OSError):
                self._connection.close()
            self._connection = None


def _relation(row: dict[str, Any]) -> tuple[int, Relation]:
    schema = _text(row["schema"])
    if schema.startswith(TEMPORARY):
        schema = "pg_temp"
    symbol = row.get("symbol")
    return row["oid"], Relation(
        f"{escaped(schema)}.{escaped(_text(row['name']))}",
        _text(row["kind"]),
        tuple(row["parents"]),
        (_text(symbol),) if symbol else (),
    )


def _text(value: str | bytes) -> str:
    """Names of an SQL_ASCII database arrive as bytes, in whatever encoding their writer used."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _ancestors(relation: Relation, relations: dict[int, Relation]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    at = list(relation.parents)
    for _ in range(MAX_GENERATIONS):
        known = [relations[oid] for oid in at if oid in relations]
        found.update(dict.fromkeys(each.name for each in known))
        at = [parent for each in known for parent in each.parents]
    return tuple(found)
