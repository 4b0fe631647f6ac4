"""Which captured statement made a difference in the catalog."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from collector.drift import precedence
from collector.drift.afterwards import afterwards, can_be_parted
from collector.drift.baseline import Difference, Scope, reverse
from collector.drift.by_name import SLACK_US, ByName, in_time
from collector.drift.candidates import Found, by_statements, candidates
from collector.drift.cause import Cause
from collector.drift.changes import (
    CHANGING,
    Change,
    changes_of,
)
from collector.drift.gaps import Gaps
from collector.drift.matching import MATCHES, Target, catalogs, moved, rows, target_of
from collector.drift.matching.impossible import sets_otherwise
from collector.drift.matching.owners import with_owners
from collector.drift.matching.rows import tables_of
from collector.drift.matching.target import POSSIBLE, Way
from collector.drift.meaning import Meaning
from collector.drift.numbers import new_parts
from collector.drift.places import Place, Renaming, as_if_here, places
from collector.drift.reloads import PENDING, Reloads, of_server
from collector.drift.scripts import Scripts
from collector.drift.shares import (
    as_likely,
    droppers,
    of_the_worst,
    renamers,
    says_all,
    shares,
    unexplained,
    weighed,
)
from collector.drift.transactions import Transactions
from collector.drift.unseen_parts import as_others_are, unseen_parts
from model.catalog import CatalogKind, DriftChange

RECENT_CHANGES = 30_000
"""Of statements that change the catalog, and again of those that write rows of watched tables."""
MOST_WRITES = 3_000
"""A row of a watched table is held against the latest of its statements."""
MOST_RENAMES = 1_000
_OF_THE_CATALOG = CHANGING - {"truncate"}
WEAK = POSSIBLE + 7
"""So strong a match says nothing of the object itself: any other one is better."""
_AS_LIKELY = 9
"""A name with its schema, or a statement inside another, says nothing of which row was written."""

Lookup = Callable[[str, str, int, int], pl.DataFrame]
"""(agent, cluster, from_us, to_us) -> rows of view ``statements`` with a changing verb."""


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
        self._by_name = ByName()
        self._by_id: dict[tuple[str, int, int], Change] = {}
        self._transactions = Transactions()
        self._meaning = Meaning()
        self._scripts = Scripts()
        self._used: OrderedDict[tuple[Scope, str, int], None] = OrderedDict()
        self._used_last: dict[tuple[Scope, str], int] = {}
        self._reloads = Reloads()
        self.gaps = Gaps()
        self.ways: Mapping[Scope, Mapping[tuple[str, ...], tuple[Way, ...]]] = {}
        """By which other tables the watched ones are written."""

    def observe(self, statements: pl.DataFrame, watched: frozenset[str] = frozenset()) -> None:
        """``watched``: bare names of the tables whose rows are watched."""
        self._scripts.observe(statements)
        self._reloads.observe(statements)
        self._of_rows.clear()
        changes = self._transactions.observe(statements, watched)
        for change in self._meaning.meant(statements, changes):
            self._add(change)

    def sessions(self, sessions: pl.DataFrame) -> None:
        self._of_rows.clear()
        self._transactions.ended(sessions)

    def find(self, agent: str, statement_id: int) -> Change | None:
        return self._by_id.get((agent, statement_id, 0))

    def cause(
        self,
        scope: Scope,
        step: Difference,
        at_us: int,
        since_us: int,
        *,
        settled: bool,
        renaming: Renaming | None = None,
        other_way: Mapping[str, str] | None = None,
        former: str = "",
        said: str = "",
    ) -> Cause | None:
        """The statement that made ``step``, seen first in a snapshot of ``at_us``.

        ``since_us``: the snapshot before, without it. ``settled``: nothing more will come, so
        older statements are considered too. ``renaming``: the database got its name in between.
        ``other_way``: see ``moved.beside_renames``; None where that is not known. ``former``: what
        it was called before, where its new name is no part of ``step``. ``said``: what numbers say
        of its name.
        """
        target = target_of(scope, step)
        if (ways := self.ways.get(scope)) is not None:
            tables = tables_of(step.name, step.details[1] or step.details[0])
            mine = tuple(way for table in tables for way in ways.get(table, ()))
            target = replace(target, ways=mine)
        if moved.may_be_called_otherwise(target, said, other_way, former):
            renames = self._renames_near(target, at_us, since_us, *moved.names_in(said, former))
            target = moved.with_other_names(target, renames, said, other_way, former)
            if target.replaced and target.renamer is None:
                return self._made_anew(target, renames, at_us, since_us, settled=settled)
        changed = step.change is DriftChange.CHANGED
        if changed and (new := new_parts(step) | moved.new_indexes(target)):
            fits = partial(in_time, scope, at_us, since_us)
            target = moved.with_new_parts(target, new, filter(fits, self._near(target)))
        if scope.kind is not CatalogKind.WATCHED or renaming is not None:
            return self._cause(target, at_us, since_us, settled=settled, renaming=renaming)
        # A script that wrote a thousand rows is held against them once, not a thousand times.
        used = self._used_last.get((scope, step.name), 0)
        key = (*rows.alike(target), at_us, since_us, settled, used)
        if key not in self._of_rows:
            self._of_rows[key] = self._cause(target, at_us, since_us, settled=settled)
        return self._of_rows[key]

    def _made_anew(
        self,
        target: Target,
        renames: Sequence[Change],
        at_us: int,
        since_us: int,
        *,
        settled: bool,
    ) -> Cause | None:
        """Who made what has the name now; beside them who gave it the name, and who dropped what
        had it."""
        new, old, placed = moved.halves(target, renames)
        made = self._cause(new, at_us, since_us, settled=settled)
        if made is None or made.weak or made.undecided:
            return self._cause(target, at_us, since_us, settled=settled)
        gone = None if target.is_elsewhere else self._cause(old, at_us, since_us, settled=True)
        also = (gone.change,) if gone and not (gone.weak or gone.undecided) else ()
        return replace(made, also={"": (*also, *placed)})

    def _cause(
        self,
        target: Target,
        at_us: int,
        since_us: int,
        *,
        settled: bool,
        renaming: Renaming | None = None,
    ) -> Cause | None:
        found: Iterable[Change] = self._near(target)
        target = with_owners(target, found, at_us + SLACK_US, since_us - SLACK_US)
        if renaming is not None:
            found = as_if_here(found, self._places(target.scope, renaming))
        fresh = self.not_spent(found, target.scope, target.step, since_us)
        # What ALTER SYSTEM wrote waits in a file, whoever watches.
        if not of_server(target.scope, target.step) and (
            gap := self.gaps.between(target.scope, since_us, at_us)
        ):
            fresh = [change for change in fresh if gap.has(change)]
        return cause(fresh, target, at_us, since_us, settled=settled)

    def _near(self, target: Target) -> list[Change]:
        """What may be about it, by the names that it says."""
        most = MOST_WRITES if target.scope.kind is CatalogKind.WATCHED else 2 * self._limit
        keys = {key for each in moved.under_other_names(target) for key in each.keys}
        return self._by_name.near((*target.keys, *catalogs.tables_of(target), *keys), most)

    def _renames_near(self, target: Target, at_us: int, since_us: int, *names: str) -> list[Change]:
        """Of what it may have been called, in their order. ``names``: its other ones."""
        every = (target, *(target_of(target.scope, target.step._replace(name=n)) for n in names))
        words = {word for each in every for word in each.words}
        fits = partial(in_time, target.scope, at_us, since_us)
        return self._by_name.renames(sorted(words), 2 * self._limit, fits)

    def _places(self, scope: Scope, renaming: Renaming) -> tuple[Place, ...]:
        server = (scope.agent, scope.cluster)
        renames = [each for each in self._renames if (each.agent, each.cluster) == server]
        return places(scope.database, renaming, renames)

    def not_spent(
        self, changes: Iterable[Change], scope: Scope, step: Difference, since_us: int
    ) -> list[Change]:
        """Those whose effect was not there at ``since_us`` already, as far as that is known."""
        if (scope, step.name) not in self._used_last and not of_server(scope, step):
            return [*changes]
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
        if (change.agent, change.id, change.part) in self._by_id:
            return
        of_catalog = change.verbs & _OF_THE_CATALOG or not change.writes
        recent = self._recent if of_catalog else self._recent_writes
        recent.append(change)
        self._by_id[change.agent, change.id, change.part] = change
        self._scripts.note(change)
        if change.renames and "database" in change.types:
            self._renames.append(change)
        self._by_name.add(change)
        if len(recent) > self._limit:
            self._forget(recent.popleft())

    def _forget(self, change: Change) -> None:
        del self._by_id[change.agent, change.id, change.part]
        self._scripts.forget(change)
        self._by_name.forget(change)


def cause(
    changes: Iterable[Change], target: Target, at_us: int, since_us: int, *, settled: bool
) -> Cause | None:
    """The best match; of equal ones the one that made it. None where none explains it."""
    changes, undoing = [*changes], list[Change]()
    found = sorted(candidates(changes, target, at_us, since_us, settled=settled), reverse=True)
    if not found:
        return None
    if _needs_no_tolerance(found, target, at_us):
        changes = [change for change in changes if change.at_us <= at_us]
        found = [entry for entry in found if entry.change.at_us <= at_us]
    weak = found[0].strength <= WEAK
    # Keys are redacted: whoever wrote to a watched table may have written any of its rows.
    of_rows = target.scope.kind is CatalogKind.WATCHED
    if of_rows or weak:
        best = found[0]
        least = best.strength - (_AS_LIKELY if of_rows else 0)
        equal = [entry for entry in found if entry.strength >= least]
    else:
        equal = _equal(found)
        undoing = _undoing(changes, target, at_us, since_us) if len(found) > 1 else []
        equal = _standing(equal, undoing, target)
        best = _made_by(equal, undoing, target)
        equal = _not_undone(equal, undoing, target)
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
    open_still = any(not change.effect.committed_us for change in others.values())
    if (undecided or open_still) and not settled:
        return None
    fits = weighed(match)
    later = [entry.change for entry in found if entry.moment_us > since_us]
    acting = precedence.with_undoing(later, undoing)
    claimed = of_the_worst(best.change, acting, target, fits)
    granted = len(later) > 1 and target.scope.kind is CatalogKind.PRIVILEGE
    opposite = _undoing(changes, target, at_us, since_us) if granted else ()
    if can_be_parted(target.scope.kind, target.step):
        changing = _changing_it(changes, target, at_us, since_us)
        shared = afterwards(claimed, changing, target, fits)
    else:
        changing = later
        shared = shares(claimed, acting, target, fits, opposite)
        shared = {**shared, **renamers(claimed, shared, later, target)}
    if not settled and not says_all(claimed, shared, target, fits):
        return None
    nobodys = unexplained(target, [entry.change for entry in found], shared, match)
    named = _actors((claimed, *shared.values()))
    alike = tuple(
        change
        for actor, change in others.items()
        if actor not in named and as_likely(change, claimed, shared, acting, target, match)
    )
    also = {**unseen_parts(claimed, shared, changing, target),
            **droppers(claimed, shared, later, target)}  # fmt: skip
    return Cause(claimed, alike, undecided, shared, nobodys, also, weak)


def _needs_no_tolerance(found: Sequence[Found], target: Target, at_us: int) -> bool:
    """What began after a look it has not seen; two clocks may tell that wrongly, so it counts where
    nothing that began before explains the difference. What is no table of the catalog is read a
    while after the look's own moment."""
    if target.scope.kind is CatalogKind.SLOT or of_server(target.scope, target.step):
        return False
    return any(entry.strength > WEAK and entry.change.at_us <= at_us for entry in found)


def _equal(found: Sequence[Found]) -> list[Found]:
    """Those that fit best, whether or not they ran inside others."""
    best = max(entry.fit for entry in found)
    return [entry for entry in found if entry.fit == best]


def _standing(equal: Sequence[Found], undoing: Sequence[Change], target: Target) -> list[Found]:
    """Without those whose value somebody else set otherwise afterwards."""
    mine, match = [entry.change for entry in equal], MATCHES[target.scope.kind]
    left = {id(each) for each in precedence.standing(mine, undoing, target, match)}
    return [entry for entry in equal if id(entry.change) in left]


def _not_undone(equal: list[Found], undoing: Sequence[Change], target: Target) -> list[Found]:
    """A membership is one thing: what somebody took away again is not what is there."""
    if target.scope.kind is not CatalogKind.MEMBERSHIP:
        return equal
    left = {id(e) for e in precedence.since_undone([e.change for e in equal], undoing)}
    return [entry for entry in equal if id(entry.change) in left]


def _made_by(equal: Sequence[Found], undoing: Sequence[Change], target: Target) -> Found:
    committed = [entry for entry in equal if entry.known_to_be_committed] or equal
    match = MATCHES[target.scope.kind]
    likely = precedence.surest([entry.change for entry in committed])
    made = precedence.maker(likely, undoing, target, match)
    inside = [entry for entry in committed if made.id in _around(entry.change)]
    return (inside or [entry for entry in committed if entry.change is made])[0]


def _around(change: Change) -> tuple[int, int]:
    return change.parent_id, change.effect.root


def _undoing(changes: Sequence[Change], target: Target, at_us: int, since_us: int) -> list[Change]:
    """Those that did the opposite, or set another value, and say so."""
    back = replace(target, step=reverse(target.step))
    found = [*candidates(changes, back, at_us, since_us, settled=True)]
    found += candidates(changes, target, at_us, since_us, settled=True, match=sets_otherwise)
    return [entry.change for entry in found if entry.strength > WEAK]


def _changing_it(
    changes: Iterable[Change], target: Target, at_us: int, since_us: int
) -> list[Change]:
    """Those that may have changed what is new, had it been there."""
    before = as_others_are(target.scope.kind)
    step = target.step._replace(change=DriftChange.CHANGED, desired=before)
    there = replace(target, step=step)
    found = sorted(candidates(changes, there, at_us, since_us, settled=True), reverse=True)
    return [entry.change for entry in found if entry.moment_us > since_us]


def _actors(changes: Iterable[Change]) -> set[str]:
    return {change.actor for change in changes}


__all__ = ["Cause", "Change", "Changes", "Lookup", "by_statements", "cause", "changes_of"]
