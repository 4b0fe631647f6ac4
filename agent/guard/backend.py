"""Is this process still that backend, and does a client sit at its other end?"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.guard.memory import read_memory
from agent.guard.server import PROC, Server, start_ticks, stat_fields
from model.session import BackendKey

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 in Unix microseconds: where PostgreSQL's timestamps count from."""


class Standing(StrEnum):
    CLIENT = "client"
    GONE = "gone"
    """No such process, or another one under this pid."""
    NOT_CLIENT = "not_client"
    """A walsender, a worker, an auxiliary process or the postmaster itself."""
    STRANGER = "stranger"
    """Its parent is no postmaster that we guard."""
    UNREADABLE = "unreadable"
    """The kernel forbids a look into it (yama's ptrace_scope 3, a missing capability)."""


@dataclass(frozen=True, slots=True)
class Backend:
    standing: Standing
    server: Server | None = None
    reason: str = ""


def find_server(pid: int, servers: Iterable[Server]) -> Server | None:
    """The guarded server whose child, running the same program, this process is."""
    parent = int(stat_fields(pid)[1])
    for server in servers:
        if server.postmaster_pid != parent or start_ticks(parent) != server.started_ticks:
            continue
        program = (PROC / str(pid) / "exe").stat()
        if (program.st_dev, program.st_ino) == (server.device, server.inode):
            return server
    return None


def examine(
    key: BackendKey, servers: Callable[[], Iterable[Server]], *, commands: bool = False
) -> Backend:
    """Full check, from the process table down to the backend's own memory.

    The start time in its memory is the very value that the key carries, to the microsecond, so a
    reused pid cannot pass. ``MyProcPort`` is set only where a client connected; ``am_walsender``
    tells a replication connection apart. The process title says the same in words, but a role
    named "walsender" can forge it. ``commands``: it is held at a statement, so a walsender is not
    streaming: it is a client like others.
    """
    try:
        server = find_server(key.pid, servers())
    except (FileNotFoundError, ProcessLookupError):
        return Backend(Standing.GONE, reason="the process has ended")
    except OSError as error:
        return Backend(Standing.UNREADABLE, reason=str(error))
    if server is None:
        return Backend(Standing.STRANGER, reason="not a child of a guarded postmaster")
    return inspect(key, server, commands=commands)


def inspect(key: BackendKey, server: Server, *, commands: bool = False) -> Backend:
    """The part of ``examine`` that looks into memory; three short reads."""
    try:
        if started_at_us(key.pid, server) != key.started_at_us:
            return Backend(Standing.GONE, server, "the pid belongs to another session by now")
        port = read_memory(key.pid, server.address("MyProcPort"), 8)
        walsender = read_memory(key.pid, server.address("am_walsender"), 1)
    except ProcessLookupError:
        return Backend(Standing.GONE, server, "the process has ended")
    except OSError as error:
        return Backend(Standing.UNREADABLE, server, str(error))
    if port == bytes(8):
        return Backend(Standing.NOT_CLIENT, server, "no client is connected to this process")
    if walsender != b"\0" and not commands:
        return Backend(Standing.NOT_CLIENT, server, "it is a walsender")
    return Backend(Standing.CLIENT, server)


def started_at_us(pid: int, server: Server) -> int:
    """``MyStartTimestamp`` in Unix microseconds; OSError when the process cannot be read."""
    raw = read_memory(pid, server.address("MyStartTimestamp"), 8)
    return int(struct.unpack("<q", raw)[0]) + POSTGRES_EPOCH_US
