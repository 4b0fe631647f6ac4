"""What is missing of whom, and when its agent is asked for it (again)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from collector.drift.baseline import Known, Outcome, Scope, scopes
from model.catalog import Snapshot

PATIENCE_US = 60_000_000
"""So long the rest of a snapshot in parts may take."""
AGAIN_US = 60_000_000
"""An agent that did not send one is asked again."""


class Source(NamedTuple):
    """What an agent sends a snapshot of."""

    agent: str
    cluster: str
    database: str
    """Empty: of all databases."""


class Waiting:
    """Only in memory: what is not asked for before a restart is found missing again after it."""

    def __init__(self, incomplete: Iterable[Scope] = ()) -> None:
        self._due: dict[Scope, tuple[Source, int]] = {
            scope: (Source(scope.agent, scope.cluster, scope.database), 0) for scope in incomplete
        }

    def heard(
        self, scope: Scope, database: str, outcome: Outcome, known: Known, now_us: int
    ) -> None:
        """A message about ``scope`` came from ``database``."""
        source = Source(scope.agent, scope.cluster, database)
        if outcome is Outcome.MISSED:
            self._due.setdefault(scope, (source, now_us))
        elif outcome is Outcome.APPLIED:
            self._due.pop(scope, None)
            if not known.complete:
                self._due[scope] = (source, now_us + PATIENCE_US)

    def lost(self, agent: str, snapshot: Snapshot, now_us: int) -> None:
        """It came, and nobody knows how much of it was taken in."""
        source = Source(agent, snapshot.cluster, snapshot.database)
        for scope in scopes(agent, snapshot):
            self._due[scope] = (source, now_us)

    def due(self, now_us: int) -> list[Source]:
        """Those to ask now, each once for all of its scopes."""
        due = [scope for scope, (_, at_us) in self._due.items() if at_us <= now_us]
        asked = dict.fromkeys(self._due[scope][0] for scope in due)
        for scope, (source, _) in list(self._due.items()):
            if source in asked:
                self._due[scope] = (source, now_us + AGAIN_US)
        return list(asked)
