"""An open difference as a row of table ``drift``."""

from __future__ import annotations

from typing import Any

from collector.drift.state import OpenDrift


def row_of(drift: OpenDrift, **end: Any) -> dict[str, Any]:
    """``end``: what is known of how it was resolved."""
    difference = drift.difference
    return {
        "occurred_at": drift.detected_at_us,
        "agent": drift.scope.agent,
        "cluster": drift.scope.cluster,
        "kind": drift.scope.kind.value,
        "database": drift.scope.database,
        "name": difference.name,
        "change": difference.change.value,
        "desired": difference.desired,
        "observed": difference.observed,
        "attribution": drift.attribution.value,
        "statement_id": drift.statement_id,
        "actor": drift.actor,
        "resolved_at": None,
        "user_name": drift.user,
        "approval": drift.approval,
        "severity": drift.severity.value,
        "finding_id": drift.finding_id,
        "note": drift.note,
        "known_at": drift.known_us or drift.detected_at_us,
        "outcome": drift.attribution.value,
        "resolved_by": "",
        "resolved_statement_id": 0,
        "renamed": drift.renamed,
        **end,
    }
