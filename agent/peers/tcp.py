"""The other end of a TCP connection on this host, from ``/proc/PID/net/tcp`` and ``tcp6``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
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

    def other_side(self, inodes: Iterable[int]) -> int:
        """Inode of the socket at the other end of the connection that one of ``inodes`` is, 0 when
        that end is not in this namespace."""
        for inode in inodes:
            if ends := self.by_inode.get(inode):
                own, other = ends
                if found := self.by_ends.get((other, own)):
                    return found
        return 0


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
    numeric = ip_address(data)
    if isinstance(numeric, IPv6Address) and numeric.ipv4_mapped:
        numeric = numeric.ipv4_mapped
    return str(numeric), int(port, 16)
