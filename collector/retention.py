"""How long rows are kept: by age, by size, and never while a legal hold covers them.

Each removal is an entry of the ledger, with its cause in a note. What the catalog was and what
differed is bounded by ``expiry.py``; approvals and what people said of findings stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from collector import schema
from collector.damage import Damage
from collector.ledger import Ledger, fsync_folder
from collector.ledger_entry import RETENTION, Note, SealedFile
from collector.sealed_segment import SegmentError, sealed_frame
from collector.segment_file import write_segment
from collector.segments import FOLDER

DAY_US = 86_400_000_000
BULK = ("statements", "sessions", "alerts", "audit_coverage")
"""Bounded by size too, and cut to the row: nothing of theirs is a leaf of its own."""
EVENTS = ("verdicts", "losses", "findings", "rules_changes", "accesses")
"""Security events go by age alone, a segment as a whole: of a part nothing could be proven."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Rows of that time stay, whatever else is said."""

    because: str
    starts_us: int
    ends_us: int
    tables: tuple[str, ...] = ()
    """Empty: all."""

    def covers(self, file: SealedFile) -> bool:
        begins_before = file.first_us < self.ends_us
        return self._is_of(file.table) and begins_before and file.last_us >= self.starts_us

    def covers_history(self, file: SealedFile, before_us: int) -> bool:
        """What was so in that time follows from all that came before its end. Of one that starts
        after ``before_us`` that is what stays anyway."""
        starts_before = self.starts_us < before_us
        return self._is_of(file.table) and starts_before and file.first_us < self.ends_us

    def _is_of(self, table: str) -> bool:
        return not self.tables or table in self.tables


@dataclass(frozen=True, slots=True)
class Retention:
    days: int | None = None
    days_of: Mapping[str, int] | None = None
    """By table, in place of ``days``."""
    max_bytes: int | None = None
    """Of all segments together."""
    holds: tuple[Hold, ...] = ()

    def days_for(self, table: str) -> int | None:
        return (self.days_of or {}).get(table, self.days)

    def holds_back(self, file: SealedFile) -> bool:
        return any(hold.covers(file) for hold in self.holds)


def retain(
    data_dir: Path, ledger: Ledger, retention: Retention, now_us: int, damage: Damage
) -> list[Path]:
    """Take out of the record what was kept long enough; returns the files that hold no longer.

    They stay on disk for readers that have them open; the caller removes them later.
    """
    gone: list[Path] = []
    for table in (*BULK, *EVENTS):
        days = retention.days_for(table)
        if days is not None:
            gone += _by_age(data_dir, ledger, retention, table, now_us - days * DAY_US, damage)
    if retention.max_bytes is not None:
        gone += _by_size(data_dir, ledger, retention, retention.max_bytes)
    return gone


def _by_age(
    data_dir: Path,
    ledger: Ledger,
    retention: Retention,
    table: str,
    before_us: int,
    damage: Damage,
) -> list[Path]:
    files = [f for f in ledger.files_now() if f.table == table and f.first_us < before_us]
    free = [file for file in files if not _is_held(data_dir, retention, file)]
    note: Note = {"cause": "age", "before_us": before_us}
    gone = _remove(data_dir, ledger, table, [f for f in free if f.last_us < before_us], note)
    if table in BULK:
        for file in damage.usable(f for f in free if f.last_us >= before_us):
            try:
                gone += _cut(data_dir, ledger, file, before_us, note)
            except SegmentError as error:  # a damaged one is found, not copied
                damage.found(error)
    return gone


def _by_size(data_dir: Path, ledger: Ledger, retention: Retention, limit: int) -> list[Path]:
    """The oldest first, by their commits: rows are dated by agents, and one that dates them ahead
    would be the last to lose any."""
    over = sum(file.bytes for file in ledger.files_now()) - limit
    bulk = [file for file in ledger.files_now() if file.table in BULK]
    chosen: dict[str, list[SealedFile]] = {}
    for file in sorted(bulk, key=lambda file: Path(file.path).name):
        if over <= 0:
            break
        if _is_held(data_dir, retention, file):
            continue
        chosen.setdefault(file.table, []).append(file)
        over -= file.bytes
    note: Note = {"cause": "size", "max_bytes": limit}
    return [
        path
        for table, files in chosen.items()
        for path in _remove(data_dir, ledger, table, files, note)
    ]


def _is_held(data_dir: Path, retention: Retention, file: SealedFile) -> bool:
    """By the dates of its rows: the ledger bounds ``last_us`` for those that are dated ahead, which
    keeps others growing old, and a hold may be on their time. What cannot be read stays."""
    if retention.holds_back(file):
        return True
    if not any(hold.starts_us > file.last_us for hold in retention.holds):
        return False
    time_column = schema.TABLES[file.table].time
    try:
        rows = sealed_frame(data_dir, file, [time_column])
    except SegmentError:
        return True
    youngest = rows.get_column(time_column).cast(pl.Int64).max()
    last_us = youngest if isinstance(youngest, int) else file.last_us
    return retention.holds_back(replace(file, last_us=max(file.last_us, last_us)))


def _remove(
    data_dir: Path,
    ledger: Ledger,
    table: str,
    files: Iterable[SealedFile],
    note: Note,
    fresh: tuple[SealedFile, ...] = (),
) -> list[Path]:
    paths = tuple(file.path for file in files)
    if not paths:
        return []
    noted = ({"kind": RETENTION, "table": table, **note},)
    at_us = time.time_ns() // 1000
    ledger.append(at_us, fresh, removed=paths, reason=RETENTION, notes=noted)
    return [data_dir / path for path in paths]


def _cut(
    data_dir: Path, ledger: Ledger, file: SealedFile, before_us: int, note: Note
) -> list[Path]:
    """The segment without its old rows, in its place in the order of names. Raises SegmentError."""
    rows = sealed_frame(data_dir, file)
    at_us = pl.col(schema.TABLES[file.table].time).dt.epoch("us")
    left = rows.filter((at_us >= before_us) | at_us.is_null())
    if left.height == rows.height:
        return []
    stem = Path(file.path).name.split("-")[0].removesuffix(".parquet")
    target = Path(FOLDER) / file.table / f"{stem}-{ledger.seq + 1:012d}.parquet"
    fresh = write_segment(data_dir, target, file.table, left, [file])
    fsync_folder((data_dir / target).parent)
    return _remove(data_dir, ledger, file.table, [file], note, (fresh,))
