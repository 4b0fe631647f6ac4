"""One difference that several statements made: each of them did some of its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from collector.drift import risk
from collector.drift.changes import Change
from collector.drift.divided import only
from collector.drift.lines import parts
from collector.drift.matching.target import CAUSED, Target
from collector.drift.precedence import Match, moment_of, setter
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

MOST_LINES = 50
MOST_STATEMENTS = 20


def of_the_worst(best: Change, found: Sequence[Change], target: Target, match: Match) -> Change:
    """The statement that did what is most severe of the difference: who only added a column
    afterwards did not switch row level security off with it."""
    lines = _lines(target)
    likely = found[:MOST_STATEMENTS]
    if len(likely) < 2 or not lines:
        return best
    kind = target.scope.kind
    worst = max(lines, key=lambda line: _rank(kind, line))
    if _rank(kind, worst) == min(_rank(kind, line) for line in lines):
        return best  # one is as bad as the other
    known = max(match(best, worst), CAUSED)
    for those in ([each for each in likely if each.actor == best.actor], likely):
        strength, did = _likeliest(those, worst, match)
        if did is not None and strength > known:
            return did
    return best


def shares(
    best: Change, found: Sequence[Change], target: Target, match: Match
) -> tuple[Change, ...]:
    """Other statements that explain a line which ``best`` does not: of others one each, where
    nothing by the actor of ``best`` explains it as well. ``found``: all that may have made the
    difference, the likeliest first."""
    lines = _lines(target)
    if not lines:
        return ()
    likely = [each for each in found[:MOST_STATEMENTS] if each is not best]
    others = [change for change in likely if change.actor != best.actor]
    mine = [change for change in likely if change.actor == best.actor]
    sharing: dict[str, Change] = {}
    for part in lines:
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


def _lines(target: Target) -> list[Target]:
    """As if only one line, or attribute, differed: each. Empty where there are not several."""
    scope, step = target.scope, target.step
    if step.change is not DriftChange.CHANGED:
        return []
    if scope.kind is CatalogKind.ROLE:
        keys = [part.key for part in parts(scope.kind, step)]
        found = [replace(target, step=only(scope.kind, step, {key})) for key in keys]
    elif scope.kind in OBJECT_KINDS:
        found = [target.of_line(key) for key in target.changed[:MOST_LINES]]
    else:
        return []
    return found if len(found) > 1 else []


def _rank(kind: CatalogKind, line: Target) -> int:
    return risk.LADDER.index(risk.severity(kind, line.step, attributed=True))
