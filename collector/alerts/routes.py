"""Which receivers hear of which alert."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from collector.alerts.grouping import at_least
from model.alert import Alert
from model.finding import FindingKind
from model.verdict import Severity


@dataclass(frozen=True, slots=True)
class Match:
    """All conditions must hold; an empty one always holds."""

    kinds: tuple[FindingKind, ...] = ()
    severity_at_least: Severity = Severity.INFORMATIONAL
    detectors: tuple[str, ...] = ()
    """Shell patterns: ``drift.*``, ``guard.no-drop-*``."""
    clusters: tuple[str, ...] = ()
    """Shell patterns."""

    def __call__(self, alert: Alert) -> bool:
        labels = dict(alert.labels)
        return (
            at_least(alert.severity, self.severity_at_least)
            and (not self.kinds or labels.get("kind", "") in self.kinds)
            and _any(self.detectors, labels.get("detector", ""))
            and _any(self.clusters, labels.get("cluster", ""))
        )


@dataclass(frozen=True, slots=True)
class Route:
    receivers: tuple[str, ...]
    match: Match = Match()


def receivers_for(alert: Alert, routes: Sequence[Route], known: Sequence[str]) -> tuple[str, ...]:
    """The first route that matches decides; without one every receiver hears of it.

    An alert that nobody thought of must reach somebody. A route without receivers silences.
    """
    for route in routes:
        if route.match(alert):
            return tuple(name for name in known if name in route.receivers)
    return tuple(known)


def _any(patterns: Sequence[str], value: str) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)
