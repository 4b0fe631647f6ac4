"""One sealed Parquet file, durable before anybody speaks of it."""

import hashlib
import io
import os
from pathlib import Path

import polars as pl

from collector import schema
from collector.ledger_entry import SealedFile


def write_segment(data_dir: Path, path: Path, table: str, frame: pl.DataFrame) -> SealedFile:
    """Durable under its final name when this returns, but for the folder's own fsync.

    The hash is taken from the bytes in memory, so a disk that stores something else is found out.
    """
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=True)
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
    return SealedFile(
        table=table,
        path=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        rows=frame.height,
        bytes=len(data),
        first_us=_integer(times.min()),
        last_us=_integer(times.max()),
        schema=schema.VERSION,
    )


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
