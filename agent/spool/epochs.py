"""Each opening of the file gives its numbers in an epoch of its own, so that none is given twice.

A copy of the file, restored or on a cloned host, would else give numbers that the collector knows,
and it would take those batches for repeats. What waited before keeps the epoch in which it may have
been sent: that of a copy is the same batch, and is known as such.

An older release takes ``epoch`` in ``meta`` for that of the whole file. There it finds the one that
is being sent, of which it goes on with all that waits: nothing later was ever sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.spool.file import DONE, MIRRORS, SET, new_epoch

_TABLE = (
    "CREATE TABLE IF NOT EXISTS epoch (first INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT"
)
BORN = "born"
"""In ``meta``: the file's first epoch; numbers go on from 1 since. Older releases write none, and
those that knew one epoch a file began with it."""
_OURS = "ours"
"""In ``meta``: ``last`` as this release wrote it. An older one does not write it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Sequences from ``first`` up to that of the next span."""

    first: int
    epoch: int


class Epochs:
    """A queue: those before the last are of earlier openings, and are sent before it."""

    def __init__(self, spans: Sequence[Span], last: int, born: int) -> None:
        self._spans = [*(span for span in spans if span.first <= last), Span(last + 1, new_epoch())]
        self.born = born
        """0: unknown."""
        self.is_written = False
        """As it is now, and durable."""

    @property
    def head(self) -> int:
        """The epoch that is being sent."""
        return self._spans[0].epoch

    @property
    def head_start(self) -> int:
        return self._spans[0].first

    @property
    def is_last(self) -> bool:
        """The head is that of this opening."""
        return len(self._spans) == 1

    def head_end(self, last: int) -> int:
        """The last sequence of the head; ``last``: of all."""
        return last if self.is_last else self._spans[1].first - 1

    def drop_head(self) -> None:
        del self._spans[0]
        self.is_written = False

    def split(self, after: int) -> Epochs:
        """What was given after that sequence, in another epoch: for the last span."""
        kept = [span for span in self._spans if span.first <= after]
        return Epochs(kept, after, self.born)

    def alone(self, last: int) -> Epochs:
        """The last one goes on in an empty file."""
        other = Epochs([], last, self.born)
        other._spans = [Span(last + 1, self._spans[-1].epoch)]
        return other

    def write(self, db: sqlite3.Connection, last: int) -> None:
        """Within the transaction that writes ``last``; ``is_written`` is up to who commits."""
        db.execute(SET, ("last", last))
        db.execute(SET, (_OURS, last))
        if self.is_written:
            return
        db.execute(_TABLE)  # an older release's file may lack it
        db.execute(MIRRORS["epoch"])
        db.execute("DELETE FROM epoch")
        rows = [(span.first, span.epoch) for span in self._spans]
        db.executemany("INSERT INTO epoch VALUES (?, ?)", rows)
        db.execute(SET, ("epoch", self.head))
        if self.born:
            db.execute(SET, (BORN, self.born))


def read_epochs(db: sqlite3.Connection, meta: Mapping[str, int]) -> tuple[Epochs, int]:
    """Of a file that is being opened, with one for this opening; and the last sequence that the
    collector is known to have."""
    last = meta["last"]
    tables = db.execute("SELECT name FROM sqlite_master WHERE name = 'epoch'").fetchall()
    rows = db.execute("SELECT first, epoch FROM epoch ORDER BY first").fetchall() if tables else []
    spans = [Span(*row) for row in rows]
    # An older release appended since, or took another epoch for all that waits.
    is_older = meta.get(_OURS) != last or not spans or spans[0].epoch != meta["epoch"]
    born = meta.get(BORN, 0 if last and _OURS in meta else meta["epoch"])
    if is_older:
        return Epochs([Span(0, meta["epoch"])] if last else [], last, born), 0
    return Epochs(spans, last, born), min(meta.get(DONE, 0), last)
