"""What a client calls itself cannot forge a record, a line or a page."""

import json
import unicodedata

import pytest

from collector.alerts import Alertmanager, Alerts, PagerDuty, Webhook
from collector.alerts.plain import plain
from tests.collector.alerts.hostile import payloads
from tests.collector.alerts.pagerduty_contract import violations
from tests.collector.alerts.samples import (
    GUARD,
    START_US,
    HttpReceiver,
    Received,
    later,
    wait_until,
)

PAYLOADS = payloads()
RECEIVERS = [
    Alertmanager("am", "http://h.example"),
    PagerDuty("pd", "k", url="http://h.example/v2/enqueue"),
    Webhook("hook", "http://h.example/in", "secret"),
]


def hostile_finding(text: str, number: int = 0):
    return later(
        GUARD,
        number,
        title=text,
        sentence=text,
        cluster=text,
        database=text,
        user=text,
        identity=text,
        object=text,
        evidence_sql=text,
        detector=f"guard.{text}",
        details=((text, text),),
    )


def strings(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def unsafe(text: str) -> bool:
    return any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text)


@pytest.mark.parametrize("receiver", RECEIVERS, ids=lambda receiver: receiver.name)
def test_no_control_character_and_no_endless_text_leaves_in_any_payload(receiver, alert_of):
    assert len(PAYLOADS) == 500
    for text in PAYLOADS:
        request = receiver.request(alert_of(hostile_finding(text)), START_US)
        sent = list(strings(json.loads(request.body)))
        assert not [s for s in sent if unsafe(s)], repr(text)
        assert max(map(len, sent)) <= 3000
        assert len(request.body) < 64_000
        assert not unsafe(request.url)


def test_pagerduty_still_finds_every_hostile_payload_valid(alert_of):
    receiver = RECEIVERS[1]
    for text in PAYLOADS:
        request = receiver.request(alert_of(hostile_finding(text)), START_US)
        headers = dict(request.headers)
        assert violations(Received("/v2/enqueue", headers, request.body)) == [], repr(text)


def test_500_hostile_findings_become_500_alerts_that_arrive(tmp_path):
    with HttpReceiver() as peer:
        alerts = Alerts(tmp_path, [Webhook("hook", peer.url)])
        try:
            findings = [hostile_finding(text, n) for n, text in enumerate(PAYLOADS)]
            now_us = alerts._clock_us()
            raised = alerts.on_findings(findings, now_us)
            wait_until(lambda: alerts.outbox_depth == {"hook": 0}, seconds=20)
        finally:
            alerts.close()
        distinct = len({finding.object for finding in findings})
        assert len(raised) == distinct
        assert len({request.json["group_key"] for request in peer.received}) == distinct
        assert all(len(request.json["group_key"]) <= 255 for request in peer.received)
        assert not [r for r in peer.received if "X-Injected" in r.headers]


@pytest.mark.parametrize("limit", [0, 1, 3, 10, 1024])
def test_no_text_is_longer_than_its_limit(limit):
    assert all(len(plain(text, limit)) <= limit for text in PAYLOADS)
