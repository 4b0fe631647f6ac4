"""PagerDuty accepts what is sent: against a local receiver that checks the documented payload."""

from dataclasses import replace

import pytest

from collector.alerts import Alerts, PagerDuty
from collector.alerts.pagerduty import REGIONS
from collector.alerts.transport import HttpTransport
from model.verdict import Severity
from tests.collector.alerts.pagerduty_contract import violations
from tests.collector.alerts.samples import (
    DRIFT,
    GUARD,
    MINUTE_US,
    START_US,
    HttpReceiver,
    wait_until,
)


def strict(request):
    return (400 if violations(request) else 202), {}


@pytest.fixture
def pagerduty():
    with HttpReceiver(answer=strict) as peer:
        yield peer


def receiver(peer: HttpReceiver) -> PagerDuty:
    return PagerDuty("pager", "R" * 32, url=peer.url + "/v2/enqueue")


def test_trigger_and_resolve_carry_the_same_dedup_key(pagerduty, tmp_path):
    alerts = Alerts(tmp_path, [receiver(pagerduty)])
    try:
        now_us = alerts._clock_us()
        drift = replace(DRIFT, at_us=now_us)
        alerts.on_findings([drift], now_us)
        alerts.on_findings([replace(drift, resolved_at_us=now_us)], now_us + MINUTE_US)
        wait_until(
            lambda: alerts.delivered_total == {("pager", "firing"): 1, ("pager", "resolved"): 1}
        )
    finally:
        alerts.close()
    trigger, resolve = (request.json for request in pagerduty.received)
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert trigger["payload"]["summary"] == f"{DRIFT.title}: {DRIFT.sentence}"
    assert trigger["payload"]["source"] == "5432"
    assert [violations(request) for request in pagerduty.received] == [[], []]


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [
        (Severity.CRITICAL, "critical"),
        (Severity.HIGH, "error"),
        (Severity.MEDIUM, "warning"),
        (Severity.LOW, "info"),
        (Severity.INFORMATIONAL, "info"),
    ],
)
def test_every_severity_has_one_of_theirs(pagerduty, alert_of, severity, theirs):
    alert = alert_of(replace(GUARD, severity=severity))
    request = receiver(pagerduty).request(alert, START_US)
    HttpTransport()(request)
    assert pagerduty.received[0].json["payload"]["severity"] == theirs
    assert violations(pagerduty.received[0]) == []


def test_an_acknowledgement_is_accepted(pagerduty):
    HttpTransport()(receiver(pagerduty).acknowledge("some/key"))
    assert violations(pagerduty.received[0]) == []
    assert pagerduty.received[0].json["event_action"] == "acknowledge"


def test_an_enormous_alert_loses_its_details_but_not_its_page(pagerduty, alert_of):
    notes = tuple((f"note{n}", "x" * 1000) for n in range(1000))
    alert = replace(alert_of(GUARD), annotations=notes)
    HttpTransport()(receiver(pagerduty).request(alert, START_US))
    assert violations(pagerduty.received[0]) == []
    assert "omitted" in pagerduty.received[0].json["payload"]["custom_details"]


def test_the_strict_receiver_would_notice():
    with HttpReceiver(answer=strict) as peer:
        bad = replace(receiver(peer).acknowledge("k"), body=b'{"event_action":"page"}')
        assert HttpTransport()(bad).outcome == "refused"
        assert {"routing_key", "event_action 'page'"} <= set(violations(peer.received[0]))


def test_regions_have_their_own_address():
    assert PagerDuty("p", "k", region="eu").request(*_any()).url == REGIONS["eu"]
    assert PagerDuty("p", "k").request(*_any()).url == REGIONS["us"]


def _any():
    from collector.alerts import rehearsal_alert

    return rehearsal_alert(START_US), START_US
