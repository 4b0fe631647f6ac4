"""What the spool's SQLite file holds."""

import os
import secrets
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOG_PAGES = 250
"""The write-ahead log is folded into the file at about 1 MiB, so that a small disk holds both."""
LOG_BYTES = LOG_PAGES * 4096
SIDE_FILES = ("-wal", "-shm")
"""What SQLite keeps beside its file."""
MOVED = ".moved"
"""A whole copy that is about to take the file's place."""

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE batch (
  sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL,
  rows INTEGER NOT NULL
) STRICT;
CREATE TABLE quarantine (
  sequence INTEGER, epoch INTEGER, reason TEXT, body BLOB, at INTEGER
) STRICT;
CREATE TABLE epoch (first INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;
"""
MIRRORS = {
    "batch": "CREATE INDEX IF NOT EXISTS batch_mirror ON batch (sequence, rows)",
    "meta": "CREATE INDEX IF NOT EXISTS meta_mirror ON meta (name, value)",
    "epoch": "CREATE INDEX IF NOT EXISTS epoch_mirror ON epoch (first, epoch)",
}
"""What ``salvage.py`` reads where a table is damaged; a file of an older release gets them."""
VERSION = 1
"""Of what is in the file. What an older release cannot go on with is another one."""
DONE = "done"
"""In ``meta``: the collector said that it has everything up to this sequence."""
SALVAGED = "salvaged"
"""In ``meta``: the last sequence that was given by the damaged file from which this one is."""
SET = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


class LaterReleaseError(sqlite3.OperationalError):
    """Not ours to change."""

    sqlite_errorcode = sqlite3.SQLITE_READONLY


@dataclass(frozen=True, slots=True)
class Spooled:
    sequence: int
    body: bytes = field(repr=False)
    rows: int
    """Facts in it, as ``Payload.facts`` counts them."""


def new_epoch() -> int:
    """Microseconds since 1970 plus ten random bits: ascending, and fits SQLite's integers."""
    return (time.time_ns() // 1000) << 10 | secrets.randbits(10)


def connect(path: Path) -> sqlite3.Connection:
    """Open or make the file. Raises sqlite3.Error, PermissionError."""
    db = sqlite3.connect(path, timeout=1, check_same_thread=False)
    os.chmod(path, 0o600)
    try:
        _prepare(db)
    except BaseException:  # a damaged name is no text; and an open file stays locked
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    # One agent, one spool: a second process must not interleave its own sequences.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    if version > VERSION:
        raise LaterReleaseError("it is of a later release: start that one, and drain it first")
    if version == 0:
        db.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}{'; '.join(MIRRORS.values())};"
            f"INSERT INTO meta VALUES ('epoch', {new_epoch()}), ('last', 0); COMMIT;"
        )
        return
    with suppress(sqlite3.OperationalError):  # no room for it, and it can be done without
        _mirror(db)


def _mirror(db: sqlite3.Connection) -> None:
    """In the file of an older release, which keeps them up as we do."""
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    for table, create in MIRRORS.items():
        if table in names and f"{table}_mirror" not in names:
            db.execute(create)
