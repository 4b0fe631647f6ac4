"""What the server told its client, read from the protocol bytes of ``secure_write``. Pure.

Writes are blocks of a stream: a message can begin in one and end in the next. The kernel program
follows the messages, copies the writes in which statements end, and says for each where its first
message begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from struct import Struct

from agent.probes.layout import SEND_BUFFER_BYTES
from agent.sql.decoding import decoded
from agent.sql.messages import WITHHELD
from model.event import Completion, ErrorReport

MESSAGE = Struct(">BI")
MESSAGE_BYTES = 5
READY_BYTES = 6
PARTIAL_BYTES = 16384
"""A cut CommandComplete or ErrorResponse is kept up to here; nothing else is."""
COMMAND_COMPLETE, ERROR_RESPONSE = ord("C"), ord("E")
PORTAL_SUSPENDED, CALL_RESPONSE = ord("s"), ord("V")
SUSPENDED = Completion("", -1)
"""The portal has more rows than were asked for: there is no tag yet."""
SUSPENDED_MESSAGE = b"s\0\0\0\4"
COMPLETE_START = b"C\0\0\0"
SHORT_MESSAGES = tuple(tag + b"\0\0\0\4" for tag in (b"1", b"2", b"3", b"n", b"I"))
LATE_STARTS = (b"S\0\0", b"A\0\0")
"""ParameterStatus and NotificationResponse."""
LATE_BYTES = 1024
"""Longer ones are not looked for."""
TAGS_KNOWN = 4096

TAG_AT_END = re.compile(rb"C\x00\x00\x00(.)([A-Z][A-Z ]*[0-9 ]*)\x00\Z", re.DOTALL)
TAG = re.compile(rb"([A-Z][A-Z ]*?)(?: (\d+))?(?: (\d+))?")
TAG_WINDOW = 80
"""The longest tag has 64 bytes."""
ERROR_FIELDS = re.compile(
    rb"V(DEBUG|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC)\x00C([0-9A-Z]{5})\x00M([^\x00]*)"
)
ROUTINE = re.compile(rb"\x00R([^\x00]*)\x00\x00\Z")
"""The last field; missing where the end of a long one is not kept."""
APPLICATIONS_WORDS = frozenset(("exec_stmt_raise", "exec_stmt_assert"))
"""PL/pgSQL may use PostgreSQL's words and SQLSTATE, with any value in a name's place."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a backend. ``head`` and ``tail`` hold all of it when ``tail`` is empty and
    ``missing_bytes`` is 0; ``carry`` is the end of an earlier write that was not copied."""

    head: bytes
    tail: bytes
    carry: bytes
    missing_bytes: int
    index: int
    begins: int
    """Where its first message begins; -1 unknown."""
    ready: bool
    failed: bool = False
    """An error is known to end in it."""

    @property
    def full(self) -> bool:
        """It was not flushed on purpose, and ends within a message or where one happens to end."""
        written_bytes = len(self.head) + len(self.tail) + self.missing_bytes
        return not self.ready and written_bytes >= SEND_BUFFER_BYTES


@dataclass(slots=True)
class Reading:
    """What one write says."""

    completions: list[Completion] = field(default_factory=list)
    error: ErrorReport | None = None
    numbers: list[int] = field(default_factory=list)
    """Of each completion among all endings of this write, from 1."""
    endings: int = 0

    def add(self, done: Completion | None) -> None:
        """None: it has no tag (of a fastpath call)."""
        self.endings += 1
        if done is not None:
            self.completions.append(done)
            self.numbers.append(self.endings)


@dataclass(slots=True)
class ResponseReader:
    """Follows the responses of one backend."""

    _partial: bytes = b""
    _error: ErrorReport | None = None
    """Of a message so long that it is not kept until its end comes."""
    _next: int = -1
    """Index of the write in which the part that is kept goes on."""

    def read(self, write: Write) -> Reading:
        reading = Reading()
        kept, self._partial = self._partial, b""
        if kept and write.index == self._next and write.begins:
            self._walk(kept + write.head, 0, write.missing_bytes, reading)
        elif write.begins >= 0:
            self._walk(write.head, write.begins, write.missing_bytes, reading)
        elif not write.full:
            _read_end(write.carry + write.head, write.ready, reading)
        if write.tail and not write.full:
            _read_end(write.tail, write.ready, reading)
        if self._error and (write.failed or write.begins < 0):
            reading.error, self._error = reading.error or self._error, None
        self._next = (write.index + 1) & 0xFFFF
        return reading

    def _walk(self, data: bytes, position: int, missing_bytes: int, reading: Reading) -> None:
        end = len(data)
        while position + MESSAGE_BYTES <= end:
            tag, length = MESSAGE.unpack_from(data, position)
            following = position + 1 + length
            if following > end:
                break
            if tag == COMMAND_COMPLETE:
                reading.add(completion(data[position + MESSAGE_BYTES : following - 1]))
            elif tag == PORTAL_SUSPENDED:
                reading.add(SUSPENDED)
            elif tag == CALL_RESPONSE:
                reading.add(None)
            elif tag == ERROR_RESPONSE:
                reading.error = error_report(data[position + MESSAGE_BYTES : following])
            position = following
        self._keep(data[position:], missing_bytes)

    def _keep(self, rest: bytes, missing_bytes: int) -> None:
        """Remember the message that goes on in the next write, if it ends a statement."""
        if len(rest) < MESSAGE_BYTES:
            self._partial = b"" if missing_bytes else rest
            return
        tag, length = MESSAGE.unpack_from(rest)
        if tag not in (COMMAND_COMPLETE, ERROR_RESPONSE):
            return
        if 1 + length <= PARTIAL_BYTES and not missing_bytes:
            self._partial = rest
        elif tag == ERROR_RESPONSE:
            # It quotes a long literal: the fields that count come first.
            self._error = error_report(rest[MESSAGE_BYTES:])


def _read_end(data: bytes, ready: bool, reading: Reading) -> None:
    """The last CommandComplete or ErrorResponse of a write whose beginning is unknown.

    Only what ends exactly where the write ends (before ReadyForQuery) counts, and only in a write
    that was flushed on purpose: rows hold bytes of the client's choice, and must not pass for a
    message.
    """
    body = _without_late(data[:-READY_BYTES]) if ready else data
    match = TAG_AT_END.search(body[-TAG_WINDOW:])
    if match and match.group(1)[0] == 4 + len(match.group(2)) + 1:
        reading.add(completion(match.group(2)))
        return
    if ready and body.endswith(SUSPENDED_MESSAGE):
        reading.add(SUSPENDED)
    if not ready and body.endswith(b"\0\0"):
        found = None
        for found in ERROR_FIELDS.finditer(body):  # noqa: B007 - the last one is meant
            pass
        if found:
            reading.error = _report(found, body)


def _without_late(body: bytes) -> bytes:
    """Up to the message that ends the last statement. Behind it the server still tells of settings
    that have changed (since 14 only there), of notifications and of messages with no statement."""
    while True:
        late_bytes = MESSAGE_BYTES if body.endswith(SHORT_MESSAGES) else _late_bytes(body)
        if not late_bytes:
            return body
        body = body[:-late_bytes]


def _late_bytes(body: bytes) -> int:
    """How long the message is that ends ``body``, if it is one of those; else 0."""
    window = body[-LATE_BYTES:]
    for begins in LATE_STARTS:
        start = window.rfind(begins, 0, -MESSAGE_BYTES)
        while start >= 0:
            length: int = 1 + MESSAGE.unpack_from(window, start)[1]
            if start + length == len(window):
                return length
            start = window.rfind(begins, 0, start)
    return 0


def last_completion(body: bytes) -> Completion | None:
    """How the statement ended whose answer ends with ``body`` (ReadyForQuery cut off): for an
    answer that is known to hold no error. None where it ends neither way."""
    start = body.rfind(COMPLETE_START, 0, len(body) - 1)  # its length is in the byte behind it
    while start >= 0:
        if start + 1 + body[start + 4] == len(body):
            return completion(body[start + MESSAGE_BYTES : -1])
        start = body.rfind(COMPLETE_START, 0, start)
    return SUSPENDED if body.endswith(SUSPENDED_MESSAGE) else None


_known_tags: dict[bytes, Completion] = {}


def completion(tag: bytes) -> Completion:
    """``INSERT 0 5`` -> INSERT, 5. Tags repeat: those without surprising counts are remembered."""
    known = _known_tags.get(tag)
    if known is not None:
        return known
    match = TAG.fullmatch(tag)
    if match is None:
        return Completion(tag.decode("utf-8", "replace"), -1)
    count = match.group(3) or match.group(2)
    made = Completion(match.group(1).decode(), int(count) if count else -1)
    if len(_known_tags) < TAGS_KNOWN:
        _known_tags[tag] = made
    return made


def error_report(fields: bytes) -> ErrorReport | None:
    """Severity (V, never translated), SQLSTATE, primary message and routine; None for no such
    thing."""
    match = ERROR_FIELDS.search(fields)
    return _report(match, fields) if match else None


def _report(match: re.Match[bytes], fields: bytes) -> ErrorReport:
    severity, sqlstate, message = match.groups()
    found = ROUTINE.search(fields, match.end())
    routine = decoded(found.group(1)) if found else ""
    words = WITHHELD if routine in APPLICATIONS_WORDS else decoded(message)
    return ErrorReport(severity.decode(), sqlstate.decode(), words, routine)
