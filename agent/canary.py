"""Are the probes alive? Our own catalog queries are statements like any other: they must be seen.

A probe can be attached and never fire. The catalog thread queries every cluster at least once an
interval, so each of its rounds is a canary that costs the server nothing more.
"""

from __future__ import annotations

from model.statement import Source, Statement

PROBES = ("PortalRun", "secure_write")


class Canary:
    """``observe`` statements of ``application_name``; ``judge`` against the last round's time."""

    def __init__(self, application_name: str, grace_seconds: float) -> None:
        """``grace_seconds``: from a query to the recorded statement, the merge window included."""
        self._grace_seconds = grace_seconds
        self._application_name = application_name
        self._seen_at: dict[tuple[str, str], float] = {}
        self._round_at: dict[str, float] = {}

    def observe(self, statement: Statement) -> None:
        if statement.session.application_name != self._application_name:
            return
        if statement.source is Source.PGAUDIT:
            return
        at_seconds = statement.started_at_us / 1e6
        cluster = statement.session.cluster
        self._seen_at[cluster, "PortalRun"] = at_seconds
        if statement.sqlstate:
            self._seen_at[cluster, "secure_write"] = at_seconds

    def judge(self, cluster: str, queried_at_seconds: float, now_seconds: float) -> dict[str, bool]:
        """By probe: was it seen since the cluster was queried? Empty while nobody can tell."""
        if not queried_at_seconds:
            return {}
        # Rounds may follow each other faster than anybody can tell about one: one at a time.
        round_at = self._round_at.setdefault(cluster, queried_at_seconds)
        if now_seconds - round_at < self._grace_seconds:
            return {}
        self._round_at[cluster] = queried_at_seconds
        # The round's statements began shortly before it ended.
        since = round_at - self._grace_seconds
        return {probe: self._seen_at.get((cluster, probe), 0.0) >= since for probe in PROBES}
