"""Ring buffer records to events. Pure: the clock's offset is handed in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.probes.layout import (
    APPLICATION,
    CARRY_BYTES,
    RECORD_HEAD,
    RESPONSE,
    RESPONSE_HEAD,
    RESPONSE_MEDIUM,
    RESPONSE_SMALL,
    SESSION,
    STATEMENT,
    STRANGER,
    RecordKind,
    TextState,
)
from agent.sources.responses import ResponseReader, Write
from model.event import (
    ApplicationNamed,
    Event,
    Protocol,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementStarted,
)
from model.session import BackendKey

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01, from where PostgreSQL counts, in Unix microseconds."""
PROTOCOLS = (Protocol.QUERY, Protocol.FASTPATH, Protocol.REPLICATION)
SMALL_RECORD_BYTES = RESPONSE.size + RESPONSE_SMALL
LARGE_PLACE = RESPONSE.size + CARRY_BYTES
MEDIUM_RECORD_BYTES = LARGE_PLACE + RESPONSE_MEDIUM
KIND_BYTES = 4


@dataclass(frozen=True, slots=True)
class Stranger:
    """A backend of a cluster that is not watched; its start time is the kernel's key for it."""

    pid: int
    cluster_started_us: int


@dataclass(slots=True)
class _Backend:
    """What must be remembered of a session to read its next record."""

    key: BackendKey
    session_us: int
    text: bytes = b""
    full_bytes: int = 0
    failed: bytes | None = None
    failed_requested_us: int = 0
    starts: int = 0
    endings: int = 0
    bytes_sent: int = 0
    """Of writes that said nothing; the next event carries them."""
    reader: ResponseReader = field(default_factory=ResponseReader)


class Decoder:
    """Reads the records of one ring, in order. ``cluster_name`` knows the kernel's numbers."""

    def __init__(self, cluster_name: Callable[[int], str]) -> None:
        self._cluster_name = cluster_name
        self._backends: dict[int, _Backend] = {}
        self._offset_ns = 0
        self._readers: dict[int, Callable[[bytes], Event | Stranger | None]] = {
            RecordKind.SESSION: self._session,
            RecordKind.STATEMENT: self._statement,
            RecordKind.FAILED: self._failed,
            RecordKind.RESPONSE: self._response,
            RecordKind.APPLICATION: self._application,
            RecordKind.EXIT: self._exit,
            RecordKind.STRANGER: self._stranger,
        }

    def decode(self, records: list[bytes], offset_ns: int) -> list[Event | Stranger]:
        """``offset_ns``: Unix time minus the kernel's monotonic clock."""
        self._offset_ns = offset_ns
        readers = self._readers
        events: list[Event | Stranger] = []
        for record in records:
            event = readers[record[0]](record)
            if event is not None:
                events.append(event)
        return events

    def know(self, pid: int, session_us: int) -> BackendKey:
        """A session that was open before: its first record will find it."""
        return self._backend(pid, session_us).key

    def _backend(self, pid: int, session_us: int) -> _Backend:
        backend = self._backends.get(pid)
        if backend is None or backend.session_us != session_us:
            key = BackendKey(pid, session_us + POSTGRES_EPOCH_US)
            backend = self._backends[pid] = _Backend(key, session_us)
        return backend

    def _session(self, record: bytes) -> Event:
        (_, pid, at_ns, session_us, cluster, family, port_be, address, *names) = (
            SESSION.unpack_from(record)
        )
        user, database, application = (name.split(b"\0", 1)[0] for name in names)
        shown, port = client(family, port_be, address)
        return SessionSeen(
            at_ns=at_ns + self._offset_ns,
            backend=self._backend(pid, session_us).key,
            cluster=self._cluster_name(cluster),
            user=user.decode("utf-8", "replace"),
            database=database.decode("utf-8", "replace"),
            application_name=application.decode("utf-8", "replace"),
            client_address=shown,
            client_port=port,
        )

    def _statement(self, record: bytes) -> Event:
        (_, pid, at_ns, session_us, requested_us, copied, full, protocol, depth, held, state, _) = (
            STATEMENT.unpack_from(record)
        )
        backend = self._backend(pid, session_us)
        if state == TextState.SAME:
            text, full = backend.text, backend.full_bytes
        else:
            text = record[STATEMENT.size : STATEMENT.size + copied]
            if state == TextState.UNREADABLE and protocol == 0:
                full = max(full, 1)
        if not depth:
            backend.text, backend.full_bytes = text, full
            backend.starts += 1
        return StatementStarted(
            at_ns + self._offset_ns,
            backend.key,
            text,
            full,
            requested_us + POSTGRES_EPOCH_US if requested_us else 0,
            depth,
            PROTOCOLS[protocol],
            held == 1,
            at_ns if held else 0,
        )

    def _failed(self, record: bytes) -> None:
        """The text belongs to the error in the response that follows."""
        _, pid, _, session_us, requested_us, copied, *_rest = STATEMENT.unpack_from(record)
        backend = self._backend(pid, session_us)
        backend.failed = record[STATEMENT.size : STATEMENT.size + copied]
        backend.failed_requested_us = requested_us

    def _response(self, record: bytes) -> Event | None:
        (
            _,
            pid,
            at_ns,
            session_us,
            sent,
            requested_us,
            write_bytes,
            carry_bytes,
            head_bytes,
            tail_bytes,
            index,
            aligned,
            ready,
            _,
        ) = RESPONSE.unpack_from(record)
        backend = self._backend(pid, session_us)
        place = RESPONSE.size if len(record) == SMALL_RECORD_BYTES else LARGE_PLACE
        tail_place = LARGE_PLACE + RESPONSE_HEAD
        reading = backend.reader.read(
            Write(
                head=record[place : place + head_bytes],
                tail=record[tail_place : tail_place + tail_bytes] if tail_bytes else b"",
                carry=record[RESPONSE.size : RESPONSE.size + carry_bytes] if carry_bytes else b"",
                missing_bytes=write_bytes - head_bytes - tail_bytes,
                index=index,
                aligned=aligned == 1,
                ready=ready == 1,
            )
        )
        failed, backend.failed = backend.failed, None
        backend.endings += reading.endings
        backend.bytes_sent += sent
        if reading.error is not None and failed is None and 0 < backend.starts <= backend.endings:
            # A later statement of the same string, which failed before its own execution began.
            failed = backend.text
        elif reading.error is None:
            failed = None
        elif failed is not None and backend.failed_requested_us:
            requested_us = backend.failed_requested_us
        if not (ready or reading.completions or reading.error):
            return None
        bytes_sent, backend.bytes_sent = backend.bytes_sent, 0
        if ready:
            backend.starts = backend.endings = 0
        return ResponseSent(
            at_ns + self._offset_ns,
            backend.key,
            bytes_sent,
            tuple(reading.completions),
            reading.error,
            failed,
            requested_us + POSTGRES_EPOCH_US if requested_us else 0,
            ready == 1,
            chr(record[_last_byte(place, head_bytes, tail_bytes)]) if ready else "",
        )

    def _application(self, record: bytes) -> Event:
        _, pid, at_ns, session_us, name = APPLICATION.unpack_from(record)
        shown = name.split(b"\0", 1)[0].decode("utf-8", "replace")
        return ApplicationNamed(at_ns + self._offset_ns, self._backend(pid, session_us).key, shown)

    def _exit(self, record: bytes) -> Event:
        _, pid, at_ns, session_us = RECORD_HEAD.unpack_from(record)
        backend = self._backend(pid, session_us)
        del self._backends[pid]
        return SessionEnded(at_ns + self._offset_ns, backend.key)

    def _stranger(self, record: bytes) -> Stranger:
        _, pid, _, _, started_us = STRANGER.unpack_from(record)
        return Stranger(pid, started_us)


def _last_byte(place: int, head_bytes: int, tail_bytes: int) -> int:
    if tail_bytes:
        return LARGE_PLACE + RESPONSE_HEAD + tail_bytes - 1
    return place + head_bytes - 1


def client(family: int, port_be: int, address: bytes) -> tuple[str, int]:
    """A ``sockaddr``'s numeric address and port; ``local`` for a unix socket."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[:4]), socket.ntohs(port_be)
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, address), socket.ntohs(port_be)
    return "local", 0
