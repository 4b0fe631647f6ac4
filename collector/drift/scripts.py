"""What one person did in one go: a long script in one session, a restored dump in several."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from collector.drift.changes import Backend, Change, backend_of, ended_us, in_microseconds
from collector.drift.transactions import MOST_SESSIONS

MANY_STATEMENTS = 20
"""So many changes one after another are a script, and one finding."""
PAUSE_US = 5_000_000
"""A script does not think between two statements; who does is about another change."""
RESTORE_PAUSE_US = 60_000_000
LATE_US = 600_000_000
"""So long after a restore was over its statements may still come."""
MOST_RUNS = 20
"""Of one person in one session, the latest; of a pooled one there is no end."""


_RESTORER = "pg_restore"
_OF_ONE_SESSION = frozenset(("", "psql"))
"""Whatever else restores may do so in several (``--jobs``), also by a name that it was given."""


class _Who(NamedTuple):
    """Sessions of a pool are many people's, one after another."""

    backend: Backend
    actor: str


class _Place(NamedTuple):
    """Where somebody restores something."""

    agent: str
    cluster: str
    database: str
    actor: str
    application: str


@dataclass(slots=True)
class _Run:
    number: int
    """Its first statement that was seen."""
    backend: Backend
    """The session of that."""
    first_us: int
    last_us: int
    restores: bool
    count: int = 0
    place: _Place | None = None
    """Of what may have several sessions."""

    def has(self, at_us: int, pause_us: int) -> bool:
        return self.first_us - pause_us <= at_us <= self.last_us + pause_us


@dataclass(slots=True)
class _Runs:
    """Of each person in each session, bounded."""

    pause_us: int
    restores: bool
    of: OrderedDict[_Who, list[_Run]] = field(default_factory=OrderedDict)

    @property
    def pids(self) -> set[int]:
        return {who.backend.pid for who in self.of}

    def find(self, who: _Who, at_us: int) -> _Run | None:
        known: Sequence[_Run] = self.of.get(who, ())
        return next((run for run in reversed(known) if run.has(at_us, self.pause_us)), None)

    def begin(self, who: _Who, number: int, at_us: int) -> _Run:
        return self.join(who, _Run(number, who.backend, at_us, at_us, self.restores))

    def at(self, place: _Place, at_us: int) -> _Run | None:
        """What goes on there, in whichever session."""
        latest = (runs[-1] for runs in reversed(self.of.values()))
        fits = (run for run in latest if run.place == place and run.has(at_us, PAUSE_US))
        return next(fits, None)

    def join(self, who: _Who, run: _Run) -> _Run:
        known = self.of.setdefault(who, [])
        known.append(run)
        del known[:-MOST_RUNS]
        self.of.move_to_end(who)
        while len(self.of) > MOST_SESSIONS:
            self.of.popitem(last=False)
        return run

    def forget_before(self, moment_us: int) -> None:
        for who in [who for who, runs in self.of.items() if runs[-1].last_us < moment_us]:
            del self.of[who]


class Scripts:
    """Fed with statements before the changes among them are noted, oldest first."""

    def __init__(self) -> None:
        self._scripts = _Runs(PAUSE_US, restores=False)
        self._restores = _Runs(RESTORE_PAUSE_US, restores=True)
        self._run_of: dict[tuple[str, int], _Run] = {}
        """By change."""

    def observe(self, statements: pl.DataFrame) -> None:
        """pg_dump's scripts switch off the check of function bodies before anything else. Between
        two changes they may load data for long, so all that their sessions say counts."""
        says_so = pl.col("settings").list.contains("check_function_bodies").fill_null(False)
        if "application_name" in statements.columns:
            says_so = says_so | (pl.col("application_name") == _RESTORER).fill_null(False)
        pids = {*statements.filter(says_so)["pid"]} | self._restores.pids
        if not pids:
            return
        rows = statements.filter(pl.col("pid").is_in(list(pids))).with_columns(_begins=says_so)
        at_us = 0
        for row in in_microseconds(rows).sort("started_at", "id").iter_rows(named=True):
            who = _Who(backend_of(row), row["identity_name"] or row["user_name"] or "")
            at_us = row["started_at"] or 0
            run = self._restores.find(who, at_us)
            if run is None and row["_begins"]:
                run = self._begin_restore(who, row, at_us)
            if run is not None:
                run.last_us = max(run.last_us, ended_us(row))
        self._restores.forget_before(at_us - LATE_US)

    def _begin_restore(self, who: _Who, row: Mapping[str, Any], at_us: int) -> _Run:
        application = row.get("application_name") or ""
        if application in _OF_ONE_SESSION:
            return self._restores.begin(who, row["id"], at_us)
        place = _Place(row["agent"], row["cluster"], row["database"], who.actor, application)
        if (other := self._restores.at(place, at_us)) is not None:
            return self._restores.join(who, other)
        run = self._restores.begin(who, row["id"], at_us)
        run.place = place
        return run

    def note(self, change: Change) -> None:
        who = _Who(change.backend, change.actor)
        run = self._restores.find(who, change.at_us)
        if run is None or change.at_us < run.first_us:
            run = self._scripts.find(who, change.at_us)
            run = run or self._scripts.begin(who, change.id, change.at_us)
            run.count += 1
            run.first_us = min(run.first_us, change.at_us)
            run.last_us = max(run.last_us, change.at_us, change.effect.committed_us)
        self._run_of[change.agent, change.id] = run

    def forget(self, change: Change) -> None:
        self._run_of.pop((change.agent, change.id), None)

    def group_of(self, change: Change) -> str:
        """What one finding is about: a restored dump, the transaction around the statement, a long
        script, or the statement with all inside it."""
        run = self._run_of.get((change.agent, change.id))
        if change.effect.transaction and not (run and run.restores):
            return f"transaction {change.effect.transaction} {change.actor}"
        if run and (run.restores or run.count >= MANY_STATEMENTS):
            sort = "session" if run.place is None else "restore"
            began = f"{run.backend.pid} {run.backend.started_us} {run.number}"
            return f"{sort} {began} {change.actor}"
        return f"statement {change.effect.root or change.parent_id or change.id}"
