"""Which sessions have ended although nobody told: the record of the end was lost.

Only sessions that the probes told of are looked at. A log in a container names processes by other
numbers than this host does. No clock is compared: a process is known again by the start that the
kernel gives for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.discovery import PROC, start_ticks
from model.session import BackendKey


class Living:
    """Remembers each session's process from one look to the next. A session is over when its
    process was not there twice in a row: what was on its way to us has arrived by then.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._processes: dict[BackendKey, int] = {}
        """Start ticks, 0 for one that was not there."""

    def ended(self, sessions: Iterable[BackendKey]) -> list[BackendKey]:
        """Of the sessions that are taken to live, those that do not."""
        before, self._processes, ended = self._processes, {}, []
        for key in filter(_told_by_probes, sessions):
            ticks = start_ticks(key.pid, self._proc)
            known = before.get(key)
            if known is None:
                self._processes[key] = ticks
            elif ticks and ticks == known:
                self._processes[key] = known
            elif known:
                self._processes[key] = 0  # gone, or another process has its pid
            else:
                ended.append(key)
        return ended


def _told_by_probes(key: BackendKey) -> bool:
    """The log knows starts to the second only."""
    return key.started_at_us % 1_000_000 != 0
