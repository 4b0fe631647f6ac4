"""What the collector tells Prometheus. Names and meanings: docs/operations.md."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Protocol

import polars as pl
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector

from analytics.audit.minutes import Minute
from collector.metrics_approvals import ApprovalMetrics
from collector.metrics_coverage import CoverageMetrics
from collector.metrics_statements import StatementMetrics
from config.telemetry import MOST_SAMPLES, Bounded, Check, MetricsServer, Samples, Watched
from model.alert import AlertStatus
from model.catalog import Attribution, CatalogKind
from model.verdict import Outcome, RuleAction, Severity

POISON = "poison"
"""Why a batch is refused for good: it cannot be decoded."""
OWN_ROWS_DROPPED = ("store", "own_rows_dropped")
"""Findings, alerts and the like that the disk did not take for too long."""
LISTENER_FAILED = ("analytics", "listener_failed")
"""Commits that are stored, but that sessions, tails and analytics did not see whole."""
RECORD_OLDER = ("uplink", "record_older")
"""Batches that were acknowledged, and are not in a record that was put back from a copy."""
_COMMIT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)


_NO_DRIFT = dict.fromkeys(product(CatalogKind, Severity, Attribution), 0)
"""So that a baseline that holds shows as 0 and not as nothing."""


class AlertCounts(Protocol):
    """The part of ``collector.alerts.Alerts`` that is shown."""

    @property
    def delivered_total(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def failed_total(self) -> Mapping[str, int]: ...
    @property
    def given_up_total(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def storage_errors_total(self) -> int: ...
    @property
    def outbox_depth(self) -> Mapping[str, int]: ...


def _good() -> list[str]:
    return []


class CollectorMetrics:
    """Thread-safe. Own registry: nothing of another library mixes in."""

    def __init__(self, version: str, *, healthy: Check = _good, ready: Check = _good) -> None:
        self.registry = CollectorRegistry()
        self._server = MetricsServer(self.registry, healthy, ready)
        ProcessCollector(registry=self.registry)
        Info("pgwarden_collector_build", "Version of the collector", registry=self.registry).info(
            {"version": version}
        )
        self._batches = self._counter("batches", "Batches made durable")
        self._rows = self._counter("rows", "Rows made durable", "table")
        self._duplicates = self._counter("duplicates", "Batches that were stored already")
        self._rejected = self._counter("rejected", "Batches refused for good", "reason")
        self._lost = self._counter("lost", "Facts lost, by agents or here", "source", "reason")
        self._findings = self._counter("findings", "Findings", "kind", "severity", "detector")
        self._verdicts = self._counter("verdicts", "Verdicts of the agents", "action", "outcome")
        self._denied = self._counter("denied", "Statements refused, by rule", "rule")
        self._tail_dropped = self._counter("tail_dropped", "Rows that a slow tail client missed")
        self._commit = self._histogram(
            "commit_seconds", "Time to make a group of batches durable", _COMMIT_BUCKETS_SECONDS
        )
        self._lag = self._histogram(
            "intake_lag_seconds",
            "From a batch's oldest event to its durability",
            _LAG_BUCKETS_SECONDS,
        )
        self._statements = StatementMetrics(self.registry)
        self._coverage = CoverageMetrics(self.registry)
        self.approvals = ApprovalMetrics(self.registry)
        self._reason = Bounded(64)
        self._rule = Bounded(100)
        # From agents, so not trusted to be one of the words they should be.
        self._action = Bounded(0, RuleAction)
        self._outcome = Bounded(0, Outcome)
        self._detector = Bounded(100)
        # 0 from the start: increase() does not see the first count of a series born with it.
        self._rejected.labels(POISON)
        for source_and_reason in (OWN_ROWS_DROPPED, LISTENER_FAILED, RECORD_OLDER):
            self._lost.labels(*source_and_reason)
        for outcome in Outcome:
            self._verdicts.labels(RuleAction.DENY.value, outcome.value)

    def committed(self, batches: int, rows: Mapping[str, int], seconds: float) -> None:
        """One group commit: ``rows`` by table."""
        self._batches.inc(batches)
        for table, count in rows.items():
            self._rows.labels(table).inc(count)
        self._commit.observe(seconds)

    def duplicate(self, batches: int = 1) -> None:
        self._duplicates.inc(batches)

    def rejected(self, reason: str) -> None:
        self._rejected.labels(self._reason(reason)).inc()

    def intake_lag(self, seconds: float) -> None:
        """Once a batch. Negative (a clock ahead of ours) counts as 0."""
        self._lag.observe(max(0.0, seconds))

    def statements(self, rows: pl.DataFrame) -> None:
        """Rows of the table ``statements``, a commit at a time."""
        self._statements.observe(rows)

    def coverage(self, minutes: Iterable[Minute]) -> None:
        """Minutes of backends that are complete."""
        self._coverage.observe(minutes)

    def lost(self, source: str, reason: str, count: int) -> None:
        self._lost.labels(self._reason(source), self._reason(reason)).inc(count)

    def verdict(self, rule: str, action: str, outcome: str, count: int = 1) -> None:
        """``outcome`` as in the table ``verdicts``; ``prevented`` counts as a denial."""
        self._verdicts.labels(self._action(action), self._outcome(outcome)).inc(count)
        if outcome == "prevented":
            self._denied.labels(self._rule(rule)).inc(count)

    def finding(self, kind: str, severity: str, detector: str, count: int = 1) -> None:
        self._findings.labels(kind, severity, self._detector(detector)).inc(count)

    def tail_dropped(self, rows: int = 1) -> None:
        self._tail_dropped.inc(rows)

    def watch_ledger(self, sequence: Callable[[], int]) -> None:
        self._watch("ledger_sequence", "Last entry of the ledger", (), lambda: {(): sequence()})

    def watch_heads(
        self,
        signed: Callable[[], int],
        failures: Callable[[], int],
        left_out: Callable[[], int],
        contradictions: Callable[[], int],
    ) -> None:
        self._watch("ledger_signed", "Entries under a signed head", (), lambda: {(): signed()})
        self._watch_total("ledger_head_failures", "Heads not written", (), lambda: {(): failures()})
        self._watch_total(
            "ledger_heads_left_out",
            "Heads that the file outside will not get",
            (),
            lambda: {(): left_out()},
        )
        self._watch(
            "ledger_contradictions",
            "Ways in which the ledger is not what was signed, found at the start",
            (),
            lambda: {(): contradictions()},
        )

    def watch_segments(
        self, damaged: Callable[[], int], read_again: Callable[[], int], passes: Callable[[], int]
    ) -> None:
        self._watch(
            "segments_damaged",
            "Segments found damaged at the start or since, or that cannot be read",
            (),
            lambda: {(): damaged()},
        )
        self._watch_total(
            "segments_read_again_bytes",
            "Of segments, read to find what the disk has changed",
            (),
            lambda: {(): read_again()},
        )
        self._watch_total(
            "segments_read_again_passes",
            "How often all segments have been read so",
            (),
            lambda: {(): passes()},
        )

    def watch_outside(
        self,
        places: Callable[[], Mapping[str, tuple[int, int]]],
        cosigned: Callable[[], int],
        refusing: Callable[[], int],
    ) -> None:
        """``places``: entries told and failures, by the configured name of the place;
        ``cosigned``: entries that some agent has signed; ``refusing``: agents that do not."""
        self._watch(
            "ledger_told",
            "Entries under the newest head that a place outside has taken",
            ("place",),
            lambda: {(name,): told for name, (told, _) in places().items()},
        )
        self._watch_total(
            "ledger_place_failures",
            "Heads that a place outside did not take, and that are tried again",
            ("place",),
            lambda: {(name,): failures for name, (_, failures) in places().items()},
        )
        self._watch(
            "ledger_cosigned",
            "Entries under a head that an agent has signed too",
            (),
            lambda: {(): cosigned()},
        )
        self._watch(
            "ledger_refusing_agents",
            "Agents that do not sign the head, as it does not go on from what they signed",
            (),
            lambda: {(): refusing()},
        )

    def watch_agents(
        self,
        connected: Callable[[], int],
        last_seen_seconds: Callable[[], Mapping[str, float]],
        twice: Callable[[], int] = lambda: 0,
    ) -> None:
        """``last_seen_seconds``: Unix time of the last message, by agent. ``twice``: names that
        two agents have."""
        self._watch("agents_twice", "Names that two agents have now", (), lambda: {(): twice()})
        self._watch("agents_connected", "Agents connected now", (), lambda: {(): connected()})
        self._watch(
            "agent_last_seen_timestamp_seconds",
            "When this agent was last heard",
            ("agent",),
            lambda: {(agent,): at for agent, at in last_seen_seconds().items()},
        )

    def watch_drift(
        self, open_differences: Callable[[], Mapping[tuple[str, str, str], int]]
    ) -> None:
        """Open differences by kind, severity and attribution."""
        labels = ("kind", "severity", "attribution")
        self._watch(
            "drift_open",
            "Differences from the baseline",
            labels,
            lambda: _NO_DRIFT | dict(open_differences()),
            limit=len(_NO_DRIFT),
        )

    def watch_expectations(
        self,
        ignored: Callable[[], Mapping[str, int]],
        expired: Callable[[], int],
        invalid: Callable[[], int],
    ) -> None:
        """``ignored``: differences by kind that an ignore rule hides now."""
        self._watch(
            "drift_ignored",
            "Differences that ignore rules hide",
            ("kind",),
            lambda: {(str(kind),): 0 for kind in CatalogKind} | _keyed(ignored()),
        )
        self._watch(
            "drift_ignore_rules_expired", "Ignore rules that ended", (), lambda: {(): expired()}
        )
        self._watch(
            "drift_declarations_invalid",
            "Declarations that cannot be read",
            (),
            lambda: {(): invalid()},
        )

    def watch_candidates(self, suppressed: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """What the gate held back, by detector and reason."""
        self._watch_total(
            "candidates_suppressed",
            "Candidates that nobody was told of",
            ("detector", "reason"),
            suppressed,
        )

    def watch_alerts(self, alerts: AlertCounts) -> None:
        by_status, by_reason, by_name = (
            ("receiver", "status"),
            ("receiver", "reason"),
            ("receiver",),
        )

        def none_yet() -> dict[str, int]:
            return dict.fromkeys(alerts.outbox_depth, 0)

        self._watch_total(
            "alerts_sent",
            "Alerts delivered",
            by_status,
            lambda: (
                {(name, status): 0 for name in none_yet() for status in AlertStatus}
                | dict(alerts.delivered_total)
            ),
        )
        self._watch_total(
            "alerts_failed",
            "Attempts that failed",
            by_name,
            lambda: _keyed(none_yet() | dict(alerts.failed_total)),
        )
        self._watch_total(
            "alerts_given_up", "Alerts given up", by_reason, lambda: alerts.given_up_total
        )
        self._watch_total(
            "alerts_storage_errors",
            "Failures to write the alert outbox",
            (),
            lambda: {(): alerts.storage_errors_total},
        )
        self._watch(
            "outbox_depth", "Alerts that wait", by_name, lambda: _keyed(alerts.outbox_depth)
        )

    def start(self, host: str, port: int) -> int:
        """Serves /metrics, /healthz and /readyz; gives the port bound. Raises OSError."""
        return self._server.start(host, port)

    def close(self) -> None:
        self._server.close()

    def _watch(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        read: Callable[[], Samples],
        *,
        counter: bool = False,
        limit: int = MOST_SAMPLES,
    ) -> None:
        family = Watched(f"pgwarden_collector_{name}", text, labels, read, counter, limit)
        self.registry.register(family)

    def _watch_total(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        read: Callable[[], Samples],
    ) -> None:
        self._watch(name, text, labels, read, counter=True)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pgwarden_collector_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        full_name = f"pgwarden_collector_{name}"
        return Histogram(full_name, text, buckets=buckets, registry=self.registry)


def _keyed(numbers: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): number for name, number in numbers.items()}
