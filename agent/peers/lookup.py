"""From a backend to the process at the other end of its connection."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from agent.peers import inet, tcp, unix
from agent.peers.missing import Missing, PeerMissingError
from agent.peers.owners import Owners, socket_inodes
from agent.peers.process import read_process, started_us, stat_of
from model.session import BackendKey, PeerProcess

PROC = Path("/proc")
LOCAL = "local"
"""What stands for the address of a client that came through a unix socket."""
START_TOLERANCE_US = 2_000_000
"""Between the server's start of a session and the kernel's of its process: a second is all that a
log line tells."""
TABLE_SECONDS = 0.2
"""How long a table of connections is used again; a connection made since is looked for anew."""


@dataclass(frozen=True, slots=True)
class _Backend:
    pid: int
    started_ticks: int
    inodes: dict[int, int]
    """Descriptor by inode of its sockets."""


class Lookup:
    """Not for use by several threads. ``find`` raises PeerMissingError."""

    def __init__(self, owners: Owners | None = None) -> None:
        self._owners = owners or Owners()
        self._tables: dict[int, tuple[float, tcp.Table]] = {}

    def find(self, key: BackendKey, address: str, port: int = 0) -> PeerProcess:
        """``address`` and ``port`` of the client as the server says them: ``LOCAL`` for a unix
        socket, port 0 where it is not known."""
        backend = _backend(key)
        if address == LOCAL:
            process = self._by_unix(backend)
        else:
            process = self._by_tcp(backend, tcp.client_end(address, port))
        # Both must still be who they were when we looked.
        if stat_of(key.pid).started_ticks != backend.started_ticks:
            raise PeerMissingError(Missing.GONE)
        return process

    def _by_unix(self, backend: _Backend) -> PeerProcess:
        try:
            pid = unix.peer_pid(backend.pid, backend.inodes.values())
            if pid and _older(pid, backend):
                return read_process(pid)
        except PeerMissingError:
            pass  # who connected has ended; another process may have its socket
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EBADF, errno.EACCES):
                raise PeerMissingError(Missing.GONE) from None
        return self._owner(_unix_peer(backend))

    def _by_tcp(self, backend: _Backend, client: tcp.End) -> PeerProcess:
        found = _asked(backend, client)
        if found is None:
            found = self._in_table(backend, client, fresh=False) or self._in_table(
                backend, client, fresh=True
            )
        if not found:
            raise PeerMissingError(Missing.ELSEWHERE)
        return self._owner(found)

    def _in_table(self, backend: _Backend, client: tcp.End, *, fresh: bool) -> int:
        try:
            namespace = tcp.namespace_of(backend.pid)
            at, table = self._tables.get(namespace, (0.0, tcp.Table()))
            if fresh or time.monotonic() - at > TABLE_SECONDS:
                table = tcp.read_table(backend.pid)
                self._tables = {namespace: (time.monotonic(), table)}
        except PermissionError:
            raise PeerMissingError(Missing.DENIED) from None
        except OSError:
            raise PeerMissingError(Missing.GONE) from None
        return table.other_side(backend.inodes, client)

    def _owner(self, inode: int) -> PeerProcess:
        if not inode:
            raise PeerMissingError(Missing.UNOWNED)
        pid = self._owners.find({inode}).get(inode)
        if pid is None:
            reason = Missing.UNOWNED if self._owners.complete else Missing.LIMIT
            raise PeerMissingError(reason)
        return read_process(pid)


def _backend(key: BackendKey) -> _Backend:
    """Its sockets, once it is sure that the pid has not been given to another process."""
    if not key.started_at_us:
        raise PeerMissingError(Missing.UNTIMED)
    stat = stat_of(key.pid)
    if abs(started_us(stat) - key.started_at_us) > START_TOLERANCE_US:
        raise PeerMissingError(Missing.GONE)
    try:
        return _Backend(key.pid, stat.started_ticks, socket_inodes(key.pid))
    except PermissionError:
        raise PeerMissingError(Missing.DENIED) from None
    except OSError:
        raise PeerMissingError(Missing.GONE) from None


def _asked(backend: _Backend, client: tcp.End) -> int | None:
    """The client's socket as the kernel says when asked for it, 0 where it has none. None: only the
    table tells, as for a backend in another network namespace than ours, or of an old kernel."""
    try:
        if tcp.namespace_of(backend.pid) != tcp.namespace_of(os.getpid()):
            return None
        return inet.other_side(backend.pid, backend.inodes.values(), client)
    except OSError:
        return None


def _older(pid: int, backend: _Backend) -> bool:
    """A client runs before its backend does: a younger process has been given its pid since."""
    return stat_of(pid).started_ticks <= backend.started_ticks


def _unix_peer(backend: _Backend) -> int:
    try:
        return unix.peer_inode(backend.inodes)
    except OSError:
        return 0
