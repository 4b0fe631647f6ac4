"""A sealed segment, read once: its bytes are compared with its seal, and these bytes are parsed.

Whoever hashes a file and then opens it again may read another one. What comes of a segment is
sealed anew, by our key, so nothing may come between the two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl

from collector import schema
from collector.ledger_entry import SealedFile


class SegmentError(Exception):
    """It cannot be read, or is not what was sealed; the message names it and why."""

    def __init__(self, file: SealedFile, why: str, is_damaged: bool) -> None:
        super().__init__(f"{file.path}: {why}")
        self.file = file
        self.why = why
        self.is_damaged = is_damaged
        """It is there, and holds something else. Else the disk may be at fault, or not be there."""


def sealed_frame(
    data_dir: Path, file: SealedFile, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Its rows, of the present schema; ``columns``: only those, as they are.

    Raises SegmentError.
    """
    data = sealed_bytes(data_dir, file)
    try:
        frame = pl.read_parquet(data, columns=list(columns) if columns else None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SegmentError(file, f"is no Parquet: {str(error).splitlines()[0]}", True) from error
    return frame if columns else schema.aligned(file.table, frame)


def sealed_bytes(data_dir: Path, file: SealedFile) -> bytes:
    """All of it in memory: a merge holds as much anyway. Raises SegmentError."""
    data = _bytes(data_dir, file)
    if sha256(data).hexdigest() != file.sha256:
        raise SegmentError(file, "its SHA-256 is not the sealed one", True)
    return data


def _bytes(data_dir: Path, file: SealedFile) -> bytes:
    try:
        # Without waiting: what somebody put there may be a pipe.
        descriptor = os.open(data_dir / file.path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:
            size = os.fstat(descriptor).st_size
            if size != file.bytes:
                raise SegmentError(file, f"{size} bytes, sealed with {file.bytes}", True)
            return opened.read(size)
    except OSError as error:
        raise SegmentError(file, f"cannot be read: {error.strerror}", False) from error
