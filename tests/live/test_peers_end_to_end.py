"""Real peers around a running pgwarden: Prometheus scrapes it, Alertmanager and a pager hear it."""

import math
import os
import threading

import psycopg
import pytest

from tests.collector.alerts.pagerduty_contract import violations
from tests.collector.alerts.samples import HttpReceiver
from tests.deploy import dashboard, peers
from tests.live.postgres import PostgresCluster, server_folder
from tests.live.running import Running, prepare

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.peers,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]

RULES = dashboard.DASHBOARD.parent.parent.parent / "prometheus" / "pgwarden.rules.yml"
QUERIES = sorted({(query.panel, query.expression) for query in dashboard.queries()})
SCRAPED_SECONDS = 100
"""A minute of audit coverage is told once it is full and its late rows had their time."""


def strict(request):
    return (400 if violations(request) else 202), {}


@pytest.fixture(scope="module")
def pager():
    with HttpReceiver(answer=strict) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    peers.need(peers.ALERTMANAGER, peers.PROMETHEUS)
    with HttpReceiver(answer=lambda _: (200, {})) as hook:
        folder = tmp_path_factory.mktemp("alertmanager")
        with peers.Alertmanager(folder, hook.url) as peer:
            yield peer


@pytest.fixture(scope="module")
def running(alertmanager, pager):
    receivers = [
        {"type": "alertmanager", "name": "am", "url": alertmanager.url},
        {
            "type": "pagerduty",
            "name": "pager",
            "url": f"{pager.url}/v2/enqueue",
            "routing_key": "R" * 32,
        },
    ]
    config = {
        "agent": {
            "guard": {"mode": "enforce"},
            "identities": [{"kind": "ai_agent", "name": "the-bot", "user": "bot"}],
        },
        "collector": {"alerts": {"receivers": receivers}},
    }
    with PostgresCluster() as cluster:
        prepare(cluster)
        with Running(cluster, config) as up:
            up.wait_sql("SELECT 1 FROM findings WHERE detector = 'drift.baseline'")
            yield up


def chatter(cluster, over):
    """What every panel has something to show for: reads, an error, a refusal, over and over."""
    words = ["SELECT note FROM shop.orders WHERE id < 50", "SELECT 1 / 0", "DROP TABLE shop.orders"]
    with cluster.connect(user="app", application_name="chatter") as connection:
        while not over.wait(0.1):
            for word in words:
                try:
                    connection.execute(word)
                except psycopg.Error:
                    assert not connection.closed


@pytest.fixture(scope="module")
def traffic(running):
    over = threading.Event()
    thread = threading.Thread(target=chatter, args=(running.cluster, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def prometheus(running, traffic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    targets = {
        "pgwarden-agent": running.agent_port,
        "pgwarden-collector": running.collector_port,
    }
    with peers.Prometheus(folder, targets, RULES.resolve()) as server:
        yield server


def listed(alertmanager, **labels):
    """Alerts that Alertmanager holds as active, with these labels."""
    alerts = alertmanager.get("/api/v2/alerts", active="true")
    return [alert for alert in alerts if labels.items() <= alert["labels"].items()]


def events(pager, action, text):
    keys = {
        request.json["dedup_key"]
        for request in list(pager.received)
        if request.json["event_action"] == "trigger" and text in request.body.decode()
    }
    return [
        request.json
        for request in list(pager.received)
        if request.json["event_action"] == action and request.json["dedup_key"] in keys
    ]


def test_a_denied_drop_is_an_alert_in_alertmanager(running, alertmanager):
    refused = running.cluster.psql("DROP TABLE shop.orders", user="bot")
    assert "blocked by pgwarden" in refused.stderr
    wanted = {"kind": "guard", "object": "drop-protected", "identity": "the-bot"}
    (alert,) = running.wait(lambda: listed(alertmanager, **wanted), "the alert is listed")
    assert alert["labels"]["detector"] == "guard.drop-protected"
    assert alert["labels"]["severity"] == "critical"
    assert alert["labels"]["cluster"] == "main"
    assert alert["labels"]["alertname"].startswith("Pgwarden")
    assert "refused before it ran" in alert["annotations"]["description"]


def test_drift_fires_at_both_and_ends_at_both_when_it_is_reverted(running, alertmanager, pager):
    running.cluster.psql("GRANT SELECT ON shop.orders TO analyst", user="app")
    running.wait(lambda: events(pager, "trigger", "analyst"), "the pager rings")
    (alert,) = running.wait(
        lambda: [
            alert
            for alert in listed(alertmanager, kind="drift")
            if "analyst" in alert["annotations"]["description"]
        ],
        "the drift is listed",
    )
    running.cluster.psql("REVOKE SELECT ON shop.orders FROM analyst", user="app")
    running.wait(lambda: events(pager, "resolve", "analyst"), "the pager's incident is resolved")
    running.wait(lambda: not listed(alertmanager, **alert["labels"]), "Alertmanager's alert ended")
    assert [violations(request) for request in pager.received] == [[]] * len(pager.received)


def shows_data(prometheus, expression):
    answers = prometheus.query(expression)
    return any(not math.isnan(float(answer["value"][1])) for answer in answers)


@pytest.mark.parametrize(("panel", "expression"), QUERIES)
def test_every_query_of_the_dashboard_has_data(running, prometheus, panel, expression):
    running.wait(
        lambda: shows_data(prometheus, expression), f"{panel}: {expression}", SCRAPED_SECONDS
    )


def test_refusals_count_from_the_first(prometheus, running):
    (refused,) = prometheus.query(
        'sum(pgwarden_collector_verdicts_total{action="deny",outcome="prevented"})'
    )
    stored = running.sql("SELECT count(*) AS n FROM verdicts WHERE outcome = 'prevented'")
    assert 0 < float(refused["value"][1]) <= stored[0]["n"]


def test_both_programs_are_scraped_without_an_error(prometheus):
    targets = prometheus.get("/api/v1/targets")["data"]["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}
    assert [target["lastError"] for target in targets] == ["", ""]


def rules_of(prometheus):
    groups = prometheus.get("/api/v1/rules")["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_prometheus_evaluates_every_alert_rule_and_none_fires_on_a_healthy_system(
    running, prometheus
):
    running.wait(
        lambda: all(rule["health"] != "unknown" for rule in rules_of(prometheus)),
        "every rule is evaluated",
    )
    rules = rules_of(prometheus)
    assert len(rules) > 10
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    assert [rule["name"] for rule in rules if rule["state"] != "inactive"] == []
