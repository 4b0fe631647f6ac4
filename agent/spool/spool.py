"""What the collector has not acknowledged yet, durable in one SQLite file.

Every append is committed with ``synchronous=FULL`` before it returns; give several payloads at once
and they share one fsync. SQLite does not checksum its pages, so each body carries a CRC-32.
"""

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from agent.spool.faults import (
    DamagedError,
    UnsyncedError,
    is_damage,
    is_full,
    is_unsynced,
    set_aside,
    size_of,
    told_in_words,
)
from agent.spool.file import LOG_BYTES, MOVED, SIDE_FILES, Spooled, connect, new_epoch
from agent.spool.losses import lost_with, owe
from agent.spool.moving import finish_move, move
from agent.spool.room import admit, mixed_room
from agent.wire.batch import Payload
from model.event import Lost

log = structlog.get_logger(__name__)

DEFAULT_MAX_BYTES = 512 * 1024 * 1024
MOVE_SECONDS = 5.0
"""Between two tries to go on in another file."""
MAX_QUARANTINED = 16
"""Refused batches that are kept for a person to look at; older ones go first."""

_SET = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_TRIM_QUARANTINE = (
    f"DELETE FROM quarantine WHERE rowid <= (SELECT max(rowid) FROM quarantine) - {MAX_QUARANTINED}"
)

CountLoss = Callable[[str, str, int], None]
"""Called with source, reason and a number of rows (1 where the number cannot be known)."""


class SpoolError(Exception):
    """The spool cannot be used: the message names the file and what to do."""


class Spool:
    """Sequences count from 1 within an ``epoch``; the epoch is new whenever the file is.

    Thread-safe. ``on_loss`` hears of every row that is dropped, by reason: ``spool_full``,
    ``disk_full``, ``disk_failed``, ``spool_damaged``, ``rejected``; all but the last two by class
    (agent/spool/losses.py). It may run inside the spool's lock: it should
    count and return. Losses that were themselves refused have been counted before: they wait in
    ``owed`` for another try.
    """

    epoch: int
    problem: str = ""
    """Why nothing can be promised durable at this moment; what waits is still handed out."""
    fsync_failures: int = 0
    _db: sqlite3.Connection
    _last: int
    _last_at_open: int
    _reconciled: bool
    _depth: int
    _bytes: int

    def __init__(self, path: Path, on_loss: CountLoss, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._on_loss = on_loss
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._owed: dict[tuple[str, str], Lost] = {}
        self._starved = False  # a write found no room since the log was last folded
        self._refused = False  # something, when it was last appended to
        self._move_at = 0.0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._open():
            on_loss("spool", "spool_damaged", 1)

    def append(self, *payloads: Payload) -> int:
        """Make them durable, in order; returns the last sequence. What does not fit is counted."""
        with self._lock:
            accepted, refused = admit(payloads, self._bytes, self._max_bytes)
            reason = self._store(accepted)
            if reason == "disk_full":
                first = [payload for payload in accepted if payload.priority]
                if len(first) == len(accepted) or self._store(first):
                    first = []
                refused = [payload for payload in payloads if payload not in first]
            elif reason:
                refused = list(payloads)
            self._refused = bool(refused)
            last = self._last
            for payload in refused:
                self._refuse(payload, reason or "spool_full")
        return last

    @property
    def mixed_room(self) -> int:
        """Bytes that may be appended next with what is urgent among the rest."""
        return 0 if self._refused else mixed_room(self._bytes, self._max_bytes)

    def owed(self) -> list[Lost]:
        """Losses whose batch was refused, to be recorded again but not counted again."""
        with self._lock:
            owed, self._owed = self._owed, {}
        return list(owed.values())

    def read_from(self, sequence: int, limit: int = 64) -> list[Spooled]:
        """Batches with this sequence and up, ascending. A damaged one is set aside and counted."""
        query = (
            "SELECT sequence, body, crc, rows FROM batch WHERE sequence >= ?"
            " ORDER BY sequence LIMIT ?"
        )
        found, damaged = [], []
        with self._lock:
            for number, body, crc, rows in self._query(query, (sequence, limit)):
                if zlib.crc32(body) == crc:
                    found.append(Spooled(number, body, rows))
                else:
                    damaged.append(number)
        for number in damaged:
            self.quarantine(number, "spool_damaged")
        return found

    def forget(self, upto: int) -> None:
        """Drop everything up to and including this sequence: the collector has it.

        A disk too full even for that is no error: the next acknowledgement covers these too, and
        after the last one the file is made anew.
        """
        with self._lock:
            query = "SELECT count(*), coalesce(sum(length(body)), 0) FROM batch WHERE sequence <= ?"
            for count, size in self._query(query, (upto,)):
                if count and self._delete(upto):
                    self._depth -= count
                    self._bytes -= size
            if not self._depth and (self._starved or size_of(self._log) > LOG_BYTES):
                self._fold()

    def quarantine(self, sequence: int, reason: str) -> None:
        """Set one batch aside for good and count its rows under the first word of ``reason``."""
        with self._lock:
            rows = self._query("SELECT body, rows FROM batch WHERE sequence = ?", (sequence,))
            if not rows:
                return
            ((body, count),) = rows
            entry = (sequence, self.epoch, reason, body, int(time.time()))
            self._change(
                ("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", entry),
                ("DELETE FROM batch WHERE sequence = ?", (sequence,)),
                (_TRIM_QUARANTINE, ()),
            )
            self._depth -= 1
            self._bytes -= len(body)
        self._on_loss("spool", reason.split(":")[0], max(count, 1))

    def reconcile(self, acknowledged: int) -> bool:
        """Compare with the collector's last durable sequence of our epoch, at the stream's start.

        True when the collector has seen sequences that this file lost (a restored copy, a log cut
        short). Numbers given since the file was opened would then be taken for repeats, so the
        spool starts a new epoch with them. What the collector has is forgotten either way.
        """
        with self._lock:
            regressed = acknowledged > self._last_at_open and not self._reconciled
            self._reconciled = True
            if regressed:
                self.forget(self._last_at_open)
                self.epoch = new_epoch()
                self._change((_SET, ("epoch", self.epoch)))
            else:
                self.forget(acknowledged)
        if regressed:
            self._on_loss("spool", "spool_regressed", 1)
        return regressed

    @property
    def depth(self) -> int:
        """Batches that wait."""
        return self._depth

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def last_sequence(self) -> int:
        return self._last

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _store(self, payloads: list[Payload]) -> str:
        """Why it could not; empty when they are durable."""
        try:
            self._with_room(lambda: self._insert(payloads))
        except sqlite3.Error as error:
            if not is_damage(error):
                return "disk_failed" if is_unsynced(error) else "disk_full"
            with suppress(SpoolError):  # no room for a new one: the next append tries again
                self._recover()
            return "spool_damaged"
        return ""

    def _with_room(self, write: Callable[[], None]) -> None:
        """A second try when the disk was full and folding the log may have made room, or in another
        file when an fsync failed: in the same one the second would be told that all is well."""
        if self.problem:
            self._move()
        try:
            self._noted(write)
        except sqlite3.Error as error:
            if is_unsynced(error):
                self._move()
            elif is_full(error):
                self._starved = True
                self._fold()
            else:
                raise
            self._noted(write)

    def _noted(self, write: Callable[[], None]) -> None:
        try:
            write()
        except sqlite3.Error as error:
            if is_unsynced(error):
                self.fsync_failures += 1
                self.problem = f"{self._path} could not be synced ({error}): check the disk"
                log.error("spool.fsync_failed", problem=self.problem)
            raise

    def _move(self) -> None:
        """Raises UnsyncedError; then nothing more is taken until a later try succeeds."""
        now, before = time.monotonic(), (self._last_at_open, self._reconciled)
        if now < self._move_at:
            raise UnsyncedError(self.problem)
        self._move_at = now + MOVE_SECONDS
        try:
            with suppress(sqlite3.ProgrammingError):  # closed: its successor could not be opened
                move(self._db, self._path)
            self._connect()
        except (OSError, sqlite3.Error) as error:
            raise UnsyncedError(f"{self.problem}; no other file: {error}") from error
        self._last_at_open, self._reconciled = before
        self.problem, self._starved = "", False
        log.warning("spool.moved", file=str(self._path), batches=self._depth)

    def _fold(self) -> None:
        """Empty the write-ahead log into the file; that may itself find no room."""
        try:
            ((busy, _, _),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            return  # the log stays as it is: nothing is lost, and the next write tries again
        self._starved = self._starved and bool(busy)

    def _delete(self, upto: int) -> bool:
        def delete() -> None:
            with told_in_words(), self._db:
                self._db.execute("DELETE FROM batch WHERE sequence <= ?", (upto,))

        try:
            self._with_room(delete)
        except sqlite3.Error as error:
            if not (is_full(error) or is_unsynced(error)):
                self._survive(error)
                return False
            if upto < self._last or is_unsynced(error):
                return False
            self._renew()
            return False
        return True

    def _renew(self) -> None:
        """Everything is with the collector and the disk is full: give the whole file back.

        Epoch and sequence go on as if it had been emptied. Quarantined batches are given up.
        """
        epoch, last = self.epoch, self._last
        self._db.close()
        for suffix in (*SIDE_FILES, MOVED, ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._reconnect()
        self._starved = False
        self._change((_SET, ("epoch", epoch)), (_SET, ("last", last)))
        self.epoch, self._last, self._reconciled = epoch, last, True

    def _insert(self, payloads: Sequence[Payload]) -> None:
        if not payloads:
            return
        last = self._last + len(payloads)
        rows = [
            (sequence, payload.body, zlib.crc32(payload.body), payload.facts)
            for sequence, payload in enumerate(payloads, self._last + 1)
        ]
        with told_in_words(), self._db:
            self._db.executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", rows)
            # Kept apart from the rows: after `forget` the largest row no longer tells it.
            self._db.execute(_SET, ("last", last))
        self._last = last
        self._bytes += sum(len(payload.body) for payload in payloads)
        self._depth += len(payloads)

    def _refuse(self, payload: Payload, reason: str) -> None:
        for lost, count in lost_with(payload, reason):
            self._on_loss("spool", lost, count)
        owe(payload, self._owed)

    def _query(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        try:
            with told_in_words():
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._survive(error)
            return []

    def _change(self, *orders: tuple[str, tuple[Any, ...]]) -> None:
        def change() -> None:
            with told_in_words(), self._db:
                for order, values in orders:
                    self._db.execute(order, values)

        try:
            self._noted(change)
        except sqlite3.Error as error:
            self._survive(error)

    def _survive(self, error: sqlite3.Error) -> None:
        """Start anew if the file is damaged; raise SpoolError if the disk is at fault."""
        if self.problem or not is_damage(error):
            raise SpoolError(f"{self._path}: {error}; check the disk") from error
        self._recover()

    def _recover(self) -> None:
        waiting = self._depth
        self._set_aside()
        self._on_loss("spool", "spool_damaged", max(waiting, 1))
        self._reconnect()

    def _reconnect(self) -> None:
        self._depth = self._bytes = 0
        try:
            self._connect()
        except sqlite3.Error as error:
            raise SpoolError(f"{self._path}: no new spool: {error}; check the disk") from error

    def _open(self) -> bool:
        """Open or create the file; True when a damaged one had to be set aside."""
        try:
            finish_move(self._path)
            if not size_of(self._path) and size_of(self._log):
                raise DamagedError("a write-ahead log without its database")
            with told_in_words():
                self._connect()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise SpoolError(
                    f"{self._path}: cannot open the spool: {error};"
                    " is another agent using the same state_dir?"
                ) from error
            self._set_aside()
            self._connect()
            return True
        except PermissionError as error:
            raise SpoolError(
                f"{self._path}: cannot open the spool: {error.strerror};"
                " give agent.state_dir to the account that runs the agent"
            ) from error
        return False

    def _connect(self) -> None:
        self._db = connect(self._path)
        ((state,),) = self._db.execute("PRAGMA quick_check(1)").fetchall()
        meta = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if state != "ok" or not {"epoch", "last"} <= meta.keys():
            raise DamagedError(state)
        ((self._depth, self._bytes),) = self._db.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM batch"
        ).fetchall()
        self.epoch = meta["epoch"]
        self._last = self._last_at_open = meta["last"]
        self._reconciled = False

    def _set_aside(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        set_aside(self._path)
