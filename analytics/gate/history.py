"""What the gate remembers of candidates: the highest of each identity and day, by detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from analytics.findings import DAY_US
from model.finding import Finding

HOUR_US = DAY_US // 24
ABOUT = 0.85
LEAST_DAYS, OFTEN = 3, 0.1


class Who(NamedTuple):
    """Whose days are counted: an identity on one server."""

    agent: str
    cluster: str
    identity: str


class Seen(NamedTuple):
    """The highest candidate of an identity and day."""

    score: float
    cap: float = math.inf
    """The score that was enough to be raised, if it was and nobody said that it was nothing."""
    finding_id: str = ""
    """The finding of its case."""


Days: TypeAlias = Mapping[tuple[int, Who], Seen]


def fleet_peaks(peaks: Iterable[tuple[Who, float]], days: float) -> list[float]:
    """An identity that has such days all the time says little of others: of each count the highest
    three, or a tenth of ``days``."""
    most = max(LEAST_DAYS, math.ceil(OFTEN * days))
    mine: dict[Who, list[float]] = {}
    for who, value in peaks:
        mine.setdefault(who, []).append(value)
    return [value for values in mine.values() for value in sorted(values, reverse=True)[:most]]


def who_of(finding: Finding) -> Who:
    return Who(finding.agent, finding.cluster, finding.identity or finding.user)


@dataclass(frozen=True)
class History:
    since_us: int = 0
    """Start of the first hour that was looked at; 0 before."""
    identities: Mapping[int, int] = field(default_factory=dict)
    """Identities that were active, by day."""
    peaks: Mapping[str, Days] = field(default_factory=dict)
    from_day: Mapping[str, int] = field(default_factory=dict)
    """Where a detector's history begins later than the rest: it is new, or had too much."""

    def looked(self, identities: int, at_us: int, if_unknown: int = 0) -> History:
        """``identities`` were active on the day of ``at_us`` so far; ``if_unknown``: of a day that
        nobody counted."""
        day = at_us // DAY_US
        since = self.since_us or at_us // HOUR_US * HOUR_US
        identities = identities if day in self.identities else max(identities, if_unknown)
        if self.since_us and self.identities.get(day, -1) >= identities:
            return self
        return replace(self, since_us=since, identities={**self.identities, day: identities})

    def identity_days(self, detector: str, at_us: int) -> float:
        """That were looked at for ``detector`` until ``at_us``; today counts as far as it came."""
        today = at_us // DAY_US
        first = max(self.from_day.get(detector, 0), self.since_us // DAY_US)
        total = 0.0
        for day, identities in self.identities.items():
            if first <= day < today:
                total += identities * self._share(day, (day + 1) * DAY_US)
        if today >= first and today in self.identities:
            usual = max(self.identities[today], self.identities.get(today - 1, 0))
            total += usual * self._share(today, at_us)
        return total

    def _share(self, day: int, until_us: int) -> float:
        begun = max(day * DAY_US, self.since_us)
        return max(0, until_us - begun) / DAY_US

    def days_of(self, detector: str, at_us: int) -> float:
        """Length of a detector's history in days."""
        first = max(self.from_day.get(detector, 0) * DAY_US, self.since_us)
        return max(0.0, (at_us - first) / DAY_US) if self.since_us else 0.0

    def fleet_peaks(self, detector: str, days: float) -> list[float]:
        """What tells how unusual a score is for the fleet."""
        return fleet_peaks(
            (
                (who, min(seen.score, seen.cap))
                for (_, who), seen in self.peaks.get(detector, {}).items()
            ),
            days,
        )

    def own_days(self, detector: str, who: Who, score: float, before_day: int, days: int) -> float:
        """Earlier days on which ``who`` had about such a score; a raised one counts half, as it may
        not have been ordinary."""
        mine = self.peaks.get(detector, {})
        found = 0.0
        for day in range(before_day - days, before_day):
            seen = mine.get((day, who))
            if seen is not None and seen.score >= score * ABOUT:
                found += 0.5 if seen.cap < math.inf else 1.0
        return found

    def without(self, finding_id: str) -> History:
        """A person said that this finding was right: its days are not ordinary ones."""
        return self._map(finding_id, lambda seen: None)

    def as_ordinary(self, finding_id: str) -> History:
        """A person said that this finding was nothing: its days are as ordinary as any."""
        return self._map(finding_id, lambda seen: Seen(seen.score))

    def _map(self, finding_id: str, change: Callable[[Seen], Seen | None]) -> History:
        return replace(
            self,
            peaks={
                detector: {
                    key: new
                    for key, seen in days.items()
                    if (new := change(seen) if seen.finding_id == finding_id else seen) is not None
                }
                for detector, days in self.peaks.items()
            },
        )

    def forgotten(self, at_us: int, history_days: int, max_peaks: int) -> History:
        """Without what is older than ``history_days``, and at most ``max_peaks`` a detector."""
        oldest = at_us // DAY_US - history_days
        from_day = dict(self.from_day)
        peaks: dict[str, Days] = {}
        for detector, days in self.peaks.items():
            first = max(oldest, from_day.get(detector, 0))
            kept = {key: seen for key, seen in days.items() if key[0] >= first}
            if len(kept) > max_peaks:
                by_age = sorted((key[0] for key in kept), reverse=True)
                first = min(by_age[max_peaks - 1] + 1, at_us // DAY_US)
                kept = {key: seen for key, seen in kept.items() if key[0] >= first}
                from_day[detector] = first
            peaks[detector] = dict(list(kept.items())[-max_peaks:])
        identities = {day: n for day, n in self.identities.items() if day >= oldest}
        return replace(self, identities=identities, peaks=peaks, from_day=from_day)
