"""From a difference to who made it: statement, session, approval; or why there is none."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from collector.drift.apart import apart
from collector.drift.attribution import (
    Cause,
    Changes,
    Lookup,
    by_statements,
    cause,
    changes_of,
)
from collector.drift.baseline import Difference, Facts, Scope, reverse
from collector.drift.changes import Change
from collector.drift.following import LATE_US, Following
from collector.drift.matching import target_of
from collector.drift.matching.rows import tables_of
from collector.drift.outside import Outside
from collector.drift.places import Renaming
from collector.drift.renamed import tied
from collector.drift.severity import with_severity
from collector.drift.standby import comes_by_replay, standbys
from collector.drift.state import (
    ALREADY,
    MAY_BE,
    ONE_OF,
    REPLAYED,
    SHARED,
    SHARED_BY,
    Key,
    OpenDrift,
)
from collector.drift.ways import KnownWays, Triggered
from model.catalog import Attribution, CatalogKind, DriftChange, Snapshot

LOOKUP_US = 30 * 86_400_000_000
MOST_APPROVED = 10_000
MOST_LATE = 500
"""So many are looked at once more at a time; the others the next time."""
FILES_WAIT_LESS = 3
"""No statement comes that explains an edited file; of what happened beside it (a restart, losses)
the record tells soon. So it is told within 5 s like what a statement did."""
INSIDE_WAITS_LESS = 3
"""What ran inside others is told a little later than what came directly."""
_REQUEST = re.compile(r"approved: request (\w[\w-]*)")
FIRED = "it wrote to a table with a trigger whose code names this one"


class Explanations:
    """Fed with what is committed; asked about differences."""

    def __init__(self, hold_us: int, lookup: Lookup | None = None) -> None:
        """``hold_us``: so long a difference waits for its cause."""
        self._hold_us = hold_us
        self._lookup = lookup
        self._changes = Changes()
        self._outside = Outside()
        self._approved: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._steps: dict[Key, Difference] = {}
        self._other_way: dict[Key, Mapping[str, str]] = {}
        self._called: dict[Key, str] = {}
        """Former names of what was renamed, of differences that wait."""
        self._following = Following(self._changes, self._steps)
        self._found: tuple[tuple[str, str, int], list[Change]] = (("", "", 0), [])
        """What was looked up last."""
        self._former: dict[tuple[str, str, str], Renaming] = {}
        """What else databases were called, by agent, cluster and the name since then."""
        self._watched: dict[Scope, tuple[Facts, frozenset[str]]] = {}
        self._standbys: frozenset[tuple[str, str]] = frozenset()
        """(agent, cluster) of servers that replay what others did."""
        self._ways = KnownWays()
        self._triggered = Triggered()
        self._again: deque[Key] = deque()

    def observe(
        self, frames: Mapping[str, pl.DataFrame], known: Iterable[tuple[Scope, Facts]]
    ) -> bool:
        """``known``: what was observed of each scope. True if something was approved in there."""
        facts_of = dict(known)
        self._standbys = standbys(facts_of)
        watched = self._watched_tables(facts_of)
        if (statements := frames.get("statements")) is not None:
            self._changes.observe(statements, watched)
        if (sessions := frames.get("sessions")) is not None:
            self._changes.sessions(sessions)
        self._outside.observe(frames, self._triggered.tables(facts_of))
        verdicts = frames.get("verdicts")
        return verdicts is not None and self._observe_verdicts(verdicts)

    def heard(self, agent: str, snapshot: Snapshot) -> None:
        """When nobody watched that server."""
        self._changes.gaps.heard(agent, snapshot)

    def saw(self, key: Key, step: Difference, other_way: Mapping[str, str] | None = None) -> None:
        """How the value that differs from the accepted one differs from the one seen before it.
        ``other_way``: see ``OtherWay``."""
        self._steps[key] = step
        if other_way is not None:
            self._other_way[key] = other_way

    def called(self, key: Key, former: str) -> None:
        """The object was renamed meanwhile: statements may say its former name."""
        self._called[key] = former

    def moved(self, keys: Mapping[Key, Key]) -> None:
        """By what they were: differences that have another name now, or whose database has."""
        steps = {old: self._steps.pop(old) for old in keys if old in self._steps}
        for old, step in steps.items():
            new = keys[old]
            self._steps[new] = step._replace(name=new[1])
            if old[1] != new[1]:
                self.called(new, old[1])

    def renamed(
        self, server: tuple[str, str], names: Mapping[str, str], at_us: int, since_us: int
    ) -> None:
        """New names of databases by former ones, as seen first at ``at_us``."""
        for former, name in names.items():
            self._former[*server, name] = Renaming(former, since_us, at_us)

    def explain(self, drift: OpenDrift, now_us: int) -> list[OpenDrift]:
        """With its cause, in parts where several did it, or without one once its time is over;
        empty: wait."""
        step = self._steps.get(drift.key, drift.difference)
        of_file = not by_statements(target_of(drift.scope, step))
        hold_us = self._hold_us // FILES_WAIT_LESS if of_file else self._hold_us
        waited_us = now_us - drift.noticed_us
        settled = waited_us >= hold_us
        found = self._cause(drift, step, settled=settled)
        if found is None and not settled:
            return []
        # Who said the same after it, and goes before it, may be on record a moment later.
        inside = found is not None and bool(found.change.parent_id)
        if inside and waited_us < self._hold_us // INSIDE_WAITS_LESS:
            return []
        return self.told(drift, found, now_us)

    def at_the_end(self, drift: OpenDrift, now_us: int) -> list[OpenDrift]:
        """Of a difference that is over before it was reported."""
        step = self._steps.get(drift.key, drift.difference)
        return self.told(drift, self._cause(drift, step, settled=True), now_us)

    def undone_by(self, drift: OpenDrift, at_us: int, since_us: int) -> Change | None:
        """The statement that brought the accepted value back, if it has come."""
        back = reverse(drift.difference)
        renaming = self._renaming(drift.scope, since_us)
        found = self._changes.cause(
            drift.scope, back, at_us, since_us, settled=True, renaming=renaming
        )
        return found.change if found and not found.undecided else None

    def told(self, drift: OpenDrift, found: Cause | None, now_us: int) -> list[OpenDrift]:
        step = self._steps.pop(drift.key, drift.difference)
        self._called.pop(drift.key, None)
        self._other_way.pop(drift.key, None)
        self._changes.saw(drift.scope, step, drift.since_us, drift.detected_at_us)
        if found is None:
            return [self._nobodys(drift, step, now_us)]
        if found.undecided:
            note = _one_of(found)
            return [with_severity(replace(drift, reported=True, note=note, known_us=now_us))]
        shares = apart(drift, step, found, self._changes.group_of)
        return [
            self._nobodys(part, own, now_us)
            if cause is None
            else self._attributed(part, own, cause, now_us)
            for part, own, cause in shares
        ]

    def _nobodys(self, drift: OpenDrift, step: Difference, now_us: int) -> OpenDrift:
        why = self._why_nobody(drift, step)
        return with_severity(replace(drift, reported=True, note=why, known_us=now_us))

    def _attributed(
        self, drift: OpenDrift, step: Difference, found: Cause, now_us: int
    ) -> OpenDrift:
        change = found.change
        self._changes.took(drift.scope, step, change)
        self._following.told(drift, step, weak=found.weak)
        # One approval does not approve what others did of it.
        all_approved = all(map(self._approval_of, found.shares))
        approval = self._approval_of(change) if all_approved else ""
        return with_severity(
            replace(
                drift,
                reported=True,
                attribution=Attribution.APPROVED if approval else Attribution.ATTRIBUTED,
                statement_id=change.id,
                actor=change.actor,
                user=change.user,
                summary=change.said,
                did_at_us=change.at_us,
                application=change.application,
                group=self._changes.group_of(change),
                approval=approval,
                shared_with=tuple(each.id for each in found.shares),
                note="; ".join(filter(None, (_by_trigger(drift.scope, found), _others(found)))),
                known_us=now_us,
            )
        )

    def _why_nobody(self, drift: OpenDrift, step: Difference) -> str:
        if not drift.since_us < drift.detected_at_us or not drift.since_us:
            return f"{ALREADY} when it was first held against what should be"
        server = (drift.scope.agent, drift.scope.cluster)
        if server in self._standbys and comes_by_replay(drift.scope, step):
            return f"{REPLAYED}: the record of its primary says who did it"
        gap = self._changes.gaps.between(drift.scope, drift.since_us, drift.detected_at_us)
        return self._outside.reason(
            drift.scope, step, drift.detected_at_us, drift.since_us, gap.told() if gap else ""
        )

    def with_consequences(
        self, due: Sequence[OpenDrift], known: Iterable[OpenDrift], now_us: int
    ) -> list[OpenDrift]:
        """``due``, and what waits or was told as nobody's and follows from a statement that did
        something else. ``known``: all that are open, told or not."""
        known = [*known]
        found = self._following.of(due, known, now_us)
        both = tied(found, self._changes.find, known)
        pairs = zip(found, both, strict=True)
        return [after if after is before else with_severity(after) for before, after in pairs]

    def approved_since(self, drifts: Iterable[OpenDrift], now_us: int) -> list[OpenDrift]:
        """Those whose verdict came after they were reported."""
        found = []
        for drift in drifts:
            if drift.attribution is not Attribution.ATTRIBUTED:
                continue
            did = (drift.statement_id, *drift.shared_with)
            changes = [self._changes.find(drift.scope.agent, each) for each in did]
            approvals = [self._approval_of(each) if each else "" for each in changes]
            if all(approvals):
                approval = approvals[0]
                told = replace(
                    drift, attribution=Attribution.APPROVED, approval=approval, known_us=now_us
                )
                found.append(with_severity(told))
        return found

    def look_again(self, drifts: Iterable[OpenDrift], now_us: int) -> None:
        """Statements came: ``late`` may find whose those are that were told as nobody's."""
        self._again = deque(drift.key for drift in drifts if self._may_be_another(drift, now_us))

    def late(self, drifts: Mapping[Key, OpenDrift], now_us: int) -> list[OpenDrift]:
        """Those that were told as nobody's before their statement came: the log of a busy server
        is read late. What nobody has been found for is looked at once more, and not for long."""
        found = []
        for _ in range(min(len(self._again), MOST_LATE)):
            drift = drifts.get(self._again.popleft())
            if drift is None or not self._may_be_another(drift, now_us):
                continue
            scope, step = drift.scope, drift.difference
            renaming = self._renaming(scope, drift.since_us)
            came = self._changes.cause(
                scope, step, drift.detected_at_us, drift.since_us, settled=True, renaming=renaming,
                said=drift.renamed,
            )  # fmt: skip
            if came is None and self._is_undone(drift):
                found += self.told(_unexplained(drift), None, now_us)
            elif came is not None and not came.undecided:
                found += self.told(drift, came, now_us)
        return found

    def _may_be_another(self, drift: OpenDrift, now_us: int) -> bool:
        """It is nobody's, or of a statement that turned out to be undone; told not long ago."""
        is_fresh = drift.reported and now_us - drift.known_us <= LATE_US and not drift.undecided
        nobodys = drift.attribution is Attribution.UNATTRIBUTED
        return is_fresh and (nobodys or self._is_undone(drift))

    def _is_undone(self, drift: OpenDrift) -> bool:
        """What fails at the end of a pipeline may be told a while after what it undoes."""
        if drift.attribution is Attribution.UNATTRIBUTED or not drift.statement_id:
            return False
        did = self._changes.find(drift.scope.agent, drift.statement_id)
        return did is not None and did.effect.undone

    def _cause(self, drift: OpenDrift, step: Difference, *, settled: bool) -> Cause | None:
        scope, at_us, since_us = drift.scope, drift.detected_at_us, drift.since_us
        renaming = self._renaming(scope, since_us)
        other_way = self._other_way.get(drift.key)
        found = self._changes.cause(
            scope, step, at_us, since_us, settled=settled, renaming=renaming, other_way=other_way,
            former=self._called.get(drift.key, ""), said=drift.renamed,
        )  # fmt: skip
        # Only ALTER SYSTEM waits for a reload or restart: it may be older than this process.
        of_server = scope.kind is CatalogKind.SETTING and "@" not in step.name
        if found is None and settled and of_server and self._lookup is not None:
            target = target_of(scope, step)
            looked_up = self._looked_up(scope, at_us)
            older = self._changes.not_spent(looked_up, scope, step, since_us)
            found = cause(older, target, at_us, since_us, settled=True)
        return found

    def _renaming(self, scope: Scope, since_us: int) -> Renaming | None:
        """Of the database, if it was known by another name after the look at ``since_us``."""
        seen = self._former.get((scope.agent, scope.cluster, scope.database))
        return seen if seen is not None and since_us < seen.at_us else None

    def _looked_up(self, scope: Scope, at_us: int) -> list[Change]:
        """Asked once for all differences of a moment."""
        assert self._lookup is not None
        moment = (scope.agent, scope.cluster, at_us)
        if self._found[0] != moment:
            rows = self._lookup(scope.agent, scope.cluster, at_us - LOOKUP_US, at_us + 1_000_000)
            self._found = (moment, changes_of(rows))
        return self._found[1]

    def _watched_tables(self, known: Mapping[Scope, Facts]) -> frozenset[str]:
        """Bare names of the tables whose rows are watched. Facts are replaced as a whole, so the
        same object has the same names."""
        found: frozenset[str] = frozenset()
        ways = {}
        for scope, facts in known.items():
            if scope.kind is CatalogKind.WATCHED:
                ways[scope] = self._ways.of(known, scope)
                found |= {way.table[-1] for each in ways[scope].values() for way in each}
                remembered = self._watched.get(scope)
                if remembered is None or remembered[0] is not facts:
                    remembered = self._watched[scope] = (facts, _tables_in(facts))
                found |= remembered[1]
        self._changes.ways = ways
        return found

    def _observe_verdicts(self, verdicts: pl.DataFrame) -> bool:
        approved = verdicts.filter(pl.col("outcome") == "approved")
        for row in approved.iter_rows(named=True):
            request = _REQUEST.search(row["reason"] or "")
            self._approved[row["agent"], row["statement_id"]] = (
                request.group(1) if request else "approved"
            )
            while len(self._approved) > MOST_APPROVED:
                self._approved.popitem(last=False)
        return approved.height > 0

    def _approval_of(self, change: Change) -> str:
        """Of the statement, or of the one of the client that it ran inside."""
        for number in (change.id, change.parent_id, change.effect.root):
            if request := self._approved.get((change.agent, number)):
                return request
        return ""


def step_of(difference: Difference, old: Difference | None) -> Difference:
    """From the value seen before, which ``old`` has if it differed from the accepted one."""
    if old is None:
        return difference
    was_there = old.change is not DriftChange.REMOVED
    is_there = difference.change is not DriftChange.REMOVED
    change = (
        DriftChange.CHANGED
        if was_there and is_there
        else DriftChange.ADDED
        if is_there
        else DriftChange.REMOVED
    )
    details = (old.details[1], difference.details[1])
    return Difference(difference.name, change, old.observed, difference.observed, details)


def _tables_in(facts: Facts) -> frozenset[str]:
    return frozenset(
        parts[-1] for name, fact in facts.items() for parts in tables_of(name, fact.detail)
    )


def _one_of(found: Cause) -> str:
    """Several wrote to the table, and the record does not say which row."""
    changes = sorted((found.change, *found.others), key=lambda change: change.id)
    return ONE_OF + _who(changes)


def _others(found: Cause) -> str:
    """Never a guess in silence: who else did some of it, and who it may have been."""
    mine = [each for each in found.shares if each.actor == found.change.actor]
    shares = [each for each in found.shares if each.actor != found.change.actor]
    said = [(SHARED_BY, shares), (MAY_BE, found.others)]
    clauses = [f"{words} {_who(changes)}" for words, changes in said if changes]
    if mine:
        numbers = ", ".join(f"statement {change.id}" for change in mine)
        clauses.insert(0, f"{SHARED}: {numbers}")
    return "; ".join(clauses)


def _by_trigger(scope: Scope, found: Cause) -> str:
    """The weakest cause that a row may have."""
    return FIRED if scope.kind is CatalogKind.WATCHED and found.weak else ""


def _who(changes: Iterable[Change]) -> str:
    return ", ".join(f"{change.actor} (statement {change.id})" for change in changes)


def _unexplained(drift: OpenDrift) -> OpenDrift:
    """As before its cause was known."""
    return replace(
        drift, attribution=Attribution.UNATTRIBUTED, statement_id=0, actor="", user="", summary="",
        did_at_us=0, application="", group="", approval="", shared_with=(),
    )  # fmt: skip
