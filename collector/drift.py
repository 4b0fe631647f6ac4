"""Drift: what a server is against what was accepted, and who made the difference."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from analytics.findings import TIME
from collector import drift_findings, drift_risk
from collector.attribution import Change, Changes, Lookup, cause, changes_of
from collector.baseline import Difference, Facts, Known, Scope, differences, scopes, snapshots_of
from collector.drift_state import Key, OpenDrift, State, load, save
from model.catalog import Attribution, CatalogKind, Snapshot
from model.finding import Finding

LOOKUP_US = 30 * 86_400_000_000
AUTOMATIC = "pgwarden (first snapshot)"
DRIFT_SCHEMA: dict[str, Any] = {
    "occurred_at": pl.Int64, "agent": pl.String, "cluster": pl.String, "kind": pl.String,
    "database": pl.String, "name": pl.String, "change": pl.String, "desired": pl.String,
    "observed": pl.String, "attribution": pl.String, "statement_id": pl.UInt64,
    "actor": pl.String, "resolved_at": pl.Int64,
}  # fmt: skip


@dataclass
class DriftNews:
    """What is to be stored: findings, and rows of view ``drift`` (times as Unix microseconds)."""

    findings: list[Finding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class DriftStatus:
    has_baseline: bool
    rows: list[dict[str, Any]]
    accepted_by: str
    accepted_at_us: int


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
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Raises DriftStateError when the saved state is damaged."""
        self._folder = state_dir
        self._accept_first = accept_first
        self._hold_us = int(attribution_seconds * 1e6)
        self._lookup = lookup
        self._clock_us = clock_us
        self._lock = threading.RLock()
        self._state = load(state_dir)
        self._changes = Changes()
        # Said again at each start: a crash may have come between saving and storing them.
        self._news = DriftNews(
            list(self._state.findings.values()),
            [_row(drift) for drift in self._state.open.values() if drift.reported],
        )
        self._dirty = False

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
            if (statements := frames.get("statements")) is not None:
                self._changes.observe(statements)
            if seq > self._state.seq:
                self._state.seq = seq
                for agent, snapshot in snapshots_from(frames) if snapshots is None else snapshots:
                    self._observe(agent, snapshot, now_us)
            return self.tick(now_us)

    def tick(self, now_us: int) -> DriftNews:
        """Report what found its cause, or waited long enough for one; saves what changed."""
        with self._lock:
            waiting = [drift for drift in self._state.open.values() if not drift.reported]
            due = [told for drift in waiting if (told := self._explained(drift, now_us))]
            if due:
                self._report(due)
            if self._dirty:
                save(self._folder, self._state)
                self._dirty = False
            news, self._news = self._news, DriftNews()
            return news

    def status(self) -> DriftStatus:
        with self._lock:
            return DriftStatus(
                has_baseline=any(k.accepted is not None for k in self._state.known.values()),
                rows=[_row(drift) for drift in self._state.open.values()],
                accepted_by=self._state.accepted_by,
                accepted_at_us=self._state.accepted_at_us,
            )

    def accept(self, by: str, reason: str) -> int:
        """What was seen last is the baseline from now on; returns the number of items.

        Its findings and rows come with the next tick. Durable before it returns.
        """
        with self._lock:
            now_us = self._clock_us()
            for known in self._state.known.values():
                known.accepted = known.observed
            for key in list(self._state.open):
                self._resolve(key, now_us, f"accepted by {by}: {reason}")
            self._state.accepted_by, self._state.reason = by, reason
            self._state.accepted_at_us = now_us
            save(self._folder, self._state)
            return sum(len(known.observed) for known in self._state.known.values())

    def open_differences(self) -> dict[tuple[str, str, str], int]:
        """Counts by (kind, severity, attribution)."""
        with self._lock:
            return dict(
                Counter(
                    (drift.scope.kind.value, drift.severity.value, drift.attribution.value)
                    for drift in self._state.open.values()
                )
            )

    def accepted_settings(self) -> dict[tuple[str, str], Facts]:
        """The accepted settings of each server, by (agent, cluster)."""
        with self._lock:
            return {
                (scope.agent, scope.cluster): known.accepted
                for scope, known in self._state.known.items()
                if scope.kind is CatalogKind.SETTING and known.accepted is not None
            }

    def _observe(self, agent: str, snapshot: Snapshot, now_us: int) -> None:
        first: list[Known] = []
        for scope, observed in scopes(agent, snapshot).items():
            known = self._state.known.setdefault(scope, Known(accepted=None))
            if snapshot.at_us <= known.at_us:
                continue
            since_us, known.at_us, known.observed = known.at_us, snapshot.at_us, observed
            self._dirty = True
            if known.accepted is None:
                if self._accept_first:
                    known.accepted = observed
                    first.append(known)
                continue
            self._compare(scope, known.accepted, observed, snapshot.at_us, since_us, now_us)
        if first:
            items = sum(len(known.observed) for known in first)
            self._state.accepted_by = self._state.accepted_by or AUTOMATIC
            self._state.accepted_at_us = self._state.accepted_at_us or snapshot.at_us
            self._news.findings.append(drift_findings.baseline_taken(agent, snapshot, items))

    def _compare(
        self,
        scope: Scope,
        accepted: Facts,
        observed: Facts,
        at_us: int,
        since_us: int,
        now_us: int,
    ) -> None:
        found = {d.name: d for d in differences(accepted, observed)}
        mine = {key[1]: drift for key, drift in self._state.open.items() if key[0] == scope}
        for name, drift in mine.items():
            if name not in found:
                self._resolve((scope, name), at_us, "reverted")
            elif drift.difference.observed != found[name].observed:
                self._resolve((scope, name), at_us, "changed again")
        for name, difference in found.items():
            if (scope, name) not in self._state.open:
                self._state.open[scope, name] = OpenDrift(
                    scope, difference, at_us, since_us, noticed_us=now_us
                )

    def _explained(self, drift: OpenDrift, now_us: int) -> OpenDrift | None:
        """The difference with its cause, or without one once its time is over; None: wait."""
        settled = now_us - drift.noticed_us >= self._hold_us
        found = self._changes.cause(
            drift.scope, drift.difference, drift.detected_at_us, drift.since_us, settled=settled
        )
        if found is None and settled:
            found = self._look_up(drift)
        if found is None and not settled:
            return None
        return _with_cause(drift, found)

    def _look_up(self, drift: OpenDrift) -> Change | None:
        if self._lookup is None:
            return None
        scope, at_us = drift.scope, drift.detected_at_us
        rows = self._lookup(scope.agent, scope.cluster, at_us - LOOKUP_US, at_us + 1_000_000)
        return cause(changes_of(rows), scope, drift.difference, at_us, drift.since_us, settled=True)

    def _report(self, due: list[OpenDrift]) -> None:
        for drift in due:
            self._state.open[drift.scope, drift.difference.name] = drift
            self._news.rows.append(_row(drift))
        for finding_id in dict.fromkeys(drift.finding_id for drift in due):
            finding = drift_findings.finding_of(self._members(finding_id))
            self._state.findings[finding_id] = finding
            self._news.findings.append(finding)
        self._dirty = True

    def _resolve(self, key: Key, at_us: int, why: str) -> None:
        drift = self._state.open[key]
        if not drift.reported:
            # It came and went before anybody was told: still told, with its end.
            drift = _with_cause(drift, self._changes.cause(
                drift.scope, drift.difference, drift.detected_at_us, drift.since_us, settled=True
            ))  # fmt: skip
            self._report([drift])
        del self._state.open[key]
        self._news.rows.append(_row(drift) | {"resolved_at": at_us})
        self._dirty = True
        if not self._members(drift.finding_id):
            finding = self._state.findings.pop(drift.finding_id)
            self._news.findings.append(
                replace(
                    finding, resolved_at_us=at_us, sentence=f"{finding.sentence}; since then {why}"
                )
            )

    def _members(self, finding_id: str) -> list[OpenDrift]:
        return [drift for drift in self._state.open.values() if drift.finding_id == finding_id]


def _with_cause(drift: OpenDrift, change: Change | None) -> OpenDrift:
    known = replace(
        drift,
        reported=True,
        severity=drift_risk.severity(
            drift.scope.kind, drift.difference, attributed=change is not None
        ),
    )
    if change is not None:
        known = replace(
            known,
            attribution=Attribution.ATTRIBUTED,
            statement_id=change.id,
            actor=change.actor,
            user=change.user,
            summary=change.summary,
        )
    return replace(known, finding_id=drift_findings.id_of(known))


def _row(drift: OpenDrift) -> dict[str, Any]:
    difference: Difference = drift.difference
    return {
        "occurred_at": drift.detected_at_us,
        "agent": drift.scope.agent,
        "cluster": drift.scope.cluster,
        "kind": drift.scope.kind.value,
        "database": drift.scope.database,
        "name": difference.name,
        "change": difference.change.value,
        "desired": difference.desired,
        "observed": difference.observed,
        "attribution": drift.attribution.value,
        "statement_id": drift.statement_id,
        "actor": drift.actor,
        "resolved_at": None,
    }


def drift_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as table ``drift`` stores them."""
    return pl.DataFrame([dict(row) for row in rows], schema=DRIFT_SCHEMA).with_columns(
        pl.col("occurred_at", "resolved_at").cast(TIME)
    )


def snapshots_from(frames: Mapping[str, pl.DataFrame]) -> list[tuple[str, Snapshot]]:
    catalog = frames.get("catalog")
    if catalog is None:
        return []
    return snapshots_of(catalog.with_columns(pl.col("occurred_at").dt.epoch("us")).to_dicts())


__all__ = ["Drift", "DriftNews", "DriftStatus", "State", "drift_frame"]
