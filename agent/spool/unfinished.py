"""A damaged spool has a name of its own for as long as it is being salvaged: a salvage that a kill
cut short, or that found no room, is begun again. A name needs no room, unlike a note.
"""

import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from agent.spool.faults import size_of
from agent.spool.file import MOVED, SALVAGED, SIDE_FILES
from agent.spool.moving import fsync

SALVAGING, DAMAGED = ".salvaging-", ".damaged-"
_PARTS = (*SIDE_FILES, MOVED, "")
"""The file itself comes last: its new name says that those beside it have theirs."""
_STAMP = re.compile(rf"{re.escape(SALVAGING)}(\d+)")


def set_aside(path: Path) -> Path:
    """A damaged file, with what lies beside it, gets the name under which it is salvaged. That is
    returned; there may be no such file, but only parts of it. Raises OSError."""
    aside = path.with_name(f"{path.name}{SALVAGING}{time.time_ns()}")
    for part in _PARTS:
        _rename(path, aside, part)
    fsync(path.parent)
    return aside


def discard(path: Path) -> None:
    """A spool into which not all was carried. Raises OSError."""
    for suffix in _PARTS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def end(aside: Path) -> Path:
    """All that can be had of it is in the new file, or counted: its last name. Raises OSError."""
    last = aside.with_name(aside.name.replace(SALVAGING, DAMAGED))
    for part in _PARTS:
        _rename(aside, last, part)
    fsync(aside.parent)
    return last


def unfinished(path: Path) -> Path | None:
    """The damaged file whose salvage has not ended. Raises OSError."""
    found = path.parent.glob(f"{path.name}{SALVAGING}*")
    stamps = {stamp[1] for part in found if (stamp := _STAMP.search(part.name))}
    if not stamps:
        return None
    aside = path.with_name(f"{path.name}{SALVAGING}{max(stamps, key=int)}")
    if aside.exists() and not _went_on(path):
        return aside
    if not aside.exists() and size_of(path):  # what lay beside it had its name already
        _rename(path, aside, "")
        return aside
    end(aside)
    return None


def _went_on(path: Path) -> bool:
    """More has come into it than from the damaged one: it needs nothing of that any more."""
    if not size_of(path):
        return False
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(path)) as db:
        meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        return bool(meta.get("last", 0) > meta.get(SALVAGED, 0))
    return False


def _rename(path: Path, other: Path, suffix: str) -> None:
    """What is empty is no part."""
    part = path.with_name(path.name + suffix)
    if size_of(part):
        part.rename(other.with_name(other.name + suffix))
    else:
        part.unlink(missing_ok=True)
