"""What every log format gives: a record that carries a pgaudit message or a refused login."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple, Protocol

AUDIT_MARK = b"AUDIT: "


class LogRecord(NamedTuple):
    """One log record whose message begins with ``AUDIT: `` or tells of a refused login (logins.py);
    empty strings are not known."""

    at_ns: int
    """0 where the line's time cannot be understood."""
    pid: int
    started_at_seconds: int
    """Start of the backend, 0 where the line does not carry it."""
    user: str
    database: str
    application_name: str
    client_address: str
    """``local`` for a unix socket."""
    message: bytes
    """Byte for byte as the server wrote it."""
    end: int
    """Offset after the record, counted from the parser's first byte."""
    precision_ns: int = 1_000_000
    """``at_ns`` is cut to it: to milliseconds in all formats, with %t in a prefix to seconds."""
    missing_bytes: int = 0
    """So many were over the bound, in ``message`` and behind it."""


class RecordParser(Protocol):
    """An incremental parser of one file. What it leaves out is counted in ``skipped``."""

    skipped: Counter[str]
    end: int
    """Everything before this offset has been given out or counted."""

    def feed(self, data: bytes) -> list[LogRecord]: ...

    def finish(self) -> None:
        """No more bytes will come: counts what was kept."""
        ...


def client_address(host: str) -> str:
    return "local" if host == "[local]" else host


def session_id_parts(value: str) -> tuple[int, int]:
    """``6b043c2a.245d`` -> (start in Unix seconds, pid); (0, 0) when it is no session id."""
    seconds, _, pid = value.partition(".")
    try:
        return int(seconds, 16), int(pid, 16)
    except ValueError:
        return 0, 0


_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? ?(\S*)\Z", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d)(?::?(\d\d))?\Z", re.ASCII)


class LogClock:
    """Reads log timestamps. They name the zone by an abbreviation, which alone says little
    (``IST`` is three zones), so the server's ``log_timezone`` is wanted for all but UTC.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._second = ""
        self._second_ns = 0

    def parse_ns(self, text: str) -> int:
        """``2026-11-23 13:14:18.702 CET`` -> Unix nanoseconds, 0 when it is not a time."""
        fraction = text[20:23]
        plain = text[19:20] == "." and fraction.isascii() and fraction.isdigit()
        if plain and text[:19] + text[23:] == self._second:
            return self._second_ns + _fraction_ns(fraction)
        found = _TIME.match(text)
        if found is None:
            return 0
        *numbers, fraction, abbreviation = found.groups()
        try:
            local = datetime(*(int(number) for number in numbers))  # type: ignore[arg-type]
        except ValueError:
            return 0
        second_ns = int(self._resolve(local, abbreviation).timestamp()) * 1_000_000_000
        self._second, self._second_ns = text[:19] + text[23:], second_ns
        return second_ns + _fraction_ns(fraction or "")

    def _resolve(self, local: datetime, abbreviation: str) -> datetime:
        if abbreviation in ("UTC", "GMT", "Z"):
            return local.replace(tzinfo=UTC)
        if offset := _OFFSET.match(abbreviation):
            sign = -1 if offset[1] == "-" else 1
            delta = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
            return local.replace(tzinfo=timezone(sign * delta))
        first = local.replace(tzinfo=self._zone, fold=0)
        # The hour that the autumn clock change repeats: only the abbreviation tells which one.
        second = local.replace(tzinfo=self._zone, fold=1)
        return second if second.tzname() == abbreviation != first.tzname() else first


def _fraction_ns(digits: str) -> int:
    return int(digits.ljust(9, "0")) if digits else 0
