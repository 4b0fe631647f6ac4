"""Heads to a syslog, RFC 5424: over UDP, TCP (octet counting, RFC 6587), or the host's own socket.

Syslog acknowledges nothing: what UDP loses nobody knows. The next head covers the lost one.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from config.schema import SyslogCarrier as Carrier

LOG_AUDIT, NOTICE = 13, 5
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Syslog:
    """``path``: a unix socket, in place of host and port."""

    path: Path | None = None
    host: str = ""
    port: int = 514
    carrier: Carrier = Carrier.UDP

    def tell(self, line: bytes) -> None:
        """Raises OSError."""
        message = rfc5424(line, datetime.now(UTC), socket.gethostname(), os.getpid())
        if self.path is not None:
            _to_unix(self.path, message)
        elif self.carrier is Carrier.UDP:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind, protocol) as datagrams:
                datagrams.sendto(message, address)
        else:
            with socket.create_connection((self.host, self.port), TIMEOUT_SECONDS) as stream:
                stream.sendall(b"%d %s" % (len(message), message))


def rfc5424(line: bytes, at: datetime, host: str, pid: int) -> bytes:
    """One message. ``line`` is ASCII, as a head is."""
    time = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    header = f"<{LOG_AUDIT * 8 + NOTICE}>1 {time} {host or '-'} pgwarden {pid} ledger-head - "
    return header.encode("ascii", "replace") + line


def _to_unix(path: Path, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(TIMEOUT_SECONDS)
        datagrams.connect(os.fspath(path))
        datagrams.send(message)
