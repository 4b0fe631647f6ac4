"""Our own results as rows of their tables; times in Unix microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from collector.alerts import AlertEvent, AlertRecord
from model.finding import Finding

Row = dict[str, Any]


def finding_rows(findings: Iterable[Finding]) -> list[Row]:
    return [
        {
            "id": finding.id,
            "kind": finding.kind.value,
            "detector": finding.detector,
            "severity": finding.severity.value,
            "title": finding.title,
            "sentence": finding.sentence,
            "occurred_at": finding.at_us,
            "agent": finding.agent,
            "cluster": finding.cluster,
            "database": finding.database,
            "user_name": finding.user,
            "identity": finding.identity,
            "object": finding.object,
            "score": finding.score,
            "evidence_sql": finding.evidence_sql,
            "statement_id": finding.statement_id,
            "resolved_at": finding.resolved_at_us or None,
            "details": orjson.dumps(dict(finding.details)).decode(),
        }
        for finding in findings
    ]


def alert_rows(record: AlertRecord) -> list[Row]:
    """One row when an alert is decided; its deliveries are metrics, not rows."""
    if record.event is not AlertEvent.RAISED:
        return []
    alert = record.alert
    return [
        {
            "occurred_at": record.at_us,
            "group_key": alert.group_key,
            "status": alert.status.value,
            "severity": alert.severity.value,
            "title": alert.title,
            "summary": alert.summary,
            "starts_at": alert.starts_at_us,
            "ends_at": alert.ends_at_us or None,
            "labels": orjson.dumps(dict(alert.labels)).decode(),
            "annotations": orjson.dumps(dict(alert.annotations)).decode(),
            "finding_ids": list(alert.finding_ids),
            "count": alert.count,
        }
    ]
