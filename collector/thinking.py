"""The thread that thinks about what has become durable: detectors, drift, alerts, metrics.

The commit thread hands over and goes on: a slow detector delays findings, never acknowledgements.
"""

from __future__ import annotations

import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import polars as pl
import structlog

from analytics.audit.policy import AuditPolicy
from analytics.detectors.activity_time import ActivityTimeSettings
from analytics.detectors.application_change import ApplicationChangeSettings
from analytics.detectors.audit_coverage import AuditCoverageSettings
from analytics.detectors.edge_burst import EdgeBurstSettings
from analytics.detectors.error_burst import ErrorBurstSettings
from analytics.detectors.first_act import FirstActSettings
from analytics.detectors.first_seen import FirstSeenSettings
from analytics.detectors.harvest import HarvestSettings
from analytics.detectors.latency import LatencySettings
from analytics.detectors.new_shape import NewShapeSettings
from analytics.detectors.origin import OriginSettings
from analytics.detectors.repetition import RepetitionSettings
from analytics.detectors.role_profile import RoleProfileSettings
from analytics.detectors.slow_drip import SlowDripSettings
from analytics.detectors.volume import VolumeSettings
from analytics.detectors.workload_mix import WorkloadMixSettings
from analytics.gate import Gate, GateSettings
from collector import together
from collector.after_losses import AfterLosses
from collector.alerts import Alerts
from collector.analysis import Analysis, AnalysisSettings
from collector.coverage import Policies, coverage_rows
from collector.drift.engine import Drift
from collector.drift.expectations import Expectations
from collector.drift.news import DriftNews
from collector.drift.rebuilding import rebuilt
from collector.drift.settings import drift_expectations
from collector.drift.waiting import Source
from collector.earlier_statements import EarlierStatements
from collector.maintenance import mutes
from collector.metrics import CollectorMetrics
from collector.responding import Responder, suspects
from collector.rows import finding_rows
from collector.segments import Committed
from collector.store import Store, frame_of
from collector.submission import Submission
from config import CollectorConfig
from config.schema import Analytics
from model.finding import Finding

log = structlog.get_logger(__name__)

QUEUE_COMMITS = 256
TICK_SECONDS = 0.5
REST_TIMES, REST_SECONDS = 9, 1.0
"""After it has thought the thread rests so many times as long, at most so long. To think of one
statement costs as much as to think of a thousand (some 0.1 s), so a trickle of commits is thought
of together: one by one they took a quarter of a processor at eight statements a second."""
CAN_WAIT = frozenset(("statements", "sessions"))
"""Tables whose commits wait until the rest is over. Anything else ends it: a refusal, a difference
and what people say are heard of at once."""
STORED = "SELECT id FROM findings WHERE list_contains(?, id)"
CHANGES_AT_ONCE = 20_000
OWN_TABLES = frozenset(
    ("findings", "alerts", "drift", "audit_coverage", "approvals", "catalog_changes", "accesses")
)


def analysis_settings(config: Analytics) -> AnalysisSettings:
    return AnalysisSettings(
        FirstSeenSettings(**config.first_seen.model_dump()),
        VolumeSettings(**config.volume.model_dump()),
        ErrorBurstSettings(**config.error_burst.model_dump()),
        NewShapeSettings(**config.new_shape.model_dump()),
        ApplicationChangeSettings(**config.application_change.model_dump()),
        AuditCoverageSettings(**config.audit_coverage.model_dump()),
        RoleProfileSettings(**config.role_profile.model_dump()),
        EdgeBurstSettings(**config.edge_burst.model_dump()),
        SlowDripSettings(**config.slow_drip.model_dump()),
        origin=OriginSettings(**config.origin.model_dump()),
        activity_time=ActivityTimeSettings(**config.activity_time.model_dump()),
        workload_mix=WorkloadMixSettings(**config.workload_mix.model_dump()),
        latency=LatencySettings(**config.latency.model_dump()),
        first_act=FirstActSettings(**config.first_act.model_dump()),
        harvest=HarvestSettings(**config.harvest.model_dump()),
        repetition=RepetitionSettings(**config.repetition.model_dump()),
        gate=GateSettings(
            alerts_per_day_per_100_identities=config.alerts_per_day_per_100_identities,
            least_bits=config.least_bits,
            by_rule_per_day=config.findings_per_day,
        ),
        mutes=mutes(config.maintenance),
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
        want_snapshot: Callable[[Source], None] = lambda source: None,
        responder: Responder | None = None,
    ) -> None:
        """``want_snapshot``: something of a server never came, so its agent is to send it whole."""
        self._want_snapshot = want_snapshot
        self._responder = responder
        self._store = store
        self._alerts = alerts
        self._metrics = metrics
        self._now_us = now_us
        self._earlier = EarlierStatements(store)
        folder = config.data_dir / "state"
        self.drift = Drift(
            folder,
            accept_first=config.drift.accept_first,
            attribution_seconds=config.drift.attribution_seconds,
            lookup=self._earlier.altered,
            expectations=drift_expectations(config.drift),
            record=lambda now_us: rebuilt(store.query, store.ledger.seq, now_us),
        )
        self._analysis = (
            Analysis(folder / "detectors", analysis_settings(config.analytics))
            if config.analytics.enabled
            else None
        )
        self._after_losses = AfterLosses()
        self._policies = Policies()
        self._commits: queue.Queue[Committed | None] = queue.Queue(QUEUE_COMMITS)
        self._behind = False
        self._stop_by = math.inf
        self._rested_at = 0.0
        self._thread = threading.Thread(target=self._run, name="thinking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_seconds: float = 15.0) -> None:
        """Work off what is queued, for a while: what is left is read from the ledger at the next
        start, as after a crash."""
        self._stop_by = time.monotonic() + within_seconds / 2
        with suppress(queue.Full):  # then the thread finds the time over after its next group
            self._commits.put_nowait(None)
        self._thread.join(within_seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def expectations(self) -> Expectations:
        return self.drift.expectations()

    def open_drift(self) -> dict[tuple[str, str, str], int]:
        return self.drift.open_differences()

    def gate(self) -> Gate | None:
        """As it is now; None: analytics are switched off."""
        return self._analysis.gate if self._analysis else None

    def suppressed(self) -> dict[tuple[str, str], int]:
        return self._analysis.suppressed() if self._analysis else {}

    def offer(self, committed: Committed) -> None:
        """Never waits: when the queue is full the thread reads the ledger instead."""
        if OWN_TABLES.issuperset(committed.frames):
            return
        if self._behind:
            return  # the thread reads it from the ledger, after those that it has missed
        try:
            self._commits.put_nowait(committed)
        except queue.Full:
            self._behind = True

    def _run(self) -> None:
        self._guarded(self._recall)
        if self._analysis is not None:
            self._guarded(partial(self._remember, self._analysis))
        self._guarded(self._catch_up)
        tick_at = 0.0
        while True:
            try:
                committed = self._commits.get(timeout=TICK_SECONDS)
            except queue.Empty:
                pass
            else:
                waiting = [None] if committed is None else self._waiting(committed)
                begun = time.monotonic()
                self._think_of([each for each in waiting if each is not None])
                ended = time.monotonic()
                self._rested_at = ended + min(REST_TIMES * (ended - begun), REST_SECONDS)
                if waiting[-1] is None or time.monotonic() > self._stop_by:
                    self._tick()
                    if self._analysis is not None:
                        self._guarded(self._analysis.save)
                    return
            if self._behind and self._commits.empty():
                self._behind = False
                self._guarded(self._catch_up)
            if time.monotonic() >= tick_at:
                tick_at = time.monotonic() + TICK_SECONDS
                self._tick()

    def _recall(self) -> None:
        """Statements alone: their snapshots are in the saved state."""
        now_us = self._now_us()
        self._publish_drift(self.drift.on_commit(self._earlier.recall(now_us), (), 0, now_us))

    def _remember(self, analysis: Analysis) -> None:
        """What a crash left between the gate and the record; and without a file of the gate, what
        people said of findings."""
        untold = {finding.id: finding for finding in analysis.untold()}
        if untold:
            stored = self._store.query(STORED, [list(untold)])
            analysis.told(id_ for (id_,) in stored)
            self._publish(analysis.untold(), analysis)
        if analysis.unheard:
            analysis.hear(self._store.frame("SELECT * FROM finding_feedback ORDER BY occurred_at"))

    def _catch_up(self) -> None:
        """What was durable but not thought about when the last collector ended."""
        done = min(
            self.drift.resume_from(), self._analysis.resume_from() if self._analysis else 1 << 62
        )
        for group in together.groups(self._store.commits_from(done)):
            if time.monotonic() > self._stop_by:
                return
            self._think_of(group, replay=True)

    def _waiting(self, first: Committed) -> list[Committed | None]:
        """``first`` and what comes before the rest is over, up to what detectors can take
        together."""
        waiting: list[Committed | None] = [first]
        rows = together.rows_of(first)
        while rows < together.MOST_ROWS and waiting[-1] is not None:
            try:
                more = self._commits.get(timeout=self._rest_left(waiting[-1]))
            except queue.Empty:
                break
            waiting.append(more)
            rows += together.rows_of(more) if more is not None else 0
        return waiting

    def _rest_left(self, last: Committed | None) -> float:
        """Seconds; 0 where ``last`` cannot wait."""
        if last is None or last.snapshots or not CAN_WAIT.issuperset(last.frames):
            return 0.0
        return max(0.0, self._rested_at - time.monotonic())

    def _think_of(self, group: Sequence[Committed], replay: bool = False) -> None:
        if self._analysis is not None and len(group) > 1:
            coming = [(committed.seq, committed.frames) for committed in group]
            policies = self._policies_of_all(group)
            self._guarded(partial(self._analysis.look_ahead, coming, policies))
        for committed in group:
            self._think(committed, replay)

    def _policies_of_all(
        self, group: Sequence[Committed]
    ) -> Mapping[tuple[str, str], AuditPolicy] | None:
        """None where one of the commits may change what is accepted."""
        if any(committed.snapshots or "catalog" in committed.frames for committed in group):
            return None
        return self._policies.of(self.drift.accepted_settings())

    def _think(self, committed: Committed, replay: bool = False) -> None:
        """Each for itself: an error in drift keeps no detector from seeing the commit."""
        if not replay:
            self._guarded(partial(self._count, committed))
            self._guarded(partial(self._after_losses.observe, committed.frames))
        self._guarded(partial(self._compare, committed, replay))
        if self._analysis is not None:
            # After drift: settings that were accepted just now count for this commit.
            self._guarded(partial(self._detect, self._analysis, committed, replay))

    def _compare(self, committed: Committed, replay: bool) -> None:
        snapshots = None if replay else committed.snapshots
        self._publish_drift(
            self.drift.on_commit(committed.frames, snapshots, committed.seq, self._now_us())
        )

    def _detect(self, analysis: Analysis, committed: Committed, replay: bool) -> None:
        policies = self._policies.of(self.drift.accepted_settings())
        frames = committed.frames
        findings = analysis.on_commit(frames, committed.seq, policies, committed.at_us)
        self._publish(findings, analysis)
        self._publish_coverage(analysis)
        agreements = analysis.take_agreements()
        if self._responder is not None and not replay:
            found = suspects(findings, agreements, frames.get("statements"))
            self._responder.offer(found, self._now_us())

    def _tick(self) -> None:
        now_us = self._now_us()
        self._guarded(lambda: self._publish_drift(self.drift.tick(now_us)))
        self._guarded(partial(self._ask_after_losses, now_us))
        if self._analysis is not None:
            self._guarded(partial(self._tick_analysis, self._analysis, now_us))
        self._guarded(lambda: self._alerts.tick(now_us))

    def _ask_after_losses(self, now_us: int) -> None:
        for source in self._after_losses.due(self.drift.servers, now_us):
            self._want_snapshot(source)

    def _tick_analysis(self, analysis: Analysis, now_us: int) -> None:
        self._publish(analysis.tick(now_us), analysis)
        self._publish_coverage(analysis)

    def _publish_coverage(self, analysis: Analysis) -> None:
        if minutes := analysis.take_minutes():
            self._store.append("audit_coverage", coverage_rows(minutes))
            self._metrics.coverage(minutes)

    def _publish_drift(self, news: DriftNews) -> None:
        self._store.append("drift", news.rows)
        self._store_changes(news.changes)
        for source in news.wanted:
            self._want_snapshot(source)
        self._publish(news.findings)

    def _store_changes(self, changes: Mapping[int, Mapping[str, Any]]) -> None:
        """Drift keeps them until they are durable: a crash between must not lose one."""
        numbers = list(changes)
        for first in range(0, len(numbers), CHANGES_AT_ONCE):
            some = numbers[first : first + CHANGES_AT_ONCE]
            rows = frame_of("catalog_changes", [changes[number] for number in some])
            settled = partial(self.drift.changes_settled, some)
            self._store.segments.submit(Submission({"catalog_changes": rows}, settled=settled))

    def _publish(self, findings: Sequence[Finding], analysis: Analysis | None = None) -> None:
        """``analysis``: whose findings they are; it hears when they are durable."""
        if not findings:
            return

        def settled(durable: bool) -> None:
            if durable and analysis is not None:
                analysis.told(finding.id for finding in findings)

        rows = frame_of("findings", finding_rows(findings))
        self._store.segments.submit(Submission({"findings": rows}, settled=settled))
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
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - goes on
            # Not the error's own text: it may quote a statement.
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self._metrics.lost("analytics", f"error_{type(error).__name__}", 1)
            log.error("thinking.failed", error=type(error).__name__, where=where)
