"""Which sessions of before have ended, for the collector that has no end of them.

Whoever ends while no agent runs, or with a row that was lost, is told by nobody: to the record such
a session lives for good. The agent that runs now looks at the processes. No clock is compared: the
start that a backend keeps in its memory is the very value that its session is known by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import orjson

from agent.discovery import PROGRAM, Process, program_of
from agent.guard.backend import find_server, started_at_us
from agent.guard.server import Server
from agent.sessions.living import told_by_probes
from model.session import BackendKey, Session
from protos.pgwarden.v1 import uplink_pb2 as pb

ENDED = "ended"
"""The command that asks for it."""
_SECOND_US = 1_000_000


class EndedSessions:
    """``sessions``: those that this agent knows to live. ``processes``: of a cluster, its processes
    on this host by its own numbers for them."""

    def __init__(
        self,
        sessions: Callable[[], Iterable[Session]],
        servers: Callable[[], Iterable[Server]],
        processes: Callable[[str], Mapping[int, Process]],
    ) -> None:
        self._sessions = sessions
        self._servers = servers
        self._processes = processes

    def answer(self, asked: pb.Unended) -> pb.CommandResult:
        keys = map(BackendKey, asked.pid, asked.backend_started_at_us)
        ended = self._ended(zip(keys, asked.cluster, strict=True))
        return pb.CommandResult(outcome="done", message=orjson.dumps(ended).decode())

    def _ended(self, asked: Iterable[tuple[BackendKey, str]]) -> list[int]:
        living = {session.key for session in self._sessions()}
        numbers: dict[str, Mapping[int, Process]] = {}
        ended = []
        for place, (key, cluster) in enumerate(asked):
            if key in living:
                continue
            pid = key.pid
            if not told_by_probes(key):
                if cluster not in numbers:
                    numbers[cluster] = self._processes(cluster)
                if not numbers[cluster]:
                    continue  # a server that is gone or hidden: its numbers cannot be read
                pid = _here(pid, numbers[cluster])
            if has_ended(key, pid, self._servers):
                ended.append(place)
        return ended


def _here(pid: int, processes: Mapping[int, Process]) -> int:
    """On this host. Releases before told the server's own number of a container's backend."""
    if any(process.pid == pid for process in processes.values()) or pid not in processes:
        return pid
    return processes[pid].pid


def has_ended(key: BackendKey, pid: int, servers: Callable[[], Iterable[Server]]) -> bool:
    """Whether the process ``pid`` of this host is certainly not that backend."""
    try:
        server = find_server(pid, servers())
        if server is None:
            return program_of(pid) != PROGRAM  # else perhaps of a server that we do not know yet
        began_us = started_at_us(pid, server)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    if told_by_probes(key):
        return began_us != key.started_at_us
    known = key.started_at_us // _SECOND_US
    return bool(known) and began_us // _SECOND_US != known
