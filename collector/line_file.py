"""Lines that are durable when the call returns."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def append_line(path: Path, line: bytes) -> None:
    """For a file that may be another one's as well. What an earlier try left half written ends its
    line first; one whose fsync failed stays, and may be there twice."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        length = os.fstat(descriptor).st_size
        torn = length > 0 and os.pread(descriptor, 1, length - 1) != b"\n"
        data = (b"\n" if torn else b"") + line + b"\n"
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, length)
            raise _no_room(path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def extend(path: Path, length: int, line: bytes) -> int:
    """For a file that is ours alone and good up to ``length``: whatever a failed try left behind
    that is taken back. Returns the length then. Raises OSError, and the file is as it was."""
    data = line + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        if os.fstat(descriptor).st_size > length:
            os.ftruncate(descriptor, length)
        try:
            if os.pwrite(descriptor, data, length) != len(data):
                raise _no_room(path)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):  # the next try takes it back, or the next start reads it
                os.ftruncate(descriptor, length)
            raise
    finally:
        os.close(descriptor)
    return length + len(data)


def _no_room(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
