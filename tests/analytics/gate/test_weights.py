"""What is as seldom counts for less where ordinary life has many reasons for it."""

from __future__ import annotations

import pytest

from analytics.gate import Feedback, Gate, GateSettings, Opinion, who_of
from analytics.gate.calibration import evidence
from analytics.gate.settings import FAMILIES
from analytics.gate.sorts import ACTS, ORIGINS, SEPARATOR, STRANGER, detector_of
from analytics.gate.weights import WEIGHTS, bits_alone, weight
from analytics.ways import DUMP
from tests.analytics.gate.candidates import (
    HOUR_US,
    IDENTITIES,
    MINUTE_US,
    START_US,
    candidate,
    learnt,
)

SETTINGS = GateSettings()
NOW_US = START_US + 14 * 24 * HOUR_US + HOUR_US


@pytest.fixture(scope="module")
def gate() -> Gate:
    return learnt()


def look(score, at_us=NOW_US):
    return candidate(score, at_us, "first_act", cause="rights", details=(("act", "look"),))


def test_an_hour_counts_for_less_than_a_deed_and_a_look_at_rights_for_more():
    hour, deed, looked = (
        evidence({sort: 2.5}, SETTINGS) for sort in ("activity_time", "volume", "first_act: look")
    )
    assert hour < deed < looked


def test_what_is_ordinary_weighs_nothing_whatever_it_is():
    for sort in WEIGHTS:
        assert evidence({sort: 1.0}, SETTINGS) == 1.0


def test_a_circumstance_still_adds_to_a_deed():
    alone = evidence({"volume": 2.0}, SETTINGS)
    assert evidence({"volume": 2.0, "activity_time": 2.0}, SETTINGS) == pytest.approx(alone + 0.5)


@pytest.mark.parametrize("sort", [*WEIGHTS, "volume", "error_burst"])
def test_what_becomes_more_unusual_never_counts_for_less(sort):
    others = {"volume": 2.2, "first_act: look": 1.7, "origin: login": 1.5}
    weighed = [evidence({**others, sort: 1 + step / 10}, SETTINGS) for step in range(60)]
    assert weighed == sorted(weighed)


@pytest.mark.parametrize("sort", [*WEIGHTS, "volume"])
def test_so_many_bits_are_so_much_evidence_alone(sort):
    for wanted in (0.8, 1.0, 1.8, 2.5, 3.5):
        alone = bits_alone(wanted, weight(sort))
        assert evidence({sort: alone}, SETTINGS) == pytest.approx(wanted)


def test_each_weight_is_of_a_sort_that_there_is():
    acts = {f"first_act{SEPARATOR}{kind}" for kind in (*ACTS.values(), "housekeeping")}
    origins = {f"origin{SEPARATOR}{kind}" for kind in (*ORIGINS, STRANGER)}
    detectors = {detector_of(sort) for sort in FAMILIES}
    dumps = {f"{name}{SEPARATOR}{DUMP}" for name in ("volume", "slow_drip", "edge_burst")}
    assert set(WEIGHTS) <= acts | origins | detectors | dumps


def test_a_weight_makes_nobody_surer_so_that_no_session_ends_by_it(gate):
    """Two families with 3 bits each may end one: bits, not evidence."""
    looked = look(gate.calibration.tail("first_act: look").score_at(2.8))
    pair = looked, candidate(30.0, NOW_US + MINUTE_US, "volume")
    after, [first, *_] = gate.step(pair, IDENTITIES, pair[1].at_us)
    assert first.bits < SETTINGS.agree_bits < first.evidence
    assert after.agreements == ()
    surer = look(30.0), pair[1]
    assert gate.step(surer, IDENTITIES, pair[1].at_us)[0].agreements


@pytest.mark.parametrize("budget", [1, 5, 20])
@pytest.mark.parametrize("score", [3.0, 4.0])
def test_what_was_dismissed_does_not_come_back_where_it_counts_for_more(budget, score):
    gate = learnt(settings=GateSettings(alerts_per_day_per_100_identities=budget))
    after, [raised] = gate.step([look(score)], IDENTITIES, NOW_US)
    finding = raised.finding
    word = Feedback(
        finding.id, Opinion.DISMISSED, finding.detector, who_of(finding), finding.object,
        raised.bits, raised.threshold, finding.at_us, "carol", "an audit",
    )  # fmt: skip
    later_us = NOW_US + 25 * HOUR_US
    assert after.heard(word).step([look(score, later_us)], IDENTITIES, later_us)[1] == []
