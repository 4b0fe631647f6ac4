"""What can still be read of a damaged spool goes into a new one, and the rest is counted.

A flipped bit hurts one page of the file. Every table has a mirror, an index over all its columns
but the bodies: what waits is told by whichever of the two can be read, and with how many rows by
the mirror. So what one damaged page costs is known to the row; where that is gone, each number
counts as one row. What finds no room in the new one is counted in the same way.
"""

import os
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import structlog

from agent.spool.faults import is_full
from agent.spool.file import DONE, LOG_BYTES, SALVAGED, SET

log = structlog.get_logger(__name__)

PAGE_BYTES = 4096
MOST_PAGES = 1 << 20
"""A header that says more is damaged itself."""
MOST_NUMBERS = 1 << 20
"""That are looked for one by one."""
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)

Row = tuple[int, bytes, int, int]
"""Sequence, body, checksum, rows: as in the table."""


def salvage(damaged: Path, fresh: sqlite3.Connection, file: Path) -> int | None:
    """Rows that are lost of ``damaged``; None: nothing of it can be told. ``fresh`` is the empty
    spool in ``file``. Raises sqlite3.Error where that one cannot be written at all."""
    try:
        _fill_up(damaged)
        lost = _carried(damaged, fresh)
        if lost is None:
            _lend_first_page(damaged, fresh, file)
            lost = _carried(damaged, fresh)
    except OSError as error:
        log.error("spool.unreadable", file=str(damaged), reason=error.strerror)
        return None
    return lost


def _fill_up(damaged: Path) -> None:
    """A file that was cut gets its length back, so that the pages that are left can be read. Of one
    that was cut in the middle nothing is believed."""
    with damaged.open("rb") as file:
        pages = int.from_bytes(file.read(32)[28:32], "big")
    if pages <= MOST_PAGES and damaged.stat().st_size < pages * PAGE_BYTES:
        os.truncate(damaged, damaged.stat().st_size // PAGE_BYTES * PAGE_BYTES)
        os.truncate(damaged, pages * PAGE_BYTES)


def _lend_first_page(damaged: Path, fresh: sqlite3.Connection, file: Path) -> None:
    """It says where the tables are: in all files of this release at the same places."""
    fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with file.open("rb") as whole, damaged.open("r+b") as target:
        page = bytearray(whole.read(PAGE_BYTES))
        pages = target.seek(0, os.SEEK_END) // PAGE_BYTES
        page[28:40] = pages.to_bytes(4, "big") + bytes(8)  # and no free pages
        target.seek(0)
        target.write(page)


def _carried(damaged: Path, fresh: sqlite3.Connection) -> int | None:
    with closing(sqlite3.connect(damaged)) as db:
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            meta = _both(db, "name, value", "meta")
            spans = _numbered(_both(db, "first, epoch", "epoch"))
        except UNREADABLE:
            return None
        if not {"epoch", "last"} <= meta.keys():
            return None
        # Without these nothing that comes over has its number: they come first.
        with fresh:
            values = [(key, value) for key, value in meta.items() if type(key) is str]
            fresh.executemany(SET, [*values, (SALVAGED, meta["last"])])
            fresh.execute("DELETE FROM epoch")
            fresh.executemany("INSERT INTO epoch VALUES (?, ?)", spans.items())
        return _batches(db, fresh, _waiting(db, meta))


def _batches(db: sqlite3.Connection, fresh: sqlite3.Connection, waiting: Sequence[int]) -> int:
    """Rows that are lost of those that wait: what cannot be read, and what finds no room."""
    lost, rows, size = 0, list[Row](), 0
    for number, sequence in enumerate(waiting, 1):
        found = _batch(db, sequence)
        if found is None:
            lost += _rows_of(db, sequence)
        else:
            rows.append((sequence, *found))
            size += len(found[0])
        if size < LOG_BYTES and number < len(waiting):
            continue
        if left := _without_room(fresh, rows):
            without = sum(row[3] for row in left)
            without += sum(_rows_of(db, each) for each in waiting[number:])
            log.error("spool.no_room_to_salvage", rows_lost=without)
            return lost + without
        rows, size = [], 0
    return lost


def _without_room(fresh: sqlite3.Connection, rows: Sequence[Row]) -> Sequence[Row]:
    """Those that do not fit; the others are durable."""
    if _fits(fresh, rows):
        return ()
    with suppress(sqlite3.Error):  # the log folded into the file may make some
        fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for number, row in enumerate(rows):
        if not _fits(fresh, [row]):
            return rows[number:]
    return ()


def _fits(fresh: sqlite3.Connection, rows: Sequence[Row]) -> bool:
    try:
        with fresh:
            fresh.executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", rows)
    except sqlite3.Error as error:
        if not is_full(error):
            raise
        return False
    return True


def _both(db: sqlite3.Connection, columns: str, table: str) -> dict[Any, int]:
    """Rows by their first column, from the table and its mirror. A page may also say that it has
    fewer rows: what either has is there. Raises one of UNREADABLE where neither is whole."""
    readings, problem = [], None
    for where in ("NOT INDEXED", f"INDEXED BY {table}_mirror"):
        try:
            rows = db.execute(f"SELECT {columns} FROM {table} {where}").fetchall()
            readings.append({key: value for key, value in rows if isinstance(value, int)})
        except UNREADABLE as error:
            problem = error
    if not readings and problem is not None:
        raise problem
    found: dict[Any, int] = {}
    for reading in readings:
        found.update(reading)
    return found


def _numbered(rows: dict[Any, int]) -> dict[int, int]:
    """Those whose key is what it should be: a damaged row may hold anything."""
    return {key: value for key, value in rows.items() if isinstance(key, int)}


def _waiting(db: sqlite3.Connection, meta: Mapping[str, int]) -> list[int]:
    """Numbers of all batches that wait, ascending."""
    with suppress(*UNREADABLE):
        read = _numbered(_both(db, "sequence, rows", "batch"))
        given = range(meta.get(DONE, 0) + 1, meta["last"] + 1)
        return sorted(sequence for sequence in read if sequence in given)
    found = _numbers(meta) - _set_aside(db)
    for sequence in list(found):
        for where in ("INDEXED BY batch_mirror", "NOT INDEXED"):
            with suppress(*UNREADABLE):
                query = f"SELECT count(*) FROM batch {where} WHERE sequence = ?"
                if db.execute(query, (sequence,)).fetchone() == (0,):
                    found.discard(sequence)
                break
    return sorted(found)


def _rows_of(db: sqlite3.Connection, sequence: int, otherwise: int = 1) -> int:
    """As the mirror says: in the table they stand behind the body, which may be a page that is
    gone, and no checksum covers them."""
    with suppress(*UNREADABLE):
        query = "SELECT rows FROM batch INDEXED BY batch_mirror WHERE sequence = ?"
        for (rows,) in db.execute(query, (sequence,)):
            return rows if isinstance(rows, int) and rows > 0 else otherwise
    return otherwise


def _numbers(meta: Mapping[str, int]) -> set[int]:
    last = meta["last"]
    return set(range(max(meta.get(DONE, 0), last - MOST_NUMBERS) + 1, last + 1))


def _set_aside(db: sqlite3.Connection) -> set[int]:
    """Numbers that were counted before."""
    with suppress(*UNREADABLE):
        return {number for (number,) in db.execute("SELECT sequence FROM quarantine")}
    return set()


def _batch(db: sqlite3.Connection, sequence: int) -> tuple[bytes, int, int] | None:
    """Body, checksum and rows, if all of it can be read."""
    with suppress(*UNREADABLE):
        query = "SELECT body, crc, rows FROM batch NOT INDEXED WHERE sequence = ?"
        for body, crc, rows in db.execute(query, (sequence,)):
            is_whole = isinstance(body, bytes) and zlib.crc32(body) == crc
            if is_whole and isinstance(rows, int):
                return body, crc, _rows_of(db, sequence, rows)
    return None
