"""A spool whose file could not be synced goes on in another file.

What the kernel could not write it has dropped, and says so once: the next fsync of the same file is
told that all is well. So nothing is promised on that file any more. What waits in it can still be
read, and goes into the new one first.
"""

import os
import sqlite3
from pathlib import Path

from agent.spool.file import MOVED, SIDE_FILES


def move(db: sqlite3.Connection, path: Path) -> None:
    """Closes ``db`` once its content is durable in another file, which then has the old name.

    Raises sqlite3.Error or OSError while ``db`` is still open and what was in it can be read.
    """
    part, moved = _beside(path, ".part"), _beside(path, MOVED)
    part.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(part),))
    part.chmod(0o600)
    fsync(part)  # SQLite does not do that for VACUUM INTO
    part.rename(moved)
    fsync(path.parent)
    finish_move(path)
    db.close()


def finish_move(path: Path) -> None:
    """Also after a crash in the middle: the moved file is whole if it is there."""
    moved = _beside(path, MOVED)
    if not moved.exists():
        return
    for suffix in SIDE_FILES:  # of the old file: they would be taken for the new one's
        _beside(path, suffix).unlink(missing_ok=True)
    fsync(path.parent)
    moved.rename(path)
    fsync(path.parent)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
