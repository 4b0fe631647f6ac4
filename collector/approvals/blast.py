"""Who else uses what a refused statement is about: asked of the record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from collector.approvals.book import Request
from collector.store import open_views

DAYS = 30
MOST_READERS = 30
_USED = """
    SELECT unnest({list}) AS relation, '{how}' AS how, user_name, identity_name, started_at,
        coalesce(executions, 1) AS times
    FROM statements WHERE started_at > $since::TIMESTAMP AND agent = $agent
        AND cluster = $cluster AND database = $database AND sqlstate = '00000'"""
READERS = f"""
WITH asked AS (SELECT unnest($relations::VARCHAR[]) AS name), used AS (
{_USED.format(list="reads", how="read")}
    UNION ALL
{_USED.format(list="writes", how="write")}
)
SELECT a.name, u.user_name, u.identity_name, u.how, least(sum(u.times), {2**63 - 1})::BIGINT,
    epoch_us(max(u.started_at))
FROM used u JOIN asked a ON u.relation = a.name
    OR u.relation = split_part(a.name, '.', -1)
    OR (NOT contains(a.name, '.') AND ends_with(u.relation, '.' || a.name))
GROUP BY ALL ORDER BY max(u.started_at) DESC LIMIT {MOST_READERS}
"""
BEFORE = """
SELECT count(*), avg(s.rows), max(s.rows) FROM statements s
WHERE s.agent = $agent AND s.sqlstate = '00000' AND s.rows IS NOT NULL AND s.fingerprint <> ''
    AND s.fingerprint = (
        SELECT any_value(fingerprint) FROM statements WHERE agent = $agent AND id = $statement)
"""
LATER_NAMES = """
SELECT identity_name FROM sessions
WHERE agent = $agent AND pid = $pid AND backend_started_at = make_timestamp($started::BIGINT)
"""


def readers(data_dir: Path, asked: Request, now_us: int) -> list[dict[str, Any]]:
    """Who read and wrote the same relations in the last 30 days, the last one first."""
    since = datetime.fromtimestamp(now_us / 1e6, UTC) - timedelta(days=DAYS)
    bound = asked.bound
    values = {
        "relations": list(asked.relations),
        "since": f"{since:%Y-%m-%d %H:%M:%S}",
        "agent": bound.agent,
        "cluster": bound.cluster,
        "database": bound.database,
    }
    with open_views(data_dir) as views:
        rows = views.execute(READERS, values).fetchall()
    names = ("relation", "user_name", "identity_name", "how", "times", "last_us")
    return [dict(zip(names, row, strict=True)) for row in rows]


def ran_before(data_dir: Path, asked: Request) -> dict[str, Any]:
    """How many rows statements of the same form touched when they ran."""
    values = {"agent": asked.bound.agent, "statement": asked.statement_id}
    with open_views(data_dir) as views:
        ((times, mean, most),) = views.execute(BEFORE, values).fetchall()
    return {"times": times, "mean_rows": mean, "most_rows": most}


def later_names(data_dir: Path, asked: Request) -> tuple[str, ...]:
    """Names of the session that asked which were not known yet when it did."""
    values = {
        "agent": asked.bound.agent,
        "pid": asked.pid,
        "started": asked.backend_started_at_us,
    }
    with open_views(data_dir) as views:
        rows = views.execute(LATER_NAMES, values).fetchall()
    return tuple(name for (name,) in rows if name)
