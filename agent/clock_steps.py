"""Whether somebody set this host's clock, and what it shows until everybody has been told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

STEP_NS = 100_000_000
"""Less is what a clock does that is brought into line slowly."""
UNSURE_NS = 10_000_000
"""Readings that lie so far apart say nothing: this thread waited for the processor between them."""
READINGS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """The clock showed ``at_us`` (Unix microseconds) after it had been set by ``by_us``."""

    at_us: int = 0
    by_us: int = 0

    def is_after(self, stamped_us: int) -> bool:
        """Whether a moment was read before a step forward: it left a gap, in which nothing is
        stamped. What a step back made late nobody can tell from what is early."""
        return self.by_us > 0 and stamped_us <= self.at_us - self.by_us // 2


class ClockSteps:
    def __init__(
        self,
        unix_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._unix_ns = unix_ns
        self._monotonic_ns = monotonic_ns
        _, self._offset_ns = self._best_reading()

    @property
    def now_us(self) -> int:
        """Unix microseconds, as if the clock were set when ``moved_us`` tells of it: who moves what
        waits by what that told has then read no moment of the new time before."""
        return (self._monotonic_ns() + self._offset_ns) // 1000

    def moved_us(self) -> int:
        """By how much since the last call, in microseconds; 0: it went on as clocks do."""
        apart_ns, offset_ns = self._reading()
        if apart_ns > UNSURE_NS:
            apart_ns, offset_ns = self._best_reading()
        if apart_ns > UNSURE_NS:
            return 0
        known_ns, self._offset_ns = self._offset_ns, offset_ns
        by_ns = offset_ns - known_ns
        return by_ns // 1000 if abs(by_ns) >= STEP_NS else 0

    def _best_reading(self) -> tuple[int, int]:
        return min(self._reading() for _ in range(READINGS))

    def _reading(self) -> tuple[int, int]:
        """How far apart the clocks were read, and Unix time minus the other."""
        before, unix, after = self._monotonic_ns(), self._unix_ns(), self._monotonic_ns()
        return after - before, unix - before
