"""What drift has to know from before this process began, out of the record.

Both are bounded in rows and in seconds: where the record is too large for that, it is as if there
was nothing.
"""

from __future__ import annotations

import duckdb
import polars as pl
import structlog

from collector import schema
from collector.drift.changes import CHANGING
from collector.store import Store

log = structlog.get_logger(__name__)

RECALL_US = 15 * 60_000_000
"""Transactions that began so shortly before a start are known in it."""
SECONDS = 5.0
MOST_ALTERED = 1_000
MOST_RECALLED = 100_000

_VERBS = ", ".join(f"'{verb}'" for verb in sorted(CHANGING))
_ALTERED = f"""
    SELECT * FROM statements
    WHERE agent = $1 AND cluster = $2
      AND started_at >= make_timestamp($3) AND started_at < make_timestamp($4)
      AND operation = 'alter' AND coalesce(sqlstate, '') IN ('', '00000')
      AND (summary ILIKE '%alter system%' OR text ILIKE '%alter%system%')
      AND NOT EXISTS (
        FROM drift
        WHERE drift.agent = statements.agent AND drift.statement_id = statements.id
          AND drift.kind = 'setting' AND drift.occurred_at < make_timestamp($4) - INTERVAL 1 SECOND
      )
    ORDER BY started_at DESC LIMIT {MOST_ALTERED}
"""
"""An ALTER SYSTEM that explained an earlier difference explains no second one. The end of the time
is a second after the moment of the difference, and several may have that moment."""
_RECALLED = f"""
    SELECT * FROM statements
    WHERE started_at >= make_timestamp($1)
      AND (agent, pid, backend_started_at) IN (
        SELECT (agent, pid, backend_started_at) FROM statements
        WHERE started_at >= make_timestamp($1)
          AND (operation IN ({_VERBS}) OR list_has_any(verbs, [{_VERBS}]))
      )
    ORDER BY started_at DESC LIMIT {MOST_RECALLED}
"""
_SESSIONS = f"""
    SELECT * FROM sessions WHERE ended_at IS NULL OR ended_at >= make_timestamp($1)
    ORDER BY backend_started_at DESC LIMIT {MOST_RECALLED}
"""
_APPROVED = f"""
    SELECT * FROM verdicts
    WHERE occurred_at >= make_timestamp($1) AND outcome = 'approved'
    ORDER BY occurred_at DESC LIMIT {MOST_RECALLED}
"""


class EarlierStatements:
    """``recall`` once, at the start; ``altered`` is the ``Lookup`` of drift."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def recall(self, now_us: int) -> dict[str, pl.DataFrame]:
        """The last minutes: all of sessions that changed something, for a change counts once its
        transaction ends."""
        since_us = now_us - RECALL_US
        queries = {"statements": _RECALLED, "sessions": _SESSIONS, "verdicts": _APPROVED}
        return {table: self._rows(table, sql, since_us) for table, sql in queries.items()}

    def altered(self, agent: str, cluster: str, from_us: int, to_us: int) -> pl.DataFrame:
        """Each ALTER SYSTEM of that time that explained nothing yet."""
        return self._rows("statements", _ALTERED, agent, cluster, from_us, to_us)

    def _rows(self, table: str, sql: str, *parameters: str | int) -> pl.DataFrame:
        try:
            return self._store.frame(sql, parameters, SECONDS)
        except duckdb.InterruptException:
            log.warning("drift.earlier_not_read", table=table, seconds=SECONDS)
            return schema.empty(table)
