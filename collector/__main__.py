"""The collector, wired top to bottom.

streams → intake → segments and ledger (durable, acknowledged)
        → thinking thread: live sessions, tails, metrics, detectors, drift → findings
        → segments again, and alerts
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NamedTuple

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import structlog

from collector.alerts import AlertRecord, Alerts, alerts_from
from collector.alerts.receiver import AlertsError
from collector.commands import Agents
from collector.metrics import LISTENER_FAILED, OWN_ROWS_DROPPED, POISON, CollectorMetrics
from collector.operator import OperatorService, Tails, own_certificate
from collector.rows import alert_rows
from collector.segments import Committed
from collector.server import AddressError, ListenError, Server, check_address
from collector.service import UplinkService
from collector.sessions import LiveSessions
from collector.store import Store, StoreError
from collector.thinking import Thinking
from config import CollectorConfig
from config.program import start_program
from config.systemd import notify, watchdog_seconds
from model.version import __version__

log = structlog.get_logger(__name__)

BAD_CONFIGURATION = 78
CANNOT_START = 1
LOOP_SECONDS = 0.25


def run(config: CollectorConfig) -> int:
    """Until SIGTERM or SIGINT. Returns the exit code."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        for address in config.listen:
            check_address(address, config.tls)
        collector = Collector(config)
    except (AlertsError, AddressError) as error:
        log.error("configuration.bad", problem=str(error))
        return BAD_CONFIGURATION
    except (StoreError, ListenError, OSError) as error:
        log.error("collector.cannot_start", problem=str(error))
        return CANNOT_START
    good = False
    try:
        collector.start()
        notify(ready=True)
        collector.supervise(stop)
        good = True
    except MetricsPortError as error:
        log.error("collector.cannot_start", problem=str(error))
    finally:
        notify(stopping=True)
        collector.stop()
    return 0 if good else CANNOT_START


class MetricsPortError(Exception):
    """The configured address is not free."""


class Totals(NamedTuple):
    seconds: float = 0.0
    batches: int = 0
    duplicates: int = 0
    dropped: int = 0
    rejected: int = 0
    own_rows_dropped: int = 0
    listener_failures: int = 0


class Collector:
    def __init__(self, config: CollectorConfig) -> None:
        self._config = config
        self._metrics = CollectorMetrics(__version__, ready=self.problems)
        self._agents = Agents()
        self._tails = Tails()
        self._totals = Totals()
        self._store = Store(config.data_dir, self._committed, config.commit_seconds)
        self._sessions = LiveSessions(self._store.frame("SELECT * FROM sessions"))
        self._alerts: Alerts = alerts_from(config.alerts, config.data_dir, self._record_alert)
        self._thinking = Thinking(
            config,
            self._store,
            self._alerts,
            self._metrics,
        )
        self._uplink = UplinkService(
            self._store.segments, self._agents, config.data_dir / "quarantine"
        )
        operator = OperatorService(
            self._agents,
            self._sessions,
            self._tails,
            self._thinking.drift,
            own_certificate(config.tls.certificate if config.tls else None),
        )
        self._server = Server(config.listen, self._uplink, operator, config.tls)

    def start(self) -> None:
        self._store.start()
        self._thinking.start()
        self._watch_metrics()
        port = self._serve_metrics()
        self._server.start()
        log.info(
            "collector.start",
            version=__version__,
            listen=self._server.addresses,
            metrics_port=port,
            quarantined=len(self._store.quarantined),
        )

    def _serve_metrics(self) -> int:
        where = self._config.metrics
        try:
            return self._metrics.start(where.host, where.port)
        except OSError as error:
            raise MetricsPortError(
                f"metrics cannot be served at {where.host}:{where.port}: {error.strerror}; "
                "set collector.metrics"
            ) from error

    def supervise(self, stop: threading.Event) -> None:
        beat_at, beat_seconds = 0.0, watchdog_seconds()
        healthy = True
        while not stop.wait(LOOP_SECONDS):
            problems = self.problems()
            if healthy == bool(problems):
                healthy = not problems
                self._server.set_healthy(healthy)
            if beat_seconds and time.monotonic() >= beat_at:
                beat_at = time.monotonic() + beat_seconds
                notify(alive=True, status="; ".join(problems) or "collecting")

    def stop(self) -> None:
        """Intake first; what was received is made durable, thought about, and told."""
        self._agents.end_all()
        self._server.stop()
        self._store.segments.flush()
        self._thinking.stop()
        self._store.close()
        self._alerts.close()
        self._metrics.close()
        log.info("collector.stop")

    def problems(self) -> list[str]:
        segments = self._store.segments
        problems = []
        if segments.broken:
            problems.append("the ledger cannot be written: nothing is accepted until a restart")
        elif not segments.healthy:
            problems.append(f"the last commit failed: {segments.counters.last_error}")
        if not self._thinking.alive:
            problems.append("analytics are not running")
        return problems

    def _committed(self, committed: Committed) -> None:
        self._sessions.observe(committed)
        self._tails.publish(committed)
        self._count(committed)
        self._thinking.offer(committed)

    def _count(self, committed: Committed) -> None:
        """What the parts count as totals, as increments of the metrics."""
        counters = self._store.segments.counters
        now = Totals(
            counters.commit_seconds,
            counters.batches,
            counters.duplicates,
            self._tails.dropped,
            sum(self._uplink.rejected.values()),
            counters.own_rows_dropped,
            counters.listener_failures,
        )
        before, self._totals = self._totals, now
        rows = {table: frame.height for table, frame in committed.frames.items()}
        self._metrics.committed(now.batches - before.batches, rows, now.seconds - before.seconds)
        self._metrics.duplicate(now.duplicates - before.duplicates)
        self._metrics.tail_dropped(now.dropped - before.dropped)
        self._metrics.lost(*OWN_ROWS_DROPPED, now.own_rows_dropped - before.own_rows_dropped)
        self._metrics.lost(*LISTENER_FAILED, now.listener_failures - before.listener_failures)
        for _ in range(now.rejected - before.rejected):
            self._metrics.rejected(POISON)

    def _record_alert(self, record: AlertRecord) -> None:
        self._store.append("alerts", alert_rows(record))

    def _watch_metrics(self) -> None:
        self._metrics.watch_ledger(lambda: self._store.ledger.seq)
        self._metrics.watch_agents(
            lambda: sum(state.connected for state in self._agents.states()),
            lambda: {s.hello.agent: s.last_seen_us / 1e6 for s in self._agents.states()},
        )
        self._metrics.watch_alerts(self._alerts)
        self._metrics.watch_drift(self._thinking.open_drift)


if __name__ == "__main__":
    sys.exit(start_program("collector", lambda config: run(config.collector)))
