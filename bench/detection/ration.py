"""The budget of a baseline: a threshold on its score that lets through as many as it may.

The threshold is the score that, over the days so far (at most thirty), as many identities a day
exceeded as the budget allows; it is set anew each day. What lies exactly on it passes while the
budget so far is not used up, so that a method with few different scores is not silent. One alert an
identity and day. Nothing is told in the first days, from which the first threshold is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.detection.candidate import Alert, Candidate, Step
from bench.detection.scoring import DAY_US, HISTORY_DAYS

MEMORY_DAYS = 30


class Ration:
    """``take`` for every step in order."""

    def __init__(self, per_day_per_100: float) -> None:
        self._share = per_day_per_100 / 100
        self._best: dict[int, dict[str, float]] = {}
        self._active: dict[int, int] = {}
        self._first_day = self._day = -1
        self._threshold = math.inf
        self._told = 0
        self._told_today: set[str] = set()

    def take(self, step: Step, candidates: Sequence[Candidate]) -> list[Alert]:
        alerts = []
        for candidate in candidates:
            self._turn(candidate.at_us // DAY_US)
            if self._passes(candidate):
                self._told += 1
                self._told_today.add(candidate.identity)
                alerts.append(Alert(candidate.identity, candidate.at_us, candidate.cause))
            today = self._best.setdefault(self._day, {})
            today[candidate.identity] = max(candidate.score, today.get(candidate.identity, 0.0))
        self._turn(step.at_us // DAY_US)
        self._active[self._day] = max(step.identities, self._active.get(self._day, 0))
        return alerts

    def _turn(self, day: int) -> None:
        if day <= self._day:
            return
        self._first_day = day if self._first_day < 0 else self._first_day
        self._day, self._told_today = day, set()
        past = [each for each in self._active if day - MEMORY_DAYS <= each < day]
        if day - self._first_day < HISTORY_DAYS or not past:
            return
        scores = sorted(
            (score for each in past for score in self._best.get(each, {}).values()), reverse=True
        )
        allowed = math.floor(self._share * sum(self._active[each] for each in past))
        self._threshold = scores[allowed] if allowed < len(scores) else 0.0

    def _passes(self, candidate: Candidate) -> bool:
        if candidate.identity in self._told_today or candidate.score < self._threshold:
            return False
        return candidate.score > self._threshold or self._told < self._earned()

    def _earned(self) -> float:
        """The budget from the end of history to the end of this day."""
        days = self._day - self._first_day - HISTORY_DAYS + 1
        active = self._active.get(self._day - 1, 0)
        return self._share * active * days


def alerts_within(
    budget: float, steps: Sequence[Step], said: Iterable[tuple[int, list[Candidate]]]
) -> list[Alert]:
    """``said``: what a baseline said, by number of step."""
    by_step = dict(said)
    ration = Ration(budget)
    return [
        alert
        for number, step in enumerate(steps)
        for alert in ration.take(step, by_step.get(number, []))
    ]
