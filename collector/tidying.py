"""Merges, hours and days, expiry and retention: on a thread of its own, beside the commits.

They read and write whole segments, and nobody's acknowledgement waits for that. What they have made
takes the ledger's turn like a commit does, for the one line that says so. Until then it is a file
that the ledger does not name, and a start sets it aside.

The thread has no lower priority: it holds the interpreter's lock now and then, and a commit would
wait for whoever holds that and gets no processor.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from collector import schema
from collector.clock_trust import ClockTrust
from collector.compaction import compact
from collector.damage import Damage
from collector.expiry import DAY_US, expire_history
from collector.ledger import Ledger
from collector.merge import merge_small_segments
from collector.retention import Retention, retain

MERGE_SECONDS = 10.0
EXPIRY_SECONDS = 86_400.0
RETENTION_SECONDS = 3_600.0
READER_GRACE_SECONDS = 600.0
WAITS = "retention_waits"
"""Kind of the note that the clock was set forward."""

_log = logging.getLogger(__name__)


class Tidying:
    """``note`` queues a note for the ledger; ``changed``: other segments hold now.
    ``history_days``: so long the history of the catalog is kept; None: for good.
    ``signed_at_us``: the time of the ledger's last head."""

    def __init__(
        self,
        data_dir: Path,
        ledger: Ledger,
        note: Callable[..., None],
        changed: Callable[[], None],
        retention: Retention,
        history_days: int | None,
        signed_at_us: int,
        damage: Damage,
    ) -> None:
        self._data_dir = data_dir
        self._ledger = ledger
        self._damage = damage
        self._note = note
        self._changed = changed
        self._history_days = history_days
        self.retention = retention
        """May be exchanged: the next look follows it."""
        waits = ledger.last_notes.get(WAITS, {})
        self._clock = ClockTrust(*_clocks_us(), signed_at_us, int(waits.get("until_us", 0)))
        self.looked_at = time.monotonic()
        self.looks = 0
        """That are over."""
        self.failures = 0
        self._expired_at = -EXPIRY_SECONDS
        self._retained_at = -RETENTION_SECONDS
        self._discarded: list[tuple[float, Path]] = []
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tidy", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being merged is merged, or is as if it had never begun. Never waits."""
        self._stopping = True
        self._due.set()

    def join(self, timeout_seconds: float = 10.0) -> None:
        """And remove what was replaced: no reader outlives the collector's own."""
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        for _, path in self._discarded:
            self._unlink(path)

    def committed(self) -> None:
        """After each commit. Never waits: where the last look is not over, this one comes later."""
        now = time.monotonic()
        if now - self.looked_at > MERGE_SECONDS:
            self.looked_at = now
            self._due.set()

    def _run(self) -> None:
        while True:
            # What is to go by age goes whether or not anything comes.
            self._due.wait(RETENTION_SECONDS)
            self._due.clear()
            if self._stopping:
                return
            try:
                self._look(time.monotonic())
                self._changed()
            except OSError as error:  # it is tried again
                _log.warning("segments could not be merged or removed: %s", error)
            except (Exception, pl.exceptions.PanicException):  # noqa: BLE001 - a supervising loop
                self.failures += 1
                _log.exception("segments could not be merged or removed")
            self.looks += 1

    def _look(self, now: float) -> None:
        self._unlink_discarded(now)  # first: on a full disk that may be what helps
        for table in schema.TABLES:
            if self._stopping:
                return
            given = self._data_dir, self._ledger, table, self._damage
            replaced = merge_small_segments(*given) or compact(*given)
            self._discarded += [(now, path) for path in replaced]
        if self._clock_is_good():
            self._expire(now)
        self._retain(now)

    def _clock_is_good(self) -> bool:
        """Where it was set forward, nothing goes by age for a day, and the ledger says so."""
        unix_us, monotonic_us = _clocks_us()
        ahead_us = self._clock.look(unix_us, monotonic_us)
        if ahead_us:
            seconds = ahead_us // 1_000_000
            _log.warning("the clock is %d s ahead: nothing is removed by age for a day", seconds)
            self._note(WAITS, ahead_seconds=seconds, until_us=unix_us + DAY_US)
        return self._clock.is_good(monotonic_us)

    def _retain(self, now: float) -> None:
        if now - self._retained_at < RETENTION_SECONDS:
            return
        self._retained_at = now
        retention = self.retention
        if not self._clock.is_good(_clocks_us()[1]):
            retention = replace(retention, days=None, days_of=None)
        now_us = time.time_ns() // 1000
        gone = retain(self._data_dir, self._ledger, retention, now_us, self._damage)
        self._discarded += [(now, path) for path in gone]

    def _expire(self, now: float) -> None:
        if self._history_days is None or now - self._expired_at < EXPIRY_SECONDS:
            return
        self._expired_at = now
        before_us = time.time_ns() // 1000 - self._history_days * DAY_US
        replaced = expire_history(
            self._data_dir, self._ledger, before_us, self._damage, self.retention.holds
        )
        self._discarded += [(now, path) for path in replaced]

    def _unlink_discarded(self, now: float) -> None:
        """Merged segments stay for a while: a reader that began before the merge has them open."""
        for at, path in self._discarded:
            if now - at > READER_GRACE_SECONDS:
                self._unlink(path)
        self._discarded = [
            item for item in self._discarded if now - item[0] <= READER_GRACE_SECONDS
        ]

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._ledger.removed(str(path.relative_to(self._data_dir)))


def _clocks_us() -> tuple[int, int]:
    """Unix time, and time since this host started."""
    return time.time_ns() // 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
