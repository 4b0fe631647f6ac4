"""The other end of a TCP connection on this host, from ``/proc/PID/net/tcp`` and ``tcp6``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TypeAlias

ESTABLISHED = "01"
ADDRESSES, STATE, INODE = slice(1, 3), 3, 9
"""Columns of the file."""
End: TypeAlias = tuple[str, int]
"""Numeric address and port."""


@dataclass(slots=True)
class Table:
    """Established connections of one network namespace."""

    by_inode: dict[int, tuple[End, End]] = field(default_factory=dict)
    """Own end and the other end."""
    by_ends: dict[tuple[End, End], int] = field(default_factory=dict)

    def other_side(self, inodes: Iterable[int], client: End) -> int:
        """Inode of the socket by which ``client`` is connected to one of ``inodes``, 0 when it is
        not in this namespace."""
        found = only_fitting(
            (self.by_inode[each] for each in inodes if each in self.by_inode), client
        )
        return self.by_ends.get(found[::-1], 0) if found else 0


def only_fitting(ends: Iterable[tuple[End, End]], client: End) -> tuple[End, End] | None:
    """Of a backend's connections the one with ``client``. It may be connected to others as well
    (dblink), who are not its client. Port 0: it is not known, and only one with the address may be
    there."""
    address, port = client
    fitting = [both for both in ends if both[1][0] == address and port in (0, both[1][1])]
    return fitting[0] if len(fitting) == 1 else None


def read_table(pid: int, proc: Path = Path("/proc")) -> Table:
    """Of the namespace that ``pid`` lives in. Raises OSError."""
    table = Table()
    for name in ("tcp", "tcp6"):
        try:
            text = (proc / str(pid) / "net" / name).read_text()
        except FileNotFoundError:
            continue  # a kernel without IPv6
        parse_table(text, table)
    return table


def namespace_of(pid: int, proc: Path = Path("/proc")) -> int:
    """Raises OSError."""
    return os.stat(proc / str(pid) / "ns" / "net").st_ino


def parse_table(text: str, table: Table) -> None:
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) <= INODE or words[STATE] != ESTABLISHED:
            continue
        own, other = map(parse_end, words[ADDRESSES])
        inode = int(words[INODE])
        table.by_inode[inode] = (own, other)
        table.by_ends[own, other] = inode


def parse_end(text: str) -> End:
    """``0100007F:1538`` is 127.0.0.1:5432: words of 32 bits in the machine's order. What reached
    an IPv6 socket by IPv4 is given as IPv4, as the other end sees it."""
    address, _, port = text.partition(":")
    words = bytes.fromhex(address)
    data = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return _shown(ip_address(data)), int(port, 16)


def client_end(address: str, port: int) -> End:
    """As the table shows it. A name (``log_hostname``) is the end of nothing."""
    try:
        return _shown(ip_address(address.partition("%")[0])), port
    except ValueError:
        return "", port


def _shown(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
