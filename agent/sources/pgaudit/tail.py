"""Follows the log files of one folder by what stat says; a notification only says "look now".

A file is known by device, inode and its first bytes, so a rename is the same file, a reused inode
another one, and a copy (``copytruncate``) is not read a second time.
"""

import os
import re
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 1024
READ_BYTES = 1 << 18
_MAX_OPEN_FILES = 16
_MAX_READS_A_ROUND = 16
_MISSING_SECONDS = 10.0
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
_TELLING_BYTES = 64
"""Files whose first bytes are equal this far are copies: a time and a backend are among them."""
_ROTATION_NUMBER = re.compile(r"\.(\d+)\Z")


class FilePosition(NamedTuple):
    device: int
    inode: int
    head_bytes: int
    head_sha256: str
    offset: int


LogPosition = tuple[FilePosition, ...]
"""How far each file has been given out. Opaque to callers: take it, confirm it."""


class TailError(Exception):
    """The folder or a file cannot be read; the message says which and what to do."""


@dataclass(slots=True, eq=False)
class LogFile:
    """One file for its whole life. A truncation ends it and begins another with its inode."""

    device: int
    inode: int
    offset: int
    head: bytes = b""
    head_sha256: str = ""
    resumed: bool = False
    """Reading began inside the file, at a place that may not be a record's first byte."""
    descriptor: int = -1
    size: int = 0
    path: str = ""
    """Where it was listed last."""
    modified_ns: int = 0
    """When it was closed, read to its end."""
    given_out: int = 0
    """Offset up to which all records were handed on; never beyond ``offset``."""
    missing_since: float = 0.0
    """Monotonic seconds of the first listing without it, 0 while it is listed."""
    origin: "LogFile | None" = field(default=None, repr=False)
    """The file that this one copies; it is not read while that one has the same bytes."""

    def position(self) -> FilePosition:
        return FilePosition(
            self.device, self.inode, len(self.head), self.head_sha256, self.given_out
        )


class Chunk(NamedTuple):
    file: LogFile
    data: bytes
    """Empty: the file has come to its end and gives nothing more."""


class LogTail:
    """``start``: the position to go on from; None reads from the present end of every file, or
    from their beginning with ``from_beginning``.
    """

    def __init__(
        self,
        directory: Path,
        pattern: str,
        start: LogPosition | None = None,
        from_beginning: bool = False,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._directory = directory
        self._pattern = pattern
        self._files: dict[tuple[int, int], LogFile] = {}
        self._start = start
        self._at_end = start is None and not from_beginning
        self._ended: deque[LogFile] = deque()
        self.behind = False
        """Whether the last ``read`` left something unread."""
        self._barred: set[tuple[int, int]] = set()
        self._claimed: set[FilePosition] = set()
        self._cut: deque[LogFile] = deque(maxlen=16)

    def scan(self) -> None:
        """Looks at every name in the folder. Raises TailError; what it knows stays valid."""
        present = set()
        problem = ""
        for path, status in self._entries():
            key = (status.st_dev, status.st_ino)
            present.add(key)
            try:
                self._look(path, status)
            except OSError as error:
                problem = f"cannot read log file {path}: {error.strerror}"
                if key not in self._barred:
                    self._barred.add(key)
                    self.counts["file_unreadable"] += 1
        self._at_end = False
        self._start = None
        self._forget_missing(present)
        self._close_idle()
        if problem:
            raise TailError(f"{problem}; remedy: let pgwarden's user read the server's log files")

    def read(self) -> Iterator[Chunk]:
        """What has been written since; oldest file first, the next one when that is drained."""
        self.behind = False
        for file in list(self._files.values()):
            if file.descriptor >= 0 and file.origin is None:
                for _ in range(_MAX_READS_A_ROUND):
                    if not (data := self._read(file)):
                        break
                    yield Chunk(file, data)
                else:
                    self.behind = True
                    break
        while self._ended:
            yield Chunk(self._ended.popleft(), b"")

    def position(self) -> LogPosition:
        return tuple(file.position() for file in self._files.values())

    def close(self) -> None:
        for file in self._files.values():
            _close(file)

    def _entries(self) -> list[tuple[str, os.stat_result]]:
        found = []
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    if self._wanted(entry.name) and (status := _status(entry)) is not None:
                        found.append((entry.path, status))
        except FileNotFoundError:
            self._at_end = False  # whatever comes from now on is new
            raise TailError(
                f"log folder {self._directory} does not exist; remedy: check log_directory"
            ) from None
        except OSError as error:
            raise TailError(
                f"cannot read log folder {self._directory}: {error.strerror}; "
                "remedy: let pgwarden's user list and read it"
            ) from error
        # Saved files first, so that a copy made while we were away does not take their position.
        saved = {(position.device, position.inode) for position in self._start or ()}
        return sorted(found, key=lambda it: ((it[1].st_dev, it[1].st_ino) not in saved, _age(it)))

    def _wanted(self, name: str) -> bool:
        return fnmatchcase(name, self._pattern) and not name.endswith(_COMPRESSED)

    def _look(self, path: str, status: os.stat_result) -> None:
        file = self._files.get((status.st_dev, status.st_ino))
        if file is None:
            self._meet(path, status)
            return
        former_path, file.path = file.path, path
        file.size = status.st_size
        as_left = (status.st_size, status.st_mtime_ns) == (file.offset, file.modified_ns)
        if file.descriptor >= 0 or file.origin is not None or as_left:
            return
        file.descriptor = _open(path, status)
        if file.descriptor >= 0 and not self._same_head(file):
            self._exchanged(file, status, renamed=path != former_path)

    def _exchanged(self, file: LogFile, status: os.stat_result, *, renamed: bool) -> None:
        """While it was closed, with all that it gave. By another name it is another file: that one
        was removed, and this has its inode. It may be of just the same size."""
        if not renamed:
            self._truncated(file)
            self._files[file.device, file.inode].size = status.st_size
            return
        _close(file)
        self._ended.append(file)
        self._files.pop((file.device, file.inode))
        self._meet(file.path, status)

    def _meet(self, path: str, status: os.stat_result) -> None:
        descriptor = _open(path, status)
        if descriptor < 0:
            return  # renamed in between: the next scan meets both
        key = (status.st_dev, status.st_ino)
        size = os.fstat(descriptor).st_size
        file = LogFile(*key, 0, descriptor=descriptor, size=size, path=path)
        file.head = os.pread(descriptor, HEAD_BYTES, 0)
        if not self._resume(file) and (self._at_end or key in self._barred):
            self._skip_to(file, file.size)
            file.resumed = file.size > 0
        _seal_head(file)
        self._barred.discard(key)
        self._files[key] = file

    def _resume(self, file: LogFile) -> bool:
        """Goes on where the saved position says, in the file itself or in a copy made since."""
        for saved in self._start or ():
            own = (saved.device, saved.inode) == (file.device, file.inode)
            if not own and (saved.head_bytes < _TELLING_BYTES or saved in self._claimed):
                continue
            same = sha256(file.head[: saved.head_bytes]).hexdigest() == saved.head_sha256
            if same and len(file.head) >= saved.head_bytes and file.size >= saved.offset:
                self._skip_to(file, saved.offset)
                self._claimed.add(saved)
                return True
            self.counts["replaced_while_away"] += own
        return False

    def _skip_to(self, file: LogFile, offset: int) -> None:
        file.offset = file.given_out = offset

    def _is_copy(self, file: LogFile) -> bool | None:
        """None: too few bytes to tell. A copy of a file that was truncated since then goes on
        where that one was left; of one that still stands, it waits.
        """
        doubt = False
        for known in (*self._files.values(), *self._cut):
            shared = min(len(known.head), len(file.head))
            if known is file or not shared or known.head[:shared] != file.head[:shared]:
                continue
            if shared < _TELLING_BYTES:
                doubt = True
                continue
            self.counts["copies_ignored"] += 1
            if known in self._cut:
                self._skip_to(file, known.given_out)
            else:
                file.origin = known
            return True
        return None if doubt else False

    def _read(self, file: LogFile) -> bytes:
        data = os.pread(file.descriptor, READ_BYTES, file.offset)
        # Checked after the read: a file cut and filled again before it has another head.
        if not self._same_head(file):
            self._truncated(file)
            return b""
        if not data:
            if os.fstat(file.descriptor).st_size < file.offset:
                self._truncated(file)
            return b""
        if len(file.head) < HEAD_BYTES:
            file.head = os.pread(file.descriptor, HEAD_BYTES, 0)
            _seal_head(file)
        if file.offset == 0 and self._is_copy(file) is not False:
            return b""
        file.offset += len(data)
        return data

    def _same_head(self, file: LogFile) -> bool:
        if not file.head:
            return True
        return os.pread(file.descriptor, len(file.head), 0) == file.head

    def _truncated(self, file: LogFile) -> None:
        """What was cut off unread is gone, unless the copy that was made of it has it."""
        self.counts["log_truncated"] += 1
        key = (file.device, file.inode)
        again = LogFile(*key, 0, descriptor=file.descriptor)
        file.descriptor = -1
        self._ended.append(file)
        self._files.pop(key)
        self._files[key] = again
        self._cut.append(file)
        for copy in self._files.values():
            if copy.origin is file:
                copy.origin = None
                self._skip_to(copy, file.given_out)

    def _forget_missing(self, present: set[tuple[int, int]]) -> None:
        now = time.monotonic()
        for key, file in list(self._files.items()):
            if key in present:
                file.missing_since = 0.0
                continue
            file.missing_since = file.missing_since or now
            # A name that is changed while the folder is listed may not be in the list at all, so
            # one list proves nothing; a link count of zero does.
            if self._unlinked(file) or now - file.missing_since > _MISSING_SECONDS:
                self._files.pop(key)
                _close(file)
                self._ended.append(file)

    def _unlinked(self, file: LogFile) -> bool:
        """No name is left, it is read to its end, and nobody wrote to it since the last scan."""
        if file.descriptor < 0:
            return False
        status = os.fstat(file.descriptor)
        quiet = file.origin is not None or file.offset >= status.st_size == file.size
        file.size = status.st_size
        return status.st_nlink == 0 and quiet

    def _close_idle(self) -> None:
        idle = [f for f in self._files.values() if f.descriptor >= 0 and not f.missing_since]
        for file in idle[: max(len(idle) - _MAX_OPEN_FILES, 0)]:
            if file.offset >= file.size or file.origin is not None:
                file.modified_ns = os.fstat(file.descriptor).st_mtime_ns
                _close(file)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """None for what is no regular file, or was renamed since the folder was listed."""
    try:
        return entry.stat(follow_symlinks=False) if entry.is_file(follow_symlinks=False) else None
    except FileNotFoundError:
        return None


def _open(path: str, status: os.stat_result) -> int:
    """A descriptor, or -1 when the name belongs to another file by now. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return -1
    actual = os.fstat(descriptor)
    if (actual.st_dev, actual.st_ino) == (status.st_dev, status.st_ino):
        return descriptor
    os.close(descriptor)
    return -1


def _close(file: LogFile) -> None:
    if file.descriptor >= 0:
        os.close(file.descriptor)
        file.descriptor = -1


def _seal_head(file: LogFile) -> None:
    file.head_sha256 = sha256(file.head).hexdigest()


def _age(found: tuple[str, os.stat_result]) -> tuple[int, int, str]:
    path, status = found
    number = _ROTATION_NUMBER.search(path)
    return status.st_mtime_ns, -int(number[1]) if number else 1, path
