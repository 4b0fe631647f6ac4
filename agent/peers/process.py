"""One process of this host, read from ``/proc``."""

from __future__ import annotations

import os
import pwd
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.peers.cgroup import container_of, unit_of
from agent.peers.command import safe_command
from agent.peers.missing import Missing, PeerMissingError
from model.session import PeerProcess

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
DELETED = " (deleted)"
MAX_ANCESTORS = 8
MAX_NAME = 64
COMMAND_LINE_BYTES = 4096
PARENT, TERMINAL, STARTED = 1, 4, 19
"""Places in ``/proc/PID/stat`` behind the name, which may hold any character."""


@dataclass(frozen=True, slots=True)
class Stat:
    name: str
    parent: int
    terminal: bool
    started_ticks: int
    """Since boot."""


def stat_of(pid: int, proc: Path = PROC) -> Stat:
    """Raises PeerMissingError."""
    try:
        head, _, tail = _text(proc / str(pid) / "stat").rpartition(")")
        fields = tail.split()
        name = head.partition("(")[2][:MAX_NAME]
        terminal = fields[TERMINAL] != "0"
        return Stat(name, int(fields[PARENT]), terminal, int(fields[STARTED]))
    except (OSError, ValueError, IndexError):
        raise PeerMissingError(Missing.GONE) from None


def started_us(stat: Stat) -> int:
    """Unix microseconds, as exact as a tick and today's clock."""
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return boot_ns // 1000 + stat.started_ticks * 1_000_000 // TICKS_PER_SECOND


def read_process(pid: int, proc: Path = PROC) -> PeerProcess:
    """What may not be read stays empty. Raises PeerMissingError for a process that has ended."""
    stat = stat_of(pid, proc)
    folder = proc / str(pid)
    uid = _uid(folder)
    executable = ""
    with suppress(OSError):
        executable = os.readlink(folder / "exe").removesuffix(DELETED)
    cgroup = _text_or_nothing(folder / "cgroup")
    found = PeerProcess(
        pid=pid,
        uid=uid,
        account=_account(uid),
        name=stat.name,
        executable=executable,
        command=safe_command(_words(folder), executable),
        unit=unit_of(cgroup),
        container=container_of(cgroup),
        terminal=stat.terminal,
        ancestors=_ancestors(stat.parent, proc),
    )
    # All of this must have been about one process.
    if stat_of(pid, proc).started_ticks != stat.started_ticks:
        raise PeerMissingError(Missing.GONE)
    return found


def _ancestors(pid: int, proc: Path) -> tuple[str, ...]:
    """Names, without the first process of the host."""
    names: list[str] = []
    with suppress(PeerMissingError):
        while pid > 1 and len(names) < MAX_ANCESTORS:
            stat = stat_of(pid, proc)
            names.append(stat.name)
            pid = stat.parent
    return tuple(names)


def _words(folder: Path) -> list[str]:
    data = _text_or_nothing(folder / "cmdline")
    return [word for word in data.split("\0") if word]


def _uid(folder: Path) -> int:
    for line in _text_or_nothing(folder / "status").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(COMMAND_LINE_BYTES).decode("utf-8", "replace")


def _text_or_nothing(path: Path) -> str:
    try:
        return _text(path)
    except OSError:
        return ""
