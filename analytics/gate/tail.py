"""From scores to bits: how seldom an identity has a day with such a score (peaks over threshold).

``bits`` is -log10 of the probability that an identity's ordinary day has a score so high or higher.
Above a high score ``start`` the peaks of a detector's history follow a generalised Pareto tail,
below it they are counted. The tail is fitted to its middle. How far the highest went does not
count, only that they were high: so an attack does not hide the next, and what is raised each day
need not be left out, which would make the highest of the rest look ever higher.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SCORE = 40.0
MAX_BITS = 12.0
PRIOR_SLOPE = 0.6
"""Bits for each unit of a score that no history has checked: detectors tend to claim too much."""
PRIOR_DAYS = 50.0
"""Identity-days of history at which score and history weigh the same."""
TAIL_RATE = 0.1
LEAST_TAIL = 15
PRIOR_SHAPE, SHAPE_WEIGHT, MOST_SHAPE = 0.15, 30.0, 0.5
SCALE_WEIGHT = 5.0
PRIOR_PEAKS, PRIOR_PEAK_DAYS = 1.0, 5.0
KNOTS = 200


@dataclass(frozen=True)
class Tail:
    """Fitted once, then asked often. ``days`` are identity-days."""

    days: float = 0.0
    peaks: int = 0
    start: float = 0.0
    rate: float = 1.0
    """Of days with a peak of at least ``start``."""
    scale: float = 1.0
    shape: float = PRIOR_SHAPE
    knots: tuple[tuple[float, float], ...] = ()
    """Below ``start``, ascending: a value, and the rate of days that reach it."""

    @property
    def weight(self) -> float:
        """Of history against the score itself."""
        return self.days / (self.days + PRIOR_DAYS)

    def bits(self, score: float) -> float:
        """Never falls where the score rises."""
        weight = self.weight
        mixed = weight * -math.log10(self.rate_of(score)) + (1 - weight) * PRIOR_SLOPE * score
        return min(max(mixed, 0.0), MAX_BITS)

    def rate_of(self, value: float) -> float:
        """Days that reach ``value``, by history alone."""
        if value < self.start:
            # Below the lowest peak a candidate is as seldom as any candidate is.
            at = max(0, bisect_right(self.knots, (value, math.inf)) - 1)
            return self.knots[at][1] if self.knots else self.rate
        over = (value - self.start) / self.scale
        survival = math.pow(1 + self.shape * over, -1 / self.shape)
        return max(min(1.0, self.rate * survival), 1e-30)

    def value_at(self, rate: float) -> float:
        """What so many days reach, by history alone; 0 where not so many had a peak."""
        if rate <= self.rate:
            return self.start + self.scale / self.shape * (
                math.pow(self.rate / rate, self.shape) - 1
            )
        if not self.knots or self.knots[0][1] <= rate:
            return 0.0
        return next((value for value, knot in self.knots if knot <= rate), self.start)

    def score_at(self, bits: float) -> float:
        """The lowest score with at least so many bits; MAX_SCORE where none has."""
        low, high = 0.0, MAX_SCORE
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self.bits(middle) >= bits else (middle, high)
        return high


def fit(peaks: Sequence[float], days: float) -> Tail:
    """``peaks``: at most one for each identity and day; ``days``: identity-days looked at."""
    ordered = sorted(peaks, reverse=True)
    observed = days + PRIOR_PEAK_DAYS
    count = min(len(ordered), max(LEAST_TAIL, math.ceil(TAIL_RATE * days)))
    if not count:
        return Tail(days, 0, 1.0, PRIOR_PEAKS / observed, _prior_scale(), PRIOR_SHAPE)
    start = ordered[count - 1]
    scale, shape = _scale_and_shape([value - start for value in ordered[:count]])
    return Tail(
        days,
        len(ordered),
        start,
        min(1.0, (count + PRIOR_PEAKS) / observed),
        scale,
        shape,
        _knots(ordered[::-1], start, observed),
    )


def _prior_scale() -> float:
    """Of an exponential tail whose bits are the score's, shrunk."""
    return 1 / (math.log(10) * PRIOR_SLOPE)


def _scale_and_shape(descending: Sequence[float]) -> tuple[float, float]:
    """By the middle and the upper quarter: neither how far the highest went, nor that some are
    censored, moves them. Shrunk towards the prior, the shape more: it needs many peaks."""
    number = len(descending)
    middle, upper = descending[number // 2], descending[number // 4]
    found = math.log2(upper / middle - 1) if 0 < middle * 1.05 < upper - middle else 0.0
    enough = number if number >= LEAST_TAIL else 0
    shape = (enough * max(found, 0.0) + SHAPE_WEIGHT * PRIOR_SHAPE) / (enough + SHAPE_WEIGHT)
    shape = min(max(shape, 0.01), MOST_SHAPE)
    scale = middle * shape / (math.pow(2, shape) - 1)
    shrunk = (number * scale + SCALE_WEIGHT * _prior_scale()) / (number + SCALE_WEIGHT)
    return max(shrunk, 1e-3), shape


def _knots(
    ascending: list[float], start: float, observed: float
) -> tuple[tuple[float, float], ...]:
    below = [value for value in ascending if value < start]
    step = max(1, len(below) // KNOTS)
    total = len(ascending)
    return tuple(
        (below[at], min(1.0, (total - at + PRIOR_PEAKS) / observed))
        for at in range(0, len(below), step)
    )
