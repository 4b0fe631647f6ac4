"""Audit coverage as numbers: how much of what one source saw the other saw too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from prometheus_client import CollectorRegistry, Counter, Gauge

from analytics.audit.minutes import SIDES, Minute
from config.telemetry import Bounded


class CoverageMetrics:
    """Of all backends of a server together; a label per backend would have no bound."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ratio = Gauge(
            "pgwarden_audit_coverage_ratio",
            "Share of what the other source saw that this side saw too, in the last full minute",
            ("agent", "cluster", "side"),
            registry=registry,
        )
        self._statements = Counter(
            "pgwarden_audit_statements",
            "Statements of full minutes, by who saw them",
            ("agent", "cluster", "outcome"),
            registry=registry,
        )
        self._exempt = Counter(
            "pgwarden_audit_exempt",
            "Statements that one source by design does not see, by reason",
            ("cluster", "reason"),
            registry=registry,
        )
        self._agent, self._cluster = Bounded(50), Bounded(50)

    def observe(self, minutes: Iterable[Minute]) -> None:
        ordered = sorted(minutes, key=lambda m: (m.agent, m.cluster, m.from_us))
        for (agent, cluster, _), group in groupby(
            ordered, key=lambda m: (m.agent, m.cluster, m.from_us)
        ):
            self._minute(self._agent(agent), self._cluster(cluster), list(group))

    def _minute(self, agent: str, cluster: str, backends: Sequence[Minute]) -> None:
        matched = sum(backend.matched for backend in backends)
        missed = {side: sum(backend.missed[side] for backend in backends) for side in SIDES}
        for side in SIDES:
            if expected := matched + missed[side]:
                self._ratio.labels(agent, cluster, side).set(matched / expected)
        for outcome, count in (
            ("matched", matched),
            ("only_ebpf", missed["pgaudit"]),
            ("only_pgaudit", missed["ebpf"]),
        ):
            # Also 0: increase() does not see the first count of a series that is born with it.
            self._statements.labels(agent, cluster, outcome).inc(count)
        for backend in backends:
            for reason, count in backend.exempt.items():
                self._exempt.labels(cluster, reason).inc(count)
