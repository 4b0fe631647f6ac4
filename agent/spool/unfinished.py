"""A salvage that a kill cut short is begun again: else what was set aside is lost uncounted."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from agent.spool.faults import size_of
from agent.spool.file import SIDE_FILES
from agent.spool.moving import fsync

SALVAGING = ".salvaging"
"""Beside the spool while it is made anew: holds the name of the damaged file."""


def note(path: Path, damaged: Path) -> None:
    """Durable when it returns. Raises OSError."""
    with _marker(path).open("w") as file:
        file.write(damaged.name)
        file.flush()
        os.fsync(file.fileno())
    fsync(path.parent)


def forget(path: Path) -> None:
    """Raises OSError."""
    _marker(path).unlink(missing_ok=True)
    fsync(path.parent)


def unfinished(path: Path) -> Path | None:
    """The damaged file, if nothing of it came over: that is done in one transaction. The spool that
    was to be filled is gone then. Raises OSError."""
    try:
        name = _marker(path).read_text()
    except FileNotFoundError:
        return None
    damaged = path.with_name(name)
    if not name.startswith(f"{path.name}.") or not size_of(damaged) or _given(path):
        forget(path)
        return None
    for suffix in (*SIDE_FILES, ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return damaged


def _given(path: Path) -> int:
    """The highest number in it; 0: it is empty, or not made yet."""
    if not size_of(path):
        return 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        for (last,) in db.execute("SELECT value FROM meta WHERE name = 'last'"):
            return int(last)
    return 0


def _marker(path: Path) -> Path:
    return path.with_name(path.name + SALVAGING)
