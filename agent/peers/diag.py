"""What the kernel says of one socket (``sock_diag``); another process's sockets for a moment."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator

SYS_PIDFD_GETFD = 438
"""The same on every architecture. Linux 5.6; asks for the right to trace the process."""
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
TIMEOUT_SECONDS = 0.5
HEADER = struct.Struct("=IHHII")

_libc = ctypes.CDLL(None, use_errno=True)


def open_link() -> socket.socket:
    """It answers for our own network namespace alone. Raises OSError."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    link.settimeout(TIMEOUT_SECONDS)
    return link


def ask(link: socket.socket, body: bytes) -> bytes:
    """What the kernel says to it, with its header. Raises OSError."""
    size = HEADER.size + len(body)
    link.send(HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body)
    return link.recv(4096)


def borrowed(pid: int, descriptors: Iterable[int]) -> Iterator[socket.socket]:
    """The sockets of process ``pid``, each ours as well until the next is asked for: nothing is
    read from them. Raises OSError."""
    pidfd = os.pidfd_open(pid)
    try:
        for descriptor in descriptors:
            copy = _libc.syscall(SYS_PIDFD_GETFD, pidfd, descriptor, 0)
            if copy < 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
            with _opened(copy) as ours:
                yield ours
    finally:
        os.close(pidfd)


def _opened(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)  # another file by now: it is ours all the same
        raise
