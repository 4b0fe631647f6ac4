"""Both programs' metrics, fed through their own methods with numbers that keep growing."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl

from agent.metrics import AgentMetrics
from analytics.audit.minutes import Minute
from collector.metrics import CollectorMetrics


@dataclass
class AlertNumbers:
    delivered_total: dict[tuple[str, str], int]
    failed_total: dict[str, int]
    given_up_total: dict[tuple[str, str], int]
    storage_errors_total: int
    outbox_depth: dict[str, int]


class RuleNumbers:
    loaded_at_seconds = 1_790_000_000.0
    digest = "ab" * 32
    version = 7

    def broken(self) -> dict[str, bool]:
        return {"files": False, "central": True}


def agent_metrics() -> AgentMetrics:
    metrics = AgentMetrics("0.0-test")
    metrics.watch_sessions(lambda: 7)
    metrics.watch_spool(lambda: 3, lambda: 4096, lambda: 1 << 20)
    metrics.watch_spool_disk(lambda: 0, lambda: 0, lambda: 0)
    metrics.watch_uplink(lambda: True, lambda: 41)
    metrics.watch_catalog(lambda: {"5432": time.time() - 30})
    metrics.watch_canaries(lambda: {("5432", "PortalRun"): True})
    metrics.watch_rules(RuleNumbers())
    return metrics


def collector_metrics() -> CollectorMetrics:
    metrics = CollectorMetrics("0.0-test")
    metrics.watch_ledger(lambda: 99)
    metrics.watch_heads(lambda: 98, lambda: 1, lambda: 1, lambda: 1)
    metrics.watch_segments(lambda: 1, lambda: 4096, lambda: 2)
    metrics.watch_outside(lambda: {"syslog": (98, 0)}, lambda: 97, lambda: 0)
    metrics.watch_agents(lambda: 1, lambda: {"db1": time.time()})
    metrics.watch_candidates(lambda: {("volume", "folded"): 3})
    metrics.watch_drift(lambda: {("setting", "high", "unattributed"): 2})
    metrics.watch_expectations(lambda: {"setting": 2}, lambda: 1, lambda: 0)
    metrics.watch_alerts(
        AlertNumbers(
            {("pager", "firing"): 3}, {"pager": 1}, {("pager", "expired"): 1}, 0, {"pager": 2}
        )
    )
    metrics.approvals.watch(lambda: 1, lambda: 2)
    return metrics


def feed(agent: AgentMetrics, collector: CollectorMetrics) -> None:
    """One moment of a busy database."""
    for source in ("ebpf", "pgaudit", "both"):
        agent.statements(source, 10)
    agent.lost("ring", "full", 2)
    agent.parsed("parsed", 30)
    agent.verdict("deny", "prevented")
    agent.held(0.0001)
    agent.origin("process", "found")
    agent.capture("ebpf", up=True)
    agent.capture("pgaudit", up=True)
    collector.committed(2, {"statements": 4, "verdicts": 1}, 0.02)
    collector.duplicate()
    collector.rejected("undecodable")
    collector.intake_lag(0.4)
    collector.statements(statements())
    collector.lost("ring", "full", 2)
    collector.verdict("no-drop", "deny", "prevented")
    collector.finding("drift", "high", "drift.setting")
    collector.tail_dropped()
    collector.coverage([minute()])


def minute() -> Minute:
    """A backend of which each side missed a little."""
    return Minute(
        "db1", "5432", "shop", "app", "shop", 4711, 1_790_000_000, 1_790_000_040_000_000,
        1_790_000_100_000_000, matched=95, missed={"pgaudit": 4, "ebpf": 1}, exempt={"failed": 2},
    )  # fmt: skip


def statements() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "cluster": ["5432"] * 4,
            "operation": ["select", "drop", "", "frobnicate"],
            "duration_us": [700, 120_000, None, 99_000_000],
            "rows": [10, None, None, 1],
            "bytes_sent": [1000, 20, None, 3],
            "sqlstate": ["00000", "42501", "42601", None],
            "user_name": ["app", "app", "alice", "app"],
            "identity_name": ["shop", "", None, "shop"],
        }
    )


@contextmanager
def fed_servers() -> Iterator[dict[str, int]]:
    """Ports by job name; the numbers grow ten times a second while the block runs."""
    agent, collector = agent_metrics(), collector_metrics()
    ports = {
        "pgwarden-agent": agent.start("127.0.0.1", 0),
        "pgwarden-collector": collector.start("127.0.0.1", 0),
    }
    over = threading.Event()

    def grow() -> None:
        while not over.wait(0.1):
            feed(agent, collector)

    feeder = threading.Thread(target=grow)
    feeder.start()
    try:
        yield ports
    finally:
        over.set()
        feeder.join()
        agent.close()
        collector.close()
