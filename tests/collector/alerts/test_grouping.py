"""Which findings are one alert, when it is said again and when it is over."""

import json
from dataclasses import replace

import pytest

from collector.alerts.grouping import Grouper, Policy, group_key
from collector.alerts.stored import group_from_json, group_to_json
from model.alert import AlertStatus
from model.verdict import Severity
from tests.collector.alerts.samples import DRIFT, GUARD, MINUTE_US, START_US, later

POLICY = Policy(repeat_us=60 * MINUTE_US, quiet_us=15 * MINUTE_US)


def test_the_first_finding_of_a_group_is_sent():
    alert = Grouper(POLICY).observe(GUARD, START_US)
    assert alert.status is AlertStatus.FIRING
    assert alert.finding_ids == ("g1",)
    assert dict(alert.labels) == {
        "alertname": "PgwardenGuard",
        "kind": "guard",
        "detector": "guard.no-drop",
        "cluster": "5432",
        "object": "public.orders",
        "identity": "mallory",
        "severity": "high",
    }


def test_the_same_group_is_not_sent_again_within_the_repeat_interval_but_counts():
    grouper = Grouper(POLICY)
    grouper.observe(GUARD, START_US)
    assert all(grouper.observe(later(GUARD, n), START_US + n) is None for n in range(1, 50))
    said = grouper.observe(later(GUARD, 50), START_US + 60 * MINUTE_US)
    assert said.count == 51


def test_a_higher_severity_is_sent_at_once_and_a_lower_one_is_not():
    grouper = Grouper(POLICY)
    grouper.observe(GUARD, START_US)
    assert grouper.observe(later(GUARD, 1, severity=Severity.MEDIUM), START_US) is None
    alert = grouper.observe(later(GUARD, 2, severity=Severity.CRITICAL), START_US)
    assert alert.severity is Severity.CRITICAL
    assert dict(alert.labels)["severity"] == "critical"
    assert dict(alert.annotations)["previous_severity"] == "high"


@pytest.mark.parametrize(
    "change",
    [
        {"cluster": "5433"},
        {"object": "public.users"},
        {"identity": "eve"},
        {"detector": "guard.other"},
        {"identity": "", "user": "postgres"},
    ],
)
def test_another_cluster_object_detector_or_identity_is_another_alert(change):
    assert group_key(replace(GUARD, **change)) != group_key(GUARD)


def test_parts_that_run_together_do_not_make_the_same_key():
    first = replace(GUARD, object="a/b", identity="c")
    assert group_key(first) != group_key(replace(GUARD, object="a", identity="b/c"))


def test_below_the_minimum_severity_nothing_is_said():
    assert Grouper(POLICY).observe(replace(GUARD, severity=Severity.LOW), START_US) is None


def test_a_replayed_finding_neither_counts_nor_fires_again():
    grouper = Grouper(POLICY)
    grouper.observe(GUARD, START_US)
    assert grouper.observe(GUARD, START_US + 1) is None
    assert grouper.groups[0].alert.count == 1
    (ended,) = grouper.tick(START_US + 16 * MINUTE_US)
    assert ended.status is AlertStatus.RESOLVED
    assert grouper.observe(GUARD, START_US + 17 * MINUTE_US) is None


def test_an_alert_that_ends_says_how():
    grouper = Grouper(POLICY)
    grouper.observe(DRIFT, START_US)
    over = replace(
        DRIFT, resolved_at_us=START_US + 1, sentence="it was; since then reverted by bob"
    )
    assert grouper.observe(over, START_US + 1).summary == "it was; since then reverted by bob"


def test_that_a_program_changed_is_an_event_and_its_alert_ends_after_a_quiet_time():
    changed = replace(DRIFT, detector="application_change", severity=Severity.HIGH)
    grouper = Grouper(POLICY)
    assert grouper.observe(changed, START_US).status is AlertStatus.FIRING
    [ended] = grouper.tick(START_US + 15 * MINUTE_US)
    assert ended.status is AlertStatus.RESOLVED


def test_a_quiet_guard_group_resolves_and_fires_again_on_news():
    grouper = Grouper(POLICY)
    grouper.observe(GUARD, START_US)
    assert grouper.tick(START_US + 14 * MINUTE_US) == []
    (ended,) = grouper.tick(START_US + 15 * MINUTE_US)
    assert (ended.status, ended.ends_at_us) == (AlertStatus.RESOLVED, START_US + 15 * MINUTE_US)
    assert grouper.tick(START_US + 16 * MINUTE_US) == []
    again = grouper.observe(later(GUARD, 1), START_US + 17 * MINUTE_US)
    assert (again.status, again.count) == (AlertStatus.FIRING, 1)


def test_drift_stays_until_its_finding_is_resolved():
    grouper = Grouper(POLICY)
    grouper.observe(DRIFT, START_US)
    assert grouper.tick(START_US + 600 * MINUTE_US) == []
    ended = grouper.observe(replace(DRIFT, resolved_at_us=START_US + 1), START_US + 2)
    assert ended.status is AlertStatus.RESOLVED


def test_a_drift_group_ends_with_the_last_of_its_findings():
    grouper = Grouper(POLICY)
    grouper.observe(DRIFT, START_US)
    second = later(DRIFT, 1)
    grouper.observe(second, START_US)
    assert grouper.observe(replace(DRIFT, resolved_at_us=START_US), START_US) is None
    ended = grouper.observe(replace(second, resolved_at_us=START_US), START_US)
    assert ended.status is AlertStatus.RESOLVED


def test_a_drift_whose_actor_became_known_later_still_ends_its_own_alert():
    grouper = Grouper(POLICY)
    fired = grouper.observe(replace(DRIFT, identity=""), START_US)
    ended = grouper.observe(replace(DRIFT, identity="bob", resolved_at_us=START_US), START_US)
    assert ended.group_key == fired.group_key


def test_a_resolved_finding_that_nobody_heard_of_says_nothing():
    assert Grouper(POLICY).observe(replace(DRIFT, resolved_at_us=1), START_US) is None


def test_an_operator_ends_a_group_once():
    grouper = Grouper(POLICY)
    key = grouper.observe(DRIFT, START_US).group_key
    assert grouper.resolve(key, START_US).status is AlertStatus.RESOLVED
    assert grouper.resolve(key, START_US) is None
    assert grouper.resolve("unknown", START_US) is None


def test_a_storm_of_new_groups_shares_one_alert():
    grouper = Grouper(replace(POLICY, firing_groups=5))
    storm = [later(GUARD, n, object=f"t{n}") for n in range(1000)]
    sent = [alert for finding in storm if (alert := grouper.observe(finding, START_US))]
    assert len(sent) == 6
    assert sent[-1].title.startswith("More guard findings")
    overflow = grouper.get(sent[-1].group_key)
    assert overflow.alert.count == 995
    assert len(overflow.alert.finding_ids) == 50
    assert all(grouper.observe(finding, START_US) is None for finding in storm)


def test_ended_groups_are_forgotten_after_a_day():
    grouper = Grouper(POLICY)
    grouper.observe(GUARD, START_US)
    grouper.tick(START_US + 15 * MINUTE_US)
    grouper.take_changes()
    grouper.tick(START_US + 26 * 60 * MINUTE_US)
    assert grouper.groups == ()
    assert grouper.take_changes() == ([], [group_key(GUARD)])


def test_a_group_survives_the_way_through_json():
    grouper = Grouper(POLICY)
    grouper.observe(GUARD, START_US)
    grouper.observe(DRIFT, START_US)
    kept = [group_from_json(group_to_json(group)) for group in grouper.groups]
    assert tuple(kept) == grouper.groups
    restarted = Grouper(POLICY, kept)
    assert restarted.observe(GUARD, START_US) is None
    assert restarted.observe(replace(DRIFT, resolved_at_us=1), START_US) is not None
    assert json.loads(group_to_json(kept[0]))["alert"]["status"] == "firing"
