"""Drift: what a server is against what was accepted, and who made the difference."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from collector.catalog_rows import snapshots_from
from collector.drift import (
    accepting,
    computed,
    databases,
    failing,
    findings,
    formats,
    keyed,
    loading,
    newcomers,
    numbers,
    partitions,
    upgrade,
    watch_list,
)
from collector.drift.accepting import Only, by_scope
from collector.drift.attribution import Lookup
from collector.drift.baseline import (
    EVERYTHING,
    Facts,
    Known,
    Outcome,
    Part,
    Scope,
    apply,
    changed_names,
    scopes,
)
from collector.drift.called import NewNames, Renames, Server, still_told
from collector.drift.differing import Differing
from collector.drift.expectations import Expectations
from collector.drift.explanation import Explanations
from collector.drift.history import change_rows
from collector.drift.news import DriftNews, DriftStatus, counts
from collector.drift.outbox import Outbox
from collector.drift.reports import Reports
from collector.drift.row import row_of
from collector.drift.state import State
from collector.drift.telling import explained, with_consequences
from collector.drift.waiting import Waiting
from model.catalog import CatalogKind, Snapshot

AUTOMATIC = "pgwarden (first snapshot)"


class Drift:
    """Fed by ``on_commit`` and ``tick``; asked by operators from other threads.

    ``now_us`` is handed in and only measures how long a difference waits for its cause; all
    moments in findings come from snapshots and statements. ``clock_us`` dates an acceptance.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        accept_first: bool = True,
        attribution_seconds: float = 3.0,
        lookup: Lookup | None = None,
        expectations: Expectations | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        record: Callable[[int], State] = lambda now_us: State(),
    ) -> None:
        """``record``: the state out of the record, for when no saved one is there or it is damaged.
        Raises DriftStateError when it cannot be read for another reason."""
        self._folder = state_dir
        self._accept_first = accept_first
        self._clock_us = clock_us
        self._lock = threading.RLock()
        self._state = loading.load(state_dir, record, clock_us())
        self._outbox = Outbox(self._state)
        self._expectations = expectations or Expectations()
        self._explanations = Explanations(int(attribution_seconds * 1e6), lookup)
        self._reports = Reports(self._state, self._explanations)
        self._partitions = partitions.Partitions()
        self._differing = Differing(
            self._state, self._reports, self._explanations, self._expectations, clock_us
        )
        self._failing = failing.Failing()
        self._renames: dict[Server, list[Renames]] = {}
        self._names = databases.Names(self._state.known)
        self._waiting = Waiting(
            scope for scope, known in self._state.known.items() if not known.complete
        )

    def resume_from(self) -> int:
        """The first ledger sequence that the saved state does not contain."""
        return self._state.seq + 1

    def on_commit(
        self,
        frames: Mapping[str, pl.DataFrame],
        snapshots: Iterable[tuple[str, Snapshot]] | None,
        seq: int,
        now_us: int,
    ) -> DriftNews:
        """``snapshots`` None: a replay, take them from the catalog rows. Repeats do no harm."""
        with self._lock:
            known = ((scope, each.observed) for scope, each in self._state.known.items())
            drifts = self._state.open.values()
            if self._failing.heard(lambda: self._explanations.observe(frames, known)):
                self._reports.report(self._explanations.approved_since(drifts, now_us))
            if "statements" in frames:
                self._explanations.look_again(drifts, now_us)
            if seq > self._state.seq:
                self._state.seq = seq
                for agent, snapshot in snapshots_from(frames) if snapshots is None else snapshots:
                    self._take_in(agent, snapshot, now_us)
            return self.tick(now_us)

    def tick(self, now_us: int) -> DriftNews:
        """Report what found its cause, or waited long enough for one; saves what changed."""
        with self._lock:
            self._expect_anew(now_us)
            over = newcomers.ended(self._state.known, self._state.findings, now_us)
            self._reports.news.findings += over
            self._reports.dirty |= bool(over)
            self._reports.report(self._explanations.late(self._state.open, now_us))
            waiting = [drift for drift in self._state.open.values() if not drift.reported]
            explain = self._explanations.explain
            due = [told for drift in waiting for told in explained(explain, drift, now_us)]
            self._reports.report(
                with_consequences(self._explanations, due, self._state.open.values(), now_us)
            )
            self._reports.dirty |= self._outbox.take_settled(self._reports.news)
            if self._reports.dirty:
                self._save()
            news = self._reports.take()
            news.wanted += self._waiting.due(now_us)
            return news

    def changes_settled(self, numbers: Iterable[int], durable: bool) -> None:
        """What came of rows of ``DriftNews.changes``: those that the disk refused come again.
        From any thread."""
        self._outbox.settled(numbers, durable)

    def status(self) -> DriftStatus:
        with self._lock:
            return DriftStatus(
                has_baseline=any(k.accepted is not None for k in self._state.known.values()),
                rows=[row_of(drift) for drift in self._state.open.values()],
                accepted_by=self._state.accepted_by,
                accepted_at_us=self._state.accepted_at_us,
                ignored=self._expectations.rows(self._clock_us()),
                problems=[
                    *self._expectations.problems(self._clock_us()),
                    *self._failing.problems(),
                ],
            )

    def failing(self, agent: str) -> list[str]:
        """What of this agent's could not be compared, for an error of ours. From any thread."""
        with self._lock:
            return self._failing.problems(agent)

    def accept(self, by: str, reason: str, only: Only | None = None) -> int:
        """What was seen last is the baseline from now on; returns the number of items.

        ``only``: just these open differences; returns their number. What is declared in a file
        stays as the file says. Findings and rows come with the next tick. Durable before it
        returns. Raises AmbiguousFindingError, having accepted nothing.
        """
        with self._lock:
            if only is not None:
                return self._accept_some(by, reason, only)
            now_us, items = self._clock_us(), 0
            for scope, known in self._state.known.items():
                # Of half a snapshot the other half would be new.
                if known.complete and not self._expectations.is_declared(scope):
                    is_gone = databases.is_gone(self._state.known, scope)
                    known.accepted = None if is_gone else known.observed
                    items += len(known.observed)
            self._reports.news.findings += accepting.ended(self._state.findings, now_us, by, reason)
            keys = [key for key in self._state.open if not self._expectations.is_declared(key[0])]
            self._reports.resolve_all(keys, f"accepted by {by}: {reason}", now_us)
            self._state.accepted_by, self._state.reason = by, reason
            self._state.accepted_at_us = now_us
            self._save()
            return items

    def _accept_some(self, by: str, reason: str, only: Only) -> int:
        now_us = self._clock_us()
        only = only.of_one_finding(self._reports.finding_ids)
        meant = [
            drift
            for drift in self._state.open.values()
            if only.means(drift) and not self._expectations.is_declared(drift.scope)
        ]
        accepted, rest = accepting.accept(self._state, meant)
        self._reports.resolve_all(accepted, f"accepted by {by}: {reason}", now_us)
        for scope, names in by_scope(rest).items():
            known = self._state.known[scope]
            self._differing.compare(scope, known, names, known.at_us, now_us)
        self._save()
        return len(accepted)

    def _save(self) -> None:
        """Raises DriftStateError."""
        self._reports.news.findings += loading.save(self._folder, self._state, self._clock_us())
        self._reports.dirty = False

    def expectations(self) -> Expectations:
        return self._expectations

    def open_differences(self) -> dict[tuple[str, str, str], int]:
        """Counts by (kind, severity, attribution)."""
        with self._lock:
            return counts(self._state.open.values())

    def servers(self) -> list[tuple[str, str]]:
        """(agent, cluster) of all that sent a snapshot."""
        with self._lock:
            return sorted({(scope.agent, scope.cluster) for scope in self._state.known})

    def accepted_settings(self) -> dict[tuple[str, str], Facts]:
        """The accepted settings of each server, by (agent, cluster)."""
        with self._lock:
            return {
                (scope.agent, scope.cluster): known.accepted
                for scope, known in self._state.known.items()
                if scope.kind is CatalogKind.SETTING and known.accepted is not None
            }

    def _expect_anew(self, now_us: int) -> None:
        """After a start, or when a file changed or an ignore rule ended: compare all again."""
        anew, told = self._expectations.news(self._clock_us())
        self._reports.news.findings += told
        if not anew:
            return
        for scope, known in self._state.known.items():
            known.accepted = self._expectations.accepted(scope, known)
            if known.accepted is not None:
                known.accepted = self._expectations.accepting(
                    scope, known.accepted, self._state.known
                )
                self._compare(scope, known, None, known.at_us, now_us)

    def _take_in(self, agent: str, snapshot: Snapshot, now_us: int) -> None:
        failed = self._failing.look(agent, snapshot, lambda: self._observe(agent, snapshot, now_us))
        if failed is not None:
            self._waiting.lost(agent, snapshot, now_us)
            self._reports.count_anew()
            self._reports.news.findings.append(failed)

    def _observe(self, agent: str, snapshot: Snapshot, now_us: int) -> None:
        first: dict[Scope, Known] = {}
        self._explanations.heard(agent, snapshot)
        parts = scopes(agent, snapshot)
        called = self._new_names(agent, snapshot, parts)
        for scope, part in partitions.in_order(parts):
            known = self._state.known.get(scope) or Known(accepted=None)
            before, was_at_us = known.observed, known.at_us
            outcome = apply(known, part)
            self._waiting.heard(scope, snapshot.database, outcome, known, now_us)
            if outcome is not Outcome.APPLIED:
                continue
            self._reports.dirty = True
            self._state.known[scope] = known
            self._rename_databases(scope, known, part, now_us, part.since_us or was_at_us)
            changed = list(changed_names(before, known.observed))
            another = numbers.replaced(before, known.observed, part.items)
            self._record(scope, before, [*changed, *another], part, now_us)
            known.accepted = self._expectations.accepted(scope, known)
            if known.accepted is None:
                if self._accept_first and known.complete:
                    known.accepted = known.observed
                    known.major = upgrade.major_of(snapshot.server_version)
                    known.format = part.format
                    first[scope] = known
                continue
            formats.step(scope.kind, known, part.format)
            known.accepted = numbers.taking(known.accepted, before, changed)
            known.accepted = numbers.taking(known.accepted, known.observed, part.items)
            known.accepted = keyed.accepting(known.accepted, known.observed, changed)
            known.accepted = computed.accepting(scope, known.accepted, known.observed, changed)
            told = upgrade.taken(scope, known, snapshot, changed, self._state.findings)
            if told is not None:
                self._reports.instead(told)
            if watch_list.waits(scope, known):
                continue
            known.accepted = self._partitions.accepting(scope, self._state.known, before)
            known.accepted = self._expectations.accepting(scope, known.accepted, self._state.known)
            names = changed if part.base_at_us and scope.kind is not CatalogKind.WATCHED else None
            since_us = part.since_us or was_at_us
            self._compare(scope, known, names, since_us, now_us, called)
        self._drop_databases(agent, snapshot, now_us)
        if first:
            self._state.accepted_by = self._state.accepted_by or AUTOMATIC
            self._state.accepted_at_us = self._state.accepted_at_us or snapshot.at_us
            self._tell_of_baseline(agent, snapshot, first)

    def _tell_of_baseline(
        self, agent: str, snapshot: Snapshot, first: Mapping[Scope, Known]
    ) -> None:
        known = self._state.known
        inside = [scope for scope in first if scope.database]
        if inside and newcomers.is_new(known, agent, snapshot):
            told = newcomers.finding_of(agent, snapshot, inside, known, self._state.findings)
            self._reports.instead(told)
            return
        items = sum(len(each.observed) for each in first.values())
        self._reports.news.findings.append(findings.baseline_taken(agent, snapshot, items))

    def _compare(
        self,
        scope: Scope,
        known: Known,
        names: list[str] | None,
        since_us: int,
        now_us: int,
        called: NewNames | None = None,
    ) -> None:
        """An error of ours in it keeps back nothing else that is to be told."""
        if names is not None:
            names = [*dict.fromkeys([*names, *self._failing.names(scope)])]
        good = self._failing.compare(
            scope,
            lambda: self._differing.compare(scope, known, names, since_us, now_us, called),
            lambda: self._one_by_one(scope, known, names),
            lambda name: self._differing.compare(scope, known, [name], since_us, now_us),
        )
        if not good:
            self._reports.news.findings.append(failing.finding(scope, known.at_us))

    def _one_by_one(self, scope: Scope, known: Known, names: list[str] | None) -> list[str]:
        self._reports.count_anew()
        return self._differing.names(scope, known) if names is None else names

    def _new_names(self, agent: str, snapshot: Snapshot, parts: Mapping[Scope, Part]) -> NewNames:
        """What the message calls otherwise. New names of roles and databases count in others."""
        server, at_us = (agent, snapshot.cluster), snapshot.at_us
        earlier = still_told(self._renames.get(server, ()), at_us)
        found = NewNames(self._state.known, parts, earlier)
        renames = Renames(found.roles, found.databases, at_us)
        now = [renames] if found.roles or found.databases else []
        self._renames[server] = [*earlier, *now]
        return found

    def _record(
        self, scope: Scope, before: Facts, changed: list[str], part: Part, now_us: int
    ) -> None:
        after = self._state.known[scope].observed
        rows = change_rows(scope, before, after, changed, part, now_us)
        self._outbox.add(rows, self._reports.news)

    def _rename_databases(
        self, scope: Scope, known: Known, part: Part, now_us: int, since_us: int
    ) -> None:
        """What was known of a database goes on under its new name."""
        renamed = self._names.renamed(scope, known)
        if not renamed:
            return
        server = (scope.agent, scope.cluster)
        moved = databases.moves(self._state, server, renamed, self._expectations.is_declared)
        self._outbox.add(
            databases.history(self._state.known, moved, part, now_us), self._reports.news
        )
        keys = databases.move(self._state, moved)
        self._explanations.moved(keys)
        for old, new in keys.items():
            drift = self._state.open[new]
            self._reports.moved(replace(drift, scope=old[0]), drift, part.at_us, now_us)
        self._explanations.renamed(server, renamed, part.at_us, since_us)
        names = {(*server, old.database): new.database for old, new in moved.items()}
        accepted = known.accepted or {}
        self._reports.instead(*newcomers.renamed(self._state.findings, names, accepted))

    def _drop_databases(self, agent: str, snapshot: Snapshot, now_us: int) -> None:
        """A database that the server no longer lists takes all that was in it along."""
        of_databases = Scope(agent, snapshot.cluster, CatalogKind.DATABASE, "")
        listed = self._state.known.get(of_databases)
        if CatalogKind.DATABASE not in snapshot.kinds or listed is None:
            return
        new = newcomers.are_new(self._state.findings, of_databases, listed.accepted or {})
        for scope, known in list(databases.gone(self._state.known, (of_databases, listed))):
            since_us = snapshot.since_us or known.at_us
            part = Part(listed.at_us, 0, since_us, EVERYTHING, {}, frozenset())
            before = known.observed
            apply(known, part)
            self._waiting.heard(scope, scope.database, Outcome.APPLIED, known, now_us)
            self._reports.dirty = True
            self._record(scope, before, list(before), part, now_us)
            is_new = scope.database in new and not self._expectations.is_declared(scope)
            if known.accepted is not None:
                known.accepted = {} if is_new else known.accepted
                self._compare(scope, known, None, since_us, now_us)
            if is_new:  # nothing in it was expected, nor is it in the next one by this name
                known.accepted = None
