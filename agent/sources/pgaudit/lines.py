"""Bytes in any pieces to whole lines, within a bound."""

from typing import NamedTuple

MAX_RECORD_BYTES = 1 << 20


class Line(NamedTuple):
    data: bytes
    """Without its newline; at most the bound."""
    end: int
    """Offset of the byte after the newline, counted from the first byte that was fed."""
    dropped: int = 0
    """Bytes over the bound, not kept."""
    dropped_quotes: int = 0
    """Double quotes among them: csvlog needs their parity to find the record's end."""


class LineSplitter:
    """Keeps a half line until the rest of it comes."""

    def __init__(self, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._half = bytearray()
        self._dropped = 0
        self._dropped_quotes = 0
        self._end = 0

    @property
    def half_bytes(self) -> int:
        """Bytes of the line that is not finished yet."""
        return len(self._half) + self._dropped

    def feed(self, data: bytes) -> list[Line]:
        lines = []
        start = 0
        while (newline := data.find(b"\n", start)) >= 0:
            self._keep(data[start:newline])
            start = newline + 1
            lines.append(self._finish())
        self._keep(data[start:])
        return lines

    def _keep(self, part: bytes) -> None:
        room = self._max_bytes - len(self._half)
        self._half += part[:room] if len(part) > room else part
        if len(part) > room:
            self._dropped += len(part) - room
            self._dropped_quotes += part.count(b'"', room)

    def _finish(self) -> Line:
        self._end += len(self._half) + self._dropped + 1
        line = Line(bytes(self._half), self._end, self._dropped, self._dropped_quotes)
        self._half.clear()
        self._dropped = self._dropped_quotes = 0
        return line
