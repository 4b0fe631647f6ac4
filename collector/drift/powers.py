"""What a role can do is given with it: a membership is as bad as what its group is, or may become.

Attributes are not inherited, but whoever may SET ROLE to a superuser is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from collector.drift import risk
from collector.drift.baseline import Difference, Facts, Known, Scope
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
"""Attribute of a role: how bad, and what it says; the worst first."""


def with_powers(drift: OpenDrift, known: Mapping[Scope, Known]) -> OpenDrift:
    """``drift`` as severe as what the group of a new or changed membership can do, or any role
    that the group may become."""
    scope, difference = drift.scope, drift.difference
    gone = difference.change is DriftChange.REMOVED
    if scope.kind is not CatalogKind.MEMBERSHIP or gone:
        return drift
    roles = _observed(known, scope, CatalogKind.ROLE)
    group = difference.name.partition("<-")[0]
    reached = _reached(group, _observed(known, scope, CatalogKind.MEMBERSHIP))
    found = [*_attributes_of(reached, roles), *_predefined(reached)]
    if not found:
        return drift
    severity, why = max(found, key=lambda each: risk.LADDER.index(each[0]))
    notes = drift.note.split("; ") if drift.note else []
    if why not in notes:  # a difference may be reported again
        notes.append(why)
    return replace(drift, severity=_worse(drift, severity), note="; ".join(notes))


def _observed(known: Mapping[Scope, Known], scope: Scope, kind: CatalogKind) -> Facts:
    about = known.get(Scope(scope.agent, scope.cluster, kind, ""))
    return about.observed if about is not None else {}


def _reached(group: str, memberships: Facts) -> list[str]:
    """``group`` and the roles that it may become, the nearest first."""
    groups: dict[str, list[str]] = {}
    for name, fact in memberships.items():
        of, _, member = name.partition("<-")
        # Who may give a role may give it to itself with all options.
        if "noset" not in fact.value or "admin" in fact.value:
            groups.setdefault(member, []).append(of)
    reached = {group: None}
    waiting = deque(reached)
    while waiting:
        for of in groups.get(waiting.popleft(), ()):
            if of not in reached:
                reached[of] = None
                waiting.append(of)
    return [*reached]


def _attributes_of(reached: Sequence[str], roles: Facts) -> Iterator[tuple[Severity, str]]:
    for attribute, (severity, says) in POWERS.items():
        for role in reached:
            if role in roles and attributes(roles[role].value).get(attribute) == "true":
                yield severity, _said(reached[0], role, says)
                break


def _predefined(reached: Sequence[str]) -> Iterator[tuple[Severity, str]]:
    """Of what is granted by way of another role; what the group itself is says its name."""
    for role in reached[1:]:
        step = Difference(f"{role}<-{reached[0]}", DriftChange.ADDED, "", "member", ("", ""))
        if why := risk.why(CatalogKind.MEMBERSHIP, step):
            severity = risk.severity(CatalogKind.MEMBERSHIP, step, attributed=True)
            yield severity, f"{reached[0]} is in {role}: {why}"


def _said(group: str, role: str, says: str) -> str:
    return f"{group} {says}" if role == group else f"{group} may become {role}, which {says}"


def _worse(drift: OpenDrift, severity: Severity) -> Severity:
    at = risk.LADDER.index(severity) - (drift.attribution is Attribution.APPROVED)
    return risk.LADDER[max(at, risk.LADDER.index(drift.severity))]
