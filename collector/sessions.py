"""Sessions that live now, kept from the rows that agents send."""

import threading
from typing import Any

import polars as pl

from collector import schema
from collector.segments import Committed

_KEY = list(schema.SESSIONS.latest_by)


class LiveSessions:
    """Thread-safe. Starts from the store's view, then follows each commit."""

    def __init__(self, known: pl.DataFrame | None = None) -> None:
        self._lock = threading.Lock()
        frame = schema.empty("sessions") if known is None else known
        self._live = _living(frame.select(list(schema.SESSIONS.dtypes)))

    def observe(self, committed: Committed) -> None:
        """Called after each commit."""
        new = committed.frames.get("sessions")
        if new is None:
            return
        with self._lock:
            latest = pl.concat([self._live, new]).unique(_KEY, keep="last", maintain_order=True)
            self._live = _living(latest)

    def frame(self) -> pl.DataFrame:
        """Rows of view ``sessions``, oldest first."""
        with self._lock:
            return self._live.sort("backend_started_at", "pid")

    def find(
        self, pid: int, agent: str = "", backend_started_at_us: int = 0
    ) -> list[dict[str, Any]]:
        """Live sessions with this pid; of one agent, of one start time where they are given."""
        matches = self.frame().filter(pl.col("pid") == pid)
        if agent:
            matches = matches.filter(pl.col("agent") == agent)
        started = pl.col("backend_started_at").cast(pl.Int64)
        if backend_started_at_us:
            matches = matches.filter(started == backend_started_at_us)
        # A reused pid: only its newest process can be alive.
        matches = matches.sort("backend_started_at").unique(["agent", "cluster"], keep="last")
        return matches.with_columns(backend_started_at_us=started).to_dicts()


def _living(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each process. A reused pid belongs to the newest; and of a session of which the
    log spoke first, the start was known to the second only, until the probe told the rest."""
    alive = rows.filter(pl.col("ended_at").is_null())
    newest = alive.sort("backend_started_at", maintain_order=True)
    return newest.unique(["agent", "pid"], keep="last", maintain_order=True)
