"""Which sessions have ended although nobody told: the record of the end was lost.

The log tells of no end at all. No clock is compared: a process is known again by the start that the
kernel gives for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

from agent.discovery import PROC, start_ticks
from model.session import BackendKey, Session


class Living:
    """Remembers each session's process from one look to the next. A session is over when its
    process was not there twice in a row: what was on its way to us has arrived by then.
    """

    def __init__(self, servers: Callable[[str], AbstractSet[int]], proc: Path = PROC) -> None:
        """``servers``: of a cluster, the pids of its processes on this host."""
        self._servers = servers
        self._proc = proc
        self._processes: dict[BackendKey, int] = {}
        """Start ticks, 0 for one that was not there."""

    def ended(self, sessions: Iterable[Session]) -> list[BackendKey]:
        """Of the sessions that are taken to live, those that do not."""
        before, self._processes, ended = self._processes, {}, []
        servers: dict[str, AbstractSet[int]] = {}
        for session in sessions:
            key, pid = session.key, session.key.pid
            if not told_by_probes(key):
                if session.cluster not in servers:
                    servers[session.cluster] = self._servers(session.cluster)
                if not servers[session.cluster]:
                    continue  # a server that is gone or hidden: nothing is known of its processes
                pid = pid if pid in servers[session.cluster] else 0
            ticks = start_ticks(pid, self._proc) if pid else 0
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


def told_by_probes(key: BackendKey) -> bool:
    """The log knows starts to the second only."""
    return key.started_at_us % 1_000_000 != 0
