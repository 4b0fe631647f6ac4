"""One difference that several statements made: each of them did some of its lines."""

from __future__ import annotations

from collections.abc import Sequence

from collector.drift import risk
from collector.drift.changes import Change
from collector.drift.matching.target import CAUSED, Target
from collector.drift.precedence import Match, moment_of, setter
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

MOST_LINES = 50
MOST_STATEMENTS = 20


def of_the_worst(best: Change, found: Sequence[Change], target: Target, match: Match) -> Change:
    """The statement of ``best``'s actor that did what is most severe of the difference: who only
    added a column afterwards did not switch row level security off with it."""
    if not _has_lines(target):
        return best
    mine = [each for each in found[:MOST_STATEMENTS] if each.actor == best.actor]
    if len(mine) < 2:
        return best
    lines = [target.of_line(key) for key in target.changed[:MOST_LINES]]
    kind = target.scope.kind
    worst = max(lines, key=lambda line: _rank(kind, line))
    if _rank(kind, worst) == min(_rank(kind, line) for line in lines):
        return best  # one is as bad as the other
    strength, did = _likeliest(mine, worst, match)
    return did if did is not None and strength > max(match(best, worst), CAUSED) else best


def shares(
    best: Change, found: Sequence[Change], target: Target, match: Match
) -> tuple[Change, ...]:
    """Other statements that explain a line which ``best`` does not: of others one each, where
    nothing by the actor of ``best`` explains it as well. ``found``: all that may have made the
    difference, the likeliest first."""
    if not _has_lines(target):
        return ()
    likely = [each for each in found[:MOST_STATEMENTS] if each is not best]
    others = [change for change in likely if change.actor != best.actor]
    mine = [change for change in likely if change.actor == best.actor]
    sharing: dict[str, Change] = {}
    for key in target.changed[:MOST_LINES]:
        part = target.of_line(key)
        known = match(best, part)
        own, again = _likeliest(mine, part, match)
        strength, other = _likeliest(others, part, match)
        if other is not None and strength > max(known, own, CAUSED):
            sharing.setdefault(other.actor, other)
        elif again is not None and own > max(known, CAUSED):
            sharing.setdefault(f"{again.actor} {again.id}", again)
    return tuple(sharing.values())


def _likeliest(changes: Sequence[Change], part: Target, match: Match) -> tuple[int, Change | None]:
    strengths = [match(each, part) for each in changes]
    best = max(strengths, default=0)
    equal = [each for each, fits in zip(changes, strengths, strict=True) if fits == best]
    return best, setter(sorted(equal, key=moment_of), part, match) if equal else None


def _has_lines(target: Target) -> bool:
    changed = target.step.change is DriftChange.CHANGED
    return target.scope.kind in OBJECT_KINDS and changed and len(target.changed) > 1


def _rank(kind: CatalogKind, line: Target) -> int:
    return risk.LADDER.index(risk.severity(kind, line.step, attributed=True))
