"""Alerts against campaigns, in worlds small enough to count by hand."""

from dataclasses import dataclass

import pytest

from bench.detection.candidate import Alert
from bench.detection.scoring import DAY_US, HISTORY_DAYS, HOUR_US, Outcome, figures, is_on

START_US = 20_000 * DAY_US
MINUTE_US = HOUR_US // 60


@dataclass(frozen=True)
class Campaign:
    kind: str
    speed: str
    identities: tuple[str, ...]
    from_us: int
    to_us: int


def at(day: float, minutes: float = 0) -> int:
    return START_US + int(day * DAY_US + minutes * MINUTE_US)


THEFT = Campaign("theft", "fast", ("eve", "mallory"), at(10), at(10, 30))
DRIP = Campaign("drip", "slow", ("etl",), at(12), at(16))


def outcome(*alerts: Alert, campaigns=(THEFT, DRIP), clean=(), identities=50, days=30) -> Outcome:
    return Outcome(campaigns, alerts, clean, START_US, days, identities)


def of(*alerts: Alert, **words):
    return figures([outcome(*alerts, **words)])


def test_an_alert_is_true_from_the_first_statement_to_an_hour_after_the_last():
    assert is_on(Alert("eve", THEFT.from_us), THEFT)
    assert is_on(Alert("mallory", THEFT.to_us + HOUR_US), THEFT)
    assert not is_on(Alert("eve", THEFT.from_us - 1), THEFT)
    assert not is_on(Alert("eve", THEFT.to_us + HOUR_US + 1), THEFT)
    assert not is_on(Alert("alice", THEFT.from_us), THEFT)


def test_a_slow_campaign_may_be_found_a_day_after_its_end():
    assert is_on(Alert("etl", DRIP.to_us + DAY_US), DRIP)
    assert not is_on(Alert("etl", DRIP.to_us + DAY_US + 1), DRIP)


def test_precision_is_of_alerts_and_recall_of_campaigns():
    result = of(
        Alert("eve", at(10, 5)),
        Alert("eve", at(10, 20)),
        Alert("alice", at(10, 5)),
        Alert("eve", at(20)),
    )
    assert (result["precision"], result["alerts"], result["true_alerts"]) == (0.5, 4, 2)
    assert result["recall"] == 0.5
    assert result["fast"]["recall"] == 1.0
    assert result["slow"]["recall"] == 0.0
    assert result["recall_by_kind"] == {"theft": 1.0, "drip": 0.0}


def test_the_time_to_detection_runs_to_the_first_true_alert_and_is_of_those_found():
    result = of(Alert("eve", at(10, 20)), Alert("mallory", at(10, 5)), Alert("eve", at(9)))
    assert result["ttd_median_seconds"] == 300.0
    assert result["slow"]["ttd_median_seconds"] is None


def test_median_and_p90_are_over_the_campaigns_of_all_worlds():
    worlds = [outcome(Alert("eve", at(10, minutes))) for minutes in range(1, 11)]
    result = figures(worlds)
    assert result["fast"]["ttd_median_seconds"] == 5 * 60
    assert result["fast"]["ttd_p90_seconds"] == 9 * 60
    assert result["campaigns"] == 20


def test_one_alert_within_two_campaigns_is_one_true_alert_and_finds_both():
    also = Campaign("probing", "fast", ("eve",), at(10, 2), at(10, 9))
    result = of(Alert("eve", at(10, 5)), campaigns=(THEFT, also))
    assert (result["precision"], result["alerts"], result["recall"]) == (1.0, 1, 1.0)


def test_alerts_in_the_first_days_count_for_nothing():
    early = Alert("alice", at(HISTORY_DAYS) - 1)
    result = of(early, Alert("eve", at(10, 5)), clean=(early,))
    assert result["precision"] == 1.0
    assert result["alerts_per_clean_day"] == 0.0


def test_alerts_of_clean_days_are_for_a_hundred_identities():
    clean = [Alert("alice", at(day)) for day in range(8, 31)]
    # 23 alerts on 23 days of 50 identities.
    assert of(clean=clean)["alerts_per_clean_day"] == pytest.approx(2.0)


def test_without_alerts_there_is_no_precision_and_no_time():
    result = of()
    assert result["precision"] is None
    assert result["recall"] == 0.0
    assert result["ttd_p90_seconds"] is None
