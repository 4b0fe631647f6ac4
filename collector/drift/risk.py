"""How bad a difference is: the worst of what changed in it, by the table of ``risks``."""

from __future__ import annotations

import re

from collector.drift.baseline import Difference
from collector.drift.clauses import describe
from collector.drift.lines import Part, parts
from collector.drift.risks import RISKS, Risk
from model.catalog import CatalogKind, DriftChange
from model.verdict import Severity

LADDER = tuple(Severity)
"""From informational to critical."""

__all__ = ["LADDER", "describe", "severity", "why"]


def severity(kind: CatalogKind, difference: Difference, *, attributed: bool) -> Severity:
    """What nobody on the wire did is a step more severe than what somebody did."""
    found = _worst(kind, difference)[0]
    if attributed:
        return found
    return LADDER[min(LADDER.index(found) + 1, len(LADDER) - 1)]


def why(kind: CatalogKind, difference: Difference) -> str:
    """What makes it as severe as it is, for a person; empty where nothing special does."""
    return _worst(kind, difference)[1]


def _worst(kind: CatalogKind, difference: Difference) -> tuple[Severity, str]:
    whole = Part("", difference.desired or None, difference.observed or None)
    looked_at = [whole, *(part for part in parts(kind, difference) if part.key)]
    judged = [
        (risk.severity, risk.why)
        for part in looked_at
        for risk in RISKS.get(kind, ())
        if _matches(risk, difference, part)
    ]
    if not judged:
        return _usual(kind, difference), ""
    return max(judged, key=lambda found: LADDER.index(found[0]))


def _matches(risk: Risk, difference: Difference, part: Part) -> bool:
    before, after = part.before or "", part.after or ""
    return (
        (not risk.change or difference.change in risk.change)
        and re.fullmatch(risk.part, part.key, re.DOTALL) is not None
        and re.search(risk.name, difference.name) is not None
        and re.search(risk.before, before) is not None
        and re.search(risk.after, after) is not None
        and (risk.weaker is None or risk.weaker(before, after))
    )


def _usual(kind: CatalogKind, difference: Difference) -> Severity:
    """Fewer rights and objects harm at most availability."""
    if kind is CatalogKind.SETTING or difference.change is DriftChange.REMOVED:
        return Severity.LOW
    return Severity.MEDIUM
