"""Backends that an agent left stopped when it and its watchdog were killed together."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from agent.guard.halts import children
from agent.guard.server import PROC, Server, stat_fields
from agent.guard.signal_frame import find_frame

SETTLE_SECONDS = 0.4
"""Longer than any hold of a living agent with the default deadline: those are left alone."""


def release_stale(server: Server, settle_seconds: float = SETTLE_SECONDS) -> list[int]:
    """Let stopped backends of ``server`` go on that stand at the entry of a probed function.

    Only a hold stops a process there; one that a person stopped stands somewhere else. Blocks for
    ``settle_seconds`` when there is any. Returns the pids that were let go.
    """
    first = _held(server)
    if not first:
        return []
    time.sleep(settle_seconds)
    released = []
    for pid, started in _held(server).items():
        if first.get(pid) != started:
            continue
        with suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if _held_since(pid, server) == started:
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
                    released.append(pid)
            finally:
                os.close(pidfd)
    return released


def _held(server: Server) -> dict[int, str]:
    """Stopped children at a probed entry, with their start time."""
    try:
        pids = children(server.postmaster_pid)
    except OSError:
        return {}
    found = {pid: _held_since(pid, server) for pid in pids}
    return {pid: started for pid, started in found.items() if started}


def _held_since(pid: int, server: Server) -> str:
    """Its start time if it is held; empty if not."""
    with suppress(OSError, ValueError, IndexError):
        fields = stat_fields(pid)
        if fields[0] != "T" or int(fields[1]) != server.postmaster_pid:
            return ""
        # "-1 SP PC" for a task that is in no system call.
        words = (PROC / str(pid) / "syscall").read_text().split()
        if words[0] == "-1" and _at_entry(pid, int(words[1], 16), int(words[2], 16), server):
            return fields[19]
    return ""


def _at_entry(pid: int, stack_pointer: int, instruction_pointer: int, server: Server) -> bool:
    """There, or at the entry of a signal's handler that returns there."""
    if server.is_entry(instruction_pointer):
        return True
    return find_frame(pid, stack_pointer, server.is_entry) is not None
