"""The other end of a unix socket: by the credentials that the kernel keeps of who connected, else
by the socket that it is connected to (``unix_diag``)."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterable

SYS_PIDFD_GETFD = 438
"""The same on every architecture. Linux 5.6; asks for the right to trace the process."""
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
NLMSG_ERROR = 2
UDIAG_SHOW_PEER = 4
UNIX_DIAG_PEER = 2
ANY_COOKIE = 0xFFFFFFFF
ALL_STATES = 0xFFFFFFFF
TIMEOUT_SECONDS = 0.5
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
_MESSAGE = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")
_CREDENTIALS = struct.Struct("=iII")

_libc = ctypes.CDLL(None, use_errno=True)


def peer_pid(pid: int, descriptors: Iterable[int]) -> int:
    """Pid of who connected to the unix stream socket among ``descriptors`` of process ``pid``; 0
    where no such socket is among them. Raises OSError.

    The socket is ours as well for a few microseconds: nothing is read from it.
    """
    pidfd = os.pidfd_open(pid)
    try:
        for descriptor in descriptors:
            if found := _credentials(pidfd, descriptor):
                return found
    finally:
        os.close(pidfd)
    return 0


def _credentials(pidfd: int, descriptor: int) -> int:
    copy = _libc.syscall(SYS_PIDFD_GETFD, pidfd, descriptor, 0)
    if copy < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    with socket.socket(fileno=copy) as ours:
        if ours.family is not socket.AF_UNIX or ours.type is not socket.SOCK_STREAM:
            return 0
        raw = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(raw)[0])


def peer_inode(inodes: Iterable[int]) -> int:
    """Inode of the socket to which the first connected one of ``inodes`` is connected; 0 where
    none is a unix socket of our network namespace. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        link.settimeout(TIMEOUT_SECONDS)
        for inode in inodes:
            link.send(_request(inode))
            if peer := parse_reply(link.recv(4096)):
                return peer
    return 0


def _request(inode: int) -> bytes:
    body = _REQUEST.pack(
        socket.AF_UNIX, 0, 0, ALL_STATES, inode, UDIAG_SHOW_PEER, ANY_COOKIE, ANY_COOKIE
    )
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body


def parse_reply(data: bytes) -> int:
    """The peer's inode; 0 for an error (no such unix socket) and for a socket without a peer."""
    if len(data) < _HEADER.size + _MESSAGE.size:
        return 0
    size, kind, *_ = _HEADER.unpack_from(data)
    if kind != SOCK_DIAG_BY_FAMILY:
        return 0
    at, end = _HEADER.size + _MESSAGE.size, min(size, len(data))
    while at + _ATTRIBUTE.size <= end:
        length, name = _ATTRIBUTE.unpack_from(data, at)
        if name == UNIX_DIAG_PEER and length >= 8 and at + 8 <= end:
            return int.from_bytes(data[at + 4 : at + 8], sys.byteorder)
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return 0
