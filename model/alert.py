"""A finding on its way to a person."""

from dataclasses import dataclass
from enum import StrEnum

from model.verdict import Severity


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """A group of findings with the same ``group_key``; sent once, resolved once."""

    group_key: str
    """At most 255 characters: also PagerDuty's ``dedup_key``."""
    status: AlertStatus
    severity: Severity
    title: str
    summary: str
    starts_at_us: int
    ends_at_us: int
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    finding_ids: tuple[str, ...]
    count: int = 1
