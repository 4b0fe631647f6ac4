"""Which statements may have made a difference: about it, in time, and not undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from collector.drift.by_name import SLACK_US
from collector.drift.changes import Change
from collector.drift.matching import MATCHES, Match, Target
from collector.drift.matching.cluster import could_be_sql
from collector.drift.reloads import of_server

# What was committed before the last snapshot was visible to it; logs have milliseconds.
SEEN_US = 250_000
# A statement so shortly before the difference is its cause; an older one may have been without
# effect while the real cause is still on its way to us, so it is taken only when nothing came.
FRESH_US = 30_000_000
# A transaction whose end was not seen may have been open for a while when it granted something.
TRANSACTION_US = 600_000_000
_INSIDE = 2
"""Of two statements that fit equally the one inside the other is meant."""
CONTAINED = 5
"""So much less fits what may not have run."""


class Found(NamedTuple):
    strength: int
    known_to_be_committed: bool
    moment_us: int
    id: int
    change: Change
    fit: int
    """The strength, whether or not it ran inside another one."""


def by_statements(target: Target) -> bool:
    """Whether a statement can have done it at all."""
    return target.scope.kind in MATCHES and could_be_sql(target)


def candidates(
    changes: Iterable[Change],
    target: Target,
    at_us: int,
    since_us: int,
    *,
    settled: bool,
    match: Match | None = None,
) -> Iterable[Found]:
    scope = target.scope
    if not by_statements(target):
        return
    match = match or MATCHES[scope.kind]
    # ALTER SYSTEM takes effect at a later reload or restart: it may be as old as it likes.
    may_be_old = of_server(scope, target.step)
    for change in changes:
        if (change.agent, change.cluster) != (scope.agent, scope.cluster) or change.effect.undone:
            continue
        committed_us = change.effect.committed_us
        if change.at_us > at_us + SLACK_US or committed_us > at_us + SLACK_US:
            continue
        if not settled and change.at_us < at_us - FRESH_US:
            continue
        oldest = since_us - (SEEN_US if committed_us else TRANSACTION_US)
        if not may_be_old and (committed_us or change.at_us) < oldest:
            continue
        strength = match(change, target)
        if strength > 0:
            fit = strength - CONTAINED * change.contained
            strength = fit + _INSIDE * bool(change.parent_id)
            moment = committed_us or change.at_us
            yield Found(strength, committed_us > 0, moment, change.id, change, fit)
