"""Findings become Alerts: grouped, de-duplicated, routed, delivered from disk, resolved."""

from collector.alerts.alertmanager import Alertmanager
from collector.alerts.configured import alert_problems, alerts_from, receiver_from
from collector.alerts.grouping import Policy, group_key
from collector.alerts.outbox import Retry
from collector.alerts.pagerduty import PagerDuty
from collector.alerts.receiver import Delivery, Outcome, Receiver, Request
from collector.alerts.rehearsal import Preview, preview, rehearsal_alert, rehearse
from collector.alerts.routes import Match, Route
from collector.alerts.service import AlertEvent, AlertRecord, Alerts
from collector.alerts.webhook import Webhook

__all__ = [
    "AlertEvent",
    "AlertRecord",
    "Alertmanager",
    "Alerts",
    "Delivery",
    "Match",
    "Outcome",
    "PagerDuty",
    "Policy",
    "Preview",
    "Receiver",
    "Request",
    "Retry",
    "Route",
    "Webhook",
    "alert_problems",
    "alerts_from",
    "group_key",
    "preview",
    "receiver_from",
    "rehearsal_alert",
    "rehearse",
]
