"""jsonlog (PostgreSQL 15 and later): one JSON object a line."""

import json
import re
from collections import Counter
from typing import Any

import orjson

from agent.sources.pgaudit import logins
from agent.sources.pgaudit.lines import MAX_RECORD_BYTES, Line, LineSplitter
from agent.sources.pgaudit.records import (
    LogClock,
    LogRecord,
    client_address,
    session_id_parts,
)
from agent.sql.decoding import decoded

_HALF_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


class JsonlogParser:
    def __init__(self, clock: LogClock, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self.skipped: Counter[str] = Counter()
        self.end = 0
        self._clock = clock
        self._lines = LineSplitter(max_record_bytes)

    def feed(self, data: bytes) -> list[LogRecord]:
        records = []
        for line in self._lines.feed(data):
            self.end = line.end
            if logins.may_tell(line.data) and (record := self._parse(line)) is not None:
                records.append(record)
        return records

    def finish(self) -> None:
        if self._lines.half_bytes:
            self.skipped["half_record_at_end"] += 1

    def _parse(self, line: Line) -> LogRecord | None:
        fields = _object(_closed(line.data) if line.dropped else line.data)
        if fields is None:
            self.skipped["damaged_record"] += 1
            return None
        if line.dropped:
            self.skipped["record_cut"] += 1
        message = _bytes(fields.get("message"))
        if not logins.tells(_bytes(fields.get("error_severity")), message):
            return None
        started_at_seconds, pid = session_id_parts(_text(fields.get("session_id")))
        return LogRecord(
            at_ns=self._clock.parse_ns(_text(fields.get("timestamp"))),
            pid=pid or _number(fields.get("pid")),
            started_at_seconds=started_at_seconds,
            user=_text(fields.get("user")),
            database=_text(fields.get("dbname")),
            application_name=_text(fields.get("application_name")),
            client_address=client_address(_text(fields.get("remote_host"))),
            message=message,
            end=line.end,
            missing_bytes=line.dropped,
        )


def _closed(data: bytes) -> bytes:
    """A cut record ends inside ``message``, the only long field: close the string and object."""
    return _HALF_ESCAPE.sub(lambda found: found[0][: -len(found[1])], data) + b'"}'


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        # A server in SQL_ASCII writes whatever bytes its clients sent.
        try:
            value = json.loads(data.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _bytes(value: object) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else b""


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else decoded(_bytes(value))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
