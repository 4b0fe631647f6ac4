"""Ring buffer records to events. Pure: the clock's offset is handed in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from agent.clock_steps import STEP_NS, Step
from agent.probes.calls import call
from agent.probes.layout import (
    APPLICATION,
    CALL_BYTES,
    CALL_UNKNOWN,
    CARRY_BYTES,
    EXECUTION,
    PARAMETER,
    PARAMETERS,
    PARAMETERS_MANY,
    RECORD_HEAD,
    RESPONSE,
    RESPONSE_HEAD,
    RESPONSE_MEDIUM,
    RESPONSE_SMALL,
    SESSION,
    STATEMENT,
    STRANGER,
    TAIL_BYTES,
    TEXT_URGENT,
    UNKNOWN,
    FailedText,
    RecordKind,
    TextState,
)
from agent.sources.parameters import COUNT
from agent.sources.responses import READY_BYTES, ResponseReader, Write, last_completion
from agent.sources.texts import KnownTexts, Numbered
from agent.sql.decoding import decoded
from agent.sql.fastpath import text_of_call
from model.event import (
    ApplicationNamed,
    Asked,
    Event,
    Executed,
    Protocol,
    ResponseSent,
    SessionEnded,
    SessionSeen,
    StatementsExecuted,
    StatementStarted,
)
from model.session import BackendKey

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01, from where PostgreSQL counts, in Unix microseconds."""
PROTOCOLS = (Protocol.QUERY, Protocol.FASTPATH, Protocol.REPLICATION)
SMALL_RECORD_BYTES = RESPONSE.size + RESPONSE_SMALL
LARGE_PLACE = RESPONSE.size + CARRY_BYTES
MEDIUM_RECORD_BYTES = LARGE_PLACE + RESPONSE_MEDIUM
NO_KEY = bytes(16)
HELD_FIELDS = (0, 9, 10, 14, 16, 17)
"""Of a statement record: kind, copied, full, protocol, held, state."""
LOST_TEXT = b"<text not known>"
NO_TEXT = b"<text not kept by the server>"
"""Of statements in functions whose body is SQL itself (BEGIN ATOMIC, RETURN), not a string."""


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
    text: bytes = LOST_TEXT
    full_bytes: int = 0
    requested_us: int = 0
    number: int = 0
    """Of the statement with this text."""
    failed: bytes = LOST_TEXT
    """Text of a statement that failed before it began; the response is about to say how."""
    failed_bytes: int = 0
    round: int = 0
    endings: int = 0
    """Of executions in this round trip, where the kernel has not followed them."""
    bytes_sent: int = 0
    """Of writes that said nothing; the next event carries them."""
    reader: ResponseReader = field(default_factory=ResponseReader)
    bound: tuple[int, int, bytes] | None = None
    """Parameters for the next statement with this arrival time and depth."""

    def asked(self, requested_us: int) -> Asked | None:
        """What the client asked for in the message that came then, as far as it was told."""
        known = requested_us and requested_us == self.requested_us
        return Asked(self.text, self.number) if known else None

    def take_bound(self, requested_us: int, depth: int) -> bytes:
        """Those of a statement that was lost are not those of another one."""
        if self.bound is None:
            return b""
        (*key, captured), self.bound = self.bound, None
        return captured if key == [requested_us, depth] else b""


def held_text(record: bytes) -> bytes:
    """The text of a held statement, as soon as its record has come; empty where it takes more than
    this record to know it."""
    fields = STATEMENT.unpack_from(record)
    kind, copied, full, protocol, held, state = (fields[at] for at in HELD_FIELDS)
    if kind != RecordKind.STATEMENT or held != 1 or PROTOCOLS[protocol] is not Protocol.QUERY:
        return b""
    if state & ~TEXT_URGENT != TextState.WHOLE or copied != full:
        return b""
    return record[STATEMENT.size : STATEMENT.size + copied]


class Decoder:
    """Reads the records of one instance, in order. ``cluster_name`` knows the kernel's numbers;
    ``on_numbered`` is told which texts the kernel may call by number from now on.

    ``grouped``: executions of one text by one backend become one event, though others of this
    backend lie between them. Where another source must be matched with them, they may not.
    """

    def __init__(
        self,
        cluster_name: Callable[[int], str],
        on_numbered: Callable[[Numbered], None] = lambda _: None,
        *,
        grouped: bool = True,
    ) -> None:
        self._cluster_name = cluster_name
        self._on_numbered = on_numbered
        self.grouped = grouped
        self._backends: dict[int, _Backend] = {}
        self._open: dict[int, dict[tuple[object, ...], list[Executed]]] = {}
        """By pid: the groups of this batch that may still grow."""
        self._texts = KnownTexts()
        self._offset_ns = self._now_ns = 0
        self._step = Step()
        """The last one of the clock by which servers say when they were asked."""
        self._readers: dict[int, Callable[[bytes], Event | Stranger | None]] = {
            RecordKind.SESSION: self._session,
            RecordKind.STATEMENT: self._statement,
            RecordKind.NESTED: self._statement,
            RecordKind.FAILED: self._failed,
            RecordKind.RESPONSE: self._response,
            RecordKind.APPLICATION: self._application,
            RecordKind.EXIT: self._exit,
            RecordKind.STRANGER: self._stranger,
            RecordKind.PARAMETERS: self._parameters,
            RecordKind.CALL: self._call,
        }

    def decode(self, records: list[bytes], offset_ns: int, now_ns: int) -> list[Event | Stranger]:
        """``offset_ns``: Unix time minus the kernel's monotonic clock, which is at ``now_ns``."""
        if self._now_ns and abs(moved_ns := offset_ns - self._offset_ns) >= STEP_NS:
            self._step = Step((now_ns + offset_ns) // 1000, moved_ns // 1000)
        self._offset_ns, self._now_ns = offset_ns, now_ns
        self._open.clear()
        readers, execution, executed = self._readers, self._execution, int(RecordKind.EXECUTION)
        events: list[Event | Stranger] = []
        for record in records:
            kind = record[0]
            if kind == executed:
                execution(record, events)
                continue
            if self._open:
                self._open.pop(int.from_bytes(record[4:8], "little"), None)
            event = readers[kind](record)
            if event is not None:
                events.append(event)
        return events

    def text(self, number: int) -> bytes:
        """The text that the kernel calls by this number."""
        return self._texts.text(number) or LOST_TEXT

    def _execution(self, record: bytes, events: list[Event | Stranger]) -> None:
        (
            _, pid, at_ns, session_us, started_ns, requested_us, sent, key, text_bytes, text_id,
            row_limit, tail_bytes, before, urgent, continued, tail,
        ) = EXECUTION.unpack_from(record)  # fmt: skip
        done = last_completion(tail[TAIL_BYTES - tail_bytes : -READY_BYTES])
        tag, rows = (done.tag, done.rows if done.tag else row_limit) if done else ("", -1)
        offset_ns = self._offset_ns
        ended_us = (at_ns + offset_ns) // 1000
        started_us = run_us = (started_ns + offset_ns) // 1000
        preparation_us, meanwhile_us = -1, 0
        if requested_us:
            if requested_us + POSTGRES_EPOCH_US < run_us:
                started_us = requested_us + POSTGRES_EPOCH_US
                meanwhile_us = self._step.by_us if self._step.is_after(started_us) else 0
            preparation_us = max(run_us - started_us - meanwhile_us, 0)
        duration_us = max(ended_us - started_us - meanwhile_us, 0)
        one = Executed(started_us, duration_us, preparation_us, rows, sent)
        backend = self._backends.get(pid)
        if backend is None or backend.session_us != session_us:
            backend = self._backend(pid, session_us)
        captured = backend.take_bound(requested_us, 0) if backend.bound else b""
        group = (session_us, text_id or key, tag, before, tail[-1], continued)
        groups = self._open.get(pid)
        if groups is None:
            groups = self._open[pid] = {}
        executions = None if captured else groups.get(group)
        if executions is not None:
            executions.append(one)
            return
        if not self.grouped:
            groups.clear()
        if text_id:
            text = self.text(text_id)
            self._texts.used(key)
        else:
            text = record[EXECUTION.size : EXECUTION.size + text_bytes]
            self._learn(key, text, at_ns, urgent != 0)
        executions = [one]
        if not captured:
            groups[group] = executions
        transaction = _transaction(before, tail[-1])
        events.append(
            StatementsExecuted(
                backend.key,
                text,
                tag,
                transaction,
                executions,
                urgent != 0,
                captured,
                continued=continued != 0,
            )
        )

    def _learn(self, key: bytes, text: bytes, at_ns: int, urgent: bool) -> None:
        numbered = self._texts.meet(key, text, at_ns, self._now_ns, urgent)
        if numbered is not None:
            self._on_numbered(numbered)

    def know(
        self, pid: int, session_us: int, text: bytes, full_bytes: int, requested_us: int
    ) -> BackendKey:
        """A session that was open before, and what it runs: its first record will find it."""
        backend = self._backend(pid, session_us)
        if requested_us:
            backend.text, backend.full_bytes = text, full_bytes
            backend.requested_us, backend.number = requested_us, 0
        return backend.key

    @property
    def pids(self) -> list[int]:
        """Of the sessions that it knows."""
        return list(self._backends)

    def forget(self, key: BackendKey) -> None:
        """A session that has ended without a record."""
        known = self._backends.get(key.pid)
        if known is not None and known.key == key:
            del self._backends[key.pid]

    def _backend(self, pid: int, session_us: int) -> _Backend:
        backend = self._backends.get(pid)
        if backend is None or backend.session_us != session_us:
            key = BackendKey(pid, session_us + POSTGRES_EPOCH_US)
            backend = self._backends[pid] = _Backend(key, session_us)
        return backend

    def _session(self, record: bytes) -> Event:
        (
            _, pid, at_ns, session_us, naming, cluster, server_pid, family, port_be, address, *names
        ) = SESSION.unpack_from(record)  # fmt: skip
        user, database, application = (name.split(b"\0", 1)[0] for name in names)
        shown, port = client(family, port_be, address)
        return SessionSeen(
            at_ns=at_ns + self._offset_ns,
            backend=self._backend(pid, session_us).key,
            cluster=self._cluster_name(cluster),
            user=decoded(user),
            database=decoded(database),
            application_name=decoded(application),
            client_address=shown,
            client_port=port,
            naming=naming,
            server_pid=server_pid,
        )

    def _statement(self, record: bytes) -> Event:
        (
            kind, pid, at_ns, session_us, requested_us, key, skeleton, planned, touched, copied,
            full, text_id, row_limit, naming, protocol, depth, held, state, planned_list, quiet,
            evades, part, number, round, continued,
        ) = STATEMENT.unpack_from(record)  # fmt: skip
        backend = self._backend(pid, session_us)
        urgent, state = state >= TEXT_URGENT, state & ~TEXT_URGENT
        if state == TextState.SAME:
            text, full = backend.text, backend.full_bytes
        elif state == TextState.KNOWN:
            text = self.text(text_id)
            full = len(text)
            self._texts.used(key)
        else:
            text = record[STATEMENT.size : STATEMENT.size + copied]
            if state == TextState.UNREADABLE and PROTOCOLS[protocol] is not Protocol.FASTPATH:
                full = max(full, 1)
        if PROTOCOLS[protocol] is Protocol.FASTPATH:
            text, row_limit = text_of_call(row_limit), 0
            full = len(text)
        nested = kind == RecordKind.NESTED
        if nested:
            if state == TextState.WHOLE and key != NO_KEY and text:
                self._learn(key, text, at_ns, urgent)
            text, full = _piece(text, full)
        elif not depth:
            backend.text, backend.full_bytes = text, full
            backend.requested_us, backend.number = requested_us, number
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
            row_limit,
            naming,
            key if key != NO_KEY else b"",
            skeleton if held and skeleton != NO_KEY else b"",
            nested,
            urgent,
            backend.take_bound(requested_us, depth),
            planned if held else 0,
            planned_list == 1,
            touched,
            quiet == 1,
            evades=evades if held else 0,
            part=part if held else 0,
            round=round,
            number=number,
            continued=continued != 0,
            asked=backend.asked(requested_us) if nested or depth else None,
        )

    def _call(self, record: bytes) -> Event:
        """A function that is probed itself, as a statement that calls it with these texts."""
        (
            _, pid, at_ns, session_us, requested_us, key, _, _, touched, first, second, _, number,
            naming, _, depth, held, state, _, quiet, *_,
        ) = STATEMENT.unpack_from(record)  # fmt: skip
        at = STATEMENT.size
        given, value = (
            None if length == CALL_UNKNOWN else record[place : place + length]
            for length, place in ((first, at), (second, at + CALL_BYTES))
        )
        called = call(number)
        text, keyed = called.sql(given, value)
        backend = self._backend(pid, session_us)
        return StatementStarted(
            at_ns + self._offset_ns,
            backend.key,
            text,
            len(text),
            requested_us + POSTGRES_EPOCH_US if requested_us else 0,
            depth,
            held=held == 1,
            hold_id=at_ns if held else 0,
            naming=naming,
            text_key=key if keyed and key != NO_KEY else b"",
            nested=True,
            urgent=state >= TEXT_URGENT,
            touched=touched,
            quiet=quiet == 1,
            calls=called.name,
            asked=backend.asked(requested_us),
        )

    def _parameters(self, record: bytes) -> None:
        _, pid, _, session_us, requested_us, count, depth = PARAMETERS.unpack_from(record)
        end = PARAMETERS.size + min(count, PARAMETERS_MANY) * PARAMETER.size
        captured = record[PARAMETERS.size - COUNT.size : end]
        self._backend(pid, session_us).bound = requested_us, depth, captured

    def _failed(self, record: bytes) -> None:
        """The text belongs to the error in the response that follows."""
        _, pid, _, session_us, _, _, _, _, _, copied, full, *_rest = STATEMENT.unpack_from(record)
        backend = self._backend(pid, session_us)
        backend.failed = record[STATEMENT.size : STATEMENT.size + copied]
        backend.failed_bytes = full

    def _response(self, record: bytes) -> Event | None:
        (
            _,
            pid,
            at_ns,
            session_us,
            sent,
            requested_us,
            starts,
            round,
            write_bytes,
            begins,
            ended,
            carry_bytes,
            head_bytes,
            tail_bytes,
            index,
            walsender,
            ready,
            before,
            failing,
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
                begins=-1 if begins == UNKNOWN else begins,
                ready=ready == 1,
                failed=failing != FailedText.NONE,
            )
        )
        if round != backend.round:
            backend.round, backend.endings = round, 0
        backend.endings += reading.endings
        counted = ended != UNKNOWN
        # Of a text that came without its response the kernel counts the statement as lost.
        failed = backend.failed if failing in (FailedText.TOLD, FailedText.LOST) else None
        failed_bytes = backend.failed_bytes
        backend.failed, backend.failed_bytes = LOST_TEXT, 0
        backend.bytes_sent += sent
        if reading.error is None:
            failed = None
        elif (failing == FailedText.SAME or walsender) and (
            0 < starts <= (ended if counted else backend.endings)
        ):
            # A later statement of the same string, which failed before its own execution began.
            failed, failed_bytes = LOST_TEXT, 0
            if requested_us == backend.requested_us:
                failed, failed_bytes = backend.text, backend.full_bytes
        if not (counted or ready or walsender):
            # We came in the middle of its round trip: whose they are will not be known.
            reading.completions.clear()
        if not (ready or reading.completions or reading.error):
            return None
        bytes_sent, backend.bytes_sent = backend.bytes_sent, 0
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
            chr(before) if before else "",
            round,
            starts,
            ended if counted else -1,
            tuple(ended - reading.endings + each for each in reading.numbers) if counted else (),
            failing == FailedText.LATER,
            failed_bytes if failed else 0,
        )

    def _application(self, record: bytes) -> Event:
        _, pid, at_ns, session_us, naming, _, name = APPLICATION.unpack_from(record)
        shown = decoded(name.split(b"\0", 1)[0])
        key = self._backend(pid, session_us).key
        return ApplicationNamed(at_ns + self._offset_ns, key, shown, naming)

    def _exit(self, record: bytes) -> Event:
        _, pid, at_ns, session_us = RECORD_HEAD.unpack_from(record)
        backend = self._backend(pid, session_us)
        del self._backends[pid]
        return SessionEnded(at_ns + self._offset_ns, backend.key)

    def _stranger(self, record: bytes) -> Stranger:
        _, pid, _, _, started_us = STRANGER.unpack_from(record)
        return Stranger(pid, started_us)


def _piece(text: bytes, full_bytes: int) -> tuple[bytes, int]:
    """A statement as it stands in a longer text, without the space around it."""
    if not text:
        return NO_TEXT, len(NO_TEXT)
    stripped = text.strip()
    return stripped, full_bytes - len(text) + len(stripped)


def _last_byte(place: int, head_bytes: int, tail_bytes: int) -> int:
    if tail_bytes:
        return LARGE_PLACE + RESPONSE_HEAD + tail_bytes - 1
    return place + head_bytes - 1


@lru_cache(1024)
def _transaction(before: int, after: int) -> str:
    return (chr(before) if before else "?") + chr(after)


def client(family: int, port_be: int, address: bytes) -> tuple[str, int]:
    """A ``sockaddr``'s numeric address and port; ``local`` for a unix socket."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[:4]), socket.ntohs(port_be)
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, address), socket.ntohs(port_be)
    return "local", 0
