"""Alerts against campaigns: how many are true, what was found, and how soon.

An alert is true when its identity is one of a campaign's and its time lies between the campaign's
first statement and an hour (slow ones: a day) after its last. A campaign is found when at least
one alert on it is true; the time to detection runs from its first statement to its first true
alert, and is of those found alone. The first days of a world are history: alerts in them count for
no method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.detection.candidate import Alert

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
GRACE_US = {"fast": HOUR_US, "slow": DAY_US}
HISTORY_DAYS = 7


class Labelled(Protocol):
    """What scoring reads of a campaign."""

    @property
    def kind(self) -> str: ...
    @property
    def speed(self) -> str: ...
    @property
    def identities(self) -> tuple[str, ...]: ...
    @property
    def from_us(self) -> int: ...
    @property
    def to_us(self) -> int: ...


@dataclass(frozen=True)
class Outcome:
    """One world under one method: with its campaigns, and the same world without them."""

    campaigns: Sequence[Labelled]
    alerts: Sequence[Alert]
    clean_alerts: Sequence[Alert]
    start_us: int
    days: int
    identities: int
    clean_days: int = 0
    """Of the world without campaigns; 0: as many."""

    def judged(self, alerts: Iterable[Alert]) -> list[Alert]:
        begin_us = self.start_us + HISTORY_DAYS * DAY_US
        return [alert for alert in alerts if alert.at_us >= begin_us]


@dataclass(frozen=True)
class Found:
    """A campaign and the first true alert on it, if any."""

    campaign: Labelled
    seconds: float | None


def is_on(alert: Alert, campaign: Labelled) -> bool:
    inside = campaign.from_us <= alert.at_us <= campaign.to_us + GRACE_US[campaign.speed]
    return inside and alert.identity in campaign.identities


def found(outcome: Outcome) -> list[Found]:
    alerts = outcome.judged(outcome.alerts)
    result = []
    for campaign in outcome.campaigns:
        times = [alert.at_us for alert in alerts if is_on(alert, campaign)]
        seconds = (min(times) - campaign.from_us) / 1e6 if times else None
        result.append(Found(campaign, seconds))
    return result


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Of all worlds together; null where there is nothing to divide by."""
    every = [each for outcome in outcomes for each in found(outcome)]
    alerts = true = 0
    for outcome in outcomes:
        judged = outcome.judged(outcome.alerts)
        alerts += len(judged)
        true += sum(any(is_on(alert, c) for c in outcome.campaigns) for alert in judged)
    kinds = sorted({each.campaign.kind for each in every})
    return {
        "precision": true / alerts if alerts else None,
        **_of(every),
        "alerts_per_clean_day": _clean_a_day(outcomes),
        "alerts": alerts,
        "true_alerts": true,
        "fast": _of([each for each in every if each.campaign.speed == "fast"]),
        "slow": _of([each for each in every if each.campaign.speed == "slow"]),
        "recall_by_kind": {
            kind: _recall([each for each in every if each.campaign.kind == kind]) for kind in kinds
        },
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of them do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([5.0], 0.9), percentile([], 0.9)
    (2.0, 5.0, None)
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _of(every: Sequence[Found]) -> dict[str, Any]:
    seconds = [each.seconds for each in every if each.seconds is not None]
    return {
        "recall": _recall(every),
        "ttd_median_seconds": percentile(seconds, 0.5),
        "ttd_p90_seconds": percentile(seconds, 0.9),
        "campaigns": len(every),
    }


def _recall(every: Sequence[Found]) -> float | None:
    return sum(each.seconds is not None for each in every) / len(every) if every else None


def _clean_a_day(outcomes: Sequence[Outcome]) -> float | None:
    """For 100 identities, as the budget is."""
    days = [max(0, (each.clean_days or each.days) - HISTORY_DAYS) for each in outcomes]
    identity_days = sum(n * outcome.identities for n, outcome in zip(days, outcomes, strict=True))
    if not identity_days:
        return None
    alerts = sum(len(outcome.judged(outcome.clean_alerts)) for outcome in outcomes)
    return 100 * alerts / identity_days
