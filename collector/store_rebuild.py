"""``index.duckdb`` made anew from the segments, beside the old one, then in its place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import polars as pl

from collector import schema
from collector.index import NAME, fill_index
from collector.ledger import fsync_folder
from collector.ledger_entry import SealedFile
from collector.ledger_reading import NAME as LEDGER
from collector.ledger_reading import read, state_of
from collector.store import lock_folder
from collector.store_check import Progress, segment_damage


@dataclass(slots=True)
class Rebuilt:
    segments: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    """Segments that are left out, and why."""


def rebuild_index(data_dir: Path, progress: Progress = lambda _done, _all: None) -> Rebuilt:
    """The ledger says which segments hold; rows and times are counted in them.

    The collector is down. The old index stays until the new one is whole and durable. Raises
    StoreError where another process uses the folder, OSError and duckdb.Error.
    """
    with lock_folder(data_dir):
        state = state_of(read(data_dir / LEDGER).entries)
        rebuilt, good = Rebuilt(), {}
        for number, (path, file) in enumerate(state.files.items(), 1):
            damage = segment_damage(data_dir, file)
            if damage is None:
                good[path] = _measured(data_dir, file)
                rebuilt.rows += good[path].rows
            else:
                rebuilt.problems.append(f"{path}: {damage}")
            progress(number, len(state.files))
        state.files = good
        rebuilt.segments = len(good)
        part = data_dir / f"{NAME}.part"
        _remove(part)
        with duckdb.connect(str(part)) as connection:
            fill_index(connection, state)
        _swap(data_dir, part)
    return rebuilt


def _measured(data_dir: Path, file: SealedFile) -> SealedFile:
    """As sealed, but with what the segment itself says of its rows and times; those that are too
    far ahead count as when it was sealed."""
    column = schema.TABLES[file.table].time
    times = pl.col(column).cast(pl.Int64)
    ((rows, first, last),) = (
        pl.scan_parquet(data_dir / file.path, glob=False)
        .select(pl.len(), times.min().alias("first"), times.max().alias("last"))
        .collect()
        .rows()
    )
    last_us = min(last or 0, file.last_us)
    return replace(file, rows=rows, first_us=min(first or 0, last_us), last_us=last_us)


def _swap(data_dir: Path, part: Path) -> None:
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # Before the rename: a log of the old index must never be applied to the new one.
    (data_dir / f"{NAME}.wal").unlink(missing_ok=True)
    part.rename(data_dir / NAME)
    fsync_folder(data_dir)


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.wal").unlink(missing_ok=True)
