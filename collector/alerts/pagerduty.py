"""PagerDuty Events v2: trigger, acknowledge, resolve under one ``dedup_key``."""

from dataclasses import dataclass, field

import orjson

from collector.alerts.alertmanager import rfc3339
from collector.alerts.plain import plain
from collector.alerts.receiver import AlertsError, Request, check_url
from model.alert import Alert, AlertStatus
from model.verdict import Severity

REGIONS = {
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}
_SEVERITIES = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
    Severity.INFORMATIONAL: "info",
}
_SUMMARY_CHARACTERS = 1024
_DEDUP_KEY_CHARACTERS = 255
_BODY_BYTES = 512_000


@dataclass(frozen=True, slots=True)
class PagerDuty:
    name: str
    routing_key: str = field(repr=False)
    region: str = "us"
    url: str = ""
    """Overrides the region."""
    client_url: str = ""

    def __post_init__(self) -> None:
        if not self.routing_key.strip():
            raise AlertsError(
                f"receiver {self.name}: routing_key is empty; set the integration key"
            )
        if not self.url and self.region not in REGIONS:
            raise AlertsError(f"receiver {self.name}: region {self.region!r} is not one of us, eu")
        check_url(self.name, self._enqueue_url)

    @property
    def _enqueue_url(self) -> str:
        return self.url or REGIONS[self.region]

    @property
    def refresh_us(self) -> int:
        return 0

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.routing_key,)

    def request(self, alert: Alert, now_us: int) -> Request:
        if alert.status is AlertStatus.RESOLVED:
            return self._enqueue(alert.group_key, "resolve")
        event = {
            "client": "pgwarden",
            **({"client_url": self.client_url} if self.client_url else {}),
        }
        request = self._enqueue(alert.group_key, "trigger", event | {"payload": _payload(alert)})
        if len(request.body) <= _BODY_BYTES:
            return request
        bare = _payload(alert) | {"custom_details": {"omitted": "too large; see pgwarden findings"}}
        return self._enqueue(alert.group_key, "trigger", event | {"payload": bare})

    def acknowledge(self, group_key: str) -> Request:
        """Somebody is at it: PagerDuty stops escalating."""
        return self._enqueue(group_key, "acknowledge")

    def _enqueue(
        self, group_key: str, action: str, more: dict[str, object] | None = None
    ) -> Request:
        event: dict[str, object] = {
            "routing_key": self.routing_key,
            "event_action": action,
            "dedup_key": group_key[:_DEDUP_KEY_CHARACTERS],
        }
        return Request(self._enqueue_url, orjson.dumps(event | (more or {})))


def _payload(alert: Alert) -> dict[str, object]:
    labels = dict(alert.labels)
    return {
        "summary": plain(f"{alert.title}: {alert.summary}", _SUMMARY_CHARACTERS),
        "source": labels.get("cluster") or labels.get("agent") or "pgwarden",
        "severity": _SEVERITIES[alert.severity],
        "timestamp": rfc3339(alert.starts_at_us),
        "component": labels.get("object") or "postgresql",
        "group": labels.get("kind", ""),
        "class": labels.get("detector", ""),
        "custom_details": {
            **labels,
            **{name: value for name, value in alert.annotations if name != "previous_severity"},
            "count": alert.count,
            "finding_ids": list(alert.finding_ids),
        },
    }
