"""What an error of SQLite says about the spool's file and its disk."""

import sqlite3

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


def is_damage(error: sqlite3.Error) -> bool:
    """The bytes of the file are not ours."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF not in _NOT_DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_full(error: sqlite3.Error) -> bool:
    """The disk, or what one file may take of it, is used up."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE
