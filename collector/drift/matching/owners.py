"""Whom an object was given to between two looks, and who gave on what was that role's.

``ALTER TABLE t OWNER TO etl`` and then ``REASSIGN OWNED BY etl TO bob``: the second one names
neither the table nor the owner that was seen before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from collector.drift.changes import Change
from collector.drift.matching.target import Target, fits

MOST_STEPS = 4
_FLAG = "owner"


def with_owners(target: Target, near: Iterable[Change], at_us: int, since_us: int) -> Target:
    """``near``: what may be about it; those between these moments count."""
    if _FLAG not in target.changed or target.added or target.removed:
        return target
    scope = target.scope
    giving = [
        change
        for change in near
        if _FLAG in change.flags
        and (change.agent, change.cluster) == (scope.agent, scope.cluster)
        and since_us <= (change.effect.committed_us or change.at_us) <= at_us
        and not change.effect.undone
    ]
    owners = {target.before.get("owner", "")}
    for _ in range(MOST_STEPS):
        more = {role for change in giving if _gives(change, target, owners) for role in _to(change)}
        if more <= owners:
            break
        owners |= more
    return replace(target, owners=frozenset(owners))


def _gives(change: Change, target: Target, owners: set[str]) -> bool:
    if "reassign" in change.verbs and owners & _to(change):
        return True
    return "alter" in change.verbs and any(fits(name, target.parts) for _, name in change.objects)


def _to(change: Change) -> frozenset[str]:
    """Of a REASSIGN those whose it was as well."""
    return change.roles | {change.user}
