"""Slack incoming webhooks: ``text`` for notifications, ``blocks`` for the channel."""

from dataclasses import dataclass, field

import orjson

from collector.alerts.plain import plain
from collector.alerts.receiver import Request, check_url
from model.alert import Alert, AlertStatus

_HEADER_CHARACTERS = 150
_SECTION_CHARACTERS = 2900


@dataclass(frozen=True, slots=True)
class Slack:
    name: str
    url: str = field(repr=False)
    """The whole URL is the secret."""

    def __post_init__(self) -> None:
        check_url(self.name, self.url)

    @property
    def refresh_us(self) -> int:
        return 0

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.url,)

    def request(self, alert: Alert, now_us: int) -> Request:
        state = "resolved" if alert.status is AlertStatus.RESOLVED else alert.severity.value
        title = f"[{state}] {alert.title}"
        fields = ", ".join(f"{name}={value}" for name, value in alert.labels if name != "alertname")
        blocks = [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": plain(title, _HEADER_CHARACTERS)},
            },
            _section(alert.summary or alert.title),
            {"type": "context", "elements": [{"type": "plain_text", "text": plain(fields, 1900)}]},
        ]
        return Request(self.url, orjson.dumps({"text": _escape(title), "blocks": blocks}))


def _section(text: str) -> dict[str, object]:
    # plain_text: Slack renders no mention, link or markup from the database in it.
    return {
        "type": "section",
        "text": {"type": "plain_text", "text": plain(text, _SECTION_CHARACTERS)},
    }


def _escape(text: str) -> str:
    """Slack's three control characters; without this ``<!channel>`` from a client would ring."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
