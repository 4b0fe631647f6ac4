"""What one Sync of the extended protocol holds together: outside of a transaction an error, or a
ROLLBACK, undoes all that a pipeline did since the Sync before.

The record has no number of the round trip. A statement whose status has ``?`` behind was answered
before its round trip was over; of others the next one of the same round trip begins when it ends,
and a client that waited for the answer begins later than that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from collector.drift import wording
from collector.drift.changes import (
    SUCCEEDED,
    Backend,
    Effect,
    backend_of,
    ended_us,
    in_microseconds,
)

MOST = 1_000
MOST_FAILED = 10_000
PAUSE_US = 5_000_000
"""A round trip whose end was lost is not held to be that of a statement long after it."""
_BACK = frozenset(("rollback", "abort"))
_ENDS = frozenset(("commit", "end", "prepare transaction"))

_FAILED = ~pl.col("sqlstate").fill_null("").is_in(SUCCEEDED)

Row = Mapping[str, Any]


@dataclass(slots=True)
class _RoundTrip:
    effects: list[Effect] = field(default_factory=list)
    ended_us: int = 0
    is_open: bool = False

    def has(self, row: Row) -> bool:
        return (row["started_at"] or 0) <= self.ended_us + PAUSE_US * self.is_open


class RoundTrips:
    """The latest of each session with changes; bounded."""

    def __init__(self) -> None:
        self._of: OrderedDict[Backend, _RoundTrip] = OrderedDict()
        self._failed: OrderedDict[tuple[Backend, int], None] = OrderedDict()
        """When what failed lately began: it may be told before what it undid, as it waits for no
        line of the log."""

    def observe_failed(self, rows: pl.DataFrame) -> None:
        failed = in_microseconds(rows.filter(_FAILED & (pl.col("parent_id") == 0)))
        for row in failed.iter_rows(named=True):
            self._failed[backend_of(row), row["started_at"] or 0] = None
        while len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)

    def of_interest(self, rows: pl.DataFrame, pids: Iterable[int]) -> list[int]:
        """Statements of sessions that are known, or of ``pids``, which failed or may be of the same
        round trip as the one before them."""
        if "transaction" not in rows.columns:
            return []
        known = [*{*pids, *(backend.pid for backend in self._of)}]
        mine = rows.filter(pl.col("pid").is_in(known) & (pl.col("parent_id") == 0))
        ran = pl.duration(microseconds=pl.col("duration_us").fill_null(0).clip(0))
        status = pl.col("transaction").fill_null("")
        before = pl.struct(end=pl.col("started_at") + ran, open=status.str.ends_with("?")).shift(1)
        before = before.over("agent", "pid")
        follows = pl.col("started_at") <= before.struct.field("end")
        follows = follows | before.struct.field("open") | before.struct.field("end").is_null()
        return [*mine.sort("started_at", "id").filter(follows | _FAILED)["id"]]

    @property
    def open_pids(self) -> set[int]:
        return {backend.pid for backend, each in self._of.items() if each.is_open}

    def passed(self, row: Row, effects: Iterable[Effect]) -> None:
        """A statement of a client, in order, with what it did for itself."""
        backend = backend_of(row)
        known = self._of.pop(backend, None)
        status = row.get("transaction") or ""
        if not status or "multi" in (row["flags"] or ()):
            return  # a string has its own reckoning
        mine = known if known is not None and known.has(row) else _RoundTrip()
        if (row["sqlstate"] or "") not in SUCCEEDED or row["operation"] in _BACK:
            if row["operation"] not in _BACK or not _to_savepoint(row):
                _undo(mine.effects)
            return
        if row["operation"] in _ENDS:
            mine.effects = []
        mine.effects += effects
        if known is None and not mine.effects:
            return
        mine.ended_us, mine.is_open = ended_us(row), status[1:2] == "?"
        if mine.effects and (backend, mine.ended_us) in self._failed:
            _undo(mine.effects)
        self._of[backend] = mine
        while len(self._of) > MOST:
            self._of.popitem(last=False)


def _undo(effects: Iterable[Effect]) -> None:
    for effect in effects:
        effect.undone = True


def _to_savepoint(row: Row) -> bool:
    return "to" in wording.tokens(row["text"] or "")
