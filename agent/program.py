"""The agent of one host: its parts, how they start, are looked after and stop."""

from __future__ import annotations

import os
import socket
import threading
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import structlog

from agent import unanswered_file
from agent.approvals.service import Approving
from agent.canary import Minded
from agent.capture import Capture, Inbox
from agent.catalog.touched import Touches
from agent.catalog.watched import watched_in
from agent.clusters import Clusters
from agent.commands import Commands
from agent.condition import Condition, Parts
from agent.digests import sealed_with
from agent.directory import Directory, Enrich
from agent.explaining import Explaining
from agent.guard.actions import Actions
from agent.guard.allowances import Allowances
from agent.guard.changes import Changes
from agent.guard.deniable import CallWatch
from agent.guard.hold import Guard
from agent.guard.startup import StartupSettings
from agent.identities import Identities
from agent.judge import GuardJudge
from agent.metrics import AgentMetrics
from agent.naming import Naming
from agent.parameters import installation_key, printer
from agent.parts import (
    interchangeable,
    make_guard,
    open_source,
    parser_of_guard,
    patient_parser,
    start_watchdog,
)
from agent.pipeline import Pipeline, enricher, no_request
from agent.readiness import READY_SECONDS
from agent.recorder import Recorder
from agent.rulebook import RuleService
from agent.sessions import SessionTracker
from agent.sessions.living import Living
from agent.shown import shown_with
from agent.spool.spool import Spool
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from agent.started import judge_startup
from agent.uplink import Greeting, Uplink
from agent.usage_file import UsageFile
from agent.witness import open_witness
from config import AgentConfig
from config.boot import boot_id
from config.systemd import notify, watchdog_seconds
from model.catalog import CatalogKind, Snapshot
from model.event import Lost
from model.session import Session
from model.statement import Shape, Statement, StatementRun
from model.verdict import Mode, Verdict
from model.version import __version__
from rules.bundle import Sealed

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 3.0
LOOP_SECONDS = 0.25
LIVING_SECONDS = 10.0
"""Between two looks for sessions whose end nobody told."""


class MetricsPortError(Exception):
    """The configured address is not free."""


class Agent:
    def __init__(self, config: AgentConfig, rules: RuleService, who: Identities) -> None:
        self._config = config
        self._mode = config.guard.mode
        self._degraded: list[str] = []
        self._metrics = AgentMetrics(__version__, ready=lambda: self._condition.unready())
        minded = Minded()
        self._rules = rules
        # Worker processes first: nothing may be started by fork once gRPC runs.
        cache = ShapeCache()
        self._parser = ParserClient(cache)
        self._guard_parser = guard_parser = parser_of_guard(config.guard, cache)
        self._patient_parser = patient_parser(config.guard, cache)
        self._watchdog = start_watchdog(config.guard, self._degraded)
        source = open_source(config.capture, config.guard, self._degraded)
        if source is None and self._mode is Mode.ENFORCE:
            self._degraded.append("nothing is held: a rule can only refuse what eBPF captures")
        self._inbox = Inbox()
        self._calls: CallWatch | None = None
        if source is not None and self._mode is Mode.ENFORCE:
            self._calls = CallWatch(source, rules.book.judge)
            self._calls()
        key = installation_key(config.state_dir / "catalog.key") if config.catalog.enabled else b""
        self._clusters = Clusters(
            config, self._inbox, self._snapshot, source, self._watchdog, key, minded
        )
        enrich: Enrich = enricher(who.map.session, self._clusters.superusers)
        judge = rules.book.judge
        exhausted = rules.usage.exhausted
        allowances = (
            Allowances(
                source,
                interchangeable(cache, judge),
                exhausted=exhausted,
                exchanging=rules.book.exchanging,
            )
            if source
            else None
        )
        self._allowances = allowances
        self._naming = Naming(config, source, self._clusters, allowances, self._degraded)
        startup = None
        if source is not None and self._mode is not Mode.OFF:
            startup = StartupSettings(self._clusters.servers)
        self._directory = directory = Directory(
            enrich, self._naming.session, startup, self._started
        )
        self._usage_file = UsageFile(config.state_dir / "usage.json", rules.usage)
        self._usage_file.load()
        changes = Changes(judge, allowances, directory.tell)
        self._guard: Guard | None = None
        self._approving: Approving | None = None
        if source is not None and self._guard_parser is not None and self._watchdog is not None:
            self._approving = approving = Approving(config, self._clusters, directory.session)
            guard_judge, patient = (
                GuardJudge(
                    directory,
                    parser,
                    judge,
                    who.claims,
                    self._naming.planned,
                    approving.binding,
                    strict=config.guard.on_timeout == "deny",
                )
                for parser in (self._guard_parser, self._patient_parser or self._guard_parser)
            )
            servers = self._clusters.servers
            self._guard = make_guard(config.guard, source, guard_judge, servers, patient)
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
                changes.turn,
                self._approving.passed if self._approving else lambda backend, text: None,
                minded.observe,
            )
            if source
            else None
        )
        digests_key = installation_key(config.state_dir / "digests.key")
        window_seconds = config.capture.merge_window_seconds if config.capture.pgaudit else 0.0
        self._unanswered_path = config.state_dir / "unanswered.json"
        self._pipeline = Pipeline(
            tracker=SessionTracker(
                int(time.time()),
                int(window_seconds * 1e6),
                enrich,
                audited=self._clusters.audited,
                recorded=unanswered_file.load(self._unanswered_path),
                runs_since=self._clusters.runs_since,
            ),
            parser=self._parser,
            judges=rules.book.judges,
            mode=self._mode,
            redact_message=redact_message,
            on_change=self._naming.changed,
            on_verdict=self._verdict,
            on_statement=self._statement,
            on_run=self._run,
            on_held=lambda settled: self._metrics.held(settled.held_us / 1e6),
            on_lost=self._count_lost,
            claims=who.claims,
            on_session=explaining.session,
            show_parameters=printer(config.capture.parameters, config.state_dir / "parameters.key"),
            # Without capture there is no other thread that looks at the time.
            on_tick=changes.turn if self._capture is None else lambda: None,
            request_of=self._approving.request_of if self._approving else no_request,
            touches=Touches(watched_in(config.catalog)),
            seal_digest=sealed_with(digests_key),
            shown=shown_with(digests_key, catalog_key=key, full_text=config.send_full_text),
        )
        self._spool = Spool(
            config.state_dir / "spool.db",
            lambda where, reason, count: self._lost_soon(where, reason, count),
            config.spool.max_bytes,
        )
        self._witness = open_witness(config.state_dir, config.name, self._degraded)
        self._uplink = Uplink(
            self._spool,
            config.collector,
            Greeting(config.name, __version__, socket.gethostname(), boot_id()),
            lambda command: self._commands.obey(command),
            lambda: self._condition.status(),
            config.tls,
            on_rules=lambda sent: rules.offer(Sealed(sent.bundle, sent.signature)),
            witness=self._witness,
        )
        self._recorder = Recorder(
            self._inbox,
            self._pipeline,
            self._spool,
            self._uplink.wake,
            self._count_lost,
            window_seconds,
        )
        self._living = Living()
        self._commands = Commands(
            Actions(self._clusters.servers, per_minute=config.guard.actions_per_minute),
            self._approving,
            self._clusters,
            self._recorder,
            self._pipeline,
        )
        self._condition = Condition(
            config,
            Parts(
                metrics=self._metrics,
                rules=rules,
                clusters=self._clusters,
                naming=self._naming,
                explaining=explaining,
                parser=self._parser,
                spool=self._spool,
                source=source,
                capture=self._capture,
                calls=self._calls,
                approving=self._approving,
                witness=self._witness,
                degraded=self._degraded,
            ),
        )

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
        self._naming.start(self._capture)
        self._explaining.start(self._capture, self._recorder, self._pipeline)
        self._rules.start(
            self._capture, self._allowances, self._directory, self._recorder, self._pipeline,
            self._calls or (lambda: None),
        )  # fmt: skip
        if self._approving is not None:
            self._approving.start(self._recorder, self._pipeline)
        self._clusters.rescan(self._capture)
        self._condition.look()

    def supervise(self, stop: threading.Event) -> bool:
        """Follow servers, feed the watchdog. False when a thread ended: that is a bug, and the
        service manager starts us anew."""
        rescan_at = time.monotonic() + self._config.capture.rescan_seconds
        beat_at, beat_seconds = 0.0, watchdog_seconds()
        look_at = time.monotonic() + LIVING_SECONDS
        ready_by = time.monotonic() + READY_SECONDS if self._mode is Mode.ENFORCE else 0.0
        ready = self._say_ready(ready_by)
        while not stop.wait(LOOP_SECONDS):
            now = time.monotonic()
            ready = ready or self._say_ready(ready_by)
            if beat_seconds and now >= min(beat_at, rescan_at):  # a rescan may take ten seconds
                beat_at = now + beat_seconds
                notify(alive=True, status="; ".join(self._condition.unready()) or "watching")
            if now >= rescan_at:
                rescan_at = now + self._config.capture.rescan_seconds
                self._clusters.rescan(self._capture)
                self._condition.look()
                self._usage_file.save_if_due()
            if now >= look_at:
                look_at = now + LIVING_SECONDS
                self._end_unseen()
            if not self._recorder.alive or (self._capture and not self._capture.alive):
                log.error("agent.thread_ended", reason="its error is above")
                return False
        return True

    def _say_ready(self, at_the_latest: float) -> bool:
        """To the service manager. It waits for our first holds, not for a server to be started."""
        if time.monotonic() < at_the_latest and self._condition.unready():
            return False
        notify(ready=True)
        return True

    def _end_unseen(self) -> None:
        if self._capture is None:
            return
        capture = self._capture
        ended = self._living.ended(session.key for session in self._pipeline.sessions)
        if ended:
            capture.run_soon(lambda: capture.end(ended))
            self._lost_soon("sessions", "session_end_unseen", len(ended))

    def stop(self) -> None:
        """Probes first, so that nothing is held; then what was seen is made durable and sent."""
        self._clusters.stop_queries()
        self._naming.stop()
        self._rules.stop()
        self._explaining.stop()
        if self._approving is not None:
            self._approving.stop()
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
        unanswered_file.save(self._unanswered_path, self._pipeline.unanswered)
        self._usage_file.save()
        if self._approving is not None:
            self._approving.close()
        self._uplink.drain(DRAIN_SECONDS)
        self._uplink.stop()
        self._spool.close()
        self._parser.close()
        for parser in (self._guard_parser, self._patient_parser):
            if parser is not None:
                parser.close()
        self._metrics.close()
        log.info("agent.stop")

    def _snapshot(self, snapshot: Snapshot) -> None:
        if self._capture is not None and CatalogKind.ROLE in snapshot.kinds:
            self._capture.run_soon(self._directory.refresh)
        self._recorder.run_soon(lambda: self._pipeline.add_snapshot(snapshot))

    def _statement(self, statement: Statement, shape: Shape) -> None:
        self._metrics.statements(statement.source.value, statement.executions)
        self._metrics.parsed(shape.status.value)

    def _run(self, run: StatementRun, shape: Shape) -> None:
        count = len(run.executions)
        self._metrics.statements("ebpf", count)
        self._metrics.parsed(shape.status, count)

    def _started(self, session: Session) -> None:
        """A session that brought settings along, from the thread that reads the probes."""

        def judge() -> None:
            judge, now_us = self._rules.book.judge(), time.time_ns() // 1000
            told = judge_startup(session, self._parser, judge, self._mode, now_us)
            self._pipeline.add_verdicts(told, session)

        self._recorder.run_soon(judge)

    def _verdict(self, verdict: Verdict) -> None:
        self._metrics.verdict(verdict.action.value, verdict.outcome.value)
        log.info(
            "verdict",
            rule=verdict.rule_id,
            action=verdict.action.value,
            outcome=verdict.outcome.value,
            pid=verdict.backend.pid,
            reason=verdict.reason,
        )

    def _count_lost(self, lost: Lost) -> None:
        self._metrics.lost(lost.source, lost.reason, lost.count)

    def _lost_soon(self, source: str, reason: str, count: int) -> None:
        # Through the inbox: the spool calls this inside its own lock.
        self._inbox.overflow.append(Lost(time.time_ns(), source, reason, count))

    def _watch_metrics(self) -> None:
        spool = self._spool
        self._metrics.watch_sessions(lambda: len(self._pipeline.sessions))
        self._metrics.watch_spool(
            lambda: spool.depth, lambda: spool.bytes, lambda: self._config.spool.max_bytes
        )
        self._metrics.watch_spool_disk(lambda: spool.fsync_failures, lambda: bool(spool.problem))
        self._metrics.watch_uplink(
            lambda: self._uplink.connected, lambda: spool.last_sequence - spool.depth
        )
        self._metrics.watch_catalog(self._clusters.taken_at_seconds)
        self._metrics.watch_canaries(self._clusters.canaries.fires)
        self._metrics.watch_rules(self._rules)
