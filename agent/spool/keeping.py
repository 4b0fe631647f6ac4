"""The file under the spool: what becomes of it when it is damaged, full or cannot be synced."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import structlog

from agent.spool.epochs import Epochs, read_epochs
from agent.spool.faults import (
    DamagedError,
    UnsyncedError,
    is_damage,
    is_full,
    is_unsynced,
    size_of,
    told_in_words,
)
from agent.spool.file import MOVED, SIDE_FILES, LaterReleaseError, connect
from agent.spool.moving import finish_move, move
from agent.spool.salvage import PAGE_BYTES, salvage
from agent.spool.unfinished import discard, end, set_aside, unfinished

log = structlog.get_logger(__name__)

MOVE_SECONDS = 5.0
"""Between two tries to go on in another file."""
ANEW_PAUSE = 10
"""Between two tries to make one in the place of a damaged one, in times that the first took."""

CountLoss = Callable[[str, str, int], None]
"""Called with source, reason and a number of rows (1 where the number cannot be known)."""


class SpoolError(Exception):
    """The spool cannot be used: the message names the file and what to do."""


class SpoolFile:
    """Who uses it holds the lock."""

    problem: str = ""
    """Why nothing can be promised durable at this moment; what waits is still handed out."""
    unsalvaged: str = ""
    """Why a damaged file has no new one in its place yet."""
    fsync_failures: int = 0
    _db: sqlite3.Connection
    _last: int
    _epochs: Epochs
    _sent: int
    """The highest that was handed to a stream since the file was opened."""
    _done: int
    """The collector has everything up to this one, also where it could not be deleted."""
    _is_greeted: bool
    """The collector has said how far it is in the epoch that is being sent."""
    _depth: int
    _bytes: int

    def __init__(self, path: Path, on_loss: CountLoss) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._on_loss = on_loss
        self._lock = threading.RLock()
        self._starved = False  # a write found no room since the log was last folded
        self._move_at = 0.0
        self._aside: Path | None = None  # a damaged file, until there is a new one
        self._anew_at = 0.0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if lost := self._open():
            on_loss("spool", "spool_damaged", lost)

    def close(self) -> None:
        with self._lock:
            self._db.close()

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
        now = time.monotonic()
        if now < self._move_at:
            raise UnsyncedError(self.problem)
        self._move_at = now + MOVE_SECONDS
        try:
            with suppress(sqlite3.ProgrammingError):  # closed: its successor could not be opened
                move(self._db, self._path)
            self._connect()
        except (OSError, sqlite3.Error) as error:
            raise UnsyncedError(f"{self.problem}; no other file: {error}") from error
        self.problem, self._starved = "", False
        log.warning("spool.moved", file=str(self._path), batches=self._depth)

    def _fold(self) -> None:
        """Empty the write-ahead log into the file; that may itself find no room."""
        try:
            ((busy, _, _),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            return  # the log stays as it is: nothing is lost, and the next write tries again
        self._starved = self._starved and bool(busy)

    def _renew(self) -> None:
        """Everything is with the collector and the disk is full: give the whole file back.

        Epoch and sequence go on as if it had been emptied. Quarantined batches are given up.
        """
        epochs, done = self._epochs.alone(self._last), self._last
        self._db.close()
        for suffix in (*SIDE_FILES, MOVED, ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._reconnect()
        self._starved = False
        self._epochs, self._last, self._done, self._sent = epochs, done, done, done
        self._is_greeted = True
        self._write_epochs()

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

        self._try(change)

    def _write_epochs(self) -> None:
        epochs, last = self._epochs, self._last

        def write() -> None:
            with told_in_words(), self._db:
                epochs.write(self._db, last)
            epochs.is_written = True

        self._try(write)

    def _try(self, change: Callable[[], None]) -> None:
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
        lost = self._begin_anew()
        if lost := max(waiting, 1) if lost is None else lost:
            self._on_loss("spool", "spool_damaged", lost)
        self._reconnect()

    def _reconnect(self) -> None:
        self._depth = self._bytes = 0
        try:
            self._connect_anew()
        except sqlite3.Error as error:
            raise SpoolError(f"{self._path}: no new spool: {error}; check the disk") from error

    def _open(self) -> int:
        """Open or create the file; rows that are lost with a damaged one, which is set aside."""
        try:
            finish_move(self._path)
            self._aside = unfinished(self._path)
            if self._aside is None:
                self._connect_whole()
                return 0
        except LaterReleaseError as error:
            raise SpoolError(f"{self._path}: {error}") from error
        except sqlite3.Error as error:
            if not is_damage(error):
                raise SpoolError(
                    f"{self._path}: cannot open the spool: {error}; {_remedy(error)}"
                ) from error
        except OSError as error:
            raise SpoolError(
                f"{self._path}: cannot open the spool: {error.strerror}; {_remedy(error)}"
            ) from error
        lost = self._begin_anew()
        self._reconnect()
        return 1 if lost is None else lost

    def _connect_whole(self) -> None:
        if not size_of(self._path) and size_of(self._log):
            raise DamagedError("a write-ahead log without its database")
        if size_of(self._path) % PAGE_BYTES and not size_of(self._log):
            raise DamagedError("its last page is not whole")
        with told_in_words():
            self._connect_anew()

    def _connect_anew(self) -> None:
        meta = self._connect()
        self._epochs, self._done = read_epochs(self._db, meta)
        self._sent = 0
        self._is_greeted = False

    def _connect(self) -> dict[str, int]:
        self._db = connect(self._path)
        ((state,),) = self._db.execute("PRAGMA quick_check(1)").fetchall()
        meta = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if state != "ok" or not {"epoch", "last"} <= meta.keys():
            raise DamagedError(state)
        ((self._depth, self._bytes),) = self._db.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM batch"
        ).fetchall()
        self._last = meta["last"]
        return meta

    def _begin_anew(self) -> int | None:
        """A new file in the place of a damaged one, with what can be read of that. Rows that are
        lost; None: nobody knows. Raises SpoolError: the damaged one waits for another try."""
        if hasattr(self, "_db"):
            self._db.close()
        now = time.monotonic()
        if now < self._anew_at:
            raise SpoolError(self.unsalvaged)
        try:
            if self._aside is None:
                self._aside = set_aside(self._path)
            lost = self._salvaged(self._aside)
        except (OSError, sqlite3.Error) as error:
            took = time.monotonic() - now
            self._anew_at = now + took * ANEW_PAUSE
            self.unsalvaged = (
                f"{self._path} is damaged and there is no new one: {error}; {_remedy(error)}"
            )
            log.error("spool.not_salvaged", problem=self.unsalvaged)
            raise SpoolError(self.unsalvaged) from error
        self._aside, self.unsalvaged = None, ""
        return lost

    def _salvaged(self, aside: Path) -> int | None:
        """As ``_begin_anew``, of a file that was set aside."""
        lost = None
        if size_of(aside):
            discard(self._path)
            with closing(connect(self._path)) as fresh:
                lost = salvage(aside, fresh, self._path)
        log.error("spool.damaged", file=str(end(aside)), rows_lost=lost)
        return lost


def _remedy(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "give agent.state_dir to the account that runs the agent"
    if isinstance(error, OSError):
        return "check the disk of agent.state_dir"
    if isinstance(error, sqlite3.Error) and is_full(error):
        return "make room on the disk of agent.state_dir"
    return "is another agent using the same state_dir?"
