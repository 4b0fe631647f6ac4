"""The collector, wired top to bottom.

streams → intake → segments and ledger (durable, acknowledged)
        → thinking thread: live sessions, tails, metrics, detectors, drift → findings
        → segments again, and alerts
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# TLS 1.3 only. gRPC has no such setting in Python, and 1.3's own ciphers are not of this list: with
# none but one that needs a shared secret, which nobody has, no TLS 1.2 handshake can succeed.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-AES128-CBC-SHA")

if __name__ == "__main__":
    # structlog and httpx would load it for what we do not print.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # "there is none", says Python
    gc.disable()  # what is imported stays: a tenth of the start was to look for what does not

import structlog

from collector.access.door import Door, own_certificate
from collector.access.journal import Journal
from collector.access.service import AccessService
from collector.access.tokens import Tokens
from collector.alerts import AlertRecord, Alerts, alerts_from
from collector.alerts.receiver import AlertsError
from collector.approvals.approvals import open_approvals
from collector.approvals.service import ApprovalsService
from collector.approvals.state import ApprovalStateError
from collector.commands import Agents
from collector.cosigning import Cosigning
from collector.counting import Counting
from collector.deaths import Deaths
from collector.drift.state import DriftStateError
from collector.finding_feedback import FindingFeedback
from collector.heads import Sealing
from collector.known_agents import Roster
from collector.lost_ends import LostEnds
from collector.maintenance import MaintenanceError
from collector.metrics import CollectorMetrics
from collector.missing_batches import MissingBatches
from collector.operator_service import OperatorService, Tails
from collector.outside import tellers_from
from collector.reloading import certificates_of, digest, reloaded
from collector.responding import Responder, RespondError
from collector.retention_settings import retention_of
from collector.rows import alert_rows
from collector.rule_bundles import RuleBundles
from collector.segments import Committed
from collector.server import AddressError, ListenError, Server, are_private, check_address
from collector.service import UplinkService
from collector.sessions import LiveSessions
from collector.store import Store, StoreError
from collector.thinking import Thinking
from collector.twins import TWINS
from config import CollectorConfig, Config, ConfigError
from config.program import end_with, start_program
from config.systemd import notify, watchdog_seconds
from model.version import __version__
from protos.pgwarden.v1 import uplink_pb2 as pb

log = structlog.get_logger(__name__)

BAD_CONFIGURATION = 78
CANNOT_START = 1
LOOP_SECONDS = 0.25
THINK_ON_SECONDS = 2.0
TELL_ON_SECONDS = 1.5
"""At the end: all of it is to be over within five seconds."""


def run(whole: Config, read: Callable[[], Config]) -> int:
    """Until SIGTERM or SIGINT; SIGHUP reads the configuration again. Returns the exit code."""
    config = whole.collector
    stop, reload = threading.Event(), threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        for address in config.listen:
            check_address(address, config.tls)
        collector = Collector(config)
    except (AlertsError, AddressError, MaintenanceError, RespondError) as error:
        log.error("configuration.bad", problem=str(error))
        return BAD_CONFIGURATION
    except (
        StoreError,
        ApprovalStateError,
        DriftStateError,
        ListenError,
        OSError,
    ) as error:
        log.error("collector.cannot_start", problem=str(error))
        return CANNOT_START
    good = False
    try:
        collector.start()
        notify(ready=True)
        collector.supervise(stop, reload, lambda: read().collector)
        good = True
    except MetricsPortError as error:
        log.error("collector.cannot_start", problem=str(error))
    finally:
        notify(stopping=True)
        collector.stop()
    return 0 if good else CANNOT_START


class MetricsPortError(Exception):
    """The configured address is not free."""


class Collector:
    def __init__(self, config: CollectorConfig) -> None:
        self._config = config
        self._metrics = CollectorMetrics(__version__, ready=self.problems)
        self._agents = Agents(on_order=self._note_order, on_twins=self._note_twins)
        self._deaths = Deaths()
        self._tails = Tails()
        self._tellers = tellers_from(config.ledger.tell, config.data_dir)
        sealing = Sealing(
            config.ledger.key,
            config.ledger.heads_to,
            config.ledger.head_entries,
            config.ledger.head_seconds,
            tuple(teller.offer for teller in self._tellers),
        )
        self._store = Store(
            config.data_dir,
            self._committed,
            config.commit_seconds,
            history_days=config.drift.history_days,
            sealing=sealing,
            retention=retention_of(config.retention),
        )
        self._roster = Roster(
            config.data_dir / "state" / "agents.json",
            self._agents,
            (agent for agent, _ in self._store.ledger.high_water),
        )
        self._sessions = LiveSessions(self._store.frame("SELECT * FROM sessions"))
        self._lost_ends = LostEnds(self._agents, self._sessions, self._store.append)
        self._alerts: Alerts = alerts_from(config.alerts, config.data_dir, self._record_alert)
        self._responder = Responder(config.analytics, self._agents.order)
        self._thinking = Thinking(
            config,
            self._store,
            self._alerts,
            self._metrics,
            want_snapshot=lambda source: self._agents.want_snapshot(*source),
            responder=self._responder,
        )
        self._approvals = open_approvals(
            config.data_dir / "state", self._store, self._agents, self._metrics.approvals.count
        )
        self._rules = RuleBundles(config.rules.directory, self._agents.tell_all, self._note_bundle)
        self._cosigning = Cosigning(
            config.data_dir,
            self._store.ledger.tip,
            self._store.heads.public_key,
            lambda: self._store.heads.newest,
            self._store.note_change,
            config.ledger.cosign_seconds,
        )
        self._missing = MissingBatches(self._store.append, self._store.note)
        self._uplink = UplinkService(
            self._store.segments,
            self._agents,
            config.data_dir / "quarantine",
            self._greeting,
            self._cosigning,
            self._missing,
        )
        self._counting = Counting(
            self._metrics, self._store, self._tails, self._uplink, self._missing
        )
        self._journal = Journal()
        tokens = Tokens(config.data_dir)
        self._door = door = Door(
            own_certificate(config.tls.certificate if config.tls else None),
            tokens,
            self._journal,
            certificates_of(config.approvals),
        )
        operator = OperatorService(
            self._agents,
            self._sessions,
            self._tails,
            self._thinking.drift,
            door,
            FindingFeedback(self._store, self._thinking.gate),
            self._store.note_change,
            self._approvals.problems_of,
        )
        approvals = ApprovalsService(
            self._approvals, config.approvals, door, lambda: are_private(config.listen)
        )
        self._approvals_service = approvals
        access = AccessService(tokens, door, self._store)
        self._server = Server(
            config.listen, self._uplink, operator, config.tls, approvals, access,
            config.data_dir / "state",
        )  # fmt: skip

    def _note_order(self, agent: str, command: pb.Command, result: pb.CommandResult) -> None:
        """Ending somebody's session is an act that the record must not lose."""
        self._store.note(
            "order",
            action=command.kind,
            agent=agent,
            cluster=command.cluster,
            pid=command.pid,
            backend_started_at_us=command.backend_started_at_us,
            by=command.requested_by,
            reason=command.reason,
            outcome=result.outcome,
        )

    def _note_twins(self, facts: dict[str, str | int]) -> None:
        log.error("agent.twice", **facts)
        self._store.note(TWINS, **facts)

    def _note_bundle(self, version: int, digest: str) -> None:
        self._store.note_change("rules_bundle", version=version, sha256=digest)

    def _greeting(self, agent: str) -> list[pb.CollectorMessage]:
        grants = [pb.CollectorMessage(command=each) for each in self._approvals.commands(agent)]
        newest = self._rules.newest()
        return [*grants, newest] if newest is not None else grants

    def start(self) -> None:
        self._deaths.watch()
        for problem in self._store.contradictions:
            log.error("ledger.contradicted", problem=problem)
        if self._store.checkpoint_problem:
            log.warning("ledger.checkpoint_rebuilt", problem=self._store.checkpoint_problem)
        self._store.start()
        self._store.note_change("configuration", sha256=digest(self._config), version=__version__)
        self._approvals.catch_up()
        for teller in self._tellers:
            teller.start()
        self._responder.start()
        self._thinking.start()
        self._rules.start()
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

    def supervise(
        self,
        stop: threading.Event,
        reload: threading.Event,
        read: Callable[[], CollectorConfig],
    ) -> None:
        beat_at, beat_seconds = 0.0, watchdog_seconds()
        healthy = True
        while not stop.wait(LOOP_SECONDS):
            if reload.is_set():
                reload.clear()
                self._reload(read)
            self._approvals.tick()
            self._roster.turn(self._store.note)
            self._lost_ends.turn(time.monotonic())
            self._cosigning.turn(self._agents.tell)
            self._store.append("accesses", self._journal.drain())
            problems = self.problems()
            if healthy == bool(problems):
                healthy = not problems
                self._server.set_healthy(healthy)
            if beat_seconds and time.monotonic() >= beat_at:
                beat_at = time.monotonic() + beat_seconds
                status = "; ".join(problems) or self._store.damage.problem or "collecting"
                notify(alive=True, status=status)

    def _reload(self, read: Callable[[], CollectorConfig]) -> None:
        """What cannot be used changes nothing; what needs a restart is named."""
        try:
            self._config, waiting = reloaded(self._config, read())
        except ConfigError as error:
            log.error("configuration.not_reloaded", problem="; ".join(error.problems))
            return
        self._store.tidying.retention = retention_of(self._config.retention)
        self._approvals_service.config = self._config.approvals
        self._door.approvers = certificates_of(self._config.approvals)
        self._store.note_change("configuration", sha256=digest(self._config), version=__version__)
        log.info("configuration.reloaded")
        if waiting:
            log.warning("configuration.needs_restart", sections=", ".join(waiting))

    def stop(self) -> None:
        """Intake first; what was received is made durable, thought about, and told."""
        self._rules.stop()
        self._agents.end_all()
        self._server.stop()
        self._roster.save()
        self._store.append("accesses", self._journal.drain(whole=True))
        self._store.segments.flush()
        self._thinking.stop(THINK_ON_SECONDS)
        self._responder.stop()
        self._alerts.ask_to_stop()
        self._store.close()
        self._stop_telling(TELL_ON_SECONDS)
        self._approvals.close()
        self._metrics.close()
        log.info("collector.stop")

    def _stop_telling(self, seconds: float) -> None:
        """After the store: that signs the last head. Who hangs outside keeps nobody: what is under
        way ends with the process, and its letter is sent by the next one."""
        until = time.monotonic() + seconds
        for teller in self._tellers:
            teller.ask_to_stop()
        for teller in self._tellers:
            teller.stop(max(0.0, until - time.monotonic()))
        self._alerts.close(max(0.0, until - time.monotonic()))

    def problems(self) -> list[str]:
        segments = self._store.segments
        problems = []
        if segments.broken:
            problems.append("the ledger cannot be written: nothing is accepted until a restart")
        elif not segments.healthy:
            problems.append(f"the last commit failed: {segments.counters.last_error}")
        elif not segments.alive:
            problems.append("commits are not running: nothing is stored until a restart")
        problems.extend(self._deaths.problems)
        if not self._thinking.alive:
            problems.append("analytics are not running")
        problems.extend(self._server.problems)
        problems.extend(filter(None, [self._store.heads.problem]))
        if self._approvals.problem:
            problems.append(f"nothing can be approved: {self._approvals.problem}")
        return problems

    def _committed(self, committed: Committed) -> None:
        self._sessions.observe(committed)
        self._tails.publish(committed)
        self._counting.committed(committed)
        self._thinking.offer(committed)
        self._approvals.observe(committed)

    def _record_alert(self, record: AlertRecord) -> None:
        self._store.append("alerts", alert_rows(record))

    def _watch_metrics(self) -> None:
        self._metrics.watch_ledger(lambda: self._store.ledger.seq)
        heads = self._store.heads
        self._metrics.watch_heads(
            lambda: heads.signed[0] if heads.signed else 0,
            lambda: heads.failures,
            lambda: heads.left_out,
            lambda: len(self._store.contradictions),
        )
        damage, scrub = self._store.damage, self._store.scrub
        self._metrics.watch_segments(
            lambda: damage.count, lambda: scrub.bytes, lambda: scrub.passes
        )
        self._metrics.watch_outside(
            lambda: {teller.name: (teller.told, teller.failures) for teller in self._tellers},
            lambda: self._cosigning.cosigned,
            lambda: len(self._cosigning.refusals),
        )
        self._metrics.watch_agents(
            lambda: sum(state.connected for state in self._agents.states()),
            lambda: {s.hello.agent: s.missed_since_us / 1e6 for s in self._agents.states()},
            lambda: len(self._agents.twins()),
        )
        pushed_out = self._approvals.pushed_out
        self._metrics.approvals.watch(self._approvals.pending, pushed_out.total)
        self._metrics.watch_alerts(self._alerts)
        self._metrics.watch_drift(self._thinking.open_drift)
        self._metrics.watch_candidates(self._thinking.suppressed)
        expected = self._thinking.expectations()
        self._metrics.watch_expectations(
            expected.ignored, lambda: expected.expired(time.time_ns() // 1000), expected.invalid
        )


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    end_with(start_program("collector", run))
