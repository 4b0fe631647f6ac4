"""Debian's Alertmanager takes our alerts, notifies its own receivers, and ends them on our word."""

import time
from dataclasses import replace

import pytest

from collector.alerts import Alertmanager, Alerts, rehearse
from collector.alerts.receiver import Outcome
from collector.alerts.transport import HttpTransport
from model.verdict import Severity
from tests.collector.alerts.hostile import payloads
from tests.collector.alerts.samples import DRIFT, GUARD, HttpReceiver, later, wait_until
from tests.deploy import peers

pytestmark = pytest.mark.peers


@pytest.fixture
def hook():
    with HttpReceiver(answer=lambda _: (200, {})) as receiver:
        yield receiver


@pytest.fixture
def alertmanager(tmp_path, hook):
    peers.need(peers.ALERTMANAGER)
    with peers.Alertmanager(tmp_path, hook.url + "/notify") as peer:
        yield peer


@pytest.fixture
def open_alerts(tmp_path, alertmanager):
    opened = []

    def open_them(**receiver_options):
        receiver = Alertmanager("am", alertmanager.url, **receiver_options)
        opened.append(Alerts(tmp_path / "state", [receiver]))
        return opened[-1]

    yield open_them
    for alerts in opened:
        alerts.close()


def now_us() -> int:
    return time.time_ns() // 1000


def notified(hook: HttpReceiver, status: str) -> list[dict]:
    return [
        alert
        for request in list(hook.received)
        for alert in request.json["alerts"]
        if alert["status"] == status
    ]


def active(alertmanager) -> list[dict]:
    return alertmanager.get("/api/v2/alerts", active="true")


def test_an_alert_fires_there_notifies_and_resolves(open_alerts, alertmanager, hook):
    alerts = open_alerts()
    drift = replace(DRIFT, at_us=now_us())
    alerts.on_findings([drift], now_us())
    (shown,) = wait_until(lambda: active(alertmanager))
    assert shown["labels"] == {
        "alertname": "PgwardenDrift",
        "kind": "drift",
        "detector": "drift.setting",
        "cluster": "5432",
        "object": "log_statement",
        "identity": "alice",
        "severity": "high",
    }
    assert shown["annotations"]["description"] == DRIFT.sentence
    wait_until(lambda: notified(hook, "firing"))
    alerts.on_findings([replace(drift, resolved_at_us=now_us())], now_us())
    (ended,) = wait_until(lambda: notified(hook, "resolved"))
    assert ended["labels"] == shown["labels"]
    assert active(alertmanager) == []


def test_a_severity_that_rises_leaves_one_alert(open_alerts, alertmanager):
    alerts = open_alerts()
    guard = replace(GUARD, at_us=now_us())
    alerts.on_findings([guard], now_us())
    wait_until(lambda: active(alertmanager))
    alerts.on_findings([later(guard, 1, severity=Severity.CRITICAL)], now_us())
    wait_until(
        lambda: [a["labels"]["severity"] for a in active(alertmanager)] == ["critical"], seconds=5
    )


def test_a_firing_alert_is_sent_again_before_alertmanager_forgets_it(open_alerts, alertmanager):
    alerts = open_alerts(refresh_seconds=1)
    alerts.on_findings([replace(DRIFT, at_us=now_us())], now_us())
    (first,) = wait_until(lambda: active(alertmanager))

    def extended():
        alerts.tick(now_us())
        (shown,) = active(alertmanager)
        return shown["endsAt"] > first["endsAt"]

    wait_until(extended)
    assert alerts.delivered_total[("am", "firing")] == 1
    assert alerts.delivered_total[("am", "refresh")] >= 1


def test_after_a_restart_of_ours_a_firing_alert_is_said_again(open_alerts, alertmanager, hook):
    alerts = open_alerts()
    alerts.on_findings([replace(DRIFT, at_us=now_us())], now_us())
    wait_until(lambda: alerts.delivered_total)
    alerts.close()
    again = open_alerts()
    again.tick(now_us())
    wait_until(lambda: again.delivered_total == {("am", "refresh"): 1})
    assert len(active(alertmanager)) == 1


def test_it_takes_every_hostile_text(open_alerts, alertmanager):
    alerts = open_alerts()
    texts = payloads(100)
    findings = [
        later(
            GUARD, n, at_us=now_us(), object=f"{n}{text}", title=text, identity=text, cluster=text
        )
        for n, text in enumerate(texts)
    ]
    alerts.on_findings(findings, now_us())
    wait_until(lambda: len(active(alertmanager)) == len(texts))
    assert alerts.given_up_total == {}


def test_a_test_alert_passes_through(alertmanager, hook):
    deliveries = rehearse(Alertmanager("am", alertmanager.url), HttpTransport(), now_us())
    assert [delivery.outcome for delivery in deliveries] == [Outcome.DELIVERED] * 2
