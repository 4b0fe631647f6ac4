"""The segments against the ledger, and the index against both: what is damaged, missing or extra.

Reads files only; the collector may run or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl

from collector.index import NAME as INDEX
from collector.index import index_rows
from collector.ledger_entry import SealedFile
from collector.ledger_reading import NAME as LEDGER
from collector.ledger_reading import damage_of, read, state_of
from collector.ledger_state import LedgerState
from collector.segments import FOLDER

_IN_USE = ("Could not set lock", "different configuration")
"""What DuckDB says of a file that another process, or this one, has open to write."""
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
    # Files first: what a living collector seals meanwhile is then no stranger.
    present = {str(path.relative_to(data_dir)) for path in _files(data_dir / FOLDER)}
    found = read(data_dir / LEDGER)
    state = state_of(found.entries)
    report = StoreReport(len(state.files))
    report.problems += [f"{LEDGER}, entry {p.line}: {p.message}" for p in found.problems]
    for number, file in enumerate(state.files.values(), 1):
        report.rows += file.rows
        if (damage := segment_damage(data_dir, file)) is not None:
            report.problems.append(f"{file.path}: {damage}")
        progress(number, len(state.files))
    for name in sorted(present - state.files.keys()):
        _say_extra(name, state, report)
    _check_index(data_dir, state, report)
    return report


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


def _say_extra(name: str, state: LedgerState, report: StoreReport) -> None:
    if name in state.merged:
        report.notices.append(f"{name}: merged or expired; the collector removes it")
    elif name in state.damaged:
        report.notices.append(f"{name}: was taken out as damaged; a start looks if it is whole")
    elif name.endswith(".tmp"):
        report.notices.append(f"{name}: half written; the collector sets it aside at its start")
    else:
        report.problems.append(f"{name}: the ledger does not name it")


def _check_index(data_dir: Path, state: LedgerState, report: StoreReport) -> None:
    if not (data_dir / INDEX).exists():
        report.problems.append(f"{INDEX}: is missing")
        return
    try:
        with duckdb.connect(str(data_dir / INDEX), read_only=True) as connection:
            head, segments, sources = index_rows(connection)
    except duckdb.Error as error:
        if any(words in str(error) for words in _IN_USE):
            report.notices.append(f"{INDEX}: the collector has it open; it was not compared")
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
    if sources != state.high_water:
        report.problems.append(f"{INDEX}: says something else of how far agents came")
