"""When nobody watched what was done on a server: before an agent began.

What was seen first after such a time may be of anybody. A statement from before or after it is no
cause, however well it fits: a tool that sets everything again just after the start has changed
nothing. What the server's log told of that time afterwards is.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

from collector.drift.baseline import Scope
from collector.drift.changes import Change
from collector.drift.state import UNWATCHED
from model.catalog import Snapshot

MOST = 100
"""Of each server; only what is seen first now is held against them."""


class Gap(NamedTuple):
    from_us: int
    """0: unknown."""
    until_us: int

    def has(self, change: Change) -> bool:
        return self.from_us < (change.effect.committed_us or change.at_us) <= self.until_us

    def told(self) -> str:
        return f"{UNWATCHED} from {_time(self.from_us)} to {_time(self.until_us)} UTC"


class Gaps:
    def __init__(self) -> None:
        self._known: dict[tuple[str, str], deque[Gap]] = {}

    def heard(self, agent: str, snapshot: Snapshot) -> None:
        gap = Gap(snapshot.unwatched_from_us, snapshot.unwatched_until_us)
        known = self._known.setdefault((agent, snapshot.cluster), deque(maxlen=MOST))
        if gap.until_us and gap not in known:
            known.append(gap)

    def between(self, scope: Scope, since_us: int, at_us: int) -> Gap | None:
        """All of the time between these two looks in which nobody watched."""
        gaps = [
            gap
            for gap in self._known.get((scope.agent, scope.cluster), ())
            if since_us < gap.until_us and gap.from_us < at_us
        ]
        if not gaps or not since_us:
            return None
        from_us = max(since_us, min(gap.from_us for gap in gaps))
        return Gap(from_us, max(gap.until_us for gap in gaps))


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
