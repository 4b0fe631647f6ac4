"""Files of a server that runs on this host, also in a container, read as that server sees them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.discovery import Cluster

MAX_BYTES = 1024 * 1024
MAX_LINKS = 40
ANY_NAME = "*"


class UnreadError(Exception):
    """Why a file was not read."""


@dataclass(frozen=True, slots=True)
class HostFiles:
    root: Path
    """The server's file system from here: ``/proc/PID/root`` for one in a container."""
    data_directory: Path
    """From here."""
    noted: Callable[[Path], None] | None = None
    """Told of each file that is asked for, there or not, of each link on the way to it, and of each
    folder that is listed as ``ANY_NAME`` in it: paths from here."""

    @classmethod
    def of(cls, cluster: Cluster) -> HostFiles:
        data = cluster.data_directory
        in_container = data.is_relative_to("/proc")
        root = Path(f"/proc/{cluster.postmaster_pid}/root") if in_container else Path("/")
        return cls(root, data)

    def read(self, path: str) -> str:
        """The text of a file that the server names by ``path``. Raises UnreadError.

        A superuser of the database chooses the path, and we may be root: only what the server's
        account can read itself is read.
        """
        try:
            owner = self.data_directory.stat()
            # Not blocking: the path may be a pipe.
            file = os.open(self._here(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise UnreadError(f"{path} is no file")
                if not _may_read(owner.st_uid, owner.st_gid, status):
                    raise UnreadError(f"{path} is not the server's to read")
                if status.st_size > MAX_BYTES:
                    raise UnreadError(f"{path} is larger than {MAX_BYTES} bytes")
                data = os.read(file, MAX_BYTES + 1)
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UnreadError(f"{path}: {reason}") from error
        return data.decode("utf-8", "backslashreplace")

    def names(self, folder: str) -> list[str]:
        """Of the files in a folder, sorted. Raises UnreadError."""
        try:
            here = self._here(folder)
            self._note(here / ANY_NAME)
            return sorted(os.listdir(here))
        except OSError as error:
            raise UnreadError(f"{folder}: {error.strerror}") from error

    def _here(self, path: str) -> Path:
        """Symbolic links followed as the server would: an absolute one starts at its root, not
        at ours. Raises UnreadError."""
        todo = list(reversed(PurePosixPath(path).parts))
        if not todo or todo[-1] != "/":
            raise UnreadError(f"{path} is not absolute")
        done = PurePosixPath("/")
        links = 0
        while todo:
            part = todo.pop()
            if part == "/":
                done = PurePosixPath("/")
            elif part == "..":
                done = done.parent
            else:
                there = self.root / (done / part).relative_to("/")
                if there.is_symlink():
                    self._note(there)
                    links += 1
                    if links > MAX_LINKS:
                        raise UnreadError(f"{path} leads through too many links")
                    todo += reversed(PurePosixPath(os.readlink(there)).parts)
                else:
                    done = done / part
        found = self.root / done.relative_to("/")
        self._note(found)
        return found

    def _note(self, path: Path) -> None:
        if self.noted is not None:
            self.noted(path)


def _may_read(uid: int, gid: int, status: os.stat_result) -> bool:
    mode = status.st_mode
    if status.st_uid == uid:
        return bool(mode & stat.S_IRUSR)
    if status.st_gid == gid:
        return bool(mode & stat.S_IRGRP)
    return bool(mode & stat.S_IROTH)
