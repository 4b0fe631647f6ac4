"""The agent of one host: its parts, how they start, are looked after and stop."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import structlog

from agent.canary import Canary
from agent.capture import Capture, Inbox
from agent.clusters import APPLICATION_NAME, Clusters
from agent.explaining import Explaining
from agent.guard.actions import Actions
from agent.guard.allowances import Allowances
from agent.guard.hold import Guard
from agent.identities import Identities
from agent.judge import Directory, Enrich, GuardJudge
from agent.metrics import AgentMetrics
from agent.parameters import printer
from agent.parts import interchangeable, make_guard, open_source, parser_of_guard, start_watchdog
from agent.pipeline import Pipeline, enricher
from agent.recorder import Recorder
from agent.sessions import SessionTracker
from agent.spool import Spool
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from agent.uplink import Greeting, Uplink
from config import AgentConfig
from config.systemd import notify, watchdog_seconds
from model.action import Action, ActionKind, ActionOutcome
from model.catalog import CatalogKind, Snapshot
from model.event import Lost
from model.session import BackendKey, Session
from model.statement import Shape, Statement, StatementRun
from model.verdict import Mode, Verdict
from model.version import __version__
from protos.pgwarden.v1 import uplink_pb2 as pb
from rules import Judge

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 3.0
LOOP_SECONDS = 0.25


class MetricsPortError(Exception):
    """The configured address is not free."""


class Agent:
    def __init__(self, config: AgentConfig, judge: Judge, who: Identities) -> None:
        self._config = config
        self._mode = config.guard.mode
        self._degraded: list[str] = []
        self._metrics = AgentMetrics(__version__, ready=self.problems)
        self._canary = Canary(APPLICATION_NAME, config.capture.canary_seconds)
        self._fires: dict[str, dict[str, bool]] = {}
        """By cluster and probe, as the canary found it last."""
        self._silent: set[str] = set()
        self._told: set[str] = set()
        self._judge = judge
        self._failures: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._restarts = 0
        # Worker processes first: nothing may be started by fork once gRPC runs.
        cache = ShapeCache()
        self._parser = ParserClient(cache)
        self._guard_parser = guard_parser = parser_of_guard(config.guard, cache)
        self._watchdog = start_watchdog(config.guard, self._degraded)
        source = open_source(config.capture, self._degraded)
        if source is None and self._mode is Mode.ENFORCE:
            self._degraded.append("nothing is held: a rule can only refuse what eBPF captures")
        self._inbox = Inbox()
        self._clusters = Clusters(config, self._inbox, self._snapshot, source, self._watchdog)
        enrich: Enrich = enricher(who.map.session, self._clusters.superusers)
        allowances = Allowances(source, interchangeable(cache, judge)) if source else None
        self._directory = directory = Directory(
            enrich, allowances.know if allowances else lambda *_: None
        )
        self._guard: Guard | None = None
        if source is not None and self._guard_parser is not None and self._watchdog is not None:
            guard_judge = GuardJudge(directory, self._guard_parser, lambda: judge, who.claims)
            self._guard = make_guard(config.guard, source, guard_judge, self._clusters.servers)
        self._source = source
        self._explaining = explaining = Explaining(
            config, who, self._clusters, self._inbox, directory, self._metrics.origin
        )
        self._capture = (
            Capture(
                source,
                self._inbox,
                directory,
                self._guard,
                self._watchdog,
                allowances,
                guard_parser.known if guard_parser else None,
                explaining.seen,
            )
            if source
            else None
        )
        window_seconds = config.capture.merge_window_seconds if config.capture.pgaudit else 0.0
        self._pipeline = Pipeline(
            tracker=SessionTracker(
                int(time.time()),
                int(window_seconds * 1e6),
                enrich,
                audited=self._clusters.audited,
            ),
            parser=self._parser,
            judge=lambda: judge,
            mode=self._mode,
            redact_message=redact_message,
            on_change=self._clusters.poke,
            on_verdict=self._verdict,
            on_statement=self._statement,
            on_run=self._run,
            on_held=lambda settled: self._metrics.held(settled.held_us / 1e6),
            on_lost=self._count_lost,
            send_full_text=config.send_full_text,
            claims=who.claims,
            on_session=explaining.session,
            show_parameters=printer(config.capture.parameters, config.state_dir / "parameters.key"),
        )
        self._spool = Spool(
            config.state_dir / "spool.db",
            lambda where, reason, count: self._lost_soon(where, reason, count),
            config.spool.max_bytes,
        )
        self._uplink = Uplink(
            self._spool,
            config.collector,
            Greeting(config.name, __version__, socket.gethostname(), boot_id()),
            self._obey,
            self._status,
            config.tls,
        )
        self._recorder = Recorder(
            self._inbox,
            self._pipeline,
            self._spool,
            self._uplink.wake,
            self._count_lost,
            window_seconds,
        )
        self._actions = Actions(self._clusters.servers, per_minute=config.guard.actions_per_minute)

    def start(self) -> None:
        self._watch_metrics()
        listen = self._config.metrics
        try:
            port = self._metrics.start(listen.host, listen.port)
        except OSError as error:
            place = f"{listen.host}:{listen.port}"
            raise MetricsPortError(f"agent.metrics {place}: {error.strerror}") from error
        log.info("agent.start", version=__version__, mode=self._mode.value, metrics_port=port)
        for sentence in self._degraded:
            log.warning("degraded", reason=sentence)
        self._recorder.start()
        self._uplink.start()
        if self._capture is not None:
            self._capture.start()
        self._explaining.start(self._capture, self._recorder, self._pipeline)
        self._clusters.rescan(self._capture)
        self._look_after_parts()

    def supervise(self, stop: threading.Event) -> bool:
        """Follow servers, feed the watchdog. False when a thread ended: that is a bug, and the
        service manager starts us anew."""
        rescan_at = time.monotonic() + self._config.capture.rescan_seconds
        beat_at, beat_seconds = 0.0, watchdog_seconds()
        while not stop.wait(LOOP_SECONDS):
            now = time.monotonic()
            if now >= rescan_at:
                rescan_at = now + self._config.capture.rescan_seconds
                self._clusters.rescan(self._capture)
                self._look_after_parts()
            if not self._recorder.alive or (self._capture and not self._capture.alive):
                log.error("agent.thread_ended", reason="its error is above")
                return False
            if beat_seconds and now >= beat_at:
                beat_at = now + beat_seconds
                notify(alive=True, status="; ".join(self.problems()) or "watching")
        return True

    def _look_after_parts(self) -> None:
        if self._config.capture.ebpf:
            self._metrics.capture("ebpf", up=self._ebpf_up())
        if self._config.capture.pgaudit:
            self._metrics.capture("pgaudit", up=self._audit_up())
        restarts = self._parser.counters.restarts
        for _ in range(restarts - self._restarts):
            self._metrics.parser_restarted()
        self._restarts = restarts
        self._count_failures()
        problems = set(self._clusters.problems())
        for sentence in sorted(problems - self._told):
            log.warning("degraded", reason=sentence)
        self._told = problems
        if self._source is not None:
            self._judge_canary()

    def _count_failures(self) -> None:
        """What rules and watchdog count as totals, as increments of the metrics."""
        totals = {
            ("rules", "evaluation_failed", rule): count
            for rule, count in self._judge.counts().failed
        }
        if self._capture is not None:
            totals["guard", "released_by_watchdog", ""] = self._capture.released_by_watchdog
        for (source, reason, rule), total in totals.items():
            count = total - self._failures[source, reason, rule]
            if count:
                self._metrics.lost(source, reason, count)
            if count and rule:
                log.error("rule.failed", rule=rule, count=count, remedy="pgwarden rules test")
        self._failures.update(totals)

    def _judge_canary(self) -> None:
        taken_at = self._clusters.taken_at_seconds()
        for cluster, at_seconds in taken_at.items():
            # Nothing where it is too early to tell: what was found last holds until then.
            self._fires[cluster] = self._canary.judge(
                cluster, at_seconds, time.time()
            ) or self._fires.get(cluster, {})
        self._fires = {each: self._fires[each] for each in self._fires if each in taken_at}
        for probe in {probe for fires in self._fires.values() for probe in fires}:
            ok = all(fires.get(probe, True) for fires in self._fires.values())
            self._metrics.canary(probe, ok=ok)
        silent = {
            f"{cluster}: the probe on {probe} does not fire"
            for cluster, fires in self._fires.items()
            for probe, ok in fires.items()
            if not ok
        }
        for sentence in silent - self._silent:
            log.error("probe.silent", reason=sentence)
        self._silent = silent

    def stop(self) -> None:
        """Probes first, so that nothing is held; then what was seen is made durable and sent."""
        self._clusters.stop_catalogs()
        self._explaining.stop()
        if self._capture is not None and self._capture.alive:
            self._capture.stop()
        if self._source is not None:
            self._source.close()
        if self._guard is not None:
            self._guard.close()
        if self._watchdog is not None:
            self._watchdog.close()
        self._clusters.close()
        if self._recorder.alive:
            self._recorder.stop()
        self._uplink.drain(DRAIN_SECONDS)
        self._uplink.stop()
        self._spool.close()
        self._parser.close()
        if self._guard_parser is not None:
            self._guard_parser.close()
        self._metrics.close()
        log.info("agent.stop")

    def problems(self) -> list[str]:
        """Why this agent is not ready, one sentence each. A part that is missing and degrades is
        none: it stands in the status, and ``doctor`` says what to do."""
        problems = []
        if not self._clusters.scanned:
            problems.append("the servers of this host have not been looked for yet")
        elif not self._clusters.all():
            problems += self._clusters.unseen()
        elif not all(self._clusters.is_attached(each) for each in self._clusters.all()):
            problems.append("the probes are being attached")
        return problems

    def _snapshot(self, snapshot: Snapshot) -> None:
        if self._capture is not None and CatalogKind.ROLE in snapshot.kinds:
            self._capture.run_soon(self._directory.refresh)
        self._recorder.run_soon(lambda: self._pipeline.add_snapshot(snapshot))

    def _statement(self, statement: Statement, shape: Shape) -> None:
        self._metrics.statements(statement.source.value, statement.executions)
        self._metrics.parsed(shape.status.value)
        self._canary.observe(statement)

    def _run(self, run: StatementRun, shape: Shape) -> None:
        count = len(run.executions)
        self._metrics.statements("ebpf", count)
        self._metrics.parsed(shape.status, count)
        if run.session.application_name == APPLICATION_NAME:
            self._canary.observe(run.statement(count - 1))

    def _verdict(self, verdict: Verdict) -> None:
        self._metrics.verdict(verdict.action.value, verdict.outcome.value)
        log.info(
            "verdict",
            rule=verdict.rule_id,
            action=verdict.action.value,
            outcome=verdict.outcome.value,
            pid=verdict.backend.pid,
        )

    def _count_lost(self, lost: Lost) -> None:
        self._metrics.lost(lost.source, lost.reason, lost.count)

    def _lost_soon(self, source: str, reason: str, count: int) -> None:
        # Through the inbox: the spool calls this inside its own lock.
        self._inbox.overflow.append(Lost(time.time_ns(), source, reason, count))

    def _status(self) -> pb.Status:
        ebpf, audit = self._ebpf_up(), self._audit_up()
        kinds = {(True, True): "both", (True, False): "ebpf", (False, True): "pgaudit"}
        return pb.Status(
            capture=kinds.get((ebpf, audit), "none"),
            guard_mode=self._mode.value,
            degraded=self._lacks(),
        )

    def _lacks(self) -> list[str]:
        """What does not work, one sentence each."""
        guard = [self._capture.problem] if self._capture and self._capture.problem else []
        guard += self._explaining.problems()
        return [*self._degraded, *guard, *self._clusters.problems(), *sorted(self._silent)]

    def _ebpf_up(self) -> bool:
        if self._source is None or self._capture is None or not self._capture.alive:
            return False
        return bool(self._source.clusters)

    def _audit_up(self) -> bool:
        return any(each.audit is not None for each in self._clusters.all())

    def _obey(self, command: pb.Command) -> pb.CommandResult:
        try:
            kind = ActionKind(command.kind)
        except ValueError:
            return pb.CommandResult(
                outcome="refused", message=f"this agent knows no {command.kind}"
            )
        key = BackendKey(command.pid, command.backend_started_at_us)
        action = Action(
            command.id, kind, key, command.cluster, command.reason, command.requested_by
        )
        session = self._session(key)
        result = self._actions.enforce(action)
        log.info("action", kind=kind.value, pid=key.pid, outcome=result.outcome.value)
        self._recorder.run_soon(lambda: self._pipeline.add_action(action, result, session))
        done = result.outcome is ActionOutcome.DONE
        message = result.message or (f"pid {key.pid}: {kind.value} sent" if done else "")
        return pb.CommandResult(outcome=result.outcome.value, message=message, at_us=result.at_us)

    def _session(self, key: BackendKey) -> Session:
        for session in self._pipeline.sessions:
            if session.key == key:
                return session
        return Session(key)

    def _watch_metrics(self) -> None:
        spool = self._spool
        self._metrics.watch_sessions(lambda: len(self._pipeline.sessions))
        self._metrics.watch_spool(
            lambda: spool.depth, lambda: spool.bytes, lambda: self._config.spool.max_bytes
        )
        self._metrics.watch_uplink(
            lambda: self._uplink.connected, lambda: spool.last_sequence - spool.depth
        )
        self._metrics.watch_catalog(self._clusters.taken_at_seconds)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
