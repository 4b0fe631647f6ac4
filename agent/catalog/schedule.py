"""When to look at the catalog, and at what: pure, moments are handed in as seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from model.catalog import CLUSTER_KINDS, DATABASE_KINDS, CatalogKind

# A statement is seen before its transaction commits and before a reload reached all processes:
# look at once, and again a little later.
AFTER_POKE_SECONDS = (0.1, 0.6, 2.0, 6.0)
LEAST_GAP_SECONDS = 0.3
LOAD_SHARE = 20
"""Between two looks lies this many times what one takes ..."""
MOST_GAP_SECONDS = 2.5
"""... but what a statement changed is told within 5 s."""
QUIET_ROUNDS = 16
"""After so many rounds in which nothing changed the interval is ``MOST_STRETCH`` times as long."""
MOST_STRETCH = 5.0
ONLY_WATCHED = frozenset((CatalogKind.WATCHED,))
AFTER_CALL_SECONDS = 0.5
CALLS_GAP_SECONDS = 10.0
"""Programs call functions without end, and few write to what is watched."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a statement may have changed."""

    database: str | None = None
    """None: any."""
    kinds: frozenset[CatalogKind] | None = None
    """None: any."""
    watched: str = ""
    """One watched table, by name: nothing else is looked at."""

    @property
    def is_call(self) -> bool:
        """Somebody's function ran: it may have written to any watched table."""
        return self.kinds == ONLY_WATCHED and not self.watched

    @property
    def cluster(self) -> bool:
        return not self.watched and (self.kinds is None or bool(self.kinds & CLUSTER_KINDS))

    @property
    def in_database(self) -> bool:
        return not self.watched and (self.kinds is None or bool(self.kinds & DATABASE_KINDS))


EVERYTHING = Target()


@dataclass(slots=True)
class Schedule:
    """``interval_seconds`` is the shortest between two rounds over everything; while nothing
    changes it grows."""

    interval_seconds: float
    now: float
    _regular: float = field(init=False)
    _pokes: dict[Target, list[float]] = field(init=False, default_factory=dict)
    _not_before: float = field(init=False, default=0.0)
    _quiet: int = field(init=False, default=0)
    _after_calls: dict[Target, float] = field(init=False, default_factory=dict)
    """When was looked last for a call."""

    def __post_init__(self) -> None:
        self._regular = self.now

    def poke(self, target: Target, now: float) -> None:
        """Those who poke without end must not put off the first look for ever."""
        if target.is_call:
            earliest = self._after_calls.get(target, now - CALLS_GAP_SECONDS) + CALLS_GAP_SECONDS
            self._pokes.setdefault(target, [max(now + AFTER_CALL_SECONDS, earliest)])
            return
        due = [now + seconds for seconds in AFTER_POKE_SECONDS]
        waiting = self._pokes.get(target, due)
        self._pokes[target] = [min(waiting[0], due[0]), *due[1:]]
        self._quiet = 0
        self._regular = min(self._regular, now + self.interval_seconds)

    def next_at(self) -> float:
        first = min((due[0] for due in self._pokes.values()), default=self._regular)
        return max(self._not_before, min(first, self._regular))

    def take(self, now: float) -> frozenset[Target]:
        """What is due; empty: nothing yet."""
        if now < self.next_at():
            return frozenset()
        targets: set[Target] = set()
        for target, due in list(self._pokes.items()):
            later = [moment for moment in due if moment > now]
            if len(later) < len(due):
                targets.add(target)
                if target.is_call:
                    self._after_calls[target] = now
                # One that is nearly due would see the same.
                later = [moment for moment in later if moment > now + LEAST_GAP_SECONDS]
                if later:
                    self._pokes[target] = later
                else:
                    del self._pokes[target]
        if self._regular <= now:
            targets = {EVERYTHING}
        return frozenset(targets)

    def ended(self, targets: Iterable[Target], now: float, took_seconds: float, news: bool) -> None:
        """A look is over; ``news``: it found something."""
        gap = min(MOST_GAP_SECONDS, max(LEAST_GAP_SECONDS, LOAD_SHARE * took_seconds))
        self._not_before = now + gap
        self._quiet = 0 if news else self._quiet + 1
        if news:
            self._regular = min(self._regular, now + self.interval_seconds)
        if EVERYTHING in targets:
            self._regular = now + self.interval_seconds * self.stretch

    @property
    def stretch(self) -> float:
        quiet = min(self._quiet, QUIET_ROUNDS) / QUIET_ROUNDS
        return 1.0 + quiet * (MOST_STRETCH - 1.0)
