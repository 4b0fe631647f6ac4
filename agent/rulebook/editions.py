"""Which rules judge a statement: those that were in force when it started."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from threading import Lock

from rules import Judge

KEPT = 4
"""Editions that are remembered for statements which are recorded after they were exchanged."""

NEVER_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Edition:
    """A whole set of rules; it never changes, it is exchanged for another one."""

    judge: Judge
    digest: str
    """SHA-256 over the files and the configured constants, hex."""
    version: int = 0
    """Of the central bundle in it; 0 where there is none."""

    @property
    def rules(self) -> int:
        return len(self.judge.rules.rules)


class Rulebook:
    """Safe to share between threads. An exchange has two moments: from ``put`` on the new judge is
    asked; from ``confirm`` on nothing passes any more that the old one had let pass."""

    def __init__(self, first: Edition) -> None:
        self._lock = Lock()
        self._newest = first
        self._in_force: list[tuple[int, Edition]] = [(0, first)]
        """Newest first, each with the Unix microseconds of its confirmation."""
        self._settled_us = 0
        self._only = (first.judge,)
        self._failed: Counter[str] = Counter()

    @property
    def edition(self) -> Edition:
        return self._newest

    def judge(self) -> Judge:
        """Whom to ask about a statement that is about to run."""
        return self._newest.judge

    def exchanging(self) -> bool:
        """The newest edition has been put and not confirmed."""
        return self._settled_us == NEVER_US

    def judges(self, started_at_us: int) -> tuple[Judge, ...]:
        """Who may have been asked about a statement that started then, the likeliest first."""
        if started_at_us >= self._settled_us:
            return self._only
        with self._lock:
            editions = [each for since, each in self._in_force if since <= started_at_us]
            then = editions[0] if editions else self._in_force[-1][1]
            later = [each for _, each in reversed(self._in_force)] + [self._newest]
            place = next(n for n, each in enumerate(later) if each is then)
            return tuple(dict.fromkeys(each.judge for each in later[place : place + 2]))

    def put(self, edition: Edition) -> None:
        with self._lock:
            self._newest = edition
            # Until it is confirmed, what starts may still be let pass by the old one's word.
            self._settled_us = NEVER_US

    def confirm(self, edition: Edition, at_us: int) -> None:
        with self._lock:
            self._in_force.insert(0, (at_us, edition))
            for _, old in self._in_force[KEPT:]:
                self._failed.update(dict(old.judge.counts().failed))
            del self._in_force[KEPT:]
            if edition is self._newest:
                self._only = (edition.judge,)
                self._settled_us = at_us

    def failed(self) -> dict[str, int]:
        """Evaluations that ended in an error, by rule, since the start."""
        with self._lock:
            total = Counter(self._failed)
            editions = dict.fromkeys([self._newest, *(each for _, each in self._in_force)])
        for edition in editions:
            total.update(dict(edition.judge.counts().failed))
        return dict(total)
