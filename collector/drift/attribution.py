"""Which captured statement made a difference in the catalog."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import polars as pl

from collector.drift import precedence
from collector.drift.baseline import Difference, Scope, reverse
from collector.drift.changes import (
    CHANGING,
    Change,
    changes_of,
)
from collector.drift.matching import MATCHES, Target, catalogs, rows, target_of
from collector.drift.matching.cluster import could_be_sql
from collector.drift.matching.rows import tables_of
from collector.drift.matching.target import POSSIBLE, Way, keys_of
from collector.drift.places import Place, Renaming, as_if_here, places
from collector.drift.reloads import PENDING, Reloads, of_server
from collector.drift.scripts import Scripts
from collector.drift.shares import of_the_worst, shares
from collector.drift.transactions import Transactions
from model.catalog import CatalogKind

# A statement's start and a snapshot's moment come from the same host, but not the same clock call.
SLACK_US = 1_000_000
# What was committed before the last snapshot was visible to it; logs have milliseconds.
SEEN_US = 250_000
# A statement so shortly before the difference is its cause; an older one may have been without
# effect while the real cause is still on its way to us, so it is taken only when nothing came.
FRESH_US = 30_000_000
# A transaction whose end was not seen may have been open for a while when it granted something.
TRANSACTION_US = 600_000_000
RECENT_CHANGES = 30_000
"""Of statements that change the catalog, and again of those that write rows of watched tables."""
MOST_WRITES = 3_000
"""A row of a watched table is held against the latest of its statements."""
MOST_RENAMES = 1_000
_OF_THE_CATALOG = CHANGING - {"truncate"}
_INSIDE = 2
"""Of two statements that fit equally the one inside the other is meant."""
_CONTAINED = 5
WEAK = POSSIBLE + 7
"""So strong a match says nothing of the object itself: any other one is better."""
_AS_LIKELY = 9
"""A name with its schema, or a statement inside another, says nothing of which row was written."""

Lookup = Callable[[str, str, int, int], pl.DataFrame]
"""(agent, cluster, from_us, to_us) -> rows of view ``statements`` with a changing verb."""


@dataclass(frozen=True, slots=True)
class Cause:
    change: Change
    others: tuple[Change, ...] = ()
    """Statements of other sessions that could have done it as well."""
    undecided: bool = False
    """It is one of them, and nothing tells which."""
    by_line: Mapping[str, Change] = field(default_factory=dict)
    """Other statements that did a part of it, by the lines that they did."""
    weak: bool = False
    """It is of a sort that may have done it, and says nothing of this object."""

    @property
    def shares(self) -> tuple[Change, ...]:
        return tuple(dict.fromkeys(self.by_line.values()))


class _Found(NamedTuple):
    strength: int
    known_to_be_committed: bool
    moment_us: int
    id: int
    change: Change
    fit: int
    """The strength, whether or not it ran inside another one."""


class Changes:
    """The latest changing statements; bounded."""

    def __init__(self, limit: int = RECENT_CHANGES) -> None:
        self._limit = limit
        self._recent: deque[Change] = deque()
        self._recent_writes: deque[Change] = deque()
        """Of watched tables: a busy one drives no DDL out."""
        self._of_rows: dict[tuple[object, ...], Cause | None] = {}
        """What was found for rows since the last statement came."""
        self._renames: deque[Change] = deque(maxlen=MOST_RENAMES)
        """Of databases."""
        self._by_key: dict[str, OrderedDict[int, Change]] = {}
        self._by_id: dict[tuple[str, int], Change] = {}
        self._transactions = Transactions()
        self._scripts = Scripts()
        self._used: OrderedDict[tuple[Scope, str, int], None] = OrderedDict()
        self._used_last: dict[tuple[Scope, str], int] = {}
        self._reloads = Reloads()
        self.ways: Mapping[Scope, Mapping[tuple[str, ...], tuple[Way, ...]]] = {}
        """By which other tables the watched ones are written."""

    def observe(self, statements: pl.DataFrame, watched: frozenset[str] = frozenset()) -> None:
        """``watched``: bare names of the tables whose rows are watched."""
        self._scripts.observe(statements)
        self._reloads.observe(statements)
        self._of_rows.clear()
        for change in self._transactions.observe(statements, watched):
            self._add(change)

    def sessions(self, sessions: pl.DataFrame) -> None:
        self._of_rows.clear()
        self._transactions.ended(sessions)

    def find(self, agent: str, statement_id: int) -> Change | None:
        return self._by_id.get((agent, statement_id))

    def cause(
        self,
        scope: Scope,
        step: Difference,
        at_us: int,
        since_us: int,
        *,
        settled: bool,
        renaming: Renaming | None = None,
    ) -> Cause | None:
        """The statement that made ``step``, seen first in a snapshot of ``at_us``.

        ``since_us``: the snapshot before, without it. ``settled``: nothing more will come, so
        older statements are considered too. ``renaming``: the database got its name in between.
        """
        target = target_of(scope, step)
        if (ways := self.ways.get(scope)) is not None:
            tables = tables_of(step.name, step.details[1] or step.details[0])
            mine = tuple(way for table in tables for way in ways.get(table, ()))
            target = replace(target, ways=mine)
        if scope.kind is not CatalogKind.WATCHED or renaming is not None:
            return self._cause(target, at_us, since_us, settled=settled, renaming=renaming)
        # A script that wrote a thousand rows is held against them once, not a thousand times.
        used = self._used_last.get((scope, step.name), 0)
        key = (*rows.alike(target), at_us, since_us, settled, used)
        if key not in self._of_rows:
            self._of_rows[key] = self._cause(target, at_us, since_us, settled=settled)
        return self._of_rows[key]

    def _cause(
        self,
        target: Target,
        at_us: int,
        since_us: int,
        *,
        settled: bool,
        renaming: Renaming | None = None,
    ) -> Cause | None:
        most = MOST_WRITES if target.scope.kind is CatalogKind.WATCHED else 2 * self._limit
        near = {
            number: change
            for key in (*target.keys, *catalogs.tables_of(target))
            if (known := self._by_key.get(key)) is not None
            for number, change in islice(reversed(known.items()), most)
        }
        found: Iterable[Change] = near.values()
        if renaming is not None:
            found = as_if_here(found, self._places(target.scope, renaming))
        fresh = self.not_spent(found, target.scope, target.step, since_us)
        return cause(fresh, target, at_us, since_us, settled=settled)

    def _places(self, scope: Scope, renaming: Renaming) -> tuple[Place, ...]:
        server = (scope.agent, scope.cluster)
        renames = [each for each in self._renames if (each.agent, each.cluster) == server]
        return places(scope.database, renaming, renames)

    def not_spent(
        self, changes: Iterable[Change], scope: Scope, step: Difference, since_us: int
    ) -> list[Change]:
        """Those whose effect was not there at ``since_us`` already, as far as that is known."""
        return [change for change in changes if not self._spent(scope, step, change, since_us)]

    def saw(self, scope: Scope, step: Difference, since_us: int, at_us: int) -> None:
        """A difference, explained or not, that came between these looks."""
        self._reloads.saw(scope, step, since_us, at_us)

    def took(self, scope: Scope, step: Difference, change: Change) -> None:
        """It explained a difference: an ALTER SYSTEM does not explain a second one later."""
        if of_server(scope, step):
            self._reloads.took(scope, step.name, change)
        self._used[scope, step.name, change.id] = None
        self._used_last[scope, step.name] = change.id
        while len(self._used) > self._limit:
            (scope, name, _), _ = self._used.popitem(last=False)
            self._used_last.pop((scope, name), None)

    def group_of(self, change: Change) -> str:
        """What one finding is about."""
        return self._scripts.group_of(change)

    def _spent(self, scope: Scope, step: Difference, change: Change, since_us: int) -> bool:
        if PENDING in step.desired and of_server(scope, step):
            return False  # it explained that it waits, and now that a restart came
        used = (scope, step.name, change.id) in self._used
        if used and change.effect.committed_us < since_us:
            return True
        return self._reloads.over(scope, step, change, since_us)

    def _add(self, change: Change) -> None:
        if (change.agent, change.id) in self._by_id:
            return
        of_catalog = change.verbs & _OF_THE_CATALOG or not change.writes
        recent = self._recent if of_catalog else self._recent_writes
        recent.append(change)
        self._by_id[change.agent, change.id] = change
        self._scripts.note(change)
        if change.renames and "database" in change.types:
            self._renames.append(change)
        for key in keys_of(change):
            self._by_key.setdefault(key, OrderedDict())[id(change)] = change
        if len(recent) > self._limit:
            self._forget(recent.popleft())

    def _forget(self, change: Change) -> None:
        del self._by_id[change.agent, change.id]
        self._scripts.forget(change)
        for key in keys_of(change):
            entries = self._by_key[key]
            del entries[id(change)]
            if not entries:
                del self._by_key[key]


def cause(
    changes: Iterable[Change], target: Target, at_us: int, since_us: int, *, settled: bool
) -> Cause | None:
    """The best match; of equal ones the one that made it. None where none explains it."""
    changes = [*changes]
    found = sorted(_candidates(changes, target, at_us, since_us, settled=settled), reverse=True)
    if not found:
        return None
    weak = found[0].strength <= WEAK
    # Keys are redacted: whoever wrote to a watched table may have written any of its rows.
    of_rows = target.scope.kind is CatalogKind.WATCHED
    if of_rows or weak:
        best = found[0]
        least = best.strength - (_AS_LIKELY if of_rows else 0)
        equal = [entry for entry in found if entry.strength >= least]
    else:
        equal = _equal(found)
        undoing = _undoing(changes, target, at_us, since_us) if len(equal) > 1 else ()
        best = _made_by(equal, undoing, target)
    if not settled and (weak or not best.known_to_be_committed):
        return None
    match = MATCHES[target.scope.kind]
    others = {
        entry.change.actor: entry.change
        for entry in reversed(equal)
        if entry.change.actor != best.change.actor
        and entry.moment_us > since_us
        and precedence.may_have_been(entry.change, best.change, target, match)
    }
    undecided = (of_rows or weak) and bool(others)
    if undecided and not settled:
        return None
    later = [entry.change for entry in found if entry.moment_us > since_us]
    claimed = of_the_worst(best.change, later, target, match)
    granted = len(later) > 1 and target.scope.kind is CatalogKind.PRIVILEGE
    opposite = _undoing(changes, target, at_us, since_us) if granted else ()
    shared = shares(claimed, later, target, match, opposite)
    named = _actors((claimed, *shared.values()))
    alike = tuple(change for actor, change in others.items() if actor not in named)
    return Cause(claimed, alike, undecided, shared, weak)


def _equal(found: Sequence[_Found]) -> list[_Found]:
    """Those that fit best, whether or not they ran inside others."""
    best = max(entry.fit for entry in found)
    return [entry for entry in found if entry.fit == best]


def _made_by(equal: Sequence[_Found], undoing: Sequence[Change], target: Target) -> _Found:
    committed = [entry for entry in equal if entry.known_to_be_committed] or equal
    match = MATCHES[target.scope.kind]
    made = precedence.maker([entry.change for entry in committed], undoing, target, match)
    inside = [entry for entry in committed if made.id in _around(entry.change)]
    return (inside or [entry for entry in committed if entry.change is made])[0]


def _around(change: Change) -> tuple[int, int]:
    return change.parent_id, change.effect.root


def _undoing(changes: Iterable[Change], target: Target, at_us: int, since_us: int) -> list[Change]:
    """Those that did the opposite and say so."""
    back = replace(target, step=reverse(target.step))
    found = _candidates(changes, back, at_us, since_us, settled=True)
    return [entry.change for entry in found if entry.strength > WEAK]


def _actors(changes: Iterable[Change]) -> set[str]:
    return {change.actor for change in changes}


def by_statements(target: Target) -> bool:
    """Whether a statement can have done it at all."""
    return target.scope.kind in MATCHES and could_be_sql(target)


def _candidates(
    changes: Iterable[Change], target: Target, at_us: int, since_us: int, *, settled: bool
) -> Iterable[_Found]:
    scope = target.scope
    if not by_statements(target):
        return
    match = MATCHES[scope.kind]
    # ALTER SYSTEM takes effect at a later reload or restart: it may be as old as it likes.
    may_be_old = of_server(scope, target.step)
    for change in changes:
        if (change.agent, change.cluster) != (scope.agent, scope.cluster) or change.effect.undone:
            continue
        committed_us = change.effect.committed_us
        if change.at_us > at_us + SLACK_US or committed_us > at_us + SLACK_US:
            continue
        if not settled and change.at_us < at_us - FRESH_US:
            continue
        oldest = since_us - (SEEN_US if committed_us else TRANSACTION_US)
        if not may_be_old and (committed_us or change.at_us) < oldest:
            continue
        strength = match(change, target)
        if strength > 0:
            fit = strength - _CONTAINED * change.contained
            strength = fit + _INSIDE * bool(change.parent_id)
            moment = committed_us or change.at_us
            yield _Found(strength, committed_us > 0, moment, change.id, change, fit)


__all__ = ["Cause", "Change", "Changes", "Lookup", "by_statements", "cause", "changes_of"]
