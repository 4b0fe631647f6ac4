"""Sessions that were open before the agent started, read from the memory of their backends.

No SQL: an agent without a database login knows them as well, and nothing waits for a lock.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error

from agent.discovery import Cluster, backends_of
from agent.probes.layout import NAME_BYTES
from agent.probes.layouts import layout_for
from agent.probes.symbols import ServerBinary
from agent.sources.records import client
from agent.sql.decoding import decoded

PROC = Path("/proc")
POINTER = Struct("<Q")
TIMESTAMP = Struct("<q")
SOCKET_ADDRESS_BYTES = 28
"""The longest that counts: ``sockaddr_in6``."""


class UnreadableError(Exception):
    """The process is gone, or its memory is closed to us (``kernel.yama.ptrace_scope = 3``)."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    pid: int
    session_us: int
    """``MyStartTimestamp``: microseconds since 2000-01-01."""
    user: str
    database: str
    application_name: str
    client_address: str
    client_port: int
    walsender: bool
    base: int = 0
    """Where its program lies in memory."""


def postmaster_started_us(cluster: Cluster, binary: ServerBinary) -> int:
    """``PgStartTime``, which every backend inherits: the key by which the kernel knows a cluster.

    Raises UnreadableError.
    """
    with _Memory(cluster.postmaster_pid, cluster.inode) as memory:
        return memory.timestamp(memory.base + binary.address("PgStartTime"))


def open_sessions(cluster: Cluster, binary: ServerBinary) -> list[OpenSession]:
    """Client backends past their authentication. Those that end meanwhile are left out."""
    found = (_session(pid, cluster, binary) for pid in backends_of(cluster))
    return [session for session in found if session]


def _session(pid: int, cluster: Cluster, binary: ServerBinary) -> OpenSession | None:
    layout = layout_for(cluster.version)
    try:
        with _Memory(pid, cluster.inode) as memory:
            base = memory.base
            port = memory.pointer(base + binary.address("MyProcPort"))
            if not port or memory.read(base + binary.address("ClientAuthInProgress"), 1) != b"\0":
                return None
            raw = memory.read(port + layout.port_raddr, SOCKET_ADDRESS_BYTES)
            family = int.from_bytes(raw[:2], "little")
            address = raw[8:24] if family == 10 else raw[4:20]
            shown, number = client(family, int.from_bytes(raw[2:4], "little"), address)
            return OpenSession(
                pid=pid,
                session_us=memory.timestamp(base + binary.address("MyStartTimestamp")),
                user=memory.name(port + layout.port_user_name),
                database=memory.name(port + layout.port_database_name),
                application_name=memory.name(base + binary.address("application_name")),
                client_address=shown,
                client_port=number,
                walsender=memory.read(base + binary.address("am_walsender"), 1) != b"\0",
                base=base,
            )
    except UnreadableError:
        return None


class _Memory:
    """Reads one process; every failure is an UnreadableError."""

    def __init__(self, pid: int, inode: int) -> None:
        try:
            self.base = _base(pid, inode)
            self._fd = os.open(PROC / str(pid) / "mem", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as failure:
            raise UnreadableError(f"process {pid}: {failure}") from failure

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def read(self, address: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, address)
        except (OSError, OverflowError) as failure:
            raise UnreadableError(str(failure)) from failure

    def pointer(self, address: int) -> int:
        return self._unpack(POINTER, address)

    def timestamp(self, address: int) -> int:
        return self._unpack(TIMESTAMP, address)

    def name(self, address: int) -> str:
        """The string that the pointer at ``address`` leads to; empty for NULL."""
        place = self.pointer(address)
        if not place:
            return ""
        # Up to the page's end first: the string may be the last thing that is mapped.
        until_page_end = 4096 - place % 4096
        data = self.read(place, min(NAME_BYTES, until_page_end))
        if b"\0" not in data and len(data) < NAME_BYTES:
            data += self.read(place + len(data), NAME_BYTES - len(data))
        return decoded(data.split(b"\0", 1)[0])

    def _unpack(self, layout: Struct, address: int) -> int:
        try:
            return int(layout.unpack(self.read(address, layout.size))[0])
        except error as failure:
            raise UnreadableError(str(failure)) from failure


def _base(pid: int, inode: int) -> int:
    """The address of the program's first byte, 0 for one that is not position-independent."""
    for line in (PROC / str(pid) / "maps").read_text().splitlines():
        span, _permissions, offset, _device, mapped_inode, *_path = line.split(maxsplit=5)
        if int(mapped_inode) == inode and int(offset, 16) == 0:
            start = int(span.split("-")[0], 16)
            return start if start >= 1 << 32 else 0
    raise ValueError("does not map the server program")
