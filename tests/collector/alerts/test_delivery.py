"""From findings to receivers: at least once, in order, through outages and restarts."""

import hashlib
import hmac
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import httpx
import pytest

from collector.alerts import (
    AlertEvent,
    Alerts,
    Match,
    PagerDuty,
    Policy,
    Retry,
    Route,
    Webhook,
    alerts_from,
    preview,
    rehearsal_alert,
    rehearse,
)
from collector.alerts.outbox import Letter, Outbox
from collector.alerts.receiver import AlertsError, Delivery, Outcome
from collector.alerts.transport import HttpTransport
from config import schema
from model.alert import AlertStatus
from model.finding import FindingKind
from tests.collector.alerts.samples import (
    DRIFT,
    GUARD,
    MINUTE_US,
    START_US,
    HttpReceiver,
    later,
    wait_until,
)

FAST = Retry(first_seconds=0.01, longest_seconds=0.05)
RESOLVED_DRIFT = replace(DRIFT, resolved_at_us=START_US + 1)


class Post:
    """Answers in place of the network: by URL, what the test says."""

    def __init__(self, **answers):
        self.answers = answers
        self.posted = []

    def __call__(self, request):
        name = request.url.rsplit("/", 1)[1]
        answer = self.answers.get(name, Outcome.DELIVERED)
        self.posted.append((name, request))
        return Delivery(answer)

    def count(self, name):
        return sum(posted == name for posted, _ in self.posted)


def webhook(name):
    return Webhook(name, f"http://receiver.example/{name}")


@pytest.fixture
def open_alerts(tmp_path):
    opened = []

    def open_them(receivers, **options):
        options.setdefault("retry", FAST)
        options.setdefault("clock_us", lambda: START_US)
        opened.append(Alerts(tmp_path, receivers, **options))
        return opened[-1]

    yield open_them
    for alerts in opened:
        alerts.close()


def test_a_finding_reaches_the_webhook_and_its_end_too(open_alerts):
    with HttpReceiver() as peer:
        records = []
        alerts = open_alerts([Webhook("hook", peer.url + "/in", "s3cret")], record=records.append)
        alerts.on_findings([DRIFT], START_US)
        alerts.on_findings([RESOLVED_DRIFT], START_US + MINUTE_US)
        wait_until(lambda: len(peer.received) == 2)
        first, second = (request.json for request in peer.received)
        assert (first["status"], second["status"]) == ("firing", "resolved")
        assert first["group_key"] == second["group_key"]
        wait_until(lambda: sum(r.event is AlertEvent.DELIVERED for r in records) == 2)
        assert sum(record.event is AlertEvent.RAISED for record in records) == 2
        assert alerts.delivered_total == {("hook", "firing"): 1, ("hook", "resolved"): 1}


def test_the_signature_covers_time_and_body(open_alerts):
    with HttpReceiver() as peer:
        open_alerts([Webhook("hook", peer.url, "s3cret")]).on_findings([GUARD], START_US)
        (request,) = wait_until(lambda: peer.received)
        signed = request.headers["X-Pgwarden-Timestamp"].encode() + b"." + request.body
        expected = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
        assert request.headers["X-Pgwarden-Signature"] == f"sha256={expected}"


def test_a_receiver_that_was_down_gets_the_alert_once_after_a_restart(open_alerts):
    with HttpReceiver(answer=lambda _: (503, {})) as peer:
        port = peer.port
        alerts = open_alerts([Webhook("hook", peer.url)])
        alerts.on_findings([GUARD], START_US)
        wait_until(lambda: alerts.failed_total.get("hook", 0) >= 2)
        alerts.close()
        assert alerts.delivered_total == {}
    with HttpReceiver(port=port) as peer:
        alerts = open_alerts([Webhook("hook", peer.url)])
        assert alerts.on_findings([GUARD], START_US) == []
        wait_until(lambda: alerts.outbox_depth == {"hook": 0})
        wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 1})
        assert len(peer.received) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from collector.alerts import Alerts, Webhook
from tests.collector.alerts.samples import DRIFT, GUARD
alerts = Alerts(Path(sys.argv[1]), [Webhook("hook", sys.argv[2])])
alerts.on_findings([GUARD, DRIFT], alerts._clock_us())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_decided_before_a_kill_is_delivered_after_it(open_alerts, tmp_path):
    with HttpReceiver() as peer:
        port, url = peer.port, peer.url
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), url], timeout=30)
    assert done.returncode == -signal.SIGKILL
    with HttpReceiver(port=port) as peer:
        alerts = open_alerts([Webhook("hook", peer.url)], clock_us=lambda: time.time_ns() // 1000)
        wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 2})
        assert alerts.on_findings([GUARD, DRIFT], START_US) == []
        assert len(peer.received) == 2


def test_a_dead_pager_does_not_hold_up_the_chat(open_alerts):
    stuck = threading.Event()

    def post(request):
        if request.url.endswith("pager"):
            stuck.wait(10)
            return Delivery(Outcome.RETRY)
        return Delivery(Outcome.DELIVERED)

    alerts = open_alerts([webhook("pager"), webhook("chat")], transport=post)
    alerts.on_findings([GUARD, DRIFT], START_US)
    wait_until(lambda: alerts.delivered_total.get(("chat", "firing")) == 2)
    assert alerts.outbox_depth == {"pager": 2, "chat": 0}
    stuck.set()


def test_what_a_receiver_refuses_is_counted_recorded_and_not_sent_again(open_alerts):
    records = []
    post = Post(hook=Outcome.REFUSED)
    alerts = open_alerts([webhook("hook")], transport=post, record=records.append)
    alerts.on_findings([GUARD], START_US)
    wait_until(lambda: alerts.given_up_total == {("hook", "refused"): 1})
    wait_until(lambda: records[-1].event is AlertEvent.GIVEN_UP)
    assert post.count("hook") == 1


def test_an_alert_that_waited_for_a_day_is_given_up(open_alerts, tmp_path):
    alerts = open_alerts([webhook("hook")], transport=Post(hook=Outcome.RETRY))
    alerts.on_findings([GUARD], START_US)
    alerts.close()
    tomorrow = START_US + 25 * 60 * MINUTE_US
    post = Post()
    alerts = open_alerts([webhook("hook")], transport=post, clock_us=lambda: tomorrow)
    wait_until(lambda: alerts.given_up_total == {("hook", "expired"): 1})
    assert post.posted == []


def test_letters_of_a_receiver_that_was_removed_are_given_up(open_alerts):
    alerts = open_alerts([webhook("old")], transport=Post(old=Outcome.RETRY))
    alerts.on_findings([GUARD], START_US)
    alerts.close()
    alerts = open_alerts([webhook("new")], transport=Post())
    assert alerts.given_up_total == {("old", "unconfigured"): 1}


def test_the_queue_of_a_dead_receiver_is_bounded(open_alerts):
    post = Post(hook=Outcome.RETRY)
    alerts = open_alerts([webhook("hook")], transport=post, letters_per_receiver=10)
    alerts.on_findings([later(GUARD, n, object=f"t{n}") for n in range(25)], START_US)
    assert alerts.outbox_depth == {"hook": 10}
    assert alerts.given_up_total == {("hook", "overflow"): 15}


def test_only_the_receivers_that_heard_of_it_hear_of_its_end(open_alerts):
    routes = [
        Route(("pager",), Match(kinds=(FindingKind.DRIFT,))),
        Route(("chat",)),
    ]
    post = Post()
    alerts = open_alerts([webhook("pager"), webhook("chat")], routes=routes, transport=post)
    alerts.on_findings([DRIFT, RESOLVED_DRIFT], START_US)
    wait_until(lambda: post.count("pager") == 2)
    assert post.count("chat") == 0


def test_the_end_is_told_even_when_the_collector_restarted_in_between(open_alerts):
    post = Post()
    alerts = open_alerts([webhook("hook")], transport=post)
    alerts.on_findings([GUARD], START_US)
    wait_until(lambda: post.count("hook") == 1)
    alerts.close()
    alerts = open_alerts([webhook("hook")], transport=post)
    assert [alert.status for alert in alerts.firing] == [AlertStatus.FIRING]
    alerts.tick(START_US + 16 * MINUTE_US)
    wait_until(lambda: alerts.delivered_total == {("hook", "resolved"): 1})


def test_a_record_callback_that_fails_does_not_stop_delivery(open_alerts):
    def broken(record):
        raise OSError("store is full")

    alerts = open_alerts([webhook("hook")], transport=Post(), record=broken)
    alerts.on_findings([GUARD], START_US)
    wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 1})


def test_a_bug_in_one_receiver_is_retried_and_does_not_end_its_thread(open_alerts):
    broken = iter([True, True])

    def post(request):
        if next(broken, False):
            raise RuntimeError("bug")
        return Delivery(Outcome.DELIVERED)

    alerts = open_alerts([webhook("hook")], transport=post)
    alerts.on_findings([GUARD], START_US)
    wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 1})


def test_who_tells_nobody_reads_no_certificates(tmp_path, monkeypatch):
    def no_client(*_, **__):
        raise AssertionError("nobody is told by HTTP")

    monkeypatch.setattr(httpx, "Client", no_client)
    Alerts(tmp_path).close()


def test_a_damaged_outbox_is_set_aside_and_alerts_go_on(open_alerts, tmp_path):
    (tmp_path / "alerts.sqlite").write_bytes(b"not a database at all" * 1000)
    alerts = open_alerts([webhook("hook")], transport=Post())
    assert alerts.storage_errors_total == 1
    assert list(tmp_path.glob("alerts.sqlite.damaged-*"))
    alerts.on_findings([GUARD], START_US)
    wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 1})


def test_alerts_that_cannot_be_written_are_kept_and_written_later(open_alerts, tmp_path):
    alerts = open_alerts([webhook("hook")], transport=Post())
    blocker = sqlite3.connect(tmp_path / "alerts.sqlite", isolation_level=None)
    blocker.execute("PRAGMA busy_timeout = 0")
    alerts._outbox._connection.execute("PRAGMA busy_timeout = 0")
    blocker.execute("BEGIN IMMEDIATE")
    assert alerts.on_findings([GUARD], START_US)
    assert alerts.storage_errors_total == 1
    blocker.execute("ROLLBACK")
    blocker.close()
    alerts.tick(START_US + 1)
    wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 1})
    alerts.close()
    assert [alert.finding_ids for alert in open_alerts([webhook("hook")]).firing] == [("g1",)]


def test_a_resolve_never_overtakes_its_trigger_and_a_poison_alert_blocks_nobody(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite")
    alert = rehearsal_alert(START_US)
    end = replace(alert, status=AlertStatus.RESOLVED)
    other = replace(alert, group_key="other")
    outbox.commit([], [], [Letter("r", a, START_US) for a in (alert, end, other)])
    first = outbox.next("r")
    outbox.failed(first)
    assert outbox.next("r").alert.group_key == "other"
    outbox.remove(outbox.next("r"))
    assert outbox.next("r").alert.status is AlertStatus.FIRING
    outbox.remove(outbox.next("r"))
    assert outbox.next("r").alert.status is AlertStatus.RESOLVED


def test_a_newer_state_replaces_the_unsent_older_one(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite")
    alert = rehearsal_alert(START_US)
    outbox.commit([], [], [Letter("r", alert, START_US)])
    under_way = outbox.next("r")
    outbox.commit([], [], [Letter("r", replace(alert, count=7), START_US, refresh=True)])
    outbox.remove(under_way)
    assert outbox.depth() == {"r": 1}
    kept = outbox.next("r")
    assert (kept.alert.count, kept.refresh) == (7, False)


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "wait"),
    [
        (200, {}, Outcome.DELIVERED, 0),
        (202, {}, Outcome.DELIVERED, 0),
        (302, {"Location": "http://127.0.0.1:9/"}, Outcome.RETRY, 0),
        (400, {}, Outcome.REFUSED, 0),
        (403, {}, Outcome.RETRY, 0),
        (429, {"Retry-After": "30"}, Outcome.RETRY, 30),
        (500, {"Retry-After": "soon"}, Outcome.RETRY, 0),
    ],
)
def test_answers_are_taken_as_http_means_them(status, headers, outcome, wait):
    with HttpReceiver(answer=lambda _: (status, headers)) as peer:
        delivery = HttpTransport()(Webhook("w", peer.url).request(rehearsal_alert(0), 0))
    assert (delivery.outcome, delivery.retry_after_seconds) == (outcome, wait)


def test_an_unreachable_receiver_is_retried_and_its_address_is_not_told():
    with HttpReceiver() as peer:
        url = peer.url + "/very-secret-token"
    delivery = HttpTransport()(Webhook("w", url).request(rehearsal_alert(0), 0))
    assert delivery == Delivery(Outcome.RETRY, "ConnectError")


def test_waits_double_up_to_the_longest_and_obey_the_receiver():
    retry = Retry(first_seconds=1, longest_seconds=60)
    assert [retry.delay_seconds(n, 1.0) for n in (1, 2, 3, 7, 5000)] == [1, 2, 4, 60, 60]
    assert retry.delay_seconds(1, 0.5, retry_after_seconds=120) == 120


def test_a_test_alert_fires_and_resolves():
    with HttpReceiver() as peer:
        deliveries = rehearse(Webhook("hook", peer.url), HttpTransport(), START_US)
        assert [delivery.outcome for delivery in deliveries] == [Outcome.DELIVERED] * 2
        assert [r.json["status"] for r in peer.received] == ["firing", "resolved"]


def test_a_preview_shows_the_payload_but_no_secret():
    pager = preview(PagerDuty("p", "R0UTINGKEY"), rehearsal_alert(START_US), START_US)
    assert '"event_action":"trigger"' in pager.body
    assert "R0UTINGKEY" not in str(pager)
    hook = Webhook("w", "http://u:pw@h.example/x?token=t0ken", "s3cret", (("X-Key", "k3y"),))
    shown = str(preview(hook, rehearsal_alert(START_US), START_US))
    assert not [secret for secret in ("pw@", "t0ken", "s3cret", "k3y") if secret in shown]
    assert "s3cret" not in repr(hook)
    assert "R0UTINGKEY" not in repr(PagerDuty("p", "R0UTINGKEY"))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Webhook("w", "ftp://x"), "http or https"),
        (lambda: Webhook("w", "http://"), "http or https"),
        (lambda: PagerDuty("p", " "), "routing_key"),
        (lambda: PagerDuty("p", "k", region="mars"), "region"),
    ],
)
def test_a_receiver_that_cannot_work_is_refused_with_its_name(build, says):
    with pytest.raises(AlertsError, match=says):
        build()


def test_routes_to_unknown_receivers_and_double_names_are_refused(tmp_path):
    with pytest.raises(AlertsError, match="route 1 names unknown receivers: pagre"):
        Alerts(tmp_path, [webhook("pager")], [Route(("pagre",))])
    with pytest.raises(AlertsError, match="used twice"):
        Alerts(tmp_path, [webhook("pager"), webhook("pager")])


def test_the_configuration_becomes_receivers_routes_and_policy(tmp_path):
    with HttpReceiver() as peer:
        section = schema.Alerts.model_validate(
            {
                "receivers": [
                    {"type": "pagerduty", "name": "pager", "routing_key": "k", "url": peer.url},
                    {"type": "webhook", "name": "hook", "url": peer.url, "secret": "s"},
                    {"type": "alertmanager", "name": "am", "url": peer.url},
                ],
                "routes": [{"kinds": ["guard"], "receivers": ["hook"]}],
            }
        )
        alerts = alerts_from(section, tmp_path)
        try:
            alerts.on_findings([GUARD], START_US)
            wait_until(lambda: alerts.delivered_total == {("hook", "firing"): 1})
        finally:
            alerts.close()


def test_findings_below_the_minimum_reach_nobody(open_alerts):
    policy = Policy(minimum_severity="critical")
    alerts = open_alerts([webhook("hook")], transport=Post(), policy=policy)
    assert alerts.on_findings([GUARD], START_US) == []
