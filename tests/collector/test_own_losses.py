"""What the collector itself loses can be read from its metrics."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from collector.__main__ import Collector
from collector.metrics import CollectorMetrics
from collector.segments import Committed
from config import CollectorConfig

COMMITTED = Committed(1, {}, ())


@pytest.fixture
def collector(tmp_path: Path):
    """Wired, never started: no thread and no port."""
    config = CollectorConfig(data_dir=tmp_path / "data", listen=[f"unix:{tmp_path}/socket"])
    collector = Collector(config)
    yield collector
    collector._alerts.close()


def lost(metrics: CollectorMetrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("pgwarden_collector_lost_to"))
    return {name: float(value) for name, value in pairs}


def test_dropped_rows_and_failed_listeners_are_counted_once(collector):
    rows = 'pgwarden_collector_lost_total{reason="own_rows_dropped",source="store"}'
    listeners = 'pgwarden_collector_lost_total{reason="listener_failed",source="analytics"}'
    batches = 'pgwarden_collector_lost_total{reason="record_older",source="uplink"}'
    assert lost(collector._metrics) == {rows: 0, listeners: 0, batches: 0}
    counters = collector._store.segments.counters
    counters.own_rows_dropped = 7
    counters.listener_failures = 1
    collector._missing.count = 3
    for _ in range(2):
        collector._counting.committed(COMMITTED)
        assert lost(collector._metrics) == {rows: 7, listeners: 1, batches: 3}
    counters.own_rows_dropped = 9
    collector._counting.committed(COMMITTED)
    assert lost(collector._metrics)[rows] == 9
