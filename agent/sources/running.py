"""Sessions that were open before the agent started, read from the memory of their backends.

No SQL: an agent without a database login knows them as well, and nothing waits for a lock.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct, error

from agent.discovery import Cluster, backends_of
from agent.probes.layout import NAME_BYTES
from agent.probes.layouts import Layout, layout_for
from agent.probes.symbols import ServerBinary
from agent.sources.records import POSTGRES_EPOCH_US, client
from agent.sql.decoding import decoded
from model.event import Asked, Event, SessionSeen, StatementStarted
from model.session import BackendKey

PROC = Path("/proc")
POINTER = Struct("<Q")
TIMESTAMP = Struct("<q")
SOCKET_ADDRESS_BYTES = 28
"""The longest that counts: ``sockaddr_in6``."""
PORTAL_ACTIVE = 3
"""``Portal.status`` as soon as PortalRun has set to work: no probe will tell of it."""
TEXT_BYTES = (1 << 20) - 1
"""So much of a text is kept, as the probes do."""
LONGEST_BYTES = 1 << 30
"""PostgreSQL takes none of this length."""


class UnreadableError(Exception):
    """The process is gone, or its memory is closed to us (``kernel.yama.ptrace_scope = 3``)."""


@dataclass(frozen=True, slots=True)
class RunningStatement:
    """What the client asked for, and has no answer to yet."""

    text: bytes
    text_bytes: int
    requested_us: int
    """When its message arrived: microseconds since 2000-01-01."""
    executing: bool = True
    """False while it is parsed or planned, or waits for a lock or for its judge before it runs."""


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
    running: RunningStatement | None = None
    server_pid: int = 0
    """``MyProcPid``, as of a SessionSeen."""

    @property
    def asked(self) -> tuple[bytes, int, int]:
        """Text, length and arrival of what it runs, as far as there is something."""
        one = self.running
        return (one.text, one.text_bytes, one.requested_us) if one else (b"", 0, 0)


def postmaster_started_us(cluster: Cluster, binary: ServerBinary) -> int:
    """``PgStartTime``, which every backend inherits: the key by which the kernel knows a cluster.

    Raises UnreadableError.
    """
    with Memory(cluster.postmaster_pid, cluster.inode) as memory:
        return memory.timestamp(memory.base + binary.address("PgStartTime"))


def open_sessions(
    cluster: Cluster, binary: ServerBinary, *, preparing: bool = False
) -> list[OpenSession]:
    """Client backends past their authentication. Those that end meanwhile are left out.
    ``preparing``: what a session is asked for counts as running before it executes as well."""
    found = (_session(pid, cluster, binary, preparing) for pid in backends_of(cluster))
    return [session for session in found if session]


def met(found: OpenSession, key: BackendKey, cluster: str, at_ns: int) -> list[Event]:
    """The session as an event, and what it runs as another."""
    events: list[Event] = [
        SessionSeen(
            at_ns=at_ns,
            backend=key,
            cluster=cluster,
            user=found.user,
            database=found.database,
            application_name=found.application_name,
            client_address=found.client_address,
            client_port=found.client_port,
            server_pid=found.server_pid,
        )
    ]
    if found.running is not None:
        text, length, requested_us = found.asked
        at_us = requested_us + POSTGRES_EPOCH_US
        events.append(
            StatementStarted(at_us * 1000, key, text, length, requested_at_us=at_us, met=True)
        )
    return events


def _session(
    pid: int, cluster: Cluster, binary: ServerBinary, preparing: bool
) -> OpenSession | None:
    layout = layout_for(cluster.version)
    try:
        with Memory(pid, cluster.inode) as memory:
            base = memory.base
            port = memory.pointer(base + binary.address("MyProcPort"))
            if not port or memory.read(base + binary.address("ClientAuthInProgress"), 1) != b"\0":
                return None
            raw = memory.read(port + layout.port_raddr, SOCKET_ADDRESS_BYTES)
            family = int.from_bytes(raw[:2], "little")
            address = raw[8:24] if family == 10 else raw[4:20]
            shown, number = client(family, int.from_bytes(raw[2:4], "little"), address)
            walsender = memory.read(base + binary.address("am_walsender"), 1) != b"\0"
            return OpenSession(
                pid=pid,
                session_us=memory.timestamp(base + binary.address("MyStartTimestamp")),
                user=memory.name(port + layout.port_user_name),
                database=memory.name(port + layout.port_database_name),
                application_name=memory.name(base + binary.address("application_name")),
                client_address=shown,
                client_port=number,
                walsender=walsender,
                base=base,
                running=None if walsender else _running(memory, binary, layout, preparing),
                server_pid=int.from_bytes(
                    memory.read(base + binary.address("MyProcPid"), 4), "little"
                ),
            )
    except UnreadableError:
        return None


def _running(
    memory: Memory, binary: ServerBinary, layout: Layout, preparing: bool
) -> RunningStatement | None:
    """None as well where it ended, or another one began, while it was read."""
    try:
        before = _asked(memory, binary)
        executing = _executes(memory, binary, layout)
        if not before or not (executing or preparing):
            return None
        requested_us, place = before
        text, length = memory.text(place)
        after = _asked(memory, binary)
        if not preparing and not _executes(memory, binary, layout):
            return None
    except UnreadableError:
        return None
    return RunningStatement(text, length, requested_us, executing) if after == before else None


def _asked(memory: Memory, binary: ServerBinary) -> tuple[int, int] | None:
    """When the client's message arrived and where its text lies, until it has been dealt with."""
    place = memory.pointer(memory.base + binary.address("debug_query_string"))
    if not place:
        return None
    return memory.timestamp(memory.base + binary.statement_start), place


def _executes(memory: Memory, binary: ServerBinary, layout: Layout) -> bool:
    portal = memory.pointer(memory.base + binary.address("ActivePortal"))
    if not portal:
        return False
    status = int.from_bytes(memory.read(portal + layout.portal_status, 4), "little")
    return status == PORTAL_ACTIVE


def with_what_was_asked(event: StatementStarted, binary: ServerBinary) -> StatementStarted:
    """Of what is held: where it runs before its statement does (the planner calls functions), or
    that was lost on the way, the client's text stands still in the backend's memory."""
    if not event.inside or event.asked is not None:
        return event
    text = b""
    with suppress(UnreadableError), Memory(event.backend.pid, binary.inode) as memory:
        if place := memory.pointer(memory.base + binary.address("debug_query_string")):
            text, _ = memory.text(place)
    return replace(event, asked=Asked(text))


class Memory:
    """Reads one process; every failure is an UnreadableError."""

    def __init__(self, pid: int, inode: int) -> None:
        try:
            self.base = _base(pid, inode)
            self._fd = os.open(PROC / str(pid) / "mem", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as failure:
            raise UnreadableError(f"process {pid}: {failure}") from failure

    def __enter__(self) -> Memory:
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

    def text(self, address: int) -> tuple[bytes, int]:
        """The string there, cut to TEXT_BYTES, and its length."""
        kept, length = b"", 0
        while length < LONGEST_BYTES:
            data = self.read(address + length, TEXT_BYTES)  # as much as is mapped
            end = data.find(b"\0")
            part = data if end < 0 else data[:end]
            kept += part[: TEXT_BYTES - len(kept)]
            length += len(part)
            if end >= 0 or not data:
                break
        return kept, length

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
