"""The budget holds, whatever scale a detector's scores have."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from analytics.findings import DAY_US
from analytics.gate import Gate, GateSettings
from tests.analytics.gate.candidates import IDENTITIES, START_US, candidate, fed, ordinary


@pytest.mark.parametrize("budget", [1, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_stationary_scores_of_wrong_scales_stay_near_the_budget(budget, seed):
    settings = GateSettings(alerts_per_day_per_100_identities=budget)
    _, raised = fed(Gate(settings), ordinary(42, seed))
    late = [each for each in raised if each.finding.at_us >= START_US + 14 * DAY_US]
    a_day = len(late) / 28 * 100 / IDENTITIES
    assert a_day <= 1.5 * budget


def test_a_large_budget_does_not_tell_what_is_ordinary():
    settings = GateSettings(alerts_per_day_per_100_identities=1000)
    _, raised = fed(Gate(settings), ordinary(28))
    late = [each for each in raised if each.finding.at_us >= START_US + 14 * DAY_US]
    assert len(late) / 14 * 100 / IDENTITIES < 10


def test_attacks_every_other_day_do_not_hide_the_next():
    days = ordinary(30)
    attacks = [
        candidate(20, START_US + day * DAY_US + DAY_US // 2, "first_seen", f"u{day}", "hr.pay")
        for day in range(8, 30, 2)
    ]
    _, raised = fed(
        Gate(GateSettings(alerts_per_day_per_100_identities=1)),
        sorted([*days, *attacks], key=lambda each: each.at_us),
    )
    told = {each.finding.id for each in raised}
    assert {each.id for each in attacks} <= told


def test_a_first_day_full_of_odd_scores_is_no_flood():
    odd = [
        candidate(10 + n / 100, START_US + n * 10_000_000, "volume", f"u{n}") for n in range(500)
    ]
    _, raised = fed(Gate(), odd, identities=500)
    allowed = 500 * 5 / 100
    assert len(raised) < 10 * allowed


def test_what_an_identity_does_every_day_is_ordinary_for_it():
    """Nightly work that is odd for the fleet."""
    nightly = [
        candidate(6.0, START_US + day * DAY_US + 3_600_000_000, "volume", "etl")
        for day in range(30)
    ]
    _, raised = fed(Gate(), sorted([*ordinary(30), *nightly], key=lambda each: each.at_us))
    days = Counter(
        (each.finding.at_us - START_US) // DAY_US
        for each in raised
        if each.finding.identity == "etl"
    )
    assert sum(days[day] for day in range(14, 30)) <= 2


@pytest.mark.parametrize("budget", [1, 5])
def test_a_budget_is_no_quota_where_little_happens(budget):
    settings = GateSettings(alerts_per_day_per_100_identities=budget)
    few = [
        candidate(2 + n % 3 / 10, START_US + n * DAY_US // 2, "volume", f"u{n % IDENTITIES}")
        for n in range(56)
    ]
    gate, _ = fed(Gate(settings), few)
    least = settings.least_over_claimed - math.log10(budget / 100)
    assert gate.calibration.threshold >= least - 1e-9
    young, _ = fed(Gate(settings), few[:2])
    assert young.calibration.threshold < least


def test_one_loud_case_hides_nobody_elses():
    """Told of again and again, it is one case: whoever wants to pass unseen could let another login
    make noise."""
    begun = START_US + 14 * DAY_US + DAY_US // 2
    loud = [
        candidate(8.0 + 2 * n, begun + n * 60_000_000, detector, "u1", f"{detector} {n}")
        for n in range(8)
        for detector in ("volume", "error_burst", "first_seen")
    ]
    quiet = candidate(12.0, begun + 3_600_000_000, "first_seen", "u2", "hr.pay")
    _, raised = fed(Gate(), [*ordinary(14, identities=6), *loud, quiet], identities=6)
    told = [each.finding for each in raised if each.finding.at_us >= begun]
    assert sum(each.identity == "u1" for each in told) > 6
    assert quiet.id in {each.id for each in told}
