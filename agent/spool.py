"""What the collector has not acknowledged yet, durable in one SQLite file.

Every append is committed with ``synchronous=FULL`` before it returns; give several payloads at once
and they share one fsync. SQLite does not checksum its pages, so each body carries a CRC-32.
"""

import os
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.wire import MAX_PAYLOAD_BYTES, Payload
from protos.pgwarden.v1 import uplink_pb2 as pb

DEFAULT_MAX_BYTES = 512 * 1024 * 1024
RESERVED_SHARE = 1 / 8
"""Share of the spool that only priority batches may use."""
MAX_QUARANTINED = 16
"""Refused batches that are kept for a person to look at; older ones go first."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE batch (
  sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL,
  rows INTEGER NOT NULL
) STRICT;
CREATE TABLE quarantine (
  sequence INTEGER, epoch INTEGER, reason TEXT, body BLOB, at INTEGER
) STRICT;
PRAGMA user_version = 1;
"""
_SET = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_TRIM_QUARANTINE = (
    f"DELETE FROM quarantine WHERE rowid <= (SELECT max(rowid) FROM quarantine) - {MAX_QUARANTINED}"
)

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

CountLoss = Callable[[str, str, int], None]
"""Called with source, reason and a number of rows (1 where the number cannot be known)."""


class SpoolError(Exception):
    """The spool cannot be used: the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Spooled:
    sequence: int
    body: bytes = field(repr=False)
    rows: int


class Spool:
    """Sequences count from 1 within an ``epoch``; the epoch is new whenever the file is.

    Thread-safe. ``on_loss`` hears of every row that is dropped, by reason: ``spool_full``,
    ``disk_full``, ``spool_damaged``, ``rejected``. Losses that were themselves refused are handed
    back to it unchanged, so that no count is lost. It may run inside the spool's lock: it should
    count and return.
    """

    epoch: int
    _db: sqlite3.Connection
    _last: int
    _last_at_open: int
    _reconciled: bool
    _depth: int
    _bytes: int

    def __init__(self, path: Path, on_loss: CountLoss, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._path = path
        self._on_loss = on_loss
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._open():
            on_loss("spool", "spool_damaged", 1)

    def append(self, *payloads: Payload) -> int:
        """Make them durable, in order; returns the last sequence. What does not fit is counted."""
        with self._lock:
            accepted, refused = self._admit(payloads)
            reason = "spool_full"
            try:
                self._insert(accepted)
            except sqlite3.Error as error:
                reason, refused = "disk_full", list(payloads)
                if _is_damage(error):
                    reason = "spool_damaged"
                    self._recover()
            last = self._last
        for payload in refused:
            self._refuse(payload, reason)
        return last

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
        """Drop everything up to and including this sequence: the collector has it."""
        with self._lock:
            query = "SELECT count(*), coalesce(sum(length(body)), 0) FROM batch WHERE sequence <= ?"
            for count, size in self._query(query, (upto,)):
                if count:
                    self._change(("DELETE FROM batch WHERE sequence <= ?", (upto,)))
                    self._depth -= count
                    self._bytes -= size

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
                self.epoch = _new_epoch()
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

    def _admit(self, payloads: Sequence[Payload]) -> tuple[list[Payload], list[Payload]]:
        accepted, refused, size = [], [], self._bytes
        for payload in payloads:
            if len(payload.body) > MAX_PAYLOAD_BYTES:
                raise ValueError(f"a payload of {len(payload.body)} bytes: build it smaller")
            share = 1.0 if payload.priority else 1 - RESERVED_SHARE
            if size + len(payload.body) > self._max_bytes * share:
                refused.append(payload)
                continue
            accepted.append(payload)
            size += len(payload.body)
        return accepted, refused

    def _insert(self, payloads: Sequence[Payload]) -> None:
        if not payloads:
            return
        last = self._last + len(payloads)
        rows = [
            (sequence, payload.body, zlib.crc32(payload.body), payload.rows)
            for sequence, payload in enumerate(payloads, self._last + 1)
        ]
        with self._db:
            self._db.executemany("INSERT INTO batch VALUES (?, ?, ?, ?)", rows)
            # Kept apart from the rows: after `forget` the largest row no longer tells it.
            self._db.execute(_SET, ("last", last))
        self._last = last
        self._bytes += sum(len(payload.body) for payload in payloads)
        self._depth += len(payloads)

    def _refuse(self, payload: Payload, reason: str) -> None:
        rows = payload.rows - payload.counts.get("losses", 0)
        if rows:
            self._on_loss("spool", reason, rows)
        if "losses" in payload.counts:
            for loss in pb.Batch.FromString(payload.body).losses:
                self._on_loss(loss.source, loss.reason, loss.count)

    def _query(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._survive(error)
            return []

    def _change(self, *orders: tuple[str, tuple[Any, ...]]) -> None:
        try:
            with self._db:
                for order, values in orders:
                    self._db.execute(order, values)
        except sqlite3.Error as error:
            self._survive(error)

    def _survive(self, error: sqlite3.Error) -> None:
        """Start anew if the file is damaged; raise SpoolError if the disk is at fault."""
        if not _is_damage(error):
            raise SpoolError(f"{self._path}: {error}; check the disk") from error
        self._recover()

    def _recover(self) -> None:
        waiting = self._depth
        self._set_aside()
        self._connect()
        self._on_loss("spool", "spool_damaged", max(waiting, 1))

    def _open(self) -> bool:
        """Open or create the file; True when a damaged one had to be set aside."""
        log = self._path.with_name(self._path.name + "-wal")
        try:
            if not _size(self._path) and _size(log):
                raise _DamagedError("a write-ahead log without its database")
            self._connect()
        except sqlite3.Error as error:
            if not _is_damage(error):
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
        self._db = sqlite3.connect(self._path, timeout=1, check_same_thread=False)
        os.chmod(self._path, 0o600)
        # One agent, one spool: a second process must not interleave its own sequences.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA journal_size_limit = 16777216")
        ((version,),) = self._db.execute("PRAGMA user_version").fetchall()
        if version == 0:
            self._db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA}"
                f"INSERT INTO meta VALUES ('epoch', {_new_epoch()}), ('last', 0); COMMIT;"
            )
        ((state,),) = self._db.execute("PRAGMA quick_check(1)").fetchall()
        meta = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if state != "ok" or not {"epoch", "last"} <= meta.keys():
            raise _DamagedError(state)
        ((self._depth, self._bytes),) = self._db.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM batch"
        ).fetchall()
        self.epoch = meta["epoch"]
        self._last = self._last_at_open = meta["last"]
        self._reconciled = False

    def _set_aside(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        stamp = time.time_ns()
        for suffix in ("", "-wal", "-shm"):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.rename(part.with_name(f"{self._path.name}.damaged-{stamp}{suffix}"))


class _DamagedError(sqlite3.DatabaseError):
    """Readable by SQLite, yet not a spool."""


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF not in _NOT_DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _new_epoch() -> int:
    """Microseconds since 1970 plus ten random bits: ascending, and fits SQLite's integers."""
    return (time.time_ns() // 1000) << 10 | secrets.randbits(10)
