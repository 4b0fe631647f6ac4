"""The log of a server in a pid namespace of its own calls backends by other numbers than this host.

The probes tell both numbers of a session, and what its log says waits a little for that. A number
that nobody translates says nothing: the process of this host that has it is another one.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias
from zlib import crc32

from agent.discovery import Process
from agent.sessions.limits import Limits
from agent.sessions.waiting import WaitingRoom
from model.event import AuditLogged, LoginFailed, SessionSeen
from model.session import BackendKey

Processes: TypeAlias = Callable[[str], Mapping[int, Process]]
"""Of a cluster, its processes that live, by the server's own numbers for them."""

NOBODYS = 1 << 31
"""Pids from here on are no process of any host: Linux goes up to ``1 << 22``."""
_PATIENCE_US = 800_000
"""The probes are read 50 times a second. With the merge window it is shorter than what a position
in the log waits until it is confirmed."""
_START_TOLERANCE_US = 2_000_000
_RECORD_CHARS = 500
_SECOND_US = 1_000_000


class _Place(NamedTuple):
    cluster: str
    server_pid: int
    started_seconds: int
    """0 where the log does not tell."""


class OwnPids:
    """``window_us``: how long the log waits for the probes at most; 0: nobody waits for anything.
    Records that stand under a pid of nobody are counted in ``lost``."""

    def __init__(
        self, window_us: int, limits: Limits, processes: Processes, lost: Counter[str]
    ) -> None:
        self._limits = limits
        self._processes = processes
        self._lost = lost
        self._known: OrderedDict[_Place, int] = OrderedDict()
        """The pids on this host, or of nobody; those that were asked for last come last."""
        self._clusters: set[str] = set()
        """Those that have such numbers."""
        self._waiting: dict[_Place, list[AuditLogged]] = {}
        self._chars = 0
        self._new: list[_Place] = []
        self._room: WaitingRoom[_Place] = WaitingRoom(min(window_us, _PATIENCE_US))

    def learn(self, event: SessionSeen) -> list[AuditLogged]:
        """What has waited for this."""
        number, pid = event.server_pid, event.backend.pid
        if not number or (number == pid and event.cluster not in self._clusters):
            return []
        self._clusters.add(event.cluster)
        found: list[AuditLogged] = []
        for seconds in (event.backend.started_at_us // _SECOND_US, 0):
            found += self._settle(_Place(event.cluster, number, seconds), pid)
        return found

    def translated(self, record: AuditLogged) -> list[AuditLogged]:
        """With this host's pid; nothing while it waits for that."""
        self._clusters.add(record.cluster)
        place = _place(record)
        if (pid := self._known.get(place)) is not None:
            self._known.move_to_end(place)
            return [self._moved(record, pid)]
        if place not in self._waiting:
            self._waiting[place] = []
            self._new.append(place)
            self._room.add(place)
        self._waiting[place].append(record)
        self._chars += _chars(record)
        over: list[AuditLogged] = []
        while self._chars > self._limits.audit_text_chars and self._room:
            over += self._give_up([self._room.pop()])
        return over

    def login(self, event: LoginFailed) -> LoginFailed:
        """Its process was no session, and has ended: nobody will tell of it."""
        pid = _of_nobody(_place(event))
        return replace(event, backend=replace(event.backend, pid=pid), own_pids=False)

    def due(self, now_us: int) -> list[AuditLogged]:
        """What the system knows, for the process lives, and what has waited long enough."""
        return self._look_up() + self._give_up(self._room.due(now_us))

    def flush(self) -> list[AuditLogged]:
        found = self._look_up()
        return found + self._give_up([self._room.pop() for _ in range(len(self._room))])

    def clock_moved(self, by_us: int) -> None:
        self._room.clock_moved(by_us)

    def _look_up(self) -> list[AuditLogged]:
        """Once for each: a process that wrote and is not there has ended."""
        new, self._new = self._new, []
        found: list[AuditLogged] = []
        living: dict[str, Mapping[int, Process]] = {}
        for place in new:
            if place not in self._waiting:
                continue  # the probes have told meanwhile
            if place.cluster not in living:
                living[place.cluster] = self._processes(place.cluster)
            process = living[place.cluster].get(place.server_pid)
            if process is not None and _began_then(process, place):
                found += self._settle(place, process.pid)
        return found

    def _give_up(self, places: list[_Place]) -> list[AuditLogged]:
        unknown = [place for place in places if place in self._waiting]
        return [record for place in unknown for record in self._settle(place, _of_nobody(place))]

    def _settle(self, place: _Place, pid: int) -> list[AuditLogged]:
        self._known[place] = pid
        self._known.move_to_end(place)
        if len(self._known) > 2 * self._limits.sessions:
            self._known.popitem(last=False)
        waiting = self._waiting.pop(place, [])
        self._chars -= sum(map(_chars, waiting))
        return [self._moved(record, pid) for record in waiting]

    def _moved(self, record: AuditLogged, pid: int) -> AuditLogged:
        if pid >= NOBODYS:
            self._lost["audit_pid_unknown"] += 1
        return replace(
            record, backend=BackendKey(pid, record.backend.started_at_us), own_pids=False
        )


def _place(event: AuditLogged | LoginFailed) -> _Place:
    key = event.backend
    return _Place(event.cluster, key.pid, key.started_at_us // _SECOND_US)


def _of_nobody(place: _Place) -> int:
    """Another one for each process, and the same again after a restart of ours."""
    return NOBODYS | crc32(repr(tuple(place)).encode())


def _began_then(process: Process, place: _Place) -> bool:
    """A number may have been given to another process since."""
    if not place.started_seconds:
        return True
    later_us = process.started_us - place.started_seconds * _SECOND_US
    return -_START_TOLERANCE_US < later_us < _START_TOLERANCE_US + _SECOND_US


def _chars(record: AuditLogged) -> int:
    return len(record.text) + len(record.parameters) + _RECORD_CHARS
