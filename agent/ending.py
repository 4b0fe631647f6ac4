"""The end of the agent of one host: all its parts share one deadline.

Probes first, so that nothing is held; then what was seen is made durable, and sent if somebody
takes it. What the collector has not acknowledged stays in the spool.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.approvals.service import Approving
from agent.capture import Capture
from agent.clusters import Clusters
from agent.explaining import Explaining
from agent.guard.hold import Guard
from agent.guard.watchdog_link import WatchdogLink
from agent.metrics import AgentMetrics
from agent.naming import Naming
from agent.parsers import Parsers
from agent.recorder import Recorder
from agent.rulebook import RuleService
from agent.sources.ebpf import EbpfSource
from agent.spool.spool import Spool
from agent.uplink import Uplink

log = structlog.get_logger(__name__)

STOP_SECONDS = 3.5
"""An operator who stops us under load waits for five."""
SEND_SECONDS, CLOSE_SECONDS = 1.8, 0.5
"""Of these, what is left when the record is worked off, for all that waits in it is to be written
still, which may be 10,000 rows; and when no more is sent."""
SILENT_SECONDS = 1.0
"""Nothing is sent to a collector that owes us an answer for so long."""
LEAVE_SECONDS = 0.3


class Deadline:
    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    def left(self, but_seconds: float = 0.0) -> float:
        """Seconds, without those that who comes later needs; 0 when it is over."""
        return max(0.0, self._until - self._clock() - but_seconds)


@dataclass(frozen=True, slots=True)
class Ending:
    """``save`` keeps what the next agent of this host has to know."""

    clusters: Clusters
    naming: Naming
    rules: RuleService
    explaining: Explaining
    approving: Approving | None
    capture: Capture | None
    source: EbpfSource | None
    guard: Guard | None
    watchdog: WatchdogLink | None
    recorder: Recorder
    uplink: Uplink
    spool: Spool
    parsers: Parsers
    metrics: AgentMetrics
    save: Callable[[], None]

    def run(self, seconds: float = STOP_SECONDS) -> None:
        deadline = Deadline(seconds)
        self._ask(deadline)
        self._let_go(deadline)
        for part in (self.rules, self.explaining, self.approving):
            if part is not None:
                part.stop(deadline.left(SEND_SECONDS))
        self._write(deadline)
        self._send(deadline)
        self.parsers.close()
        self.metrics.close()
        log.info("agent.stop", seconds=round(seconds - deadline.left(), 1))

    def _ask(self, deadline: Deadline) -> None:
        """All at once: while one ends so do the others."""
        self.clusters.stop_queries()
        self.naming.stop()
        for part in (self.rules, self.explaining, self.approving):
            if part is not None:
                part.ask_to_stop()

    def _let_go(self, deadline: Deadline) -> None:
        capture = self.capture
        if capture is not None and capture.alive:
            capture.stop(deadline.left())
        if capture is not None and capture.alive:
            # Two must not take the same probes away. Our end does; the watchdogs, which are not
            # told to leave, look after what is still held then.
            log.warning("agent.capture_hangs")
        else:
            if self.source is not None:
                self.source.close()
            if self.guard is not None:
                self.guard.close()
            if self.watchdog is not None:
                self.watchdog.close()
        self.clusters.close()

    def _write(self, deadline: Deadline) -> None:
        if self.recorder.alive:
            self.recorder.stop(deadline.left(SEND_SECONDS))
        self.save()
        if self.approving is not None:
            self.approving.close()

    def _send(self, deadline: Deadline) -> None:
        self.uplink.drain(deadline.left(CLOSE_SECONDS), SILENT_SECONDS)
        self.uplink.stop(LEAVE_SECONDS)
        self.spool.close()
