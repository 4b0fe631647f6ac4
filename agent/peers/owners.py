"""Which process has a socket: found by looking through ``/proc/*/fd``, within limits."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
MAX_LINKS = 200_000
MAX_SECONDS = 1.0
KEPT_OWNERS = 256
SOCKET = "socket:["


def socket_inodes(pid: int, proc: Path = PROC) -> dict[int, int]:
    """File descriptor by inode of each socket of a process. Raises OSError."""
    found = {}
    folder = proc / str(pid) / "fd"
    for name in os.listdir(folder):
        target = _target(f"{folder}/{name}")
        if target.startswith(SOCKET):
            found[int(target[len(SOCKET) : -1])] = int(name)
    return found


class Owners:
    """Remembers who owned what last: a pooler or application server is found at once."""

    def __init__(
        self, proc: Path = PROC, max_links: int = MAX_LINKS, max_seconds: float = MAX_SECONDS
    ) -> None:
        self._proc = proc
        self._max_links = max_links
        self._max_seconds = max_seconds
        self._recent: OrderedDict[int, None] = OrderedDict()
        self.complete = True
        """False when the last search stopped at a limit."""

    def find(self, inodes: set[int]) -> dict[int, int]:
        """Pid by inode. Of several processes that share a socket, the one that is met first."""
        wanted = {f"{SOCKET}{inode}]": inode for inode in inodes}
        found: dict[int, int] = {}
        links, deadline = 0, time.monotonic() + self._max_seconds
        self.complete = True
        for pid in self._pids():
            for target in self._targets(pid):
                links += 1
                inode = wanted.pop(target, None)
                if inode is not None:
                    found[inode] = pid
                    self._remember(pid)
            if not wanted:
                break
            if links > self._max_links or time.monotonic() > deadline:
                self.complete = False
                break
        return found

    def _pids(self) -> Iterator[int]:
        """Recent owners first, then the newest processes: most clients have just been started."""
        recent = list(reversed(self._recent))
        yield from recent
        names = (name for name in os.listdir(self._proc) if name.isdigit())
        yield from sorted({int(name) for name in names} - set(recent), reverse=True)

    def _targets(self, pid: int) -> Iterator[str]:
        folder = f"{self._proc}/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            self._recent.pop(pid, None)
            return
        for name in names:
            yield _target(f"{folder}/{name}")

    def _remember(self, pid: int) -> None:
        self._recent[pid] = None
        self._recent.move_to_end(pid)
        while len(self._recent) > KEPT_OWNERS:
            self._recent.popitem(last=False)


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
