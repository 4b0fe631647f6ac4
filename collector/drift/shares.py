"""One difference that several statements made: each of them did some of its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from collector.drift import numbers, risk
from collector.drift.baseline import reverse
from collector.drift.changes import Change
from collector.drift.divided import only
from collector.drift.lines import REVOKED, parts
from collector.drift.matching.target import CAUSED, Target
from collector.drift.precedence import Match, moment_of, setter, since_undone
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

MOST_LINES = 50
MOST_STATEMENTS = 20
Keys = tuple[str, ...]
"""Of lines that change together: a column's under its former name and under the new one."""


def of_the_worst(best: Change, found: Sequence[Change], target: Target, match: Match) -> Change:
    """The statement that did what is most severe of the difference: who only added a column
    afterwards did not switch row level security off with it."""
    if target.scope.kind is CatalogKind.PRIVILEGE:
        return best
    lines = [*_lines(target).values()]
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
    best: Change,
    found: Sequence[Change],
    target: Target,
    match: Match,
    undoing: Sequence[Change] = (),
) -> Mapping[str, Change]:
    """By line, the statement that explains it where ``best`` does not. ``found``: all that may have
    made the difference, the likeliest first. ``undoing``: what did the opposite."""
    lines = _lines(target)
    if not lines:
        return {}
    did: Mapping[Keys, Change]
    if target.scope.kind is CatalogKind.PRIVILEGE:
        did = {keys: _first(best, found, undoing, line, match) for keys, line in lines.items()}
    else:
        likely = [each for each in found[:MOST_STATEMENTS] if each is not best]
        others = [change for change in likely if change.actor != best.actor]
        mine = [change for change in likely if change.actor == best.actor]
        did = {keys: _of(line, best, mine, others, match) for keys, line in lines.items()}
        did = _with_what_follows(did, best, lines, match)
    return {key: change for keys, change in did.items() if change is not best for key in keys}


def _of(
    line: Target, best: Change, mine: Sequence[Change], others: Sequence[Change], match: Match
) -> Change:
    """Of others only where nothing by the actor of ``best`` explains it as well."""
    known = match(best, line)
    own, again = _likeliest(mine, line, match)
    strength, other = _likeliest(others, line, match)
    if other is not None and strength > max(known, own, CAUSED):
        return other
    return again if again is not None and own > max(known, CAUSED) else best


def _with_what_follows(
    did: Mapping[Keys, Change], best: Change, lines: Mapping[Keys, Target], match: Match
) -> Mapping[Keys, Change]:
    """Lines that nothing explains well go to who did others, where that explains them better than
    ``best`` does: a constraint went with its column."""
    named = list(dict.fromkeys(change for change in did.values() if change is not best))
    found = dict(did)
    for keys, change in did.items():
        if change is best and named:
            strength, other = _likeliest(named, lines[keys], match)
            if other is not None and strength > match(best, lines[keys]):
                found[keys] = other
    return found


def _first(
    best: Change,
    found: Sequence[Change],
    undoing: Sequence[Change],
    line: Target,
    match: Match,
) -> Change:
    """Who granted, or revoked, it first did it, after it was last done the other way round."""
    strengths = [(match(each, line), each) for each in found[:MOST_STATEMENTS]]
    most = max((strength for strength, _ in strengths), default=0)
    equal = [each for strength, each in strengths if strength == most]
    if most <= CAUSED or not equal:
        return best
    back = replace(line, step=reverse(line.step))
    opposite = [each for each in undoing if match(each, back) > CAUSED]
    return since_undone(sorted(equal, key=moment_of), opposite)[0]


def _likeliest(changes: Sequence[Change], part: Target, match: Match) -> tuple[int, Change | None]:
    strengths = [match(each, part) for each in changes]
    best = max(strengths, default=0)
    equal = [each for each, fits in zip(changes, strengths, strict=True) if fits == best]
    return best, setter(sorted(equal, key=moment_of), part, match) if equal else None


def _lines(target: Target) -> dict[Keys, Target]:
    """As if only one line, attribute or privilege differed: each. Empty where there are not
    several."""
    kind, step = target.scope.kind, target.step
    if kind is CatalogKind.PRIVILEGE:
        if REVOKED in (step.desired, step.observed):
            return {}
        every: list[Keys] = [(part.key,) for part in parts(kind, step)]
    elif step.change is not DriftChange.CHANGED:
        return {}
    elif kind is CatalogKind.ROLE:
        every = [(part.key,) for part in parts(kind, step)]
    elif kind in OBJECT_KINDS:
        every = _with_renames(target)[:MOST_LINES]
    else:
        return {}
    if len(every) < 2:
        return {}
    return {keys: replace(target, step=only(kind, step, keys)) for keys in every}


def _with_renames(target: Target) -> list[Keys]:
    pairs = [
        (f"{part.word} {part.old}", f"{part.word} {part.new}")
        for part in numbers.renamed_in(target.step)
    ]
    paired = {*chain.from_iterable(pairs)}
    return [*pairs, *((key,) for key in target.changed if key not in paired)]


def _rank(kind: CatalogKind, line: Target) -> int:
    return risk.LADDER.index(risk.severity(kind, line.step, attributed=True))
