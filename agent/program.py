"""The agent of one host: its parts, how they start, are looked after and stop."""

from __future__ import annotations

import os
import threading
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import structlog

from agent import unanswered_file
from agent.approvals.service import Approving
from agent.canary import Minded
from agent.capture import Capture
from agent.catalog.touched import Touches
from agent.catalog.watched import watched_in
from agent.clusters import Clusters
from agent.commands import QUESTIONS, Commands
from agent.condition import Condition, Parts
from agent.digests import Seal, sealed_with
from agent.directory import Directory, Enrich
from agent.ending import Ending
from agent.explaining import Explaining
from agent.guard.actions import Actions
from agent.guard.changes import Changes
from agent.guard.deniable import CallWatch
from agent.guard.hold import Guard
from agent.guard.startup import StartupSettings
from agent.identities import Identities
from agent.inbox import Inbox
from agent.judge import GuardJudge
from agent.judging import no_request
from agent.metrics import AgentMetrics
from agent.naming import Naming
from agent.parameters import installation_key, printer
from agent.parsers import Parsers
from agent.parts import (
    greeting_of,
    make_allowances,
    make_guard,
    open_source,
    start_watchdog,
)
from agent.pipeline import Pipeline, enricher
from agent.readiness import READY_SECONDS
from agent.recorder import Recorder
from agent.rulebook import RuleService
from agent.running import RunningStatements
from agent.sessions import SessionTracker
from agent.sessions.living import Living, told_by_probes
from agent.shown import Shown, shown_with
from agent.spool.spool import Spool
from agent.sql.messages import redact_message
from agent.started import judge_startup
from agent.uplink import Uplink
from agent.usage_file import UsageFile
from agent.witness import open_witness
from config import AgentConfig
from config.systemd import notify, watchdog_seconds
from model.catalog import CatalogKind, Snapshot
from model.event import Lost, SessionEnded
from model.session import Session
from model.statement import Shape, Statement, StatementRun
from model.verdict import Mode, Verdict
from model.version import __version__
from rules.bundle import Sealed

log = structlog.get_logger(__name__)

LOOP_SECONDS = 0.25
LIVING_SECONDS = 10.0
"""Between two looks for sessions whose end nobody told."""


class Agent:
    def __init__(self, config: AgentConfig, rules: RuleService, who: Identities) -> None:
        self._config = config
        self._mode = config.guard.mode
        self._rules = rules
        self._degraded: list[str] = []
        self._metrics = AgentMetrics(__version__, ready=lambda: self._condition.unready())
        # Worker processes first: nothing may be started by fork once gRPC runs.
        self._parsers = Parsers(config.guard)
        self._watchdog = start_watchdog(config.guard, self._degraded)
        self._source = source = open_source(config.capture, config.guard, self._degraded)
        if source is None and self._mode is Mode.ENFORCE:
            self._degraded.append("nothing is held: a rule can only refuse what eBPF captures")
        self._inbox = Inbox()
        self._calls: CallWatch | None = None
        if source is not None and self._mode is Mode.ENFORCE:
            self._calls = CallWatch(source, rules.book.judge)
            self._calls()
        key = installation_key(config.state_dir / "catalog.key") if config.catalog.enabled else b""
        minded = Minded()
        self._clusters = Clusters(
            config, self._inbox, self._snapshot, source, self._watchdog, key, minded
        )
        enrich: Enrich = enricher(who.map.session, self._clusters.superusers)
        self._allowances = make_allowances(source, self._parsers.cache, rules) if source else None
        self._naming = Naming(config, source, self._clusters, self._allowances, self._degraded)
        startup = None
        if source is not None and self._mode is not Mode.OFF:
            startup = StartupSettings(self._clusters.servers)
        self._directory = directory = Directory(
            enrich, self._naming.session, startup, self._started
        )
        self._usage_file = UsageFile(config.state_dir / "usage.json", rules.usage)
        self._usage_file.load()
        changes = Changes(rules.book.judge, self._allowances, directory.tell)
        self._approving: Approving | None = None
        self._guard = self._make_guard(who)
        self._explaining = Explaining(
            config, who, self._clusters, self._inbox, directory, self._metrics.origin
        )
        self._capture = self._make_capture(changes, minded)
        self._unanswered_path = config.state_dir / "unanswered.json"
        digests_key = installation_key(config.state_dir / "digests.key")
        shown = shown_with(digests_key, catalog_key=key, full_text=config.send_full_text)
        self._pipeline = self._make_pipeline(who, enrich, changes, shown, sealed_with(digests_key))
        self._spool = Spool(config.state_dir / "spool.db", self._lost_soon, config.spool.max_bytes)
        self._witness = open_witness(config.state_dir, config.name, self._degraded)
        self._uplink = Uplink(
            self._spool,
            config.collector,
            greeting_of(config),
            lambda command: self._commands.obey(command),
            lambda: self._condition.status(),
            config.tls,
            on_rules=lambda sent: rules.offer(Sealed(sent.bundle, sent.signature)),
            witness=self._witness,
            questions=QUESTIONS,
        )
        self._recorder = Recorder(
            self._inbox,
            self._pipeline,
            self._spool,
            self._uplink.wake,
            self._count_lost,
            _merge_window_seconds(config),
        )
        self._living = Living(self._clusters.pids)
        self._commands = Commands(
            Actions(self._clusters.servers, per_minute=config.guard.actions_per_minute),
            self._approving,
            self._clusters,
            self._recorder,
            self._pipeline,
            RunningStatements(
                source,
                self._parsers.record,
                who.claims,
                shown,
                lambda: self._pipeline.sessions,
                self._recorder.run_soon,
            ),
        )
        self._condition = Condition(
            config,
            Parts(
                metrics=self._metrics,
                rules=rules,
                clusters=self._clusters,
                naming=self._naming,
                explaining=self._explaining,
                parser=self._parsers.record,
                spool=self._spool,
                source=source,
                capture=self._capture,
                calls=self._calls,
                approving=self._approving,
                witness=self._witness,
                degraded=self._degraded,
            ),
        )

    def _make_guard(self, who: Identities) -> Guard | None:
        config, parsers = self._config, self._parsers
        if self._source is None or parsers.guard is None or self._watchdog is None:
            return None
        self._approving = approving = Approving(config, self._clusters, self._directory.session)
        judge, patient = (
            GuardJudge(
                self._directory,
                parser,
                self._rules.book.judge,
                who.claims,
                self._naming.planned,
                approving.binding,
                strict=config.guard.on_timeout == "deny",
            )
            for parser in (parsers.guard, parsers.patient or parsers.guard)
        )
        return make_guard(config.guard, self._source, judge, self._clusters.servers, patient)

    def _make_capture(self, changes: Changes, minded: Minded) -> Capture | None:
        if self._source is None:
            return None
        return Capture(
            self._source,
            self._inbox,
            self._directory,
            self._guard,
            self._watchdog,
            self._allowances,
            self._parsers.guard.known if self._parsers.guard else None,
            self._explaining.seen,
            changes.turn,
            self._approving.passed if self._approving else lambda backend, text: None,
            minded.observe,
        )

    def _make_pipeline(
        self, who: Identities, enrich: Enrich, changes: Changes, shown: Shown, seal_digest: Seal
    ) -> Pipeline:
        config = self._config
        return Pipeline(
            tracker=SessionTracker(
                int(time.time()),
                int(_merge_window_seconds(config) * 1e6),
                enrich,
                audited=self._clusters.audited,
                recorded=unanswered_file.load(self._unanswered_path),
                runs_since=self._clusters.runs_since,
                processes=self._clusters.processes,
            ),
            parser=self._parsers.record,
            judges=self._rules.book.judges,
            mode=self._mode,
            redact_message=redact_message,
            on_change=self._naming.changed,
            on_verdict=self._verdict,
            on_statement=self._statement,
            on_run=self._run,
            on_held=lambda settled: self._metrics.held(settled.held_us / 1e6),
            on_lost=self._count_lost,
            claims=who.claims,
            on_session=self._explaining.session,
            show_parameters=printer(config.capture.parameters, config.state_dir / "parameters.key"),
            # Without capture there is no other thread that looks at the time.
            on_tick=changes.turn if self._capture is None else lambda: None,
            request_of=self._approving.request_of if self._approving else no_request,
            touches=Touches(watched_in(config.catalog)),
            seal_digest=seal_digest,
            shown=shown,
        )

    def start(self) -> None:
        self._watch_metrics()
        listen = self._config.metrics
        port = self._metrics.start(listen.host, listen.port)
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
        ended = self._living.ended(self._pipeline.sessions)
        capture, pipeline, now_ns = self._capture, self._pipeline, time.time_ns()
        unseen = [each for each in ended if told_by_probes(each)]
        if unseen and capture is not None:
            capture.run_soon(lambda: capture.end(unseen))
            self._lost_soon("sessions", "session_end_unseen", len(unseen))
        # Of the others nothing was lost: the log tells no end.
        over = [SessionEnded(now_ns, each) for each in ended if not told_by_probes(each)]
        if over:
            self._recorder.run_soon(lambda: pipeline.take(over, now_ns // 1000))

    def stop(self) -> None:
        Ending(
            clusters=self._clusters,
            naming=self._naming,
            rules=self._rules,
            explaining=self._explaining,
            approving=self._approving,
            capture=self._capture,
            source=self._source,
            guard=self._guard,
            watchdog=self._watchdog,
            recorder=self._recorder,
            uplink=self._uplink,
            spool=self._spool,
            parsers=self._parsers,
            metrics=self._metrics,
            save=self._save,
        ).run()

    def _save(self) -> None:
        unanswered_file.save(self._unanswered_path, self._pipeline.unanswered)
        self._usage_file.save()

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
            told = judge_startup(session, self._parsers.record, judge, self._mode, now_us)
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
        self._metrics.watch_spool_disk(
            lambda: spool.fsync_failures, lambda: bool(spool.problem), lambda: spool.copies_removed
        )
        self._metrics.watch_uplink(
            lambda: self._uplink.connected, lambda: spool.last_sequence - spool.depth
        )
        self._metrics.watch_catalog(self._clusters.taken_at_seconds)
        self._metrics.watch_canaries(self._clusters.canaries.fires)
        self._metrics.watch_rules(self._rules)


def _merge_window_seconds(config: AgentConfig) -> float:
    """How long a statement waits for what the log tells of it."""
    return config.capture.merge_window_seconds if config.capture.pgaudit else 0.0
