"""The other end of a unix socket: by the credentials that the kernel keeps of who connected, else
by the socket that it is connected to (``unix_diag``)."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable

from agent.peers import diag

UDIAG_SHOW_PEER = 4
UNIX_DIAG_PEER = 2
ANY_COOKIE = 0xFFFFFFFF
ALL_STATES = 0xFFFFFFFF
_REQUEST = struct.Struct("=BBHIIIII")
_MESSAGE = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")
_CREDENTIALS = struct.Struct("=iII")


def peer_pid(pid: int, descriptors: Iterable[int]) -> int:
    """Pid of who connected to the unix stream socket among ``descriptors`` of process ``pid``; 0
    where no such socket is among them. Raises OSError."""
    return next(filter(None, map(_credentials, diag.borrowed(pid, descriptors))), 0)


def _credentials(ours: socket.socket) -> int:
    if ours.family is not socket.AF_UNIX or ours.type is not socket.SOCK_STREAM:
        return 0
    raw = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[0])


def peer_inode(inodes: Iterable[int]) -> int:
    """Inode of the socket to which the first connected one of ``inodes`` is connected; 0 where
    none is a unix socket of our network namespace. Raises OSError."""
    with diag.open_link() as link:
        for inode in inodes:
            if peer := parse_reply(diag.ask(link, _request(inode))):
                return peer
    return 0


def _request(inode: int) -> bytes:
    return _REQUEST.pack(
        socket.AF_UNIX, 0, 0, ALL_STATES, inode, UDIAG_SHOW_PEER, ANY_COOKIE, ANY_COOKIE
    )


def parse_reply(data: bytes) -> int:
    """The peer's inode; 0 for an error (no such unix socket) and for a socket without a peer."""
    if len(data) < diag.HEADER.size + _MESSAGE.size:
        return 0
    size, kind, *_ = diag.HEADER.unpack_from(data)
    if kind != diag.SOCK_DIAG_BY_FAMILY:
        return 0
    at, end = diag.HEADER.size + _MESSAGE.size, min(size, len(data))
    while at + _ATTRIBUTE.size <= end:
        length, name = _ATTRIBUTE.unpack_from(data, at)
        if name == UNIX_DIAG_PEER and length >= 8 and at + 8 <= end:
            return int.from_bytes(data[at + 4 : at + 8], sys.byteorder)
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return 0
