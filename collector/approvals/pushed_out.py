"""Requests that nobody decided about and that there was no room for: counted and told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

import structlog

from collector.approvals.shares import MOST_OF_AGENT
from model.approval import Moment

log = structlog.get_logger(__name__)

TOLD_US = 24 * 3_600_000_000
"""So long the agent is called degraded for it."""
LOG_EVERY_US = 60_000_000


class PushedOut:
    """Thread-safe. By agent, since the collector started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: Counter[str] = Counter()
        self._new: Counter[str] = Counter()
        """Since the log's last line about it."""
        self._logged_us: dict[str, int] = {}
        self._last_us: dict[str, int] = {}

    def count(self, by_agent: Mapping[str, int], now: Moment) -> None:
        with self._lock:
            self._total.update(by_agent)
            self._new.update(by_agent)
            self._last_us.update(dict.fromkeys(by_agent, now.boot_us))

    def total(self) -> int:
        with self._lock:
            return self._total.total()

    def tell(self, now: Moment) -> None:
        """To the log, at most once a minute for each agent."""
        with self._lock:
            for agent in list(self._new):
                if now.boot_us - self._logged_us.get(agent, -LOG_EVERY_US) < LOG_EVERY_US:
                    continue
                self._logged_us[agent] = now.boot_us
                log.warning(
                    "approvals.pushed_out",
                    agent=agent,
                    requests=self._new.pop(agent),
                    reason=f"an agent has room for {MOST_OF_AGENT}",
                )

    def sentences(self, agent: str, now: Moment) -> list[str]:
        """What ``pgwarden status`` says of it."""
        with self._lock:
            last_us = self._last_us.get(agent)
            if last_us is None or now.boot_us - last_us > TOLD_US:
                return []
            return [
                f"{self._total[agent]} requests for approval were pushed out by newer ones of this"
                f" host, which has room for {MOST_OF_AGENT}: pgwarden approvals list"
            ]
