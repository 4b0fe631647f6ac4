"""The alerts section of the configuration, as receivers, routes and a policy."""

from collections.abc import Callable
from pathlib import Path

from collector.alerts.alertmanager import Alertmanager
from collector.alerts.grouping import SECOND_US, Policy
from collector.alerts.pagerduty import PagerDuty
from collector.alerts.receiver import AlertsError, Receiver
from collector.alerts.routes import Match, Route
from collector.alerts.service import AlertRecord, Alerts, problems_of
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


def alert_problems(section: schema.Alerts) -> list[str]:
    """Why ``alerts_from`` would refuse, a sentence each; starts and writes nothing."""
    problems = []
    for receiver in section.receivers:
        try:
            receiver_from(receiver)
        except AlertsError as error:
            problems.append(str(error))
    names = [receiver.name for receiver in section.receivers]
    return problems + problems_of(names, [route_from(entry) for entry in section.routes])


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
