"""What statements that have ended mean for limits: counted, and told once if nothing is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from agent.judge import STOPPING
from model.session import Session
from model.verdict import Mode
from rules import Judge, Judgement, Limit, Match, View
from rules.usage import UsedUp, holder

CAPACITY = 10_000
ROW_BYTES = 1024
"""As much as this counts as a row at least: one value may hold a whole table, and a statement that
fails on its last row has sent all others, though the server tells no number of rows."""


class Limiting:
    """For the thread that records."""

    def __init__(
        self,
        mode: Mode,
        monotonic_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._enforced = mode is Mode.ENFORCE
        self._monotonic_us = monotonic_us
        self._told: dict[tuple[str, str], int] = {}
        """By limit and holder: since when it was used up when it was told."""

    def count(
        self, judge: Judge, judgement: Judgement, session: Session, rows: int, statements: int
    ) -> None:
        """``rows``: see ``rows_of``."""
        for limit in judgement.limits:
            judge.usage.count(limit, session, rows, statements, self._monotonic_us())

    def matches(self, judge: Judge, judgement: Judgement, view: View) -> Sequence[Match]:
        """A limit that only says so says it once each time that it is used up."""
        matches = judge.matches(judgement, view)
        if not judgement.limits:
            return matches
        return [
            match
            for match in matches
            if (self._enforced and match.action in STOPPING)
            or not self._is_told(match, view.session, judge)
        ]

    def note(self, match: Match, session: Session, judge: Judge) -> None:
        """``match`` is on the record."""
        limit, used = _used_up(match, session, judge)
        if limit is None or used is None:
            return
        if len(self._told) >= CAPACITY:
            self._told.clear()
        self._told[limit.rule.id, holder(session, limit.per)] = used.since_us

    def _is_told(self, match: Match, session: Session, judge: Judge) -> bool:
        limit, used = _used_up(match, session, judge)
        if limit is None or used is None:
            return False
        return self._told.get((limit.rule.id, holder(session, limit.per))) == used.since_us


def rows_of(rows: int, bytes_sent: int) -> int:
    """What counts as rows of a statement. Below 0: nobody knows."""
    return max(rows, bytes_sent // ROW_BYTES, 0)


def _used_up(match: Match, session: Session, judge: Judge) -> tuple[Limit | None, UsedUp | None]:
    limit = judge.rules.limits.get(match.rule.id)
    return limit, judge.usage.used_up(limit, session) if limit is not None else None
