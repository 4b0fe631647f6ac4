"""Alertmanager v2: ``POST /api/v2/alerts``.

Alertmanager forgets an alert at its ``endsAt``, so a firing one is sent again before that. Its
identity is the set of its labels: when the severity rises, the alert under the old severity is
ended in the same request.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from collector.alerts.receiver import Request, check_url
from model.alert import Alert, AlertStatus

_US = 1_000_000
_LAST_US = 253_402_300_799_999_999


@dataclass(frozen=True, slots=True)
class Alertmanager:
    name: str
    url: str
    """Without the path: ``http://alertmanager.example:9093``."""
    refresh_seconds: int = 60
    generator_url: str = ""
    extra_labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_url(self.name, self.url)

    @property
    def refresh_us(self) -> int:
        return self.refresh_seconds * _US

    @property
    def secrets(self) -> tuple[str, ...]:
        return ()

    def request(self, alert: Alert, now_us: int) -> Request:
        posts = [self._post(alert, alert.severity.value, self._ends_at_us(alert, now_us))]
        before = dict(alert.annotations).get("previous_severity")
        if before and alert.status is AlertStatus.FIRING:
            posts.append(self._post(alert, before, now_us))
        return Request(self.url.rstrip("/") + "/api/v2/alerts", orjson.dumps(posts))

    def _ends_at_us(self, alert: Alert, now_us: int) -> int:
        if alert.status is AlertStatus.RESOLVED:
            # Never in Alertmanager's future, whose clock may be a little behind ours.
            return min(alert.ends_at_us, now_us) or now_us
        return now_us + 5 * self.refresh_us

    def _post(self, alert: Alert, severity: str, ends_at_us: int) -> dict[str, object]:
        labels = dict(alert.labels) | {"severity": severity} | dict(self.extra_labels)
        annotations = {
            "summary": alert.title,
            "description": alert.summary,
            "count": str(alert.count),
            "group_key": alert.group_key,
            **{k: v for k, v in alert.annotations if k != "previous_severity"},
        }
        post: dict[str, object] = {
            # Alertmanager treats an empty label as absent.
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {_name(name): value for name, value in annotations.items()},
            "startsAt": rfc3339(min(alert.starts_at_us, ends_at_us)),
            "endsAt": rfc3339(ends_at_us),
        }
        return post | ({"generatorURL": self.generator_url} if self.generator_url else {})


def rfc3339(at_us: int) -> str:
    """A time that no calendar holds (a broken clock on a host) gives the nearest one that does.

    >>> rfc3339(0), rfc3339(2**63)
    ('1970-01-01T00:00:00.000000Z', '9999-12-31T23:59:59.999999Z')
    """
    at_us = max(0, min(at_us, _LAST_US))
    stamp = datetime.fromtimestamp(at_us // _US, UTC).replace(microsecond=at_us % _US)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _name(text: str) -> str:
    """A valid label name: ASCII letters, digits and underscores."""
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text)
    return name if name[:1].isalpha() or name[:1] == "_" else "_" + name
