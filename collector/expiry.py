"""The history of the catalog is kept for so long: what it was, and what differed and is over.

What is so now stays, however old: the last change of each fact, and each open difference. Of the
accepted baseline nothing is in here, it is in the state of drift.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from collector.damage import Damage
from collector.ledger import Ledger, fsync_folder
from collector.ledger_entry import EXPIRED, SealedFile
from collector.retention import Hold
from collector.sealed_segment import SegmentError, sealed_frame
from collector.segment_file import write_segment
from collector.segments import FOLDER

DAY_US = 86_400_000_000
_FACT = ["agent", "cluster", "database", "kind", "name"]
_PLACE = ["file", "row"]


def expire_history(
    data_dir: Path, ledger: Ledger, before_us: int, damage: Damage, holds: Sequence[Hold] = ()
) -> list[Path]:
    """Take out of the record what was over before that moment; returns the replaced segments.

    A segment from before the end of a legal hold stays whole.
    They stay on disk for readers that have them open; the caller removes them later. A table of
    which a segment is damaged stays as it is this time: nothing can be said of what is in there.
    """
    replaced: list[Path] = []
    for table, ended in _ENDED.items():
        old = [f for f in _in_order(ledger, table) if f.first_us < before_us]
        try:
            for path in _rewrite(data_dir, ledger, old, ended, before_us, holds) if old else ():
                replaced.append(path)
        except SegmentError as error:
            damage.found(error)
    return replaced


def _rewrite(
    data_dir: Path,
    ledger: Ledger,
    files: list[SealedFile],
    ended: Callable[[pl.LazyFrame, int], pl.LazyFrame],
    before_us: int,
    holds: Sequence[Hold],
) -> Iterator[Path]:
    """Raises SegmentError."""
    for number, rows in _rows_that_end(data_dir, files, ended, before_us).items():
        file = files[number]
        if any(hold.covers_history(file, before_us) for hold in holds):
            continue
        frame = sealed_frame(data_dir, file)
        left = frame.with_row_index("row").filter(~pl.col("row").is_in(rows)).drop("row")
        fresh: tuple[SealedFile, ...] = ()
        if left.height:
            # Sorts where the old one did: views rely on the names' order.
            stem = Path(file.path).name.split("-")[0].removesuffix(".parquet")
            target = Path(FOLDER) / file.table / f"{stem}-{ledger.seq + 1:012d}.parquet"
            fresh = (write_segment(data_dir, target, file.table, left, [file]),)
            fsync_folder((data_dir / target).parent)
        note = {"kind": EXPIRED, "table": file.table, "cause": "age", "before_us": before_us}
        at_us = time.time_ns() // 1000
        ledger.append(at_us, fresh, removed=(file.path,), reason=EXPIRED, notes=(note,))
        yield data_dir / file.path


def _rows_that_end(
    data_dir: Path,
    files: list[SealedFile],
    ended: Callable[[pl.LazyFrame, int], pl.LazyFrame],
    before_us: int,
) -> Mapping[int, list[int]]:
    """Row numbers by the number of their file."""
    parts = [
        sealed_frame(data_dir, file)
        .select(pl.selectors.by_name(*_FACT, *_TIMES, "change", require_all=False))
        .with_row_index("row")
        .with_columns(pl.lit(number).alias("file"))
        for number, file in enumerate(files)
    ]
    found = ended(pl.concat(parts).lazy(), before_us).select(_PLACE).collect()
    return {
        int(number): rows
        for number, rows in found.group_by("file").agg("row").sort("file").iter_rows()
    }


_TIMES = ("occurred_at", "known_at", "resolved_at")


def _messages(rows: pl.LazyFrame, before_us: int) -> pl.LazyFrame:
    """Of table ``catalog``: what came from agents, of which the other two were made."""
    return rows.filter(_at("occurred_at") < before_us)


def _changes(rows: pl.LazyFrame, before_us: int) -> pl.LazyFrame:
    """All but the last one of each fact before that moment, and that one if it says it went."""
    old = rows.filter(_at("occurred_at") < before_us).sort("occurred_at", *_PLACE)
    is_last = pl.int_range(pl.len()).over(_FACT) == pl.len().over(_FACT) - 1
    return old.filter(~is_last | (pl.col("change") == "removed"))


def _differences(rows: pl.LazyFrame, before_us: int) -> pl.LazyFrame:
    """All that was said of differences that were resolved before that moment."""
    end = _at("resolved_at").last().over(*_FACT, "occurred_at")
    return rows.sort(*_PLACE).filter(end < before_us)


def _at(name: str) -> pl.Expr:
    return pl.col(name).dt.epoch("us")


_ENDED = {"catalog": _messages, "catalog_changes": _changes, "drift": _differences}
TABLES = tuple(_ENDED)


def _in_order(ledger: Ledger, table: str) -> list[SealedFile]:
    files = [file for file in ledger.files_now() if file.table == table]
    return sorted(files, key=lambda file: file.path)
