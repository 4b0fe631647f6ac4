"""What the collector's parts count as totals, as increments of its metrics."""

from __future__ import annotations

from typing import NamedTuple

from collector.metrics import (
    LISTENER_FAILED,
    OWN_ROWS_DROPPED,
    POISON,
    RECORD_OLDER,
    CollectorMetrics,
)
from collector.missing_batches import MissingBatches
from collector.operator_service import Tails
from collector.segments import Committed
from collector.service import UplinkService
from collector.store import Store


class Totals(NamedTuple):
    seconds: float = 0.0
    batches: int = 0
    duplicates: int = 0
    dropped: int = 0
    rejected: int = 0
    own_rows_dropped: int = 0
    listener_failures: int = 0
    missing_batches: int = 0


class Counting:
    """``committed`` is for the commit thread alone."""

    def __init__(
        self,
        metrics: CollectorMetrics,
        store: Store,
        tails: Tails,
        uplink: UplinkService,
        missing: MissingBatches,
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._tails = tails
        self._uplink = uplink
        self._missing = missing
        self._totals = Totals()

    def committed(self, committed: Committed) -> None:
        before, now = self._totals, self._now()
        self._totals = now
        rows = {table: frame.height for table, frame in committed.frames.items()}
        self._metrics.committed(now.batches - before.batches, rows, now.seconds - before.seconds)
        self._metrics.duplicate(now.duplicates - before.duplicates)
        self._metrics.tail_dropped(now.dropped - before.dropped)
        self._metrics.lost(*OWN_ROWS_DROPPED, now.own_rows_dropped - before.own_rows_dropped)
        self._metrics.lost(*LISTENER_FAILED, now.listener_failures - before.listener_failures)
        self._metrics.lost(*RECORD_OLDER, now.missing_batches - before.missing_batches)
        for _ in range(now.rejected - before.rejected):
            self._metrics.rejected(POISON)

    def _now(self) -> Totals:
        counters = self._store.segments.counters
        return Totals(
            counters.commit_seconds,
            counters.batches,
            counters.duplicates,
            self._tails.dropped,
            sum(self._uplink.rejected.values()),
            counters.own_rows_dropped,
            counters.listener_failures + self._store.tidying.failures + self._store.scrub.failures,
            self._missing.count,
        )
