"""Any HTTP endpoint: the alert as JSON, signed when a secret is configured.

``X-Pgwarden-Signature: sha256=<hex of HMAC-SHA256(secret, timestamp "." body)>`` with the timestamp
in ``X-Pgwarden-Timestamp`` (Unix seconds), so that a receiver can refuse old copies.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

import orjson

from collector.alerts.alertmanager import rfc3339
from collector.alerts.receiver import Request, check_url
from model.alert import Alert


@dataclass(frozen=True, slots=True)
class Webhook:
    name: str
    url: str = field(repr=False)
    """May hold a token, so it is not shown."""
    secret: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_url(self.name, self.url)

    @property
    def refresh_us(self) -> int:
        return 0

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.secret, *(value for _, value in self.headers))

    def request(self, alert: Alert, now_us: int) -> Request:
        body = orjson.dumps(to_json(alert))
        headers = [("Content-Type", "application/json"), *self.headers]
        if self.secret:
            timestamp = str(now_us // 1_000_000)
            headers.append(("X-Pgwarden-Timestamp", timestamp))
            headers.append(("X-Pgwarden-Signature", signature(self.secret, timestamp, body)))
        return Request(self.url, body, tuple(headers))


def to_json(alert: Alert) -> dict[str, object]:
    return {
        "version": 1,
        "group_key": alert.group_key,
        "status": alert.status.value,
        "severity": alert.severity.value,
        "title": alert.title,
        "summary": alert.summary,
        "starts_at": rfc3339(alert.starts_at_us),
        "ends_at": rfc3339(alert.ends_at_us) if alert.ends_at_us else None,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "finding_ids": list(alert.finding_ids),
        "count": alert.count,
    }


def signature(secret: str, timestamp: str, body: bytes) -> str:
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"
