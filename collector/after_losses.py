"""After a loss at an agent the last snapshot may be among what is gone, and nothing later shows it.

A lost change is found missing when the next one builds on it; of the last one nobody would know
until the agent sends all again by itself, hours later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from collector.drift.waiting import AGAIN_US, Source


class AfterLosses:
    """Whom to ask for whole snapshots, each agent at most once in ``AGAIN_US``."""

    def __init__(self) -> None:
        self._lost: set[str] = set()
        self._asked_us: dict[str, int] = {}

    def observe(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Losses of whatever an agent was to send: in its spool, while it was recorded, or with a
        record that was put back from a copy."""
        if (losses := frames.get("losses")) is not None:
            recorded = (pl.col("source") == "agent") & pl.col("reason").str.starts_with("error_")
            of_any = losses.filter(pl.col("source").is_in(["spool", "uplink"]) | recorded)
            self._lost |= {*of_any["agent"]}

    def due(self, servers: Callable[[], Iterable[tuple[str, str]]], now_us: int) -> list[Source]:
        """``servers``: (agent, cluster) of all that are known; only asked if something is due."""
        due = {a for a in self._lost if now_us - self._asked_us.get(a, -AGAIN_US) >= AGAIN_US}
        if not due:
            return []
        self._lost -= due
        self._asked_us |= dict.fromkeys(due, now_us)
        return [Source(agent, cluster, "") for agent, cluster in servers() if agent in due]
