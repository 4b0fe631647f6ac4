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
        self._open = _unended(frame.select(list(schema.SESSIONS.dtypes)))
        """Those without an end, also where another one has the pid by now."""

    def observe(self, committed: Committed) -> None:
        """Called after each commit."""
        new = committed.frames.get("sessions")
        if new is None:
            return
        with self._lock:
            latest = new.unique(_KEY, keep="last", maintain_order=True)
            others = self._open.join(latest, on=_KEY, how="anti", maintain_order="left")
            self._open = pl.concat([others, _unended(latest)])

    def frame(self) -> pl.DataFrame:
        """Rows of view ``sessions``, oldest first."""
        with self._lock:
            unended = self._open
        return _living(unended).sort("backend_started_at", "pid")

    def unended(self, agent: str) -> pl.DataFrame:
        """Rows of one agent's sessions of which no end is on the record, in a fixed order."""
        with self._lock:
            unended = self._open
        return unended.filter(pl.col("agent") == agent).sort("backend_started_at", "pid")

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


def end_was_noticed() -> pl.Expr:
    """Of rows of view ``sessions``: whether the end is the moment at which the session was found to
    be gone (``LostEnds``). When and how it ended nobody saw. An agent takes the end from its source
    before it writes the row; only where the log alone tells of a session, of whose start it knows
    the second, it dates the end itself."""
    started, ended = pl.col("backend_started_at"), pl.col("ended_at")
    exact = started != started.dt.truncate("1s")
    return (exact & (ended == pl.col("seen_at"))).fill_null(False)


def _unended(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("ended_at").is_null())


def _living(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each process. A reused pid belongs to the newest; and of a session of which the
    log spoke first, the start was known to the second only, until the probe told the rest."""
    newest = rows.sort("backend_started_at", maintain_order=True)
    return newest.unique(["agent", "pid"], keep="last", maintain_order=True)
