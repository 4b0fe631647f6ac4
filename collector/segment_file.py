"""One sealed Parquet file, durable before anybody speaks of it."""

import hashlib
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from collector import schema
from collector.ledger_entry import SealedFile

GROUP_TEXT_BYTES = 64 << 20
"""Of texts in a row group. Writing lays out all texts of a group, those that repeat too: a million
rows that share one of a megabyte would take as much memory as that is."""
AHEAD_US = 3_600_000_000
"""A clock may differ from ours by so much."""
ITEM_BYTES = 16
"""Of an item of a list, which is a name."""


def write_segment(
    data_dir: Path,
    path: Path,
    table: str,
    frame: pl.DataFrame,
    replaces: Sequence[SealedFile] = (),
) -> SealedFile:
    """Durable under its final name when this returns, but for the folder's own fsync.

    The hash is taken from the bytes in memory, so a disk that stores something else is found out.
    ``replaces``: the segments whose rows these are.
    """
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        compression_level=1,
        statistics=True,
        row_group_size=_group_rows(frame),
    )
    data = buffer.getbuffer()
    final = data_dir / path
    temporary = final.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(final)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    times = frame.get_column(schema.TABLES[table].time).cast(pl.Int64)
    first_us, last_us = _integer(times.min()), _integer(times.max())
    last_us = _believed(first_us, last_us, time.time_ns() // 1000 + AHEAD_US, replaces)
    return SealedFile(
        table=table,
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=frame.height,
        bytes=len(data),
        first_us=min(first_us, last_us),
        last_us=last_us,
        schema=schema.VERSION,
    )


def _believed(first_us: int, last_us: int, latest_us: int, replaces: Sequence[SealedFile]) -> int:
    """Rows are dated by agents. Those of one whose clock is far ahead must not keep the rows of all
    others from growing old. Where every row is ahead it may be our own clock that is behind, and
    what went by that would not come back."""
    if first_us <= latest_us:
        last_us = min(last_us, latest_us)
    return min(last_us, max((file.last_us for file in replaces), default=last_us))


def _group_rows(frame: pl.DataFrame) -> int | None:
    """None: all are one group, as it usually is."""
    size = sum(_text_bytes(series) for series in frame.get_columns())
    if size <= GROUP_TEXT_BYTES:
        return None
    return max(1, frame.height * GROUP_TEXT_BYTES // size)


def _text_bytes(series: pl.Series) -> int:
    if series.dtype == pl.String:
        return _integer(series.str.len_bytes().sum())
    if series.dtype == schema.TEXTS:
        return _integer(series.list.len().sum()) * ITEM_BYTES
    return 0


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
