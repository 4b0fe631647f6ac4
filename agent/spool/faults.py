"""What an error of SQLite says about the spool's file and its disk."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Everything else that SQLite says of a file it could open means that the bytes are not ours.
_NOT_DAMAGE = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
    )
)


class DamagedError(sqlite3.DatabaseError):
    """Readable by SQLite, yet not a spool."""


class UnsyncedError(sqlite3.OperationalError):
    """Nothing can be promised on this file, and there is no other one to go on in."""

    sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC


@contextmanager
def told_in_words() -> Iterator[None]:
    """SQLite quotes damaged names in its errors, and Python cannot decode those: damage as well."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DamagedError("its schema is not text") from error


def is_damage(error: sqlite3.Error) -> bool:
    """The bytes of the file are not ours."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF not in _NOT_DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_full(error: sqlite3.Error) -> bool:
    """The disk, or what one file may take of it, is used up."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE


def is_unsynced(error: Exception) -> bool:
    """An fsync failed: what was written since the last one may be gone."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


def size_of(path: Path) -> int:
    """In bytes; 0 where there is no file."""
    return path.stat().st_size if path.exists() else 0
