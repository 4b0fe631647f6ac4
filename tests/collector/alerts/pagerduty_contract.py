"""PagerDuty's side of Events v2 as it is documented, for a local receiver: strict."""

from datetime import datetime
from typing import Any

from tests.collector.alerts.samples import Received

_TOP = {
    "routing_key", "event_action", "dedup_key", "payload", "links", "images", "client",
    "client_url",
}  # fmt: skip
_PAYLOAD = {
    "summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details",
}  # fmt: skip


def violations(request: Received) -> list[str]:
    """What the service would refuse or silently cut."""
    wrong = []
    if request.path != "/v2/enqueue":
        wrong.append(f"path {request.path}")
    if request.headers.get("Content-Type") != "application/json":
        wrong.append("content type")
    if len(request.body) > 512_000:
        wrong.append("larger than 512 kB")
    event = request.json
    wrong += [f"unknown field {name}" for name in set(event) - _TOP]
    if not isinstance(event.get("routing_key"), str) or not event["routing_key"]:
        wrong.append("routing_key")
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        wrong.append(f"event_action {action!r}")
    key = event.get("dedup_key")
    if action != "trigger" and not key:
        wrong.append("dedup_key is required to acknowledge and resolve")
    if key is not None and not 1 <= len(key) <= 255:
        wrong.append("dedup_key length")
    return wrong + (_payload_violations(event.get("payload")) if action == "trigger" else [])


def _payload_violations(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["payload is required to trigger"]
    wrong = [f"unknown payload field {name}" for name in set(payload) - _PAYLOAD]
    if not 1 <= len(payload.get("summary") or "") <= 1024:
        wrong.append("summary length")
    if not isinstance(payload.get("source"), str) or not payload["source"]:
        wrong.append("source")
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        wrong.append(f"severity {payload.get('severity')!r}")
    try:
        datetime.fromisoformat(payload["timestamp"])
    except (KeyError, ValueError):
        wrong.append("timestamp is not ISO 8601")
    for name in ("component", "group", "class"):
        if name in payload and not isinstance(payload[name], str):
            wrong.append(name)
    if not isinstance(payload.get("custom_details", {}), dict):
        wrong.append("custom_details")
    return wrong
