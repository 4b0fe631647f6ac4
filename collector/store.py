"""The durable record of one collector: one data directory, one writer, any number of readers.

``segments/<table>/*.parquet`` named by ``ledger.jsonl`` are the record; ``index.duckdb`` can be
rebuilt from them; ``quarantine/`` keeps what could not be used.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import duckdb
import polars as pl

from collector import schema
from collector.index import build_index, open_index, update_index
from collector.ledger import NAME as LEDGER
from collector.ledger import Ledger, damage_of
from collector.ledger import read as read_ledger
from collector.merge import merge_small_segments
from collector.segments import COMMIT_SECONDS, FOLDER, Committed, Segments, Submission
from collector.views import open_views, refresh_views

__all__ = ["Store", "StoreError", "open_views", "rebuild", "refresh_views"]

QUARANTINE = "quarantine"
MERGE_SECONDS = 10.0


class StoreError(Exception):
    """The data directory cannot be used; the message names it and the remedy."""


class Store:
    """``on_commit`` hears of every commit, on the commit thread: agents' rows and our own."""

    def __init__(
        self,
        data_dir: Path,
        on_commit: Callable[[Committed], None] = lambda _: None,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> None:
        self.data_dir = data_dir
        self._on_commit = on_commit
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = _lock(data_dir)
            self.ledger = Ledger(data_dir)
        except OSError as error:
            raise StoreError(f"{data_dir}: {error.strerror}; check owner and disk") from error
        self.quarantined = _quarantine_strangers(data_dir, self.ledger)
        self.quarantined += _quarantine_damaged(data_dir, self.ledger)
        self.segments = Segments(data_dir, self.ledger, self._committed, commit_seconds)
        self._index = open_index(data_dir, self.ledger)
        self._merged_at = time.monotonic()
        self._discarded: list[tuple[float, Path]] = []
        self._read_lock = threading.Lock()

    def start(self) -> None:
        self.segments.start()

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

    def frame(self, sql: str) -> pl.DataFrame:
        """As ``query``, as a frame."""
        with open_views(self.data_dir) as views:
            return pl.DataFrame(views.sql(sql))

    def commits_from(self, seq: int) -> Iterator[Committed]:
        """Commits with this ledger sequence and up, read back from disk; merges are no commits.

        A segment that has been merged away since is left out: it was thought about long before.
        """
        entries, _, _ = read_ledger(self.data_dir / LEDGER)
        for entry in entries:
            if entry.seq < seq or entry.removed:
                continue
            paths = {file.table: self.data_dir / file.path for file in entry.files}
            yield Committed(
                entry.seq,
                {
                    table: schema.aligned(table, pl.read_parquet(path, glob=False))
                    for table, path in paths.items()
                    if path.exists()
                },
            )

    def close(self) -> None:
        self.segments.stop()
        self._index.close()
        self.ledger.close()
        for _, path in self._discarded:
            path.unlink(missing_ok=True)
        self._lock_file.close()

    def _committed(self, committed: Committed) -> None:
        if time.monotonic() - self._merged_at > MERGE_SECONDS:
            self._merged_at = time.monotonic()
            now = time.monotonic()
            for table in schema.TABLES:
                replaced = merge_small_segments(self.data_dir, self.ledger, table)
                self._discarded += [(now, path) for path in replaced]
            self._unlink_discarded(now)
        try:
            update_index(self._index, self.ledger)
        except duckdb.Error:
            self._index.close()
            self._index = build_index(self.data_dir, self.ledger)
        self._on_commit(committed)

    def _unlink_discarded(self, now: float) -> None:
        """Merged segments stay for a while: a reader that began before the merge has them open."""
        for at, path in self._discarded:
            if now - at > READER_GRACE_SECONDS:
                path.unlink(missing_ok=True)
        self._discarded = [
            item for item in self._discarded if now - item[0] <= READER_GRACE_SECONDS
        ]


READER_GRACE_SECONDS = 600.0


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


def rebuild(data_dir: Path) -> int:
    """Build index.duckdb from the ledger; returns the number of segments. The collector is down."""
    lock = _lock(data_dir)
    ledger = Ledger(data_dir)
    build_index(data_dir, ledger).close()
    ledger.close()
    lock.close()
    return len(ledger.files)


def _value(value: "datetime | int | None") -> int | None:
    """Microseconds since 1970; naive datetimes are UTC."""
    if not isinstance(value, datetime):
        return value
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return (naive - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def _lock(data_dir: Path) -> TextIO:
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
    return moved


def _quarantine_damaged(data_dir: Path, ledger: Ledger) -> list[str]:
    """Take segments that are missing or of another size out of the record, and say so in it."""
    damaged = {}
    for name, file in ledger.files.items():
        if (damage := damage_of(data_dir, file, deep=False)) is not None:
            damaged[name] = damage
    for name in damaged:
        if (data_dir / name).exists():
            _set_aside(data_dir, data_dir / name)
    if damaged:
        ledger.append(time.time_ns() // 1000, (), removed=tuple(damaged), reason="damaged")
    return [f"{name}: {damage}" for name, damage in damaged.items()]


def _set_aside(data_dir: Path, path: Path) -> None:
    folder = data_dir / QUARANTINE
    folder.mkdir(exist_ok=True)
    os.replace(path, folder / f"{path.parent.name}-{time.time_ns()}-{path.name}")
