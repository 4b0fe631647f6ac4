"""Backends of a postmaster that stand still, and how one of them is let go. Standard library only:
the watchdog lives on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EXITING = 0x4
"""PF_EXITING among a process's flags."""


@dataclass(frozen=True)
class Postmaster:
    pid: int
    started_ticks: int
    device: int
    inode: int
    folder: tuple[int, int] | None = None
    """Device and inode of where it and its backends live, the data directory. By that, and by their
    program, orphans are known. None: they cannot be."""


@dataclass(frozen=True)
class Halt:
    """One uninterrupted stop of one process: as soon as it runs, ``ran_ns`` changes.

    ``traced``: the agent has it under its ptrace, as it does for less than a millisecond; nobody
    but the agent, or its end, can let it go.
    """

    pid: int
    started_ticks: int
    ran_ns: int
    traced: bool = False


def stat_fields(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        return file.read(4096).rpartition(b")")[2].decode("ascii").split()


def children(pid: int) -> list[int]:
    """Kept by the kernel per thread; a postmaster has one. Scans all processes where it is not."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return _everybody()


def _everybody() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def folder_of(pid: int) -> tuple[int, int] | None:
    try:
        folder = os.stat(f"/proc/{pid}/cwd")
    except OSError:
        return None
    return folder.st_dev, folder.st_ino


def lives(postmaster: Postmaster) -> bool:
    try:
        fields = stat_fields(postmaster.pid)
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[19]) == postmaster.started_ticks


def halts_of(
    postmaster: Postmaster, seen: Callable[[Halt], bool], agent: int = 0
) -> Iterator[Halt]:
    """Stopped backends of the postmaster that run its program and no system call, and those that
    ``agent`` traces; nobody whom another one traces. Those that ``seen`` knows are not looked at
    again: who has not run since is what he was.

    Its children, or, where it was killed, the orphans that it left.
    """
    orphaned = not lives(postmaster)
    try:
        candidates = _everybody() if orphaned else children(postmaster.pid)
    except OSError:
        return
    for pid in candidates:
        try:
            fields = stat_fields(pid)
            if fields[0] not in "Tt" or (not orphaned and int(fields[1]) != postmaster.pid):
                continue
            if fields[0] == "t":
                if agent and traced_by(pid) in threads_of(agent):
                    yield Halt(pid, int(fields[19]), 0, traced=True)
                continue
            halt = Halt(pid, int(fields[19]), ran_ns(pid))
            if seen(halt) or (
                _runs(pid, postmaster)
                and (not orphaned or _is_orphan(pid, int(fields[1]), postmaster))
                and not _in_system_call(pid)
            ):
                yield halt
        except OSError:
            continue


def ran_ns(pid: int) -> int:
    """Processor time so far, to the nanosecond; context switches where the kernel has no such."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb", buffering=0) as file:
            return int(file.read(256).split()[0])
    except FileNotFoundError:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)


def traced_by(pid: int) -> int:
    """Id of the thread; 0 without one."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("TracerPid")), 0)


def threads_of(pid: int) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{pid}/task")}


def release(halt: Halt, cancel_first: bool) -> bool:
    """Continue this very process, if it is still in this very stop."""
    try:
        pidfd = os.pidfd_open(halt.pid)
    except OSError:
        return False
    try:
        fields = stat_fields(halt.pid)
        same = fields[0] == "T" and int(fields[19]) == halt.started_ticks
        if not same or ran_ns(halt.pid) != halt.ran_ns:
            return False
        if cancel_first:
            signal.pidfd_send_signal(pidfd, signal.SIGINT)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def exiting(pid: int) -> bool:
    """Whether the process is on its way out of the world: killed, but not gone yet. Until then it
    keeps files open, and with them its probes attached."""
    try:
        return bool(int(stat_fields(pid)[6]) & EXITING)
    except OSError:
        return True


def _runs(pid: int, postmaster: Postmaster) -> bool:
    program = os.stat(f"/proc/{pid}/exe")
    return (program.st_dev, program.st_ino) == (postmaster.device, postmaster.inode)


def _is_orphan(pid: int, parent: int, postmaster: Postmaster) -> bool:
    """Of this postmaster, and not a child of one that was started in its place."""
    if postmaster.folder is None or folder_of(pid) != postmaster.folder:
        return False
    try:
        return not _runs(parent, postmaster)
    except OSError:
        return True


def _in_system_call(pid: int) -> bool:
    """False where the kernel does not say: releasing too much is better than a stuck backend."""
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            return file.read().split()[0].isdigit()
    except (OSError, IndexError):
        return False
