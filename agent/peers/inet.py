"""The other end of a TCP connection of our own network namespace, asked of the kernel by its two
ends (``inet_diag``). That takes microseconds; ``/proc/net/tcp`` takes milliseconds, however few
connections there are: the kernel walks a hash table that is sized by the host's memory."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from agent.peers import diag
from agent.peers.tcp import End, client_end, only_fitting

ESTABLISHED = 1
_REQUEST = struct.Struct("=BBBBI")
_MESSAGE = struct.Struct("=BBBB")
_PORTS = struct.Struct("!HH")
ADDRESS_BYTES = 16
_REST = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
"""Of the ends: any interface, and no cookie."""
_NUMBERS = struct.Struct("=IIIII")
"""Expires, what waits to be read and written, account, inode."""
_PORTS_AT = diag.HEADER.size + _MESSAGE.size
_ADDRESSES_AT = _PORTS_AT + _PORTS.size
_NUMBERS_AT = _ADDRESSES_AT + 2 * ADDRESS_BYTES + len(_REST)


def other_side(pid: int, descriptors: Iterable[int], client: End) -> int | None:
    """As ``Table.other_side``, of a process in our network namespace. None where the kernel finds
    nothing at an address of this host: a socket that is bound to a device is not found this way.
    Raises OSError."""
    found = only_fitting(_ends(pid, descriptors), client)
    if found is None:
        return 0
    own, other = found
    with diag.open_link() as link:
        inode = inode_of(link, other, own)
    return inode or (None if _is_ours(other[0]) else 0)


def inode_of(link: socket.socket, own: End, other: End) -> int:
    """Of the established connection between these ends, 0 where there is none."""
    own_address, other_address = ip_address(own[0]), ip_address(other[0])
    family = socket.AF_INET if own_address.version == 4 else socket.AF_INET6
    reply = diag.ask(
        link,
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << ESTABLISHED)
        + _PORTS.pack(own[1], other[1])
        + own_address.packed.ljust(ADDRESS_BYTES, b"\0")
        + other_address.packed.ljust(ADDRESS_BYTES, b"\0")
        + _REST,
    )
    return parse_reply(reply).get((own, other), 0)


def parse_reply(data: bytes) -> dict[tuple[End, End], int]:
    """Inode by both ends; empty for an error, and for what is not an established connection: where
    there is none, the kernel names who listens."""
    if len(data) < _NUMBERS_AT + _NUMBERS.size:
        return {}
    _, kind, *_ = diag.HEADER.unpack_from(data)
    family, state, *_ = _MESSAGE.unpack_from(data, diag.HEADER.size)
    if kind != diag.SOCK_DIAG_BY_FAMILY or state != ESTABLISHED:
        return {}
    size = 4 if family == socket.AF_INET else ADDRESS_BYTES
    addresses = (
        str(ip_address(data[at : at + size]))
        for at in (_ADDRESSES_AT, _ADDRESSES_AT + ADDRESS_BYTES)
    )
    own, other = map(client_end, addresses, _PORTS.unpack_from(data, _PORTS_AT))
    *_, inode = _NUMBERS.unpack_from(data, _NUMBERS_AT)
    return {(own, other): inode}


def _ends(pid: int, descriptors: Iterable[int]) -> list[tuple[End, End]]:
    """Own end and the other end of each TCP connection."""
    ends = []
    for ours in diag.borrowed(pid, descriptors):
        if ours.family not in (socket.AF_INET, socket.AF_INET6):
            continue
        if ours.type is not socket.SOCK_STREAM:
            continue
        try:
            both = ours.getsockname(), ours.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            continue
        own, other = (client_end(*each[:2]) for each in both)
        ends.append((own, other))
    return ends


def _is_ours(address: str) -> bool:
    """Whether it is an address of this host: only to such a one can a socket be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
