"""The plain text log: ``log_line_prefix``, severity, message; further lines begin with a tab.

It is the weakest of the three formats: the names of user and database (``%u``, ``%d``) are printed
as they came in the start-up packet, with ends of lines in them, before anybody has logged in. So
who can open a connection can imitate whole records of others. Prefer jsonlog or csvlog.
"""

import re
from collections import Counter

from agent.sources.pgaudit import logins
from agent.sources.pgaudit.lines import MAX_RECORD_BYTES, Line, LineSplitter
from agent.sources.pgaudit.records import (
    AUDIT_MARK,
    LogClock,
    LogRecord,
    client_address,
    session_id_parts,
)
from agent.sql.decoding import decoded

_TIMESTAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \S+"
_ESCAPES = {
    "a": r"(?P<a>.*?)",
    "b": r"[a-z ]*?",
    "c": r"(?P<c>[0-9a-f]+\.[0-9a-f]+)",
    "d": r"(?P<d>.*?)",
    "e": r"[0-9A-Z]{5}",
    "h": r"(?P<h>\S*?)",
    "i": r"[A-Za-z ]*?",
    "l": r"\d+",
    "L": r"\S*?",
    "m": rf"(?P<m>{_TIMESTAMP})",
    "n": r"(?P<n>\d+\.\d+)",
    "p": r"(?P<p>\d+)",
    "P": r"\d*",
    "Q": r"-?\d+",
    "r": r"(?P<h>\S*?)(?:\(\d*\))?",
    "s": rf"(?P<s>{_TIMESTAMP})",
    "t": rf"(?P<m>{_TIMESTAMP})",
    "u": r"(?P<u>.*?)",
    "v": r"(?:\d+/\d+)?",
    "x": r"\d+",
}
_TOKEN = re.compile(r"%(-?\d+)?(.)|([^%]+)|(%)", re.DOTALL)


class PrefixError(ValueError):
    """The server's log_line_prefix does not say which backend wrote a line."""


def compile_prefix(prefix: str) -> re.Pattern[bytes]:
    """The pattern of a whole line: prefix, severity, SQLSTATE (verbose logs), message.

    Raises PrefixError when the prefix has neither ``%p`` nor ``%c``.
    """
    parts: list[str] = []
    seen: set[str] = set()
    for width, escape, literal, _ in _TOKEN.findall(prefix):
        if literal:
            parts.append(re.escape(literal))
        elif escape == "%":
            parts.append("%")
        elif escape in _ESCAPES:
            parts.append(_padded(width, _named_once(_ESCAPES[escape], seen)))
        # %q and unknown escapes print nothing: an AUDIT line always comes from a session.
    if not seen & {"p", "c"}:
        raise PrefixError(
            f"log_line_prefix {prefix!r} has neither %p nor %c, so no line says which backend "
            "wrote it; remedy: ALTER SYSTEM SET log_line_prefix = '%m [%p] %c %q%u@%d ';"
        )
    tail = r"(?P<severity>[^\s:]+): {1,2}(?:(?!AUDIT)[0-9A-Z]{5}: )?(?P<message>.*)\Z"
    return re.compile(("".join(parts) + tail).encode(), re.DOTALL)


def _named_once(pattern: str, seen: set[str]) -> str:
    for name in re.findall(r"\?P<(\w)>", pattern):
        if name in seen:
            pattern = pattern.replace(f"?P<{name}>", "?:")
        seen.add(name)
    return pattern


def _padded(width: str, pattern: str) -> str:
    return rf" *{pattern} *" if width else pattern


class StderrParser:
    def __init__(
        self, clock: LogClock, prefix: str, max_record_bytes: int = MAX_RECORD_BYTES
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.end = 0
        self._clock = clock
        self._pattern = compile_prefix(prefix)
        self._max_record_bytes = max_record_bytes
        self._lines = LineSplitter(max_record_bytes)
        self._record = bytearray()
        self._open = False
        self._quotes = 0
        self._dropped = 0

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
        if line.data.startswith(b"\t"):
            if not self._open:
                return None  # the rest of a record that is not pgaudit's
            self._append(b"\n" + line.data[1:], line)
        else:
            if self._open:
                self.skipped["damaged_record"] += 1
            self._open = False
            if not logins.may_tell(line.data):
                return None
            self._start(line)
        return self._complete(line.end) if self._quotes % 2 == 0 else None

    def _start(self, line: Line) -> None:
        self._record.clear()
        self._dropped = 0
        self._open = True
        self._append(line.data, line)
        # pgaudit quotes whatever holds a newline, so the record is whole when the quotes after the
        # mark are balanced: no need to wait for the next record's first line.
        # What tells of a login is one line.
        mark = line.data.find(AUDIT_MARK)
        self._quotes = line.data.count(b'"', mark) + line.dropped_quotes if mark >= 0 else 0

    def _append(self, data: bytes, line: Line) -> None:
        room = 0 if self._dropped else max(self._max_record_bytes - len(self._record), 0)
        self._record += data[:room]
        self._dropped += line.dropped + max(len(data) - room, 0)
        self._quotes += data.count(b'"') + line.dropped_quotes

    def _complete(self, end: int) -> LogRecord | None:
        self._open = False
        found = self._pattern.match(bytes(self._record))
        if found is None:
            if AUDIT_MARK in self._record:
                self.skipped["prefix_does_not_match"] += 1
            return None
        values = found.groupdict(b"")
        if not logins.tells(values["severity"], values["message"]):
            return None
        if self._dropped:
            self.skipped["record_cut"] += 1
        started_at_seconds, pid = session_id_parts(decoded(values.get("c", b"")))
        return LogRecord(
            at_ns=self._at_ns(values),
            pid=pid or int(values.get("p", b"0")),
            started_at_seconds=started_at_seconds or self._started_at_seconds(values),
            user=_known(values.get("u", b"")),
            database=_known(values.get("d", b"")),
            application_name=_known(values.get("a", b"")),
            client_address=client_address(_known(values.get("h", b""))),
            message=values["message"],
            end=end,
            precision_ns=_precision_ns(values),
            missing_bytes=self._dropped,
        )

    def _at_ns(self, values: dict[str, bytes]) -> int:
        if epoch := values.get("n"):
            seconds, _, fraction = epoch.partition(b".")
            return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, b"0")[:9])
        return self._clock.parse_ns(decoded(values.get("m", b"")))

    def _started_at_seconds(self, values: dict[str, bytes]) -> int:
        return self._clock.parse_ns(decoded(values.get("s", b""))) // 1_000_000_000


def _precision_ns(values: dict[str, bytes]) -> int:
    """%t and %m look alike but for the fraction; %n has one always."""
    return 1_000_000 if values.get("n") or b"." in values.get("m", b".") else 1_000_000_000


def _known(value: bytes) -> str:
    text = decoded(value).rstrip(" ")
    return "" if text == "[unknown]" else text
