"""What the gate lets pass, and why it holds back the rest."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from analytics.findings import CLAIMED, DAY_US
from analytics.gate import Feedback, Gate, GateSettings, Mute, Opinion, Reason, who_of
from analytics.gate.stored import StoredGateError, from_tree, to_tree
from model.finding import FindingKind
from model.verdict import Severity
from tests.analytics.gate.candidates import (
    HOUR_US,
    IDENTITIES,
    MINUTE_US,
    START_US,
    candidate,
    fed,
    learnt,
    ordinary,
)

NOW_US = START_US + 14 * DAY_US + HOUR_US


@pytest.fixture(scope="module")
def gate() -> Gate:
    """With two weeks of ordinary life behind it."""
    return learnt()


def step(gate, *candidates):
    return gate.step(candidates, IDENTITIES, max(each.at_us for each in candidates))


def reasons(gate, detector):
    return {reason: n for (name, reason), n in gate.suppressed.items() if name == detector}


def new_reasons(before, after, detector):
    old, new = reasons(before, detector), reasons(after, detector)
    return {name: n - old.get(name, 0) for name, n in new.items() if n > old.get(name, 0)}


def test_how_candidates_are_cut_into_batches_changes_nothing():
    days = ordinary(12)
    whole, expected = fed(Gate(), days, size=7)
    for size in (1, 50, 1000):
        other, raised = fed(Gate(), days, size=size)
        assert [each.finding for each in raised] == [each.finding for each in expected]
        assert other.suppressed == whole.suppressed
    assert expected


def test_a_restart_anywhere_changes_nothing():
    days = ordinary(9)
    whole, expected = fed(Gate(), days, size=5)
    for at in (5, 200, len(days) // 2 // 5 * 5):
        first, before = fed(Gate(), days[:at], size=5)
        again = from_tree(json.loads(json.dumps(to_tree(first))), Gate())
        assert again == replace(first, agreements=())
        last, after = fed(again, days[at:], size=5)
        assert before + after == expected
        assert to_tree(last) == to_tree(whole)


def test_a_state_of_another_release_or_damaged_is_refused():
    tree = to_tree(learnt(2))
    for bad in ({}, [], tree | {"format": 0}, tree | {"cases": [["a"]]}, tree | {"tails": None}):
        with pytest.raises(StoredGateError):
            from_tree(bad, Gate())


def test_a_surprise_is_raised_with_its_numbers(gate):
    _, [raised] = step(gate, candidate(9, NOW_US))
    details = dict(raised.finding.details)
    assert float(details["bits"]) >= float(details["threshold"]) >= 2
    assert details["case"] == raised.case
    assert details["budget"] == "5 a day per 100 identities"
    assert float(details["calibration_days"]) == pytest.approx(14, abs=0.2)


def test_an_ordinary_score_is_counted_and_not_told(gate):
    after, raised = step(gate, candidate(1.2, NOW_US))
    assert raised == []
    assert new_reasons(gate, after, "volume") == {"below_threshold": 1}


def test_two_detectors_that_agree_raise_what_neither_would_alone(gate):
    volume = candidate(_score(gate, "volume", 1.9), NOW_US)
    errors = candidate(
        _score(gate, "error_burst", 1.9), NOW_US + MINUTE_US, "error_burst", cause="42501"
    )
    after, alone = step(gate, volume)
    assert alone == []
    assert step(gate, errors)[1] == []
    _, [raised] = step(after, errors)
    assert raised.agrees == ("volume",)
    assert dict(raised.finding.details)["agrees"] == "volume"


def test_what_was_said_long_before_no_longer_agrees(gate):
    after, _ = step(gate, candidate(_score(gate, "volume", 1.7), NOW_US))
    late = NOW_US + 20 * HOUR_US
    errors = candidate(_score(gate, "error_burst", 1.7), late, "error_burst", cause="42501")
    assert step(after, errors)[1] == []


def test_repeats_fold_until_a_new_extreme(gate):
    first = candidate(5, NOW_US)
    again = [candidate(5.2, NOW_US + n * MINUTE_US) for n in range(1, 9)]
    extreme = candidate(14, NOW_US + 10 * MINUTE_US)
    after, raised = step(gate, first, *again, extreme)
    assert [each.finding.score for each in raised] == [5, 14]
    assert new_reasons(gate, after, "volume") == {"folded": 8}


def test_other_causes_of_an_open_case_fold_into_it(gate):
    first = candidate(7, NOW_US)
    other = candidate(_score(gate, "first_seen", 2.2), NOW_US + MINUTE_US, "first_seen", cause="x")
    after, raised = step(gate, first, other)
    assert [each.finding.detector for each in raised] == ["volume"]
    assert new_reasons(gate, after, "first_seen") == {"folded": 1}


def test_another_cause_hours_later_is_a_case_of_its_own(gate):
    later = candidate(30, NOW_US + 6 * HOUR_US, "first_seen", cause="hr.pay")
    same = candidate(7, NOW_US + 6 * HOUR_US)
    _, raised = step(gate, candidate(7, NOW_US), same, later)
    assert [each.finding.detector for each in raised] == ["volume", "first_seen"]
    assert len({each.case for each in raised}) == 2


def test_another_identity_is_another_case(gate):
    _, raised = step(gate, candidate(8, NOW_US), candidate(8, NOW_US, identity="bob"))
    assert len({each.case for each in raised}) == 2


def test_maintenance_mutes_what_it_covers_with_a_reason_and_teaches_nothing(gate):
    mute = Mute("backfill", lambda at_us: at_us < NOW_US + HOUR_US, identity="ali*")
    muted = replace(gate, mutes=(mute,))
    after, raised = step(
        muted,
        candidate(9, NOW_US),
        candidate(9, NOW_US + MINUTE_US, identity="bob"),
        candidate(9, NOW_US + 2 * HOUR_US),
    )
    assert [each.finding.identity for each in raised] == ["bob", "alice"]
    assert new_reasons(gate, after, "volume") == {"muted_maintenance": 1}


def test_a_deployment_mutes_what_a_release_explains_and_nothing_else(gate):
    release = changed("a\nb\nc")
    shape = candidate(30, NOW_US + MINUTE_US, "first_seen", "web", "shop.new")
    rows = candidate(30, NOW_US + MINUTE_US, "volume", "web")
    late = candidate(30, NOW_US + 30 * HOUR_US, "first_seen", "web", "shop.newer")
    after, raised = step(gate, release, shape, rows, late)
    assert [each.finding.detector for each in raised] == [
        "application_change", "volume", "first_seen",
    ]  # fmt: skip
    assert new_reasons(gate, after, "first_seen") == {"muted_deployment": 1}


def changed(shapes, kind="service"):
    details = (("identity_kind", kind), ("new_shapes", shapes))
    return candidate(
        3, NOW_US, "application_change", kind=FindingKind.DRIFT, identity="web", cause="web",
        details=details,
    )  # fmt: skip


@pytest.mark.parametrize("change", [changed("a\nb"), changed("a\nb\nc", "ai_agent")])
def test_a_change_of_few_shapes_or_of_an_ai_agent_mutes_nothing(gate, change):
    relation = candidate(30, NOW_US + MINUTE_US, "first_seen", "web", "shop.new")
    _, raised = step(gate, change, relation)
    assert [each.finding.detector for each in raised] == ["application_change", "first_seen"]


def test_what_a_release_explains_raises_no_case_of_a_service_alone(gate):
    service = (("identity_kind", "service"),)
    novel = [
        candidate(30, NOW_US + n, name, "web", "x", details=service)
        for n, name in enumerate(("first_seen", "new_shape", "role_profile"))
    ]
    careful = replace(gate, settings=replace(gate.settings, release_bits=1.5))
    after, raised = step(careful, *novel)
    assert raised == []
    rows = candidate(_score(gate, "volume", 2.0), NOW_US + MINUTE_US, "volume", "web")
    _, [raised] = step(after, rows)
    assert set(raised.agrees) >= {"first_seen", "role_profile"}


def test_wrong_passwords_are_no_case_by_themselves(gate):
    careful = replace(gate, settings=replace(gate.settings, claimed_bits=1.5))
    failed = candidate(30, NOW_US, "error_burst", cause="28P01", details=(CLAIMED,))
    refused = candidate(30, NOW_US + 1, "error_burst", "bob", "42501")
    _, raised = step(careful, failed, refused)
    assert [each.finding.identity for each in raised] == ["bob"]


def test_errors_of_a_server_in_trouble_are_no_case_by_themselves(gate):
    careful = replace(gate, settings=replace(gate.settings, trouble_bits=1.5))
    deadlocks = candidate(30, NOW_US, "error_burst", cause="40")
    refused = candidate(30, NOW_US + 1, "error_burst", "bob", "42501")
    _, raised = step(careful, deadlocks, refused)
    assert [each.finding.identity for each in raised] == ["bob"]


def test_the_same_of_a_person_does(gate):
    _, raised = step(gate, candidate(30, NOW_US, "first_seen", "web", "x"))
    assert len(raised) == 1


def test_that_somebody_waits_is_told_quietly_and_no_evidence_against_them(gate):
    slow = candidate(30, NOW_US, "latency", cause="f")
    weak = candidate(_score(gate, "volume", 1.7), NOW_US + MINUTE_US)
    _, [raised] = step(gate, slow, weak)
    assert (raised.finding.detector, raised.finding.severity) == ("latency", Severity.LOW)


def test_what_is_raised_is_never_below_what_receivers_hear_of(gate):
    _, [raised] = step(gate, candidate(30, NOW_US, severity=Severity.LOW))
    assert raised.finding.severity is Severity.MEDIUM


def test_findings_by_rule_pass_once_and_at_most_so_many_a_day():
    found = [
        candidate(1, START_US + n, "audit_coverage", f"u{n % 30}", cause=str(n % 30))
        for n in range(60)
    ]
    gate, raised = fed(Gate(), found)
    assert len(raised) == 20
    assert reasons(gate, "audit_coverage") == {"folded": 40}
    assert all(each.finding in found for each in raised)


def dismissed(gate, raised, opinion=Opinion.DISMISSED):
    finding = raised.finding
    return gate.heard(
        Feedback(
            finding.id, opinion, finding.detector, who_of(finding), finding.object,
            raised.bits, raised.threshold, finding.at_us, "carol", "month end",
        )
    )  # fmt: skip


def test_what_was_dismissed_does_not_come_back_and_is_counted_so(gate):
    after, [raised] = step(gate, candidate(6, NOW_US))
    quiet = dismissed(after, raised)
    again, told = step(quiet, candidate(6, NOW_US + DAY_US))
    assert told == []
    assert new_reasons(after, again, "volume") == {"dismissed": 1}


def test_dismissing_moves_neither_others_nor_a_much_greater_extreme(gate):
    after, [raised] = step(gate, candidate(6, NOW_US))
    quiet = dismissed(after, raised)
    later = NOW_US + DAY_US
    _, told = step(
        quiet,
        candidate(6, later, identity="bob"),
        candidate(30, later + 1),
        candidate(30, later + 2, "first_seen", "carol", "hr.pay"),
    )
    assert [each.finding.identity for each in told] == ["bob", "alice", "carol"]
    assert dict(told[1].finding.details)["moved_by_feedback"].startswith("+")


def test_nothing_that_is_dismissed_ever_silences_a_detector(gate):
    quiet = gate
    for n in range(60):
        quiet, raised = step(quiet, candidate(25, NOW_US + n * DAY_US, cause=f"c{n}"))
        for each in raised:
            quiet = dismissed(quiet, each)
    shifts = quiet.opinions.shifts().values()
    assert shifts
    assert max(shifts) <= 4
    _, told = step(quiet, candidate(20, NOW_US + 61 * DAY_US, identity="bob", cause="c1"))
    assert len(told) == 1


def test_what_was_confirmed_comes_sooner_and_is_no_part_of_ordinary_life(gate):
    after, [raised] = step(gate, candidate(6, NOW_US))
    sure = dismissed(after, raised, Opinion.CONFIRMED)
    assert sure.opinions.shift("volume", who_of(raised.finding), "rows") == -1
    held = {seen.finding_id for seen in sure.history.peaks["volume"].values()}
    assert raised.finding.id not in held
    weaker = candidate(_score(gate, "volume", 1.6), NOW_US + DAY_US)
    assert step(after, weaker)[1] == []
    assert len(step(sure, weaker)[1]) == 1


def test_a_later_word_on_a_finding_replaces_the_earlier(gate):
    after, [raised] = step(gate, candidate(6, NOW_US))
    changed = dismissed(dismissed(after, raised), raised, Opinion.CONFIRMED)
    assert changed.opinions.shift("volume", who_of(raised.finding), "rows") == -1


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_counted_and_dropped(gate, score):
    after, raised = step(gate, candidate(score, NOW_US))
    assert raised == []
    assert new_reasons(gate, after, "volume") == {Reason.INVALID_SCORE: 1}
    assert after.history.peaks["volume"] == gate.history.peaks["volume"]


def test_absurd_scores_change_no_threshold_of_others():
    dice = random.Random(3)
    absurd = [
        candidate(1e300 if n % 2 else -1e300, START_US + n * HOUR_US, "volume", "mad")
        for n in range(300)
    ]
    mixed = sorted([*ordinary(14), *absurd], key=lambda each: (each.at_us, dice.random()))
    upset, _ = fed(Gate(), mixed)
    assert upset.calibration.threshold < 4
    assert len(step(upset, candidate(9, NOW_US))[1]) == 1


def test_an_hours_jump_of_the_clock_back_and_forth_breaks_nothing(gate):
    jumps = [0, 1, -1, 2, 0, 3]
    found = [
        candidate(9, NOW_US + hours * HOUR_US + n, identity=f"x{n}")
        for n, hours in enumerate(jumps)
    ]
    _, raised = fed(gate, found, size=1)
    assert [each.finding.identity for each in raised] == [f"x{n}" for n in range(6)]


def test_a_clock_years_ahead_destroys_no_history(gate):
    mad = candidate(9, NOW_US + 4000 * DAY_US, identity="mad")
    after, [raised] = gate.step([mad], IDENTITIES, NOW_US)
    assert raised.finding.at_us == mad.at_us
    assert after.now_us == NOW_US
    assert after.history.identity_days("volume", NOW_US) > 13 * IDENTITIES
    assert len(step(after, candidate(9, NOW_US + HOUR_US))[1]) == 1


def test_events_of_a_day_ago_count_towards_today(gate):
    late = candidate(9, NOW_US - 30 * HOUR_US, identity="back")
    after, [raised] = gate.step([late], IDENTITIES, NOW_US)
    assert raised.finding == replace(late, details=raised.finding.details)
    assert after.day == gate.day


def test_independent_detectors_that_are_sure_within_minutes_agree(gate):
    volume = candidate(9, NOW_US)
    errors = candidate(30, NOW_US + 5 * MINUTE_US, "error_burst", cause="42501")
    after, _ = step(gate, volume, errors)
    [agreement] = after.agreements
    assert (agreement.finding, agreement.detectors) == (errors, ("volume",))
    assert step(after, candidate(1, NOW_US + HOUR_US))[0].agreements == ()


@pytest.mark.parametrize(
    "second",
    [
        candidate(30, NOW_US + 11 * MINUTE_US, "error_burst", cause="42501"),
        candidate(30, NOW_US + MINUTE_US, "error_burst", "bob", "42501"),
        candidate(30, NOW_US + MINUTE_US, "slow_drip"),
        candidate(30, NOW_US + MINUTE_US),
        candidate(0.5, NOW_US + MINUTE_US, "error_burst", cause="42501"),
        candidate(30, NOW_US + MINUTE_US, "error_burst", cluster="5433"),
    ],
    ids=["late", "of another", "of the same family", "the same", "unsure", "on another server"],
)
def test_what_does_not_agree(gate, second):
    after, _ = step(gate, candidate(9, NOW_US), second)
    assert after.agreements == ()


def test_what_somebody_without_a_login_brings_about_agrees_with_nothing(gate):
    refused = candidate(30, NOW_US, "error_burst", cause="28P01", details=(CLAIMED,))
    own = candidate(30, NOW_US + MINUTE_US)
    assert step(gate, refused, own)[0].agreements == ()
    assert step(gate, replace(own, at_us=NOW_US), refused)[0].agreements == ()
    stored = from_tree(json.loads(json.dumps(to_tree(step(gate, refused)[0]))), Gate())
    assert step(stored, own)[0].agreements == ()


def test_what_somebody_confirmed_ends_no_session_sooner(gate):
    errors = candidate(30, NOW_US + MINUTE_US, "error_burst", cause="42501")
    unsure = next(
        n / 10
        for n in range(10, 200)
        if step(gate, candidate(n / 10, NOW_US), errors)[0].agreements
    )
    below = candidate(unsure - 0.1, NOW_US)
    sooner = gate
    for _ in range(3):
        sooner = sooner.heard(
            Feedback("x", Opinion.CONFIRMED, "volume", who_of(below), "rows", 0.0, 0.0, by="carol")
        )
    assert sooner.opinions.shift("volume", who_of(below), "rows") < 0
    assert step(sooner, below, errors)[0].agreements == ()


def test_a_clock_of_ours_that_was_years_ahead_leaves_a_budget_for_today(gate):
    ahead, _ = gate.step([candidate(0.1, NOW_US)], IDENTITIES, NOW_US + 20_000 * DAY_US)
    ahead, _ = ahead.step(
        [candidate(0.1, NOW_US + 20_000 * DAY_US)], IDENTITIES, NOW_US + 20_000 * DAY_US
    )
    told = candidate(9, NOW_US + HOUR_US, "audit_coverage")
    back, raised = ahead.step([told], IDENTITIES, NOW_US + HOUR_US)
    assert [each.finding for each in raised] == [told]
    assert back.day == (NOW_US + HOUR_US) // DAY_US
    assert back.now_us == NOW_US + HOUR_US


def test_a_young_history_agrees_about_nothing():
    young = learnt(3)
    at = START_US + 3 * DAY_US
    errors = candidate(40, at + MINUTE_US, "error_burst", cause="42501")
    after, raised = step(young, candidate(40, at), errors)
    assert raised
    assert after.agreements == ()


def test_memory_is_bounded():
    settings = GateSettings(max_peaks=200, max_cases=50)
    gate, _ = fed(Gate(settings), ordinary(20, identities=200), identities=200)
    assert len(gate.cases) <= 50
    assert all(len(days) <= 400 for days in gate.history.peaks.values())


def _score(gate, detector, bits):
    return gate.calibration.tail(detector).score_at(bits)
