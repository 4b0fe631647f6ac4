"""The wire protocol by hand, for what drivers do not send: row limits, function calls, one Sync."""

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

from tests.conformance.expected import RoundTrip
from tests.conformance.place import DATABASE, USER, Place

PROTOCOL_3 = 196608
READ_SECONDS = 20


class Wire:
    """One connection without TLS. Messages are collected and sent by ``send``."""

    def __init__(self, place: Place, **startup: str) -> None:
        if place.transport == "socket":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(f"{place.host}/.s.PGSQL.{place.port}")
        else:
            self._socket = socket.create_connection((place.host, place.port))
        self._socket.settimeout(READ_SECONDS)
        self._stream = self._socket.makefile("rb")
        self._pending = b""
        self._received = 0
        self._trips: list[RoundTrip] = []
        self.process_id = 0
        words = {
            "user": USER, "database": DATABASE, "application_name": place.application_name,
        } | startup  # fmt: skip
        body = b"".join(_string(name) + _string(value) for name, value in words.items()) + b"\0"
        self._socket.sendall(struct.pack("!II", len(body) + 8, PROTOCOL_3) + body)
        for kind, data in self.until(b"Z"):
            if kind == b"K":
                (self.process_id,) = struct.unpack_from("!I", data)
        self.heard()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the server was faster
            self.add(b"X").send()
        self._stream.close()
        self._socket.close()

    def add(self, kind: bytes, body: bytes = b"") -> "Wire":
        self._pending += kind + struct.pack("!I", len(body) + 4) + body
        return self

    def query(self, text: str) -> "Wire":
        return self.add(b"Q", _string(text))

    def parse(self, text: str, name: str = "") -> "Wire":
        return self.add(b"P", _string(name) + _string(text) + struct.pack("!H", 0))

    def bind(self, *values: str, name: str = "", portal: str = "", binary: bool = False) -> "Wire":
        """``binary``: the results."""
        body = _string(portal) + _string(name) + struct.pack("!HH", 0, len(values))
        for value in values:
            body += struct.pack("!I", len(value)) + value.encode()
        return self.add(b"B", body + (struct.pack("!HH", 1, 1) if binary else struct.pack("!H", 0)))

    def execute(self, limit: int = 0, portal: str = "") -> "Wire":
        return self.add(b"E", _string(portal) + struct.pack("!I", limit))

    def close_portal(self, portal: str) -> "Wire":
        return self.add(b"C", b"P" + _string(portal))

    def call(self, function: int, *arguments: bytes) -> "Wire":
        """Fastpath, everything in binary."""
        body = struct.pack("!IHHH", function, 1, 1, len(arguments))
        for argument in arguments:
            body += struct.pack("!I", len(argument)) + argument
        return self.add(b"F", body + struct.pack("!H", 1))

    def sync(self) -> "Wire":
        return self.add(b"S")

    def flush(self) -> "Wire":
        return self.add(b"H")

    def send(self) -> "Wire":
        self._socket.sendall(self._pending)
        self._pending = b""
        return self

    def heard(self) -> list[RoundTrip]:
        trips, self._trips = self._trips, []
        return trips

    def until(self, *kinds: bytes) -> list[tuple[bytes, bytes]]:
        """All messages up to the first of these kinds."""
        messages = []
        for message in self._messages():
            messages.append(message)
            if message[0] in kinds:
                return messages
            if message[0] == b"E" and b"VFATAL" in message[1]:
                return messages
        return messages

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        while head := self._stream.read(5):
            (length,) = struct.unpack_from("!I", head, 1)
            data = self._stream.read(length - 4)
            self._received += 1 + length
            if head[:1] == b"Z":
                self._trips.append(RoundTrip(self._received, data.decode()))
                self._received = 0
            yield head[:1], data


def endings(messages: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """What ended each execution: its tag, ``suspended``, ``call`` or an SQLSTATE."""
    out = []
    for kind, data in messages:
        if kind == b"C":
            out.append(data.rstrip(b"\0").decode())
        elif kind == b"s":
            out.append("suspended")
        elif kind == b"V":
            out.append("call")
        elif kind == b"E":
            out.append(next(f[1:].decode() for f in data.split(b"\0") if f.startswith(b"C")))
    return out


def _string(text: str) -> bytes:
    return text.encode() + b"\0"
