"""What of an agent works and what does not: for its metrics, its log, the service manager and
the collector."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import structlog

from agent.approvals.service import Approving
from agent.capture import Capture
from agent.clusters import Clusters
from agent.explaining import Explaining
from agent.guard.deniable import CallWatch
from agent.metrics import AgentMetrics
from agent.naming import Naming
from agent.readiness import unheld
from agent.rulebook import RuleService
from agent.sources.ebpf import EbpfSource
from agent.spool.spool import Spool
from agent.sql.client import ParserClient
from agent.witness import Witness
from config import AgentConfig
from model.verdict import Mode
from protos.pgwarden.v1 import uplink_pb2 as pb

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is asked. None: this agent has no such part, and ``degraded`` says why."""

    metrics: AgentMetrics
    rules: RuleService
    clusters: Clusters
    naming: Naming
    explaining: Explaining
    parser: ParserClient
    spool: Spool
    source: EbpfSource | None
    capture: Capture | None
    calls: CallWatch | None
    approving: Approving | None
    witness: Witness | None
    degraded: list[str]


class Condition:
    def __init__(self, config: AgentConfig, parts: Parts) -> None:
        self._config = config
        self._mode = config.guard.mode
        self._parts = parts
        self._silent: set[str] = set()
        self._told: set[str] = set()
        self._failures: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._restarts = 0

    def look(self) -> None:
        """Count what happened since the last look, and log what began or ended."""
        parts = self._parts
        if self._config.capture.ebpf:
            parts.metrics.capture("ebpf", up=self._ebpf_up())
        if self._config.capture.pgaudit:
            parts.metrics.capture("pgaudit", up=self._audit_up())
        restarts = parts.parser.counters.restarts
        for _ in range(restarts - self._restarts):
            parts.metrics.parser_restarted()
        self._restarts = restarts
        self._count_failures()
        parts.naming.look_after()
        problems = {*parts.clusters.problems(), *parts.naming.problems()}
        for sentence in sorted(problems - self._told):
            log.warning("degraded", reason=sentence)
        self._told = problems
        if parts.source is not None:
            self._hear_canaries()

    def _count_failures(self) -> None:
        """What rules and watchdog count as totals, as increments of the metrics."""
        parts = self._parts
        totals = {
            ("rules", "evaluation_failed", rule): count
            for rule, count in parts.rules.book.failed().items()
        }
        if parts.capture is not None:
            totals["guard", "released_by_watchdog", ""] = parts.capture.released_by_watchdog
        for (source, reason, rule), total in totals.items():
            count = total - self._failures[source, reason, rule]
            if count:
                parts.metrics.lost(source, reason, count)
            if count and rule:
                log.error("rule.failed", rule=rule, count=count, remedy="pgwarden rules test")
        self._failures.update(totals)

    def _hear_canaries(self) -> None:
        silent = self._parts.clusters.canaries.problems()
        for sentence in sorted(silent - self._silent):
            log.error("probe.silent", reason=sentence)
        for sentence in sorted(self._silent - silent):
            log.info("probe.heard_again", reason=sentence)
        self._silent = silent

    def unready(self) -> list[str]:
        """Why this agent is not ready, one sentence each. A part that is missing and degrades is
        none: it stands in the status, and ``doctor`` says what to do."""
        parts, clusters = self._parts, self._parts.clusters
        problems = parts.rules.missing() + parts.spool.problems
        if not clusters.scanned:
            problems.append("the servers of this host have not been looked for yet")
        elif not clusters.all():
            problems += clusters.unseen()
        elif not all(clusters.is_attached(each) for each in clusters.all()):
            problems.append("the probes are being attached")
        elif any(clusters.is_log_opening(each) for each in clusters.all()):
            problems.append("pgaudit's log is being looked for")
        elif self._mode is Mode.ENFORCE:
            calls = parts.calls.problems() if parts.calls else []
            problems += unheld(parts.source, parts.capture, clusters, parts.degraded, calls)
        return problems

    def status(self) -> pb.Status:
        ebpf, audit = self._ebpf_up(), self._audit_up()
        kinds = {(True, True): "both", (True, False): "ebpf", (False, True): "pgaudit"}
        edition = self._parts.rules.book.edition
        return pb.Status(
            capture=kinds.get((ebpf, audit), "none"),
            guard_mode=self._mode.value,
            degraded=self._lacks(),
            rules_digest=edition.digest,
            rules_version=edition.version,
        )

    def _lacks(self) -> list[str]:
        """What does not work, one sentence each."""
        parts = self._parts
        guard = [parts.capture.problem] if parts.capture and parts.capture.problem else []
        guard += parts.explaining.problems() + parts.naming.problems() + parts.rules.problems()
        guard += parts.approving.problems() if parts.approving else []
        guard += parts.spool.problems
        guard += [parts.witness.problem] if parts.witness and parts.witness.problem else []
        return [*parts.degraded, *guard, *parts.clusters.problems(), *sorted(self._silent)]

    def _ebpf_up(self) -> bool:
        source, capture = self._parts.source, self._parts.capture
        if source is None or capture is None or not capture.alive:
            return False
        return bool(source.clusters)

    def _audit_up(self) -> bool:
        clusters = self._parts.clusters.all()
        return any(each.log is not None and each.log.reading for each in clusters)
