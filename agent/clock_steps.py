"""Whether somebody set this host's clock."""

import time
from collections.abc import Callable

STEP_NS = 100_000_000
"""Less is what a clock does that is brought into line slowly."""
UNSURE_NS = 10_000_000
"""Readings that lie so far apart say nothing: this thread waited for the processor between them."""


class ClockSteps:
    def __init__(
        self,
        unix_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._unix_ns = unix_ns
        self._monotonic_ns = monotonic_ns
        self._offset_ns: int | None = None
        self.moved_us()

    def moved_us(self) -> int:
        """By how much since the last call, in microseconds; 0: it went on as clocks do."""
        before, unix, after = self._monotonic_ns(), self._unix_ns(), self._monotonic_ns()
        if after - before > UNSURE_NS:
            return 0
        offset_ns, known_ns = unix - before, self._offset_ns
        self._offset_ns = offset_ns
        if known_ns is None or abs(offset_ns - known_ns) < STEP_NS:
            return 0
        return (offset_ns - known_ns) // 1000
