"""What a role can do is given with it: a membership is as bad as the attributes of its group.

Attributes are not inherited, but whoever may SET ROLE to a superuser is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from collector.drift import risk
from collector.drift.baseline import Known, Scope
from collector.drift.lines import attributes
from collector.drift.state import OpenDrift
from model.catalog import Attribution, CatalogKind, DriftChange
from model.verdict import Severity

POWERS = {
    "superuser": (Severity.CRITICAL, "is a superuser"),
    "bypassrls": (Severity.CRITICAL, "is not held by row level security"),
    "replication": (Severity.HIGH, "may copy the whole cluster"),
    "createrole": (Severity.HIGH, "may make roles"),
}
"""Attribute of the group: how bad, and what it says; the worst first."""


def with_powers(drift: OpenDrift, known: Mapping[Scope, Known]) -> OpenDrift:
    """``drift`` as severe as what the group of a new or changed membership can do."""
    scope, difference = drift.scope, drift.difference
    gone = difference.change is DriftChange.REMOVED
    if scope.kind is not CatalogKind.MEMBERSHIP or gone:
        return drift
    roles = known.get(Scope(scope.agent, scope.cluster, CatalogKind.ROLE, ""))
    group = difference.name.partition("<-")[0]
    fact = roles.observed.get(group) if roles is not None else None
    has = attributes(fact.value) if fact is not None else {}
    for attribute, (severity, says) in POWERS.items():
        if has.get(attribute) == "true":
            why = f"{group} {says}"
            notes = drift.note.split("; ") if drift.note else []
            if why not in notes:  # a difference may be reported again
                notes.append(why)
            return replace(drift, severity=_worse(drift, severity), note="; ".join(notes))
    return drift


def _worse(drift: OpenDrift, severity: Severity) -> Severity:
    at = risk.LADDER.index(severity) - (drift.attribution is Attribution.APPROVED)
    return risk.LADDER[max(at, risk.LADDER.index(drift.severity))]
