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

from agent import unanswered_file
from agent.approvals.service import Approving
from agent.canary import Minded
from agent.capture import Capture, Inbox
from agent.catalog.touched import Touches
from agent.catalog.watched import watched_in
from agent.clusters import Clusters
from agent.digests import sealed_with
from agent.explaining import Explaining
from agent.guard.actions import Actions
from agent.guard.allowances import Allowances
from agent.guard.changes import Changes
from agent.guard.deniable import CallWatch
from agent.guard.hold import Guard
from agent.guard.startup import StartupSettings
from agent.identities import Identities
from agent.judge import Directory, Enrich, GuardJudge
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
from agent.readiness import READY_SECONDS, unheld
from agent.recorder import Recorder
from agent.rulebook import RuleService
from agent.sessions import SessionTracker
from agent.sessions.living import Living
from agent.shown import shown_with
from agent.spool import Spool
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from agent.started import judge_startup
from agent.uplink import Greeting, Uplink
from agent.usage_file import UsageFile
from agent.witness import open_witness
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
from rules.bundle import Sealed

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 3.0
SNAPSHOT = "snapshot"
"""The command that asks for a whole snapshot: a change came to a collector without its base."""
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
        self._metrics = AgentMetrics(__version__, ready=self.problems)
        minded = Minded()
        self._silent: set[str] = set()
        self._told: set[str] = set()
        self._rules = rules
        self._failures: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._restarts = 0
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
            self._obey,
            self._status,
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
        self._naming.start(self._capture)
        self._explaining.start(self._capture, self._recorder, self._pipeline)
        self._rules.start(
            self._capture, self._allowances, self._directory, self._recorder, self._pipeline,
            self._calls or (lambda: None),
        )  # fmt: skip
        if self._approving is not None:
            self._approving.start(self._recorder, self._pipeline)
        self._clusters.rescan(self._capture)
        self._look_after_parts()

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
                notify(alive=True, status="; ".join(self.problems()) or "watching")
            if now >= rescan_at:
                rescan_at = now + self._config.capture.rescan_seconds
                self._clusters.rescan(self._capture)
                self._look_after_parts()
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
        if time.monotonic() < at_the_latest and self.problems():
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
        self._naming.look_after()
        problems = {*self._clusters.problems(), *self._naming.problems()}
        for sentence in sorted(problems - self._told):
            log.warning("degraded", reason=sentence)
        self._told = problems
        if self._source is not None:
            self._hear_canaries()

    def _count_failures(self) -> None:
        """What rules and watchdog count as totals, as increments of the metrics."""
        totals = {
            ("rules", "evaluation_failed", rule): count
            for rule, count in self._rules.book.failed().items()
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

    def _hear_canaries(self) -> None:
        silent = self._clusters.canaries.problems()
        for sentence in sorted(silent - self._silent):
            log.error("probe.silent", reason=sentence)
        for sentence in sorted(self._silent - silent):
            log.info("probe.heard_again", reason=sentence)
        self._silent = silent

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

    def problems(self) -> list[str]:
        """Why this agent is not ready, one sentence each. A part that is missing and degrades is
        none: it stands in the status, and ``doctor`` says what to do."""
        problems = self._rules.missing()
        if not self._clusters.scanned:
            problems.append("the servers of this host have not been looked for yet")
        elif not self._clusters.all():
            problems += self._clusters.unseen()
        elif not all(self._clusters.is_attached(each) for each in self._clusters.all()):
            problems.append("the probes are being attached")
        elif self._mode is Mode.ENFORCE:
            calls = self._calls.problems() if self._calls else []
            problems += unheld(self._source, self._capture, self._clusters, self._degraded, calls)
        return problems

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

    def _status(self) -> pb.Status:
        ebpf, audit = self._ebpf_up(), self._audit_up()
        kinds = {(True, True): "both", (True, False): "ebpf", (False, True): "pgaudit"}
        return pb.Status(
            capture=kinds.get((ebpf, audit), "none"),
            guard_mode=self._mode.value,
            degraded=self._lacks(),
            rules_digest=self._rules.book.edition.digest,
            rules_version=self._rules.book.edition.version,
        )

    def _lacks(self) -> list[str]:
        """What does not work, one sentence each."""
        guard = [self._capture.problem] if self._capture and self._capture.problem else []
        guard += self._explaining.problems() + self._naming.problems() + self._rules.problems()
        guard += self._approving.problems() if self._approving else []
        guard += [self._spool.problem] if self._spool.problem else []
        guard += [self._witness.problem] if self._witness and self._witness.problem else []
        return [*self._degraded, *guard, *self._clusters.problems(), *sorted(self._silent)]

    def _ebpf_up(self) -> bool:
        if self._source is None or self._capture is None or not self._capture.alive:
            return False
        return bool(self._source.clusters)

    def _audit_up(self) -> bool:
        return any(each.log is not None and each.log.reading for each in self._clusters.all())

    def _obey(self, command: pb.Command) -> pb.CommandResult:
        if self._approving is not None and command.kind in self._approving.KINDS:
            return self._approving.obey(command)
        if command.kind == SNAPSHOT:
            known = self._clusters.resend(command.cluster, command.database)
            return pb.CommandResult(outcome="done" if known else "gone")
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
        self._metrics.watch_spool_disk(lambda: spool.fsync_failures, lambda: bool(spool.problem))
        self._metrics.watch_uplink(
            lambda: self._uplink.connected, lambda: spool.last_sequence - spool.depth
        )
        self._metrics.watch_catalog(self._clusters.taken_at_seconds)
        self._metrics.watch_canaries(self._clusters.canaries.fires)
        self._metrics.watch_rules(self._rules)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
