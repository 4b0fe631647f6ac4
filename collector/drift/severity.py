"""How bad a difference is, given who made it, and the finding that it belongs to."""

from __future__ import annotations

from dataclasses import replace

from collector.drift import findings, renamed, risk
from collector.drift.state import OpenDrift
from model.catalog import Attribution
from model.verdict import Severity

ANOTHER_NAME = Severity.MEDIUM
"""And nothing else: whoever asks for the old one fails."""


def with_severity(drift: OpenDrift) -> OpenDrift:
    """What somebody approved is a step less severe than what somebody did."""
    nobody = drift.attribution is Attribution.UNATTRIBUTED
    attributed = not nobody or drift.undecided or drift.replayed or drift.was_so_already
    one = renamed.as_one(drift)
    severity = risk.severity(drift.scope.kind, one, attributed=attributed)
    if renamed.has_another_name_alone(drift):
        severity = ANOTHER_NAME
    if drift.attribution is Attribution.APPROVED:
        at = risk.LADDER.index(severity)
        severity = risk.LADDER[min(at, max(1, at - 1))]
    told = replace(drift, severity=Severity(severity))
    return replace(told, finding_id=findings.id_of(told))
