"""Log positions that cannot be written: told when it begins, each minute, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 60.0


@dataclass(slots=True)
class _Failing:
    told_at: float
    times: int = 0
    untold: int = 0


class UnwrittenPositions:
    """By log: a full disk refuses one of them and has room for another. A warning, for nothing is
    lost by it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failing: dict[Hashable, _Failing] = {}

    def failed(self, source: Hashable, reason: str) -> None:
        now = self._monotonic()
        failing = self._failing.setdefault(source, _Failing(now - AGAIN_SECONDS))
        failing.times += 1
        failing.untold += 1
        if now - failing.told_at < AGAIN_SECONDS:
            return
        log.warning("log.position_not_written", reason=reason, times=failing.untold)
        failing.told_at, failing.untold = now, 0

    def written(self, source: Hashable) -> None:
        failing = self._failing.pop(source, None)
        if failing is not None:
            log.warning("log.position_written", times_refused=failing.times)
