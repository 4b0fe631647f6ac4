"""Alerts and groups as JSON, for the outbox."""

from typing import Any

import orjson

from collector.alerts.grouping import Group
from model.alert import Alert, AlertStatus
from model.finding import FindingKind
from model.verdict import Severity


def alert_to_json(alert: Alert) -> bytes:
    """Lone surrogates were escaped when the alert was made; keys and ids are escaped here."""
    return orjson.dumps(alert)


def alert_from_json(data: bytes) -> Alert:
    return _alert(orjson.loads(data))


def group_to_json(group: Group) -> bytes:
    return orjson.dumps(group)


def group_from_json(data: bytes) -> Group:
    fields = orjson.loads(data)
    return Group(
        alert=_alert(fields["alert"]),
        kind=FindingKind(fields["kind"]),
        seen=tuple((finding_id, at_us) for finding_id, at_us in fields["seen"]),
        open_ids=tuple(fields["open_ids"]),
        last_at_us=fields["last_at_us"],
        said_at_us=fields["said_at_us"],
        receivers=tuple(fields["receivers"]),
    )


def _alert(fields: dict[str, Any]) -> Alert:
    return Alert(
        group_key=fields["group_key"],
        status=AlertStatus(fields["status"]),
        severity=Severity(fields["severity"]),
        title=fields["title"],
        summary=fields["summary"],
        starts_at_us=fields["starts_at_us"],
        ends_at_us=fields["ends_at_us"],
        labels=_pairs(fields["labels"]),
        annotations=_pairs(fields["annotations"]),
        finding_ids=tuple(fields["finding_ids"]),
        count=fields["count"],
    )


def _pairs(rows: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in rows)
