"""The alerts section of the configuration, as receivers, routes and a policy."""

from collections.abc import Callable
from pathlib import Path

from collector.alerts.alertmanager import Alertmanager
from collector.alerts.grouping import SECOND_US, Policy
from collector.alerts.pagerduty import PagerDuty
from collector.alerts.receiver import Receiver
from collector.alerts.routes import Match, Route
from collector.alerts.service import AlertRecord, Alerts
from collector.alerts.webhook import Webhook
from config import schema


def receiver_from(section: schema.Receiver) -> Receiver:
    """Raises AlertsError for an address or key that cannot work."""
    if isinstance(section, schema.AlertmanagerReceiver):
        return Alertmanager(section.name, section.url)
    if isinstance(section, schema.PagerDutyReceiver):
        return PagerDuty(section.name, section.routing_key.get_secret_value(), url=section.url)
    secret = section.secret.get_secret_value() if section.secret else ""
    return Webhook(section.name, section.url, secret)


def route_from(entry: schema.RouteEntry) -> Route:
    match = Match(tuple(entry.kinds), entry.min_severity, (entry.detector,))
    return Route(tuple(entry.receivers), match)


def alerts_from(
    section: schema.Alerts,
    state_dir: Path,
    record: Callable[[AlertRecord], None] = lambda _: None,
) -> Alerts:
    """Starts the senders. Raises AlertsError for entries that cannot work."""
    return Alerts(
        state_dir,
        [receiver_from(receiver) for receiver in section.receivers],
        [route_from(entry) for entry in section.routes],
        policy=Policy(
            minimum_severity=section.min_severity,
            repeat_us=round(section.repeat_seconds * SECOND_US),
            quiet_us=round(section.quiet_seconds * SECOND_US),
        ),
        record=record,
    )
