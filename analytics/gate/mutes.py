"""Times in which statistics are expected to be odd: each with a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from model.finding import Finding


@dataclass(frozen=True)
class Mute:
    """Patterns as in a shell. What it covers is not learnt either: it is not ordinary life."""

    reason: str
    is_open: Callable[[int], bool]
    """At a time in Unix microseconds."""
    identity: str = "*"
    database: str = "*"
    agent: str = "*"
    detector: str = "*"

    def covers(self, finding: Finding, at_us: int) -> bool:
        who = finding.identity or finding.user
        return (
            fnmatchcase(who, self.identity)
            and fnmatchcase(finding.database, self.database)
            and fnmatchcase(finding.agent, self.agent)
            and fnmatchcase(finding.detector, self.detector)
            and self.is_open(at_us)
        )
