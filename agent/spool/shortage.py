"""Since when the spool has no room, why, and what was lost by it: for who looks after the host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

QUIET_SECONDS = 5.0
"""A shortage is over when something was taken and nothing refused for so long: on a full disk a
small batch fits now and then, which is no news."""

_REMEDIES = {
    "disk_full": "make room on the disk that holds {folder}",
    "spool_full": "bring the collector back, or raise agent.spool.max_bytes",
}
"""By reason. A disk that cannot be synced tells of itself (``SpoolFile.problem``)."""


@dataclass(slots=True)
class _Began:
    at_seconds: float
    reason: str
    why: str
    lost: int = 0


class Shortage:
    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began: _Began | None = None
        self._refused_at = 0.0
        self._took = False

    def refused(self, reason: str, why: str, lost: int) -> None:
        """``lost`` events found no room; ``why``: what the disk says."""
        if reason not in _REMEDIES:
            return
        with self._lock:
            self._refused_at, self._took = self._monotonic(), False
            if self._began is None:
                self._began = _Began(time.time(), reason, why)
                remedy = self._remedy(reason)
                log.error(
                    f"spool.{reason}", file=str(self._path), reason=why, lost=lost, remedy=remedy
                )
            self._began.lost += lost

    def took(self) -> None:
        """Everything that was given found room."""
        self._took = True

    @property
    def sentence(self) -> str:
        """Empty: there is none."""
        with self._lock:
            began = self._began
            if began is None:
                return ""
            if self._took and self._monotonic() - self._refused_at >= QUIET_SECONDS:
                self._began = None
                log.info(f"spool.{began.reason}_over", file=str(self._path), lost=began.lost)
                return ""
            since = datetime.fromtimestamp(began.at_seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            return (
                f"{self._path} has no room since {since} ({began.why}): {began.lost} events are"
                f" lost so far, and counted; {self._remedy(began.reason)}"
            )

    def _remedy(self, reason: str) -> str:
        return _REMEDIES[reason].format(folder=self._path.parent)
