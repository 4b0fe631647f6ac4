"""What libpq receives, as it writes it down itself: each message with its length."""

import re
from pathlib import Path

from psycopg import pq

from tests.conformance.expected import RoundTrip

_MESSAGE = re.compile(r"B\t(\d+)\t(\w+)(?:\t (\w))?")
TYPE_BYTES = 1
"""The length of a message counts itself, but not the letter before it."""


class Trace:
    """Hears a connection from now on."""

    def __init__(self, connection: pq.abc.PGconn, folder: Path) -> None:
        number = len(list(folder.glob("trace*")))
        path = folder / f"trace{number}"
        self._written = path.open("w")
        self._lines = path.open(errors="replace")
        self._bytes = 0
        self._rest = ""
        self._connection = connection
        self._listen()

    def _listen(self) -> None:
        self._connection.trace(self._written.fileno())
        self._connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)

    def heard(self) -> list[RoundTrip]:
        trips = []
        self._connection.untrace()  # which writes down what libpq still has in its buffer
        if self._connection.status == pq.ConnStatus.OK:
            self._listen()
        *lines, self._rest = (self._rest + self._lines.read()).split("\n")
        for match in filter(None, map(_MESSAGE.match, lines)):
            length, kind, status = match.groups()
            self._bytes += TYPE_BYTES + int(length)
            if kind == "ReadyForQuery":
                trips.append(RoundTrip(self._bytes, status))
                self._bytes = 0
        return trips
