"""How many rows statements of one shape have brought so far, whoever sent them. Pure.

Only roughly: in steps of four from 1,000 on, so that an answer that was given before stays right
until a shape has brought several times as much.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

CAPACITY = 10_000
SMALLEST = 1_000
STEP = 4


class History:
    """Safe to share between threads. Shapes go by their fingerprint; those that were longest not
    seen are forgotten."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._most: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()
        self.version = 0
        """Another one whenever an answer of ``usual_rows`` has changed."""

    def observe(self, fingerprint: str, rows: int) -> None:
        if rows < SMALLEST or not fingerprint:
            return
        step = SMALLEST
        while step * STEP <= rows:
            step *= STEP
        with self._lock:
            known = self._most.get(fingerprint, 0)
            if step > known:
                self._most[fingerprint] = step
                self.version += 1
            self._most.move_to_end(fingerprint)
            if len(self._most) > self._capacity:
                self._most.popitem(last=False)
                self.version += 1

    def usual_rows(self, fingerprint: str) -> int:
        """The most that one execution has brought, rounded down to a step; 0 below the smallest and
        for what is not known."""
        return self._most.get(fingerprint, 0)
