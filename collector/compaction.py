"""Hours, then days, in one segment each: what was committed every half second is read for years.

A segment belongs to the hour of its youngest row. Neighbours of one hour become one segment when
nothing has been written to them for a while, and neighbours of one day likewise; none becomes
larger than a merge may hold in memory, so a busy day is a few.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collector.damage import Damage
from collector.ledger import Ledger
from collector.ledger_entry import SealedFile
from collector.merge import MOST_ROWS, merge

HOUR_US = 3_600_000_000
MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Span:
    length_us: int
    rest_seconds: float
    """Files younger than that are left alone: an agent that sends an old spool would have the same
    day written again and again."""


SPANS = (Span(HOUR_US, 600.0), Span(24 * HOUR_US, 3_600.0))


def compact(
    data_dir: Path,
    ledger: Ledger,
    table: str,
    damage: Damage,
    now_seconds: float | None = None,
) -> list[Path]:
    """Merge one run of a past hour or day, if there is one; returns the replaced files, which stay
    on disk for readers. ``now_seconds``: Unix time."""
    now = time.time() if now_seconds is None else now_seconds
    files = sorted(
        (file for file in ledger.files_now() if file.table == table), key=lambda f: f.path
    )
    usable = {file.path for file in damage.usable(files)}
    for span in SPANS:
        for run in _runs(files, span, int(now * 1e6)):
            rests = all(_rests(data_dir / file.path, now - span.rest_seconds) for file in run)
            if rests and usable.issuperset(file.path for file in run):
                return merge(data_dir, ledger, table, run, damage)
    return []


def _runs(files: list[SealedFile], span: Span, now_us: int) -> Iterator[list[SealedFile]]:
    """Neighbours of one span that is over, two or more, within what a merge may hold."""
    run: list[SealedFile] = []
    for file in files:
        fits = (
            run
            and run[0].last_us // span.length_us == file.last_us // span.length_us
            and sum(each.rows for each in run) + file.rows <= MOST_ROWS
            and sum(each.bytes for each in run) + file.bytes <= MOST_BYTES
        )
        if fits:
            run.append(file)
            continue
        if len(run) > 1:
            yield run
        is_over = (file.last_us // span.length_us + 1) * span.length_us <= now_us
        run = [file] if is_over else []
    if len(run) > 1:
        yield run


def _rests(path: Path, before_seconds: float) -> bool:
    try:
        return path.stat().st_mtime <= before_seconds
    except OSError:
        return False
