"""Many small segments into one: half-second commits would leave 170,000 files a day."""

import time
from pathlib import Path

import polars as pl

from collector.damage import Damage
from collector.ledger import Ledger, fsync_folder
from collector.ledger_entry import MERGED, SealedFile
from collector.sealed_segment import SegmentError, sealed_frame
from collector.segment_file import write_segment
from collector.segments import FOLDER

SMALL_BYTES = 8 * 1024 * 1024
FEWEST = 32
MOST = 256
MOST_ROWS = 500_000


def merge_small_segments(data_dir: Path, ledger: Ledger, table: str, damage: Damage) -> list[Path]:
    """Merge one run of small neighbours of a table, if there is one; returns the replaced files.

    They stay on disk for readers that have them open; the caller removes them later.
    """
    run = _run([file for file in ledger.files_now() if file.table == table], damage)
    return merge(data_dir, ledger, table, run, damage) if len(run) >= FEWEST else []


def merge(
    data_dir: Path, ledger: Ledger, table: str, run: list[SealedFile], damage: Damage
) -> list[Path]:
    """Neighbours in the order of their names into one. A damaged one among them is found, not
    copied, and the others wait for the next look, which is without it."""
    paths = [data_dir / file.path for file in run]
    try:
        frame = pl.concat([sealed_frame(data_dir, file) for file in run])
    except SegmentError as error:
        damage.found(error)
        return []
    # Sorts after the last file it replaces and before the next: views rely on the names' order.
    last = Path(run[-1].path).name.split("-")[0].removesuffix(".parquet")
    target = Path(FOLDER) / table / f"{last}-{ledger.seq + 1:012d}.parquet"
    merged = write_segment(data_dir, target, table, frame, run)
    fsync_folder((data_dir / target).parent)
    removed = tuple(file.path for file in run)
    ledger.append(time.time_ns() // 1000, (merged,), removed=removed, reason=MERGED)
    return paths


def _run(files: list[SealedFile], damage: Damage) -> list[SealedFile]:
    """The first long run of neighbours that are small, in the order of their names. One that cannot
    be read ends a run: rows stay in their order."""
    run: list[SealedFile] = []
    usable = {file.path for file in damage.usable(files)}
    for file in sorted(files, key=lambda file: file.path):
        rows = sum(kept.rows for kept in run)
        fits = file.bytes <= SMALL_BYTES and file.path in usable
        if fits and len(run) < MOST and rows + file.rows <= MOST_ROWS:
            run.append(file)
        elif len(run) >= FEWEST:
            break
        else:
            run = [file] if fits else []
    return run
