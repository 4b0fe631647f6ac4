"""Segments that are found not to be what was sealed while the collector runs.

One that holds something else is taken out of the record, by an entry of the ledger, so that nobody
is answered from it and nothing is made of it; its neighbours go on. Its file stays where it is: the
next start puts it into quarantine, or takes it back where somebody has brought the sealed one.
One that cannot be read is left alone for a while: that may be the disk's fault, which passes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from collector.ledger import Ledger
from collector.ledger_entry import DAMAGED, SealedFile
from collector.sealed_segment import SegmentError, sealed_bytes

AGAIN_SECONDS = 600.0
"""Until one that could not be read is tried again."""
MOST_NAMED = 3

_log = logging.getLogger(__name__)


class Damage:
    """Thread-safe. ``found_at_start``: those that the start has taken out."""

    def __init__(self, data_dir: Path, ledger: Ledger, found_at_start: Iterable[str] = ()) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._lock = threading.Lock()
        self._taken_out = list(found_at_start)
        self._unread: dict[str, tuple[float, str]] = {}
        """When, and why, by path."""

    @property
    def count(self) -> int:
        """Taken out since the start and at it, and those that cannot be read."""
        with self._lock:
            return len(self._taken_out) + len(self._unread)

    @property
    def problem(self) -> str:
        """For who asks how we are; empty: all is well."""
        with self._lock:
            named = [
                *self._taken_out,
                *(f"{path}: {why}" for path, (_, why) in self._unread.items()),
            ]
        if not named:
            return ""
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        return (
            f"damaged segments: {'; '.join(named[:MOST_NAMED])}{more}; look at the disk, bring them"
            " back from a copy, and restart"
        )

    def found(self, error: SegmentError) -> None:
        """Raises OSError and LedgerError where the ledger cannot take it."""
        if error.is_damaged:
            self._take_out(error)
            return
        with self._lock:
            is_new = error.file.path not in self._unread
            self._unread[error.file.path] = time.monotonic(), error.why
        if is_new:
            _log.error("a segment is left alone: %s", error)

    def usable(self, files: Iterable[SealedFile]) -> list[SealedFile]:
        """Without those that could not be read a while ago."""
        after = time.monotonic() - AGAIN_SECONDS
        with self._lock:
            return [f for f in files if self._unread.get(f.path, (after, ""))[0] <= after]

    def is_well(self, file: SealedFile) -> None:
        """It was read as it was sealed."""
        with self._lock:
            self._unread.pop(file.path, None)

    def _take_out(self, error: SegmentError) -> None:
        file = error.file
        try:
            sealed_bytes(self._data_dir, file)
        except SegmentError as again:
            if not again.is_damaged:
                return self.found(again)
        else:
            _log.warning("a segment was read wrong once, and well again: %s", error)
            return None
        with self._ledger.turn:
            if self._ledger.files.get(file.path) != file:
                return None  # it was merged away, or taken out by another thread
            self._ledger.append(time.time_ns() // 1000, (), removed=(file.path,), reason=DAMAGED)
        with self._lock:
            self._taken_out.append(str(error))
            self._unread.pop(file.path, None)
        _log.error("a damaged segment was taken out of the record: %s (%d rows)", error, file.rows)
        return None
