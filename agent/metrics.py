"""What the agent tells Prometheus about itself. Names and meanings: docs/operations.md."""

from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from agent.probes.layout import LOSS_REASONS
from agent.spool.losses import SESSIONS, URGENT
from config.telemetry import Bounded, Check, MetricsServer, Watched
from model.statement import ParseStatus, Source
from model.verdict import Outcome, RuleAction

# A verdict takes 70 us to 1 ms; the deadline of a hold is a few hundred ms.
_HOLD_BUCKETS_SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip
_LOSSES = (
    *(("ebpf", reason) for reason in LOSS_REASONS),
    *(("agent", f"{of}queue_full") for of in ("", URGENT)),
    *(("agent", f"{of}stopped") for of in ("", URGENT)),
    *(("spool", f"{of}spool_full") for of in ("", URGENT, SESSIONS)),
    *(("spool", f"{of}disk_full") for of in ("", URGENT, SESSIONS)),
    *(("spool", f"{of}disk_failed") for of in ("", URGENT, SESSIONS)),
    ("spool", "rejected"),
    ("rules", "evaluation_failed"),
    ("guard", "released_by_watchdog"),
)
"""Shown as 0 from the start: ``increase()`` does not see the first loss of a series that is born
with it, and an empty panel says less than a zero."""
CANARY_SAMPLES = 2000
"""The largest are shown, and here the zeros matter: room for all probes of 200 clusters."""
Number = Callable[[], float]


def _good() -> list[str]:
    return []


class RulesInForce(Protocol):
    @property
    def loaded_at_seconds(self) -> float: ...
    @property
    def digest(self) -> str: ...
    @property
    def version(self) -> int: ...
    def broken(self) -> Mapping[str, bool]:
        """By source, files or central: whether the newest of it could not be used."""
        ...


class MetricsPortError(Exception):
    """The configured address is not free."""


class AgentMetrics:
    """Thread-safe. Own registry: nothing of another library mixes in."""

    def __init__(self, version: str, *, healthy: Check = _good, ready: Check = _good) -> None:
        self.registry = CollectorRegistry()
        self._server = MetricsServer(self.registry, healthy, ready)
        ProcessCollector(registry=self.registry)
        Info("pgwarden_agent_build", "Version of the agent", registry=self.registry).info(
            {"version": version}
        )
        # Read at the scrape: a counter of the library costs more than a statement may.
        self._statements = dict.fromkeys((source.value for source in Source), 0)
        self._parsed = dict.fromkeys((status.value for status in ParseStatus), 0)
        self._totals("statements", "Statements observed", "source", self._statements)
        self._totals("parse", "Texts handed to the parser", "status", self._parsed)
        self._lost = self._counter("events_lost", "Facts lost, exactly counted", "source", "reason")
        self._restarts = self._counter("parser_restarts", "Deaths of the parser worker")
        self._verdicts = self._counter("guard_verdicts", "Verdicts", "action", "outcome")
        self._outcomes = Counter(
            "pgwarden_guard_outcomes",
            "Verdicts by how they ended, read back from the statement's result",
            ("outcome",),
            registry=self.registry,
        )
        self._hold = Histogram(
            "pgwarden_agent_guard_hold_seconds",
            "How long statements were held for a verdict",
            buckets=_HOLD_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._origins = self._counter(
            "origins", "Looks at the other end of a connection", "subject", "result"
        )
        self._capture = self._gauge("capture_up", "1: this source delivers", "source")
        self._restarts.inc(0)
        for source_and_reason in _LOSSES:
            self._lost.labels(*source_and_reason)
        for outcome in Outcome:
            self._verdicts.labels(RuleAction.DENY.value, outcome.value)
            self._outcomes.labels(outcome.value)
        self._reason = Bounded(64)

    def statements(self, source: str, count: int = 1) -> None:
        """``source`` is ebpf, pgaudit or both. Only for the recorder's thread."""
        self._statements[source] += count

    def lost(self, source: str, reason: str, count: int) -> None:
        self._lost.labels(source, self._reason(reason)).inc(count)

    def parsed(self, status: str, count: int = 1) -> None:
        """``status`` is a ParseStatus. Only for the recorder's thread."""
        self._parsed[status] += count

    def parser_restarted(self) -> None:
        self._restarts.inc()

    def verdict(self, action: str, outcome: str) -> None:
        self._verdicts.labels(action, outcome).inc()
        self._outcomes.labels(outcome).inc()

    def held(self, seconds: float) -> None:
        """A hold that ended; most end with no rule matched and so without a verdict."""
        self._hold.observe(seconds)

    def origin(self, subject: str, result: str) -> None:
        """``subject`` is process or certificate; ``result`` found, or why not."""
        self._origins.labels(subject, self._reason(result)).inc()

    def capture(self, source: str, *, up: bool) -> None:
        """``source`` is ebpf or pgaudit; do not call for a source that is switched off."""
        self._capture.labels(source).set(up)

    def watch_sessions(self, read: Number) -> None:
        self._watch("sessions", "Client sessions that live now", read)

    def watch_spool(self, batches: Number, size_bytes: Number, limit_bytes: Number) -> None:
        self._watch("spool_batches", "Batches that the collector has not acknowledged", batches)
        self._watch("spool_bytes", "Size of the spool", size_bytes)
        self._watch("spool_limit_bytes", "Size at which the spool is full", limit_bytes)

    def watch_spool_disk(
        self, fsync_failures: Number, broken: Number, copies_removed: Number
    ) -> None:
        self._watch(
            "spool_fsync_failures", "How often the spool could not be synced", fsync_failures
        )
        self._watch("spool_broken", "1: nothing can be made durable here", broken)
        self._watch(
            "spool_copies_removed", "Copies of damaged spools that were removed", copies_removed
        )

    def watch_uplink(self, connected: Callable[[], bool], acked_sequence: Number) -> None:
        self._watch("uplink_connected", "1: the collector is connected", connected)
        self._watch(
            "uplink_acked_sequence", "Last sequence acknowledged as durable", acked_sequence
        )

    def watch_catalog(self, taken_at_seconds: Callable[[], Mapping[str, float]]) -> None:
        """Unix time of the last snapshot, by cluster."""
        self.registry.register(
            Watched(
                "pgwarden_agent_catalog_snapshot_timestamp_seconds",
                "When the catalog of this cluster was last read",
                ("cluster",),
                lambda: {(cluster,): at for cluster, at in taken_at_seconds().items()},
            )
        )

    def watch_canaries(self, fires: Callable[[], Mapping[tuple[str, str], bool]]) -> None:
        """By cluster and probed function."""
        self.registry.register(
            Watched(
                "pgwarden_agent_probe_canary_ok",
                "1: the canary passed this probe",
                ("cluster", "probe"),
                lambda: {labels: float(ok) for labels, ok in fires().items()},
                limit=CANARY_SAMPLES,
            )
        )

    def watch_rules(self, rules: RulesInForce) -> None:
        families = (
            Watched(
                "pgwarden_rules_info",
                "The rules in force",
                ("digest", "version"),
                lambda: {(rules.digest, str(rules.version)): 1.0},
            ),
            Watched(
                "pgwarden_rules_loaded_timestamp_seconds",
                "When the rules in force were loaded",
                (),
                lambda: {(): rules.loaded_at_seconds},
            ),
            Watched(
                "pgwarden_rules_broken",
                "1: the newest rules cannot be used, those in force stay",
                ("source",),
                lambda: {(source,): float(bad) for source, bad in rules.broken().items()},
            ),
        )
        for family in families:
            self.registry.register(family)

    def start(self, host: str, port: int) -> int:
        """Serves /metrics, /healthz and /readyz; gives the port bound. Raises MetricsPortError."""
        try:
            return self._server.start(host, port)
        except OSError as error:
            raise MetricsPortError(f"agent.metrics {host}:{port}: {error.strerror}") from error

    def close(self) -> None:
        self._server.close()

    def _watch(self, name: str, text: str, read: Number) -> None:
        family = Watched(f"pgwarden_agent_{name}", text, (), lambda: {(): float(read())})
        self.registry.register(family)

    def _totals(self, name: str, text: str, label: str, totals: dict[str, int]) -> None:
        family = Watched(
            f"pgwarden_agent_{name}",
            text,
            (label,),
            lambda: {(value,): float(total) for value, total in totals.items()},
            counter=True,
        )
        self.registry.register(family)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pgwarden_agent_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"pgwarden_agent_{name}", text, labels, registry=self.registry)
