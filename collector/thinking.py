"""The thread that thinks about what has become durable: detectors, drift, alerts, metrics.

The commit thread hands over and goes on: a slow detector delays findings, never acknowledgements.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial

import polars as pl
import structlog

from analytics.detectors.audit_coverage import AuditCoverageSettings
from analytics.detectors.error_burst import ErrorBurstSettings
from analytics.detectors.first_seen import FirstSeenSettings
from analytics.detectors.new_shape import NewShapeSettings
from analytics.detectors.volume import VolumeSettings
from collector.alerts import Alerts
from collector.analysis import Analysis, AnalysisSettings
from collector.coverage import Policies, coverage_rows
from collector.drift import Drift, DriftNews
from collector.metrics import CollectorMetrics
from collector.rows import finding_rows
from collector.segments import Committed
from collector.store import Store
from config import CollectorConfig
from config.schema import Analytics
from model.finding import Finding

log = structlog.get_logger(__name__)

QUEUE_COMMITS = 256
TICK_SECONDS = 0.5
OWN_TABLES = frozenset(("findings", "alerts", "drift", "audit_coverage"))


def analysis_settings(config: Analytics) -> AnalysisSettings:
    return AnalysisSettings(
        FirstSeenSettings(**config.first_seen.model_dump()),
        VolumeSettings(**config.volume.model_dump()),
        ErrorBurstSettings(**config.error_burst.model_dump()),
        NewShapeSettings(**config.new_shape.model_dump()),
        AuditCoverageSettings(**config.audit_coverage.model_dump()),
        config.findings_per_day,
    )


class Thinking:
    """``offer`` commits, ``start`` and ``stop``; results go to the store and to alerts."""

    def __init__(
        self,
        config: CollectorConfig,
        store: Store,
        alerts: Alerts,
        metrics: CollectorMetrics,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._metrics = metrics
        self._now_us = now_us
        folder = config.data_dir / "state"
        self.drift = Drift(
            folder,
            accept_first=config.drift.accept_first,
            attribution_seconds=config.drift.attribution_seconds,
        )
        self._analysis = (
            Analysis(folder / "detectors", analysis_settings(config.analytics))
            if config.analytics.enabled
            else None
        )
        self._policies = Policies()
        self._commits: queue.Queue[Committed | None] = queue.Queue(QUEUE_COMMITS)
        self._behind = False
        self._thread = threading.Thread(target=self._run, name="thinking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Work off what is queued, then end."""
        self._commits.put(None)
        self._thread.join(15)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def open_drift(self) -> dict[tuple[str, str, str], int]:
        return self.drift.open_differences()

    def offer(self, committed: Committed) -> None:
        """Never waits: when the queue is full the thread reads the ledger instead."""
        if OWN_TABLES.issuperset(committed.frames):
            return
        try:
            self._commits.put_nowait(committed)
        except queue.Full:
            self._behind = True

    def _run(self) -> None:
        self._guarded(self._catch_up)
        tick_at = 0.0
        while True:
            try:
                committed = self._commits.get(timeout=TICK_SECONDS)
            except queue.Empty:
                pass
            else:
                if committed is None:
                    self._guarded(self._tick)
                    if self._analysis is not None:
                        self._guarded(self._analysis.save)
                    return
                self._guarded(partial(self._think, committed))
            if self._behind and self._commits.empty():
                self._behind = False
                self._guarded(self._catch_up)
            if time.monotonic() >= tick_at:
                tick_at = time.monotonic() + TICK_SECONDS
                self._guarded(self._tick)

    def _catch_up(self) -> None:
        """What was durable but not thought about when the last collector ended."""
        done = min(
            self.drift.resume_from(), self._analysis.resume_from() if self._analysis else 1 << 62
        )
        for committed in self._store.commits_from(done):
            self._think(committed, replay=True)

    def _think(self, committed: Committed, replay: bool = False) -> None:
        if not replay:
            self._count(committed)
        now_us = self._now_us()
        news = self.drift.on_commit(
            committed.frames, None if replay else committed.snapshots, committed.seq, now_us
        )
        self._publish_drift(news)
        if self._analysis is not None:
            # After drift: settings that were accepted just now count for this commit.
            policies = self._policies.of(self.drift.accepted_settings())
            self._publish(self._analysis.on_commit(committed.frames, committed.seq, policies))
            self._publish_coverage(self._analysis)

    def _tick(self) -> None:
        now_us = self._now_us()
        self._publish_drift(self.drift.tick(now_us))
        if self._analysis is not None:
            self._publish(self._analysis.tick(now_us))
            self._publish_coverage(self._analysis)
        self._alerts.tick(now_us)

    def _publish_coverage(self, analysis: Analysis) -> None:
        if minutes := analysis.take_minutes():
            self._store.append("audit_coverage", coverage_rows(minutes))
            self._metrics.coverage(minutes)

    def _publish_drift(self, news: DriftNews) -> None:
        self._store.append("drift", news.rows)
        self._publish(news.findings)

    def _publish(self, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        self._store.append("findings", finding_rows(findings))
        for finding in findings:
            self._metrics.finding(finding.kind.value, finding.severity.value, finding.detector)
            log.info("finding", kind=finding.kind.value, detector=finding.detector, id=finding.id)
        self._alerts.on_findings(findings, self._now_us())

    def _count(self, committed: Committed) -> None:
        frames = committed.frames
        if (statements := frames.get("statements")) is not None:
            self._metrics.statements(statements)
            newest = statements["started_at"].max()
            if newest is not None:
                ended = statements.select(
                    (pl.col("started_at").cast(pl.Int64) + pl.col("duration_us").fill_null(0)).max()
                ).item()
                self._metrics.intake_lag(max(0.0, (self._now_us() - ended) / 1e6))
        for row in frames.get("losses", pl.DataFrame()).iter_rows(named=True):
            self._metrics.lost(row["source"], row["reason"], row["count"])
        for row in frames.get("verdicts", pl.DataFrame()).iter_rows(named=True):
            self._metrics.verdict(row["rule_id"], row["action"], row["outcome"])

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the supervising loop: counted, logged, goes on
            # Not the error's own text: it may quote a statement.
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self._metrics.lost("analytics", f"error_{type(error).__name__}", 1)
            log.error("thinking.failed", error=type(error).__name__, where=where)
