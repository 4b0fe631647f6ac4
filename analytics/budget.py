"""The alert budget: so many findings a day for each detector, each only once; the rest counted."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from analytics.findings import DAY_US
from model.finding import Finding


@dataclass(frozen=True)
class Budget:
    """What was admitted on ``day`` (days since 1970, UTC). Days follow findings, not a clock.

    A finding of an earlier day, as a replay brings, counts towards the current day: the budget
    protects the person who reads today.
    """

    per_day: int = 20
    day: int = 0
    admitted: dict[str, frozenset[str]] = field(default_factory=dict)
    suppressed: dict[str, int] = field(default_factory=dict)
    """Per detector, of this day."""

    def admit_all(self, findings: Iterable[Finding]) -> tuple[Budget, list[Finding]]:
        """As ``admit``, each finding once a day, but without a limit on their number."""
        unlimited = replace(self, per_day=sys.maxsize)
        after, passed = unlimited.admit(findings)
        return replace(after, per_day=self.per_day), passed

    def admit(self, findings: Iterable[Finding]) -> tuple[Budget, list[Finding]]:
        """The findings that pass, in order, and the budget after them."""
        day = self.day
        admitted = {name: set(ids) for name, ids in self.admitted.items()}
        suppressed = dict(self.suppressed)
        passed: list[Finding] = []
        for finding in findings:
            if finding.at_us // DAY_US > day:
                day, admitted, suppressed = finding.at_us // DAY_US, {}, {}
            known = admitted.setdefault(finding.detector, set())
            if finding.id in known:
                continue
            if len(known) >= self.per_day:
                suppressed[finding.detector] = suppressed.get(finding.detector, 0) + 1
                continue
            known.add(finding.id)
            passed.append(finding)
        frozen = {name: frozenset(ids) for name, ids in admitted.items()}
        return Budget(self.per_day, day, frozen, suppressed), passed
