"""What makes the rules' answer another one although text and session are the same: the time, what
shapes have brought before, and limits that are used up or free again.

Whatever the kernel was told to let pass must follow. All happens on the thread that settles holds,
between two of them: an answer of before can then not be told to the kernel after.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.guard.allowances import Allowances
from rules import Judge
from rules.calendar import MINUTE_US

SETTLE_US = 250_000
"""How often is looked at what is used up; a statement's rows are known only after it anyway."""


class Changes:
    """``turn`` costs next to nothing while nothing changes: call it as often as you look around."""

    def __init__(
        self,
        judge: Callable[[], Judge],
        allowances: Allowances | None,
        tell: Callable[[], None],
        *,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        """``tell`` says of every living session again what is known of it. ``clock_us`` must be
        the clock by which the guard judges."""
        self._judge = judge
        self._allowances = allowances
        self._tell = tell
        self._clock_us = clock_us
        self._monotonic_us = monotonic_us
        self._minute = -1
        self._settle_at_us = 0
        self._moment = judge().rules.moment(clock_us())
        self._history = judge().history.version

    def turn(self) -> None:
        judge, now_us = self._judge(), self._clock_us()
        # The wall clock itself, so that a clock that is set is noticed as soon as time that passes.
        if now_us // MINUTE_US != self._minute:
            self._minute = now_us // MINUTE_US
            moment = judge.rules.moment(now_us)
            if moment != self._moment:
                self._moment = moment
                self._forget()
        monotonic_us = self._monotonic_us()
        if monotonic_us >= self._settle_at_us:
            self._settle_at_us = monotonic_us + SETTLE_US
            if judge.history.version != self._history:
                self._history = judge.history.version
                self._forget()
            if judge.usage.settle(judge.rules.limits, monotonic_us, now_us):
                self._tell()  # sessions that are concerned are of another class from here on

    def _forget(self) -> None:
        if self._allowances is not None:
            self._allowances.reset()
            self._tell()
