"""The durable record of one collector: one data directory, one writer, any number of readers.

``segments/<table>/*.parquet`` named by ``ledger.jsonl`` are the record; ``index.duckdb`` can be
rebuilt from them; ``quarantine/`` keeps what could not be used.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import duckdb
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collector import schema
from collector.checkpoint import NAME as CHECKPOINT
from collector.checkpoint import Checkpoint, CheckpointError
from collector.damage import Damage
from collector.entry_signature import Signer
from collector.heads import KEY_NAME, Heads, HeadsError, Sealing, key_id, open_key
from collector.index import build_index, open_index, update_index
from collector.key_rotation import KIND, finish, forget_predecessor
from collector.ledger import Ledger, fsync_folder
from collector.ledger_entry import DAMAGED, SealedFile
from collector.ledger_reading import entries_since
from collector.own_entries import set_aside_foreign
from collector.presence import QUARANTINE, AbsentError, damaged_segments, take_back
from collector.retention import Retention
from collector.scrub import Scrub
from collector.sealed_segment import SegmentError, sealed_frame
from collector.segments import COMMIT_SECONDS, FOLDER, Committed, Segments
from collector.standing import is_beginning, trusted
from collector.submission import Submission
from collector.tidying import Tidying
from collector.views import open_views, refresh_views

__all__ = ["Store", "StoreError", "lock_folder", "open_views", "refresh_views"]

READ_AT_ONCE_BYTES = 8 << 20
"""A ledger whose part before the checkpoint is longer is compared with it after the start."""
READ_PAUSE_SECONDS = 0.05
MOST_NAMED = 10
"""Of damaged lines of a ledger: `pgwarden ledger verify` names all."""


_log = logging.getLogger(__name__)


class StoreError(Exception):
    """The data directory cannot be used; the message names it and the remedy."""


SEALING = Sealing()
RETENTION = Retention()
"""Everything is kept for good."""


class Store:
    """``on_commit`` hears of every commit, on the commit thread: agents' rows and our own."""

    def __init__(
        self,
        data_dir: Path,
        on_commit: Callable[[Committed], None] = lambda _: None,
        commit_seconds: float = COMMIT_SECONDS,
        history_days: int | None = None,
        sealing: Sealing = SEALING,
        retention: Retention = RETENTION,
    ) -> None:
        """``history_days``: so long the history of the catalog is kept; None: for good."""
        self.data_dir = data_dir
        self._on_commit = on_commit
        try:
            if not data_dir.is_dir():
                data_dir.mkdir(parents=True, mode=0o700)
                fsync_folder(data_dir.parent)
            self._lock_file = lock_folder(data_dir)
            key_file = sealing.key or data_dir / KEY_NAME
            is_new_key = not key_file.exists()
            key = open_key(data_dir, sealing.key)
            foreign = set_aside_foreign(data_dir, key, key_file, is_new_key)
            checkpoint = self._checkpoint(key.public_key())
            if foreign:
                (data_dir / CHECKPOINT).unlink(missing_ok=True)  # the next start reads all of it
            self.ledger = Ledger(data_dir, checkpoint, Signer(key))
            if finish(data_dir, key_file, self.ledger.last_notes.get(KIND)):
                key = open_key(data_dir, sealing.key)
                self.ledger.sign = Signer(key)
            self.heads = Heads(data_dir, sealing, self.ledger, key)
            forget_predecessor(key_file)
            self.ledger.started()
        except HeadsError as error:
            raise StoreError(str(error)) from error
        except OSError as error:
            raise StoreError(f"{data_dir}: {error.strerror}; check owner and disk") from error
        damaged = [f"entry {each.line}: {each.message}" for each in self.ledger.problems]
        self.contradictions = [*foreign, *self.heads.problems, *damaged[:MOST_NAMED]]
        """Why the ledger cannot be what this collector once wrote and signed."""
        self.taken_back, self.quarantined, damaged = self._look_at_segments()
        self.damage = Damage(data_dir, self.ledger, damaged)
        self.scrub = Scrub(data_dir, self.ledger, self.damage)
        self.segments = Segments(data_dir, self.ledger, self._committed, commit_seconds)
        self._index = self._open_index()
        if self.ledger.checkpoint is None and not self.contradictions:
            self.ledger.take_checkpoint()
        self.tidying = Tidying(
            data_dir,
            self.ledger,
            self.note,
            self._follow,
            retention,
            history_days,
            self.heads.signed_at_us,
            self.damage,
        )

    def _open_index(self) -> duckdb.DuckDBPyConnection:
        try:
            return open_index(self.data_dir, self.ledger)
        except duckdb.Error as error:
            self.ledger.close()
            self._lock_file.close()
            why = str(error).splitlines()[0]
            raise StoreError(f"{self.data_dir}: no index: {why}; check owner and disk") from error

    def _look_at_segments(self) -> tuple[list[str], list[str], list[str]]:
        """Those that hold again, those that were set aside, with why, and the damaged ones among
        these. Raises StoreError."""
        try:
            damaged = damaged_segments(self.data_dir, self.ledger)
            back = take_back(self.data_dir, self.ledger)
            aside = _quarantine_strangers(self.data_dir, self.ledger)
            out = _quarantine_damaged(self.data_dir, self.ledger, damaged)
            return back, aside + out, out
        except (AbsentError, OSError) as error:
            self.ledger.close()
            self._lock_file.close()
            raise StoreError(str(error)) from error

    def start(self) -> None:
        for name in self.taken_back:
            _log.warning("%s was missing and holds again", name)
        if self.contradictions:
            self.note_change("ledger_contradicted", problem="; ".join(self.contradictions))
        if self.checkpoint_problem:
            self.note("checkpoint_rebuilt", problem=self.checkpoint_problem)
        self.segments.start()
        self.tidying.start()
        self.scrub.start()
        self.heads.on_contradiction = self._contradicted
        self.heads.start()
        if self._unread is not None:
            threading.Thread(target=self._read_beginning, name="ledger", daemon=True).start()

    def _checkpoint(self, key: Ed25519PublicKey) -> Checkpoint | None:
        """To go on from; None: the ledger is read whole, and ``checkpoint_problem`` may say why."""
        self.checkpoint_problem = ""
        self._unread: Checkpoint | None = None
        try:
            both = trusted(self.data_dir, {key_id(key): key})
            if both is None:
                return None
            found, _ = both
            if found.offset > READ_AT_ONCE_BYTES:
                self._unread = found
            elif not is_beginning(self.data_dir, found):
                raise CheckpointError("the ledger before its checkpoint is not what it was")
        except CheckpointError as error:
            self.checkpoint_problem = str(error)
            return None
        return found

    def _read_beginning(self) -> None:
        """What a start has not read of a long ledger: nobody waits for it."""
        assert self._unread is not None
        try:
            good = is_beginning(self.data_dir, self._unread, READ_PAUSE_SECONDS)
        except OSError as error:
            _log.error("the ledger cannot be read: %s", error)
            return
        if good:
            return
        self._contradicted(f"the first {self._unread.size} entries are not those that were signed")

    def _contradicted(self, problem: str) -> None:
        """Found out while we run."""
        self.contradictions.append(problem)
        _log.error("the ledger is contradicted: %s", problem)
        (self.data_dir / CHECKPOINT).unlink(missing_ok=True)
        self.note_change("ledger_contradicted", problem=problem)

    def note(self, kind: str, **fields: str | int) -> None:
        """Queue a note for the ledger itself, with the next commit."""
        self.segments.submit(Submission({}, notes=({"kind": kind, **fields},)))

    def note_durably(self, kind: str, **fields: str | int) -> bool:
        """As ``note``; True once it is in the ledger. It stays queued where it is not yet."""
        self.note(kind, **fields)
        return self.segments.flush()

    def note_change(self, kind: str, **fields: str | int) -> None:
        """A note only where the last one of this kind said something else."""
        if self.ledger.last_notes.get(kind) != {"kind": kind, **fields}:
            self.note(kind, **fields)

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Queue the collector's own rows for the next commit. Columns left out are NULL.

        Times may be datetimes or microseconds since 1970. Raises StoreError for an unknown table
        or column, or a value of the wrong type: those are our own mistakes.
        """
        if table not in schema.TABLES:
            raise StoreError(f"no table {table!r}; there are {', '.join(schema.TABLES)}")
        if rows:
            self.segments.submit(Submission({table: frame_of(table, rows)}))

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of one of our own queries over the views, as of now."""
        with open_views(self.data_dir) as views:
            return views.execute(sql, list(parameters)).fetchall()

    def frame(
        self, sql: str, parameters: Sequence[object] = (), seconds: float = 0.0
    ) -> pl.DataFrame:
        """As ``query``, as a frame. Raises duckdb.InterruptException after so many ``seconds``;
        0: it may take as long as it likes."""
        with open_views(self.data_dir) as views:
            timer = threading.Timer(seconds, views.interrupt)
            if seconds:
                timer.start()
            try:
                return pl.DataFrame(views.sql(sql, params=list(parameters) or None))
            finally:
                timer.cancel()

    def commits_from(self, seq: int) -> Iterator[Committed]:
        """Commits with this ledger sequence and up, read back from disk; merges are no commits, and
        what was restored was one before.

        A segment that has been merged away since is left out: it was thought about long before.
        """
        for entry in entries_since(self.data_dir, seq):
            if entry.removed or entry.reason:
                continue
            frames = {file.table: self.sealed_rows(file) for file in entry.files}
            found = {table: rows for table, rows in frames.items() if rows is not None}
            yield Committed(entry.seq, found, at_us=entry.at_us)

    def sealed_rows(self, file: SealedFile) -> pl.DataFrame | None:
        """None: it is gone, or not what was sealed, which the log says."""
        if not (self.data_dir / file.path).exists():
            return None
        try:
            return sealed_frame(self.data_dir, file)
        except SegmentError as error:
            _log.error("a segment is left out: %s", error)
            return None

    def close(self) -> None:
        self.tidying.stop()
        self.scrub.stop()
        self.segments.stop()
        self.tidying.join()
        self.scrub.join()
        self._index.close()
        if not self.contradictions:
            self.ledger.take_checkpoint()
        self.heads.close()
        self.ledger.close()
        self._lock_file.close()

    def _committed(self, committed: Committed) -> None:
        self.heads.committed()
        self.tidying.committed()
        self._follow()
        self._on_commit(committed)

    def _follow(self) -> None:
        with self.ledger.turn:
            try:
                update_index(self._index, self.ledger)
            except duckdb.Error:
                self._index.close()
                self._index = build_index(self.data_dir, self.ledger)


def frame_of(table: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    dtypes = schema.TABLES[table].dtypes
    unknown = {name for row in rows for name in row} - dtypes.keys()
    if unknown:
        raise StoreError(f"table {table} has no column {', '.join(sorted(unknown))}")
    try:
        return pl.DataFrame(
            {
                name: pl.Series([_value(row.get(name)) for row in rows], dtype=pl.Int64).cast(dtype)
                if dtype == schema.TIME
                else pl.Series([row.get(name) for row in rows], dtype=dtype)
                for name, dtype in dtypes.items()
            }
        )
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"table {table}: {error}") from error


def _value(value: "datetime | int | None") -> int | None:
    """Microseconds since 1970; naive datetimes are UTC."""
    if not isinstance(value, datetime):
        return value
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return (naive - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def lock_folder(data_dir: Path) -> TextIO:
    """Held until it is closed. Raises StoreError where another process has it."""
    file = (data_dir / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise StoreError(f"{data_dir} is in use by another collector: stop it first") from error
    return file


def _quarantine_strangers(data_dir: Path, ledger: Ledger) -> list[str]:
    """Files that the ledger does not name were never acknowledged: set them aside.

    Those that it names as merged are only left over, and go.
    """
    moved = []
    for path in sorted((data_dir / FOLDER).rglob("*")):
        name = str(path.relative_to(data_dir))
        if path.is_dir() or name in ledger.files:
            continue
        if name in ledger.merged:
            path.unlink()
            continue
        _set_aside(data_dir, path)
        moved.append(f"{name}: not in the ledger")
    ledger.merged.clear()
    return moved


def _quarantine_damaged(data_dir: Path, ledger: Ledger, damaged: dict[str, str]) -> list[str]:
    """Take segments that are missing or of another size out of the record, and say so in it."""
    for name in damaged:
        if (data_dir / name).exists():
            _set_aside(data_dir, data_dir / name)
    if damaged:
        ledger.append(time.time_ns() // 1000, (), removed=tuple(damaged), reason=DAMAGED)
    return [f"{name}: {damage}" for name, damage in damaged.items()]


def _set_aside(data_dir: Path, path: Path) -> None:
    folder = data_dir / QUARANTINE
    folder.mkdir(exist_ok=True)
    os.replace(path, folder / f"{path.parent.name}-{time.time_ns()}-{path.name}")
