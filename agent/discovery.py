"""Finds the PostgreSQL clusters of this host, also those in containers, by their processes."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
PROGRAM = "postgres"
DELETED = " (deleted)"
"""What the kernel appends to the name of a program that an upgrade has replaced."""
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_TICKS_FIELD = 19
PARENT_FIELD = 1
STATUS_LINE = 7
"""Of ``postmaster.pid``, the last one: all others stand by then."""
"""Places in ``/proc/PID/stat`` behind the name, which may hold any character."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One running postmaster. Paths are usable from this host."""

    name: str
    """The port, and the container's short id for a cluster in one; stable over restarts."""
    postmaster_pid: int
    postmaster_started_ticks: int
    """Field 22 of ``/proc/PID/stat``: with the pid it names the process for good."""
    binary: Path
    """``/proc/PID/exe``: opens the very program that runs, even one replaced on disk since."""
    device: int
    inode: int
    data_directory: Path
    port: int
    socket_directories: tuple[Path, ...]
    version: int
    """Major version."""
    own_pids: bool = False
    """It runs in a pid namespace of its own: it and its log call processes by other numbers than
    this host does."""


class Process(NamedTuple):
    pid: int
    """On this host."""
    started_us: int
    """Unix microseconds, as exact as a tick and today's clock."""


def discover(proc: Path = PROC) -> list[Cluster]:
    """Every postmaster that can be read, ordered by name. Processes that end meanwhile are left
    out; so are those that we may not look at."""
    found = (cluster_at(pid, proc) for pid in _pids(proc))
    return sorted((cluster for cluster in found if cluster), key=lambda cluster: cluster.name)


def hidden_servers(proc: Path = PROC) -> int:
    """Processes called postgres, backends among them, that this account may not look at."""
    return sum(_is_hidden(proc, pid) for pid in _pids(proc))


def cluster_at(pid: int, proc: Path = PROC) -> Cluster | None:
    """The cluster whose postmaster has this pid, or None."""
    try:
        if not _runs_postgres(proc, pid):
            return None
        process = proc / str(pid)
        data = _seen_from_host(process, Path(os.readlink(process / "cwd")))
        lines = (data / "postmaster.pid").read_text().splitlines()
        # A backend shares program and folder with its postmaster: only the latter's pid is there.
        numbers = _numbers(process)
        if int(lines[0]) != numbers[-1]:
            return None
        if not lines[STATUS_LINE].strip():
            return None  # it is starting, and will write down its sockets in a moment
        status = (process / "exe").stat()
        port = int(lines[3])
        return Cluster(
            name=_name(process, port),
            postmaster_pid=pid,
            postmaster_started_ticks=_stat_field(process, START_TICKS_FIELD),
            binary=process / "exe",
            device=status.st_dev,
            inode=status.st_ino,
            data_directory=data,
            port=port,
            socket_directories=_socket_directories(process, lines),
            version=int((data / "PG_VERSION").read_text().split(".")[0]),
            own_pids=len(numbers) > 1,
        )
    except (OSError, ValueError, IndexError):
        return None


def parent_of(pid: int, proc: Path = PROC) -> int:
    """0 when the process is gone."""
    try:
        return _stat_field(proc / str(pid), PARENT_FIELD)
    except (OSError, ValueError, IndexError):
        return 0


def start_ticks(pid: int, proc: Path = PROC) -> int:
    """When the process began, as the kernel counts; 0 when it is gone. With the pid it names the
    process for good."""
    try:
        return _stat_field(proc / str(pid), START_TICKS_FIELD)
    except (OSError, ValueError, IndexError):
        return 0


def backends_of(cluster: Cluster, proc: Path = PROC) -> list[int]:
    """All children of the postmaster: client backends and auxiliary processes."""
    return sorted(pid for pid in _pids(proc) if parent_of(pid, proc) == cluster.postmaster_pid)


def processes_of(cluster: Cluster, proc: Path = PROC) -> dict[int, Process]:
    """The postmaster's children, by the server's own numbers for them."""
    booted_us = (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000
    found = {}
    for here in backends_of(cluster, proc):
        process = proc / str(here)
        with suppress(OSError, ValueError, IndexError):
            ticks = _stat_field(process, START_TICKS_FIELD)
            started_us = booted_us + ticks * 1_000_000 // TICKS_PER_SECOND
            found[_innermost_pid(process)] = Process(here, started_us)
    return found


def _pids(proc: Path) -> list[int]:
    return [int(name) for name in os.listdir(proc) if name.isdigit()]


# Of every process of the host, again and again: what is made for it is text, and no Path.


def _is_hidden(proc: Path, pid: int) -> bool:
    try:
        with open(f"{proc}/{pid}/comm", "rb", buffering=0) as comm:
            if comm.read().strip() != PROGRAM.encode():
                return False
        # By its effective rights; access(2) would leave out what a capability allows.
        os.stat(f"{proc}/{pid}/cwd/postmaster.pid")
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def program_of(pid: int, proc: Path = PROC) -> str:
    """The name of the program's file. Raises OSError, also for a process that has none."""
    return os.readlink(f"{proc}/{pid}/exe").removesuffix(DELETED).rpartition("/")[2]


def _runs_postgres(proc: Path, pid: int) -> bool:
    return program_of(pid, proc) == PROGRAM


def _seen_from_host(process: Path, path: Path) -> Path:
    """A path inside the process's own root and mounts, through ``/proc/PID/root`` where it leads to
    something else, or nowhere, from here."""
    seen = process / "root" / path.relative_to("/")
    try:
        return path if path.samefile(seen) else seen
    except FileNotFoundError:
        return seen


def _numbers(process: Path) -> list[int]:
    """Its pids, from here on to that in its own namespace, which it wrote to ``postmaster.pid``."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return [int(process.name)]


def _innermost_pid(process: Path) -> int:
    return _numbers(process)[-1]


def backend_here(cluster: Cluster, pid: int, proc: Path = PROC) -> int:
    """The pid on this host of the backend that its server calls ``pid``: another one where the
    server runs in a pid namespace of its own, and then 0 for one that has ended."""
    if not cluster.own_pids:
        return pid
    found = processes_of(cluster, proc).get(pid)
    return found.pid if found else 0


def pid_at_server(pid: int, proc: Path = PROC) -> int:
    """What its server calls the backend that is ``pid`` on this host; -1 where it has ended."""
    try:
        return _innermost_pid(proc / str(pid))
    except FileNotFoundError:
        return -1


def _name(process: Path, port: int) -> str:
    container = CONTAINER_ID.search((process / "cgroup").read_text())
    return f"{port}@{container.group()[:12]}" if container else str(port)


def _socket_directories(process: Path, lines: list[str]) -> tuple[Path, ...]:
    """``postmaster.pid`` names the first one; the others are not written down anywhere."""
    first = lines[4] if len(lines) > 4 else ""
    return (_seen_from_host(process, Path(first)),) if first.startswith("/") else ()


def _stat_field(process: Path, index: int) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[index])
