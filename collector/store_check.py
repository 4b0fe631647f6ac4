"""The segments against the ledger, and the index against both: what is damaged, missing or extra.

Reads files only; the collector may run or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl

from collector.index import NAME as INDEX
from collector.index import index_rows
from collector.ledger_entry import Entry, SealedFile
from collector.ledger_reading import NAME as LEDGER
from collector.ledger_reading import damage_of, read, state_of
from collector.ledger_state import LedgerState
from collector.segments import FOLDER

_IN_USE = ("Could not set lock", "different configuration")
"""What DuckDB says of a file that another process, or this one, has open to write."""
_IS_OPEN = f"{INDEX}: the collector has it open; it was not compared"
SETTLE_SECONDS = 10.0
"""What looks wrong beside a living collector is looked at again for so long: it names a file in the
ledger after it is whole in its folder, and takes merged ones away after it has said so."""
PAUSE_SECONDS = 0.2
HighWater = dict[tuple[str, int], int]
"""Last number by agent and epoch."""
Progress = Callable[[int, int], None]
"""Segments that were read, of how many."""


@dataclass(slots=True)
class StoreReport:
    segments: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def check_store(data_dir: Path, progress: Progress = lambda _done, _all: None) -> StoreReport:
    """Raises OSError where the ledger cannot be read."""
    present = {str(path.relative_to(data_dir)) for path in _files(data_dir / FOLDER)}
    found = read(data_dir / LEDGER)
    state = state_of(found.entries)
    report = StoreReport(len(state.files))
    report.problems += [f"{LEDGER}, entry {p.line}: {p.message}" for p in found.problems]
    damages: dict[str, str] = {}
    for number, file in enumerate(state.files.values(), 1):
        report.rows += file.rows
        if (damage := segment_damage(data_dir, file)) is not None:
            damages[file.path] = damage
        progress(number, len(state.files))
    strangers = {name for name in present if _is_strange(name, state)}
    _check_index(data_dir, state, _batches_came(found.entries), report)
    if _IS_OPEN in report.notices:
        _look_again(data_dir, damages, strangers)
    report.problems += [f"{path}: {damage}" for path, damage in damages.items()]
    report.problems += [f"{name}: the ledger does not name it" for name in sorted(strangers)]
    extra = present - state.files.keys()
    report.notices += [
        _extra(name, state) for name in sorted(extra) if not _is_strange(name, state)
    ]
    return report


def _look_again(data_dir: Path, damages: dict[str, str], strangers: set[str]) -> None:
    """Takes out what the collector has put right, or said, since."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while damages or strangers:
        state = state_of(read(data_dir / LEDGER).entries)
        for path in list(damages):
            file = state.files.get(path)
            damage = segment_damage(data_dir, file) if file is not None else None
            if damage is None:
                del damages[path]
        gone = {name for name in strangers if not (data_dir / name).exists()}
        strangers -= gone | {name for name in strangers if not _is_strange(name, state)}
        if time.monotonic() >= deadline:
            return
        time.sleep(PAUSE_SECONDS if damages or strangers else 0)


def segment_damage(data_dir: Path, file: SealedFile) -> str | None:
    """Why a segment is not what was sealed, or cannot be read; None: it is well."""
    if (damage := damage_of(data_dir, file)) is not None:
        return "is missing" if not (data_dir / file.path).exists() else damage
    try:
        rows = pl.scan_parquet(data_dir / file.path, glob=False).select(pl.len()).collect().item()
    except (OSError, pl.exceptions.PolarsError) as error:
        return f"is no Parquet: {error}"
    return None if rows == file.rows else f"{rows} rows, sealed with {file.rows}"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if not path.is_dir())


def _is_strange(name: str, state: LedgerState) -> bool:
    known = name in state.files or name in state.merged or name in state.damaged
    return not known and not name.endswith(".tmp")


def _extra(name: str, state: LedgerState) -> str:
    if name in state.merged:
        return f"{name}: merged or expired; the collector removes it"
    if name in state.damaged:
        return f"{name}: was taken out as damaged; a start looks if it is whole"
    return f"{name}: half written; the collector sets it aside at its start"


def _batches_came(entries: Iterable[Entry]) -> HighWater:
    """How far agents came by their batches alone: older releases left out what notes settle."""
    came: HighWater = {}
    for entry in entries:
        for source in entry.sources:
            key = (source.agent, source.epoch)
            came[key] = max(came.get(key, 0), source.last)
    return came


def _check_index(data_dir: Path, state: LedgerState, came: HighWater, report: StoreReport) -> None:
    if not (data_dir / INDEX).exists():
        report.problems.append(f"{INDEX}: is missing")
        return
    try:
        with duckdb.connect(str(data_dir / INDEX), read_only=True) as connection:
            head, segments, sources = index_rows(connection)
    except duckdb.Error as error:
        if any(words in str(error) for words in _IN_USE):
            report.notices.append(_IS_OPEN)
        else:
            report.problems.append(f"{INDEX}: cannot be read")
        return
    if head != state.head:
        report.problems.append(f"{INDEX}: is of another moment than the ledger's end")
    for path in sorted(segments.keys() | state.files.keys()):
        file = state.files.get(path)
        if file is None:
            report.problems.append(f"{INDEX}: has {path}, which the ledger does not name")
        elif path not in segments:
            report.problems.append(f"{INDEX}: lacks {path}")
        elif segments[path] != (file.table, file.rows, file.bytes, file.sha256):
            report.problems.append(f"{INDEX}: says something else of {path}")
    wrong = [
        key
        for key in sources.keys() | state.high_water.keys()
        if sources.get(key) not in (state.high_water.get(key), came.get(key))
    ]
    if wrong:
        report.problems.append(f"{INDEX}: says something else of how far agents came")
