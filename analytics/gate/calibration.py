"""The gate's two fits: each detector's scores to bits, and the evidence of cases to a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from analytics.findings import DAY_US
from analytics.gate.history import HOUR_US, History, Who, fleet_peaks
from analytics.gate.settings import PERFORMANCE, GateSettings, kin
from analytics.gate.sorts import ARRIVAL
from analytics.gate.tail import Tail, fit
from analytics.gate.weights import ORDINARY_BITS, weight

EVERY_HOUR_US = 2 * DAY_US
"""A young history changes fast: it is fitted each hour, an older one each six."""
OWN_DAYS_WEIGHT = 3.0
FULL_DAYS = 7
"""Of history, from which on the least threshold holds in full."""
CASES = "cases"


@dataclass(frozen=True)
class Calibration:
    at_us: int = -1
    tails: Mapping[str, Tail] = field(default_factory=dict)
    quiet: Tail = field(default_factory=Tail)
    """Of a detector that said nothing yet."""
    cases: Tail = field(default_factory=Tail)
    threshold: float = 0.0
    """Bits of evidence at which a case is raised."""

    def tail(self, detector: str) -> Tail:
        return self.tails.get(detector, self.quiet)

    def bits(
        self,
        history: History,
        settings: GateSettings,
        detector: str,
        who: Who,
        score: float,
        at_us: int,
    ) -> float:
        """How unusual the score is for the detector, and not more than for this identity."""
        tail = self.tail(detector)
        bits = tail.bits(score)
        length = min(history.days_of(detector, at_us), settings.history_days)
        own = history.own_days(detector, who, score, at_us // DAY_US, settings.history_days)
        if not own:
            return bits
        rate = (own + OWN_DAYS_WEIGHT * 10**-bits) / (max(length, own) + OWN_DAYS_WEIGHT)
        return min(bits, -math.log10(min(rate, 1.0)))


def due(calibration: Calibration, history: History, at_us: int) -> bool:
    young = at_us - history.since_us < EVERY_HOUR_US
    step = HOUR_US if young else 6 * HOUR_US
    return calibration.at_us < 0 or at_us // step > calibration.at_us // step


def calibrate(history: History, settings: GateSettings, at_us: int) -> Calibration:
    tails = {detector: _fit(history, detector, at_us) for detector in sorted(history.peaks)}
    first = first_threshold(settings)
    days = history.identity_days(CASES, at_us)
    length = history.days_of(CASES, at_us)
    cases = fit(_case_peaks(history, tails, settings, length), days)
    found = cases.value_at(settings.rate)
    threshold = cases.weight * found + (1 - cases.weight) * first
    # Attacks that nobody was told of would raise it, and so hide the next.
    claimed = -math.log10(settings.rate)
    threshold = min(threshold, claimed + settings.most_over_claimed)
    # A budget is no quota: where little happens, what is left is not told to fill it.
    least = claimed + settings.least_over_claimed * min(1.0, length / FULL_DAYS)
    threshold = max(threshold, least, settings.least_bits)
    return Calibration(at_us, tails, fit((), days), cases, threshold)


def _fit(history: History, detector: str, at_us: int) -> Tail:
    peaks = history.fleet_peaks(detector, history.days_of(detector, at_us))
    return fit(peaks, history.identity_days(detector, at_us))


def first_threshold(settings: GateSettings) -> float:
    """Where bits are what they say, this keeps the budget."""
    return max(settings.least_bits, -math.log10(settings.rate))


def evidence(bits: Mapping[str, float], settings: GateSettings) -> float:
    """Of a case: what is ordinary, and what its candidates have beyond it, by weight. Those of a
    family repeat each other, so that only a share of what the lesser ones say counts. After an
    arrival so does all that is new because of it."""
    best = max(bits.values(), default=0.0)
    ordinary = min(best, ORDINARY_BITS)
    arrived = bits.get(ARRIVAL, 0.0) >= ORDINARY_BITS
    families: dict[str, list[float]] = {}
    for sort, value in bits.items():
        beyond = max(0.0, value - ORDINARY_BITS) * weight(sort)
        families.setdefault(kin(sort, arrived=arrived), []).append(beyond)
    return ordinary + sum(
        (1 - settings.repeat_share) * max(each) + settings.repeat_share * sum(each)
        for each in families.values()
    )


def _case_peaks(
    history: History, tails: Mapping[str, Tail], settings: GateSettings, days: float
) -> list[float]:
    """As today's calibration sees those days: yesterday's may have been another scale."""
    found: dict[tuple[int, Who], dict[str, float]] = {}
    for detector, peaks in history.peaks.items():
        for key, seen in peaks.items() if detector not in PERFORMANCE else ():
            found.setdefault(key, {})[detector] = tails[detector].bits(seen.score)
    weighed = ((who, evidence(bits, settings)) for (_, who), bits in found.items())
    return fleet_peaks(weighed, days)
