"""csvlog: quoted fields that may span lines; 23 columns in PostgreSQL 12, 24 in 13, 26 since 14.

Only some of the first 14 and the 23rd are read, and those have never moved.
"""

import re
from collections import Counter

from agent.sources.pgaudit import logins
from agent.sources.pgaudit.lines import MAX_RECORD_BYTES, Line, LineSplitter
from agent.sources.pgaudit.records import (
    LogClock,
    LogRecord,
    client_address,
    session_id_parts,
)
from agent.sql.decoding import decoded

COLUMN_COUNTS = frozenset((23, 24, 26))
_USER, _DATABASE, _CLIENT, _SESSION_ID = 1, 2, 4, 5
_SEVERITY, _MESSAGE, _APPLICATION = 11, 13, 22

_FIELD = re.compile(rb'(?:"((?:[^"]++|"")*+)"|([^",]*+))(,|\Z)')

# The head of a record that a client backend wrote: a time, then the user in quotes. Inside an open
# quoted field every quote is doubled, so no client can write this: it is the safe place to go on
# after damage. (A background process has no user; its records are of no interest here.)
_HEAD = re.compile(
    rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,"\n]{1,10},"[^",]',
)


class CsvlogParser:
    """``resume``: the first byte may be inside a record, so skip to the next head."""

    def __init__(
        self, clock: LogClock, max_record_bytes: int = MAX_RECORD_BYTES, resume: bool = False
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.end = 0
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._lines = LineSplitter(max_record_bytes)
        self._record = bytearray()
        self._open = False
        self._dropped = 0
        self._lost = resume

    def feed(self, data: bytes) -> list[LogRecord]:
        records = []
        for line in self._lines.feed(data):
            if (record := self._observe(line)) is not None:
                records.append(record)
            if not self._open:
                self.end = line.end
        return records

    def finish(self) -> None:
        if self._lines.half_bytes or self._open:
            self.skipped["half_record_at_end"] += 1

    def _observe(self, line: Line) -> LogRecord | None:
        head = bool(_HEAD.match(line.data)) if (self._lost or self._open) else False
        if self._lost and not head:
            return None
        if head:
            if self._open:
                self.skipped["damaged_record"] += 1
            self._lost = False
            self._forget()
        self._append(line)
        if (line.data.count(b'"') + line.dropped_quotes) % 2:
            self._open = not self._open
        return None if self._open else self._complete(line.end)

    def _append(self, line: Line) -> None:
        data = b"\n" + line.data if self._open else line.data
        room = 0 if self._dropped else max(self._max_record_bytes - len(self._record), 0)
        self._record += data[:room]
        self._dropped += line.dropped + max(len(data) - room, 0)

    def _forget(self) -> None:
        self._record.clear()
        self._open = False
        self._dropped = 0

    def _complete(self, end: int) -> LogRecord | None:
        data, missing_bytes = bytes(self._record), self._dropped
        self._forget()
        if not logins.may_tell(data):
            return None
        fields = _fields(data, cut=missing_bytes > 0)
        if fields is None:
            # From here the state of the quotes is not known.
            self.skipped["damaged_record"] += 1
            self._lost = True
            return None
        if not missing_bytes and len(fields) not in COLUMN_COUNTS:
            self.skipped["unknown_columns"] += 1
            return None
        if missing_bytes:
            self.skipped["record_cut"] += 1
        if len(fields) <= _MESSAGE or not logins.tells(fields[_SEVERITY], fields[_MESSAGE]):
            return None
        return self._record_of(fields, end, missing_bytes)

    def _record_of(self, fields: list[bytes], end: int, missing_bytes: int) -> LogRecord | None:
        started_at_seconds, pid = session_id_parts(decoded(fields[_SESSION_ID]))
        if not pid:
            self.skipped["damaged_record"] += 1
            return None
        host = decoded(fields[_CLIENT])
        if not host.startswith("["):
            host = host.rpartition(":")[0]
        return LogRecord(
            at_ns=self._clock.parse_ns(decoded(fields[0])),
            pid=pid,
            started_at_seconds=started_at_seconds,
            user=decoded(fields[_USER]),
            database=decoded(fields[_DATABASE]),
            application_name=decoded(fields[_APPLICATION]) if len(fields) > _APPLICATION else "",
            client_address=client_address(host),
            message=fields[_MESSAGE],
            end=end,
            missing_bytes=missing_bytes,
        )


def _fields(data: bytes, *, cut: bool) -> list[bytes] | None:
    """The fields of one record, None when its quotes make no sense.

    A cut record's last field is given as far as it goes.
    """
    fields = []
    position = 0
    while found := _FIELD.match(data, position):
        quoted, plain, comma = found.groups()
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"'))
        position = found.end()
        if not comma:
            return fields
    if cut and data[position : position + 1] == b'"':
        return [*fields, data[position + 1 :].replace(b'""', b'"')]
    return None
