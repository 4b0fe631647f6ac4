"""The demo in numbers, all of them counted in the durable record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STORED = ("statements", "sessions", "verdicts", "losses", "findings", "alerts", "drift")


def summarise(data_dir: Path, alerts_delivered: int) -> dict[str, Any]:
    """Keys: statements, sessions, denied, terminated, findings, alerts_delivered, lost, ..."""
    from collector.store import open_views

    with open_views(data_dir) as views:

        def count(sql: str) -> int:
            row = views.execute(sql).fetchone()
            return int(row[0]) if row else 0

        def groups(sql: str) -> dict[str, int]:
            return {str(key): int(n) for key, n in views.execute(sql).fetchall()}

        sources = groups("SELECT source, count(*) FROM statements GROUP BY 1")
        kinds = groups(
            "SELECT kind, count(DISTINCT id) FROM findings WHERE detector <> 'drift.baseline' "
            "GROUP BY 1"
        )
        return {
            "statements": {name: sources.get(name, 0) for name in ("ebpf", "pgaudit", "both")},
            "sessions": count(
                "SELECT count(DISTINCT (agent, pid, backend_started_at)) FROM sessions"
            ),
            "denied": count(
                "SELECT count(*) FROM verdicts WHERE action = 'deny' AND outcome = 'prevented'"
            ),
            "terminated": count("SELECT count(*) FROM verdicts WHERE outcome = 'terminated'"),
            "findings": {name: kinds.get(name, 0) for name in ("drift", "anomaly")},
            "alerts_delivered": alerts_delivered,
            "lost": groups("SELECT reason, sum(count) FROM losses GROUP BY 1"),
            "stored_events": sum(count(f"SELECT count(*) FROM {name}") for name in STORED),
        }
