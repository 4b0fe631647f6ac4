"""Backends that an agent left stopped when it and its watchdog were killed together."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from agent.guard.server import ENTRIES, PROC, Server, stat_fields

SETTLE_SECONDS = 0.4
"""Longer than any hold of a living agent with the default deadline: those are left alone."""
FIRST_INSTRUCTIONS_BYTES = 16


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
                if _held(server).get(pid) == started:
                    signal.pidfd_send_signal(pidfd, signal.SIGCONT)
                    released.append(pid)
            finally:
                os.close(pidfd)
    return released


def _held(server: Server) -> dict[int, str]:
    """Stopped children at a probed entry, with their start time."""
    places = [address for name, address in server.addresses if name in ENTRIES]
    found = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            pid = int(entry.name)
            fields = stat_fields(pid)
            if fields[0] != "T" or int(fields[1]) != server.postmaster_pid:
                continue
            # "-1 SP PC" for a task that is in no system call.
            words = (entry / "syscall").read_text().split()
            if words[0] != "-1":
                continue
            counter = int(words[2], 16)
            if any(0 <= counter - place < FIRST_INSTRUCTIONS_BYTES for place in places):
                found[pid] = fields[19]
    return found
