"""Metrics are served whatever happens, and no label grows without bound."""

import http.client
import threading

import polars as pl
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from agent.metrics import AgentMetrics
from collector.metrics import CollectorMetrics
from config.telemetry import Bounded, MetricsServer, TopCounter, Watched
from tests.collector.alerts.hostile import payloads
from tests.deploy.programs import agent_metrics, collector_metrics, feed, statements


def get(port: int, path: str, accept: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


@pytest.fixture
def serve():
    servers = []

    def start(registry=None, healthy=list, ready=list):
        servers.append(MetricsServer(registry or CollectorRegistry(), healthy, ready))
        return servers[-1].start("127.0.0.1", 0)

    yield start
    for server in servers:
        server.close()


def test_health_and_readiness_say_what_is_wrong(serve):
    port = serve(ready=lambda: ["no capture source\nworks"])
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/readyz") == (503, "no capture source works\n")
    assert get(port, "/etc/passwd")[0] == 404


def test_a_stuck_client_does_not_hold_up_a_scrape(serve):
    port = serve()
    stuck = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(20)]
    for connection in stuck:
        connection.connect()
    assert get(port, "/metrics")[0] == 200
    for connection in stuck:
        connection.close()


def test_a_number_that_cannot_be_read_leaves_the_others():
    registry = CollectorRegistry()
    registry.register(Watched("broken", "text", (), lambda: 1 / 0))
    registry.register(Watched("good", "text", (), lambda: {(): 1.0}))
    assert b"\ngood 1.0" in generate_latest(registry)


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", "application/openmetrics-text"])
def test_both_programs_are_scraped_in_every_format(accept):
    agent, collector = agent_metrics(), collector_metrics()
    feed(agent, collector)
    try:
        for metrics, name in ((agent, "agent"), (collector, "collector")):
            status, text = get(metrics.start("127.0.0.1", 0), "/metrics", accept)
            assert status == 200
            assert f'pgwarden_{name}_build_info{{version="0.0-test"}} 1.0' in text
    finally:
        agent.close()
        collector.close()


def test_hostile_label_values_stay_bounded_and_scrapable():
    agent, collector = AgentMetrics("1"), CollectorMetrics("1")
    collector.watch_candidates(lambda: {(text, text): 1 for text in payloads()})
    collector.watch_drift(lambda: {(text, text, text): 1 for text in payloads()})
    for text in payloads():
        collector.verdict(text, "deny", "prevented")
        collector.verdict("rule", text, text)
        collector.finding("anomaly", "high", text)
        collector.rejected(text)
        agent.lost("ring", text, 1)
        row = statements()
        columns = ("cluster", "operation", "user_name", "identity_name", "sqlstate")
        clean = text.encode("utf-8", "replace").decode()
        collector.statements(row.with_columns(**{name: pl.lit(clean) for name in columns}))
    for metrics in (agent, collector):
        text = generate_latest(metrics.registry).decode()
        assert len(text.split("\n")) < 2500


def test_the_top_counter_keeps_the_busiest_of_a_flood():
    top = TopCounter("t", "text", "who", shown=3)
    for n in range(2000):
        top.add({f"passer-by-{n}": 1})
        top.add({"app": 5, "etl": 3})
    (family,) = top.collect()
    shown = {sample.labels["who"]: sample.value for sample in family.samples}
    assert len(shown) == 3
    assert shown["app"] == 10_000
    assert shown["etl"] == 6_000


def test_a_bounded_label_is_safe_between_threads():
    label = Bounded(10)
    threads = [
        threading.Thread(target=lambda: [label(str(n)) for n in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({label(str(n)) for n in range(1000)}) == 11


def test_statements_are_counted_from_frames():
    metrics = CollectorMetrics("1")
    metrics.statements(statements())
    metrics.statements(statements())
    metrics.statements(statements().clear())
    lines = generate_latest(metrics.registry).decode().splitlines()
    for expected in (
        'pgwarden_collector_statements_total{cluster="5432",operation="select"} 2.0',
        'pgwarden_collector_statements_total{cluster="5432",operation="unparsed"} 2.0',
        'pgwarden_collector_statements_total{cluster="5432",operation="other"} 2.0',
        'pgwarden_collector_statement_rows_total{cluster="5432"} 22.0',
        'pgwarden_collector_statement_errors_total{class="42",cluster="5432"} 4.0',
        'pgwarden_collector_identity_statements_total{identity="shop"} 4.0',
        'pgwarden_collector_identity_statements_total{identity="alice"} 2.0',
        'pgwarden_collector_statement_duration_seconds_count{operation="drop"} 2.0',
        'pgwarden_collector_statement_duration_seconds_bucket{le="0.1",operation="drop"} 0.0',
        'pgwarden_collector_statement_duration_seconds_bucket{le="0.5",operation="drop"} 2.0',
        'pgwarden_collector_statement_duration_seconds_sum{operation="drop"} 0.24',
    ):
        assert expected in lines
