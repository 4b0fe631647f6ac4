"""A baseline that holds shows as 0 for each kind, severity and attribution, and not as nothing."""

from __future__ import annotations

from prometheus_client import generate_latest

from collector.metrics import CollectorMetrics
from model.catalog import Attribution, CatalogKind
from model.verdict import Severity


def test_no_kind_is_missing_from_the_metric_of_open_differences():
    metrics = CollectorMetrics("1")
    metrics.watch_drift(lambda: {("policy", "critical", "attributed"): 1})
    text = generate_latest(metrics.registry).decode()
    shown = [line for line in text.splitlines() if line.startswith("pgwarden_collector_drift_open")]
    assert len(shown) == len(CatalogKind) * len(Severity) * len(Attribution)
    one = '{attribution="attributed",kind="policy",severity="critical"} 1.0'
    assert f"pgwarden_collector_drift_open{one}" in shown
