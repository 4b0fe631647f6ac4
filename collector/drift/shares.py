"""One difference that several statements made: each of them did some of its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

from collector.drift import numbers, risk, wording
from collector.drift.baseline import reverse
from collector.drift.candidates import CONTAINED
from collector.drift.changes import Change, moment_of
from collector.drift.divided import only
from collector.drift.lines import REVOKED, parts
from collector.drift.matching.impossible import sets_otherwise
from collector.drift.matching.reserved import is_reserved
from collector.drift.matching.target import CAUSED, NAMED, Target, renames_part
from collector.drift.precedence import Match, setter, since_undone, surest
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

MOST_LINES = 50
MOST_STATEMENTS = 20
_OF_LINES = OBJECT_KINDS | {CatalogKind.DATABASE, CatalogKind.TABLESPACE, CatalogKind.ROLE}
Keys = tuple[str, ...]
"""Of lines that change together: a column's under its former name and under the new one."""
_OF_QUERY = ("definition", "text")
"""A view's query, and the hash of it."""


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


def weighed(match: Match) -> Match:
    """What is known only from the body of a DO block gives way to what ran."""

    def fits(change: Change, target: Target) -> int:
        strength = match(change, target)
        return strength - CONTAINED * change.contained if strength else 0

    return fits


def says_all(best: Change, did: Mapping[str, Change], target: Target, match: Match) -> bool:
    """Whether each line that differs is said by who is to have done it. What ran inside a DO block
    is on record a moment later than what came directly."""
    if target.step.change is not DriftChange.CHANGED or target.scope.kind not in _OF_LINES:
        return True
    lines = _lines(target) or {("",): target}
    return all(match(did.get(keys[0], best), line) >= NAMED for keys, line in lines.items())


def as_likely(
    change: Change,
    best: Change,
    did: Mapping[str, Change],
    found: Sequence[Change],
    target: Target,
    match: Match,
) -> bool:
    """Of a difference in several lines: it explains one of them as well as who is named for it, and
    none of ``found`` set that otherwise afterwards."""
    later = [each for each in found if moment_of(each) > moment_of(change)]
    lines = _lines(target)
    return not lines or any(
        0 < match(change, line) >= match(did.get(keys[0], best), line)
        and not any(_undoes(each, line, match) for each in later)
        for keys, line in lines.items()
    )


def unexplained(
    target: Target, found: Sequence[Change], did: Mapping[str, Change], match: Match
) -> frozenset[str]:
    """Lines that only a statement which says so can have set, and none of ``found`` does."""
    return frozenset(
        key
        for keys, line in _lines(target).items()
        for key in keys
        if key not in did
        and is_reserved(target, key)
        and not any(match(each, line) for each in found[:MOST_STATEMENTS])
    )


def renamers(
    best: Change, shared: Mapping[str, Change], found: Sequence[Change], target: Target
) -> Mapping[str, Change]:
    """By the former line of a column or constraint that is otherwise than before besides: who gave
    it another name, where that is not who made it so (``shared``, else ``best``)."""
    did = {}
    for part in numbers.retyped_in(target.step):
        for each in found[:MOST_STATEMENTS]:
            named = {part.old, part.new} <= {*wording.tokens(each.said)}
            makes = shared.get(f"{part.word} {part.new}", best)
            if named and each.actor != makes.actor and renames_part(each):
                did[f"{part.word} {part.old}"] = each
    return did


def droppers(
    best: Change, did: Mapping[str, Change], found: Sequence[Change], target: Target
) -> Mapping[str, tuple[Change, ...]]:
    """By the line of a column or constraint that is another one by the same name: who dropped the
    former one, where who made the line (``did``, else ``best``) is not."""
    gone: dict[str, tuple[Change, ...]] = {}
    for key in sorted(numbers.gone_parts(target.step)):
        name = wording.unquoted(key.partition(" ")[2])
        for each in sorted(found[:MOST_STATEMENTS], key=moment_of):
            makes = did.get(key, best)
            if each is not makes and name in wording.dropped_parts(each.said):
                gone.setdefault(key, (each,))
    return gone


def _of(
    line: Target, best: Change, mine: Sequence[Change], others: Sequence[Change], match: Match
) -> Change:
    """Of others only where nothing by the actor of ``best`` explains it as well."""
    known, every = match(best, line), [best, *mine, *others]
    own, again = _likeliest(mine, line, match, every)
    strength, other = _likeliest(others, line, match, every)
    if other is not None and strength > max(known, own, CAUSED if known or own else 0):
        return other
    if strength == max(known, own) > CAUSED and any(sets_otherwise(e, line) for e in every):
        return _likeliest(every, line, match)[1] or best  # it was set again
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
    return since_undone(sorted(surest(equal), key=moment_of), opposite)[0]


def _likeliest(
    changes: Sequence[Change], part: Target, match: Match, every: Sequence[Change] = ()
) -> tuple[int, Change | None]:
    """``every``: those that may have set it otherwise in between, where that are more."""
    strengths = [match(each, part) for each in changes]
    best = max(strengths, default=0)
    equal = [each for each, fits in zip(changes, strengths, strict=True) if fits == best]
    if len(equal) < 2:
        return best, next(iter(equal), None)
    opposite = [each for each in every or changes if _undoes(each, part, match)]
    likely = sorted(surest(equal), key=moment_of)
    return best, setter(since_undone(likely, opposite), part, match)


def _undoes(change: Change, part: Target, match: Match) -> bool:
    if match(change, part):
        return False
    back = replace(part, step=reverse(part.step))
    return sets_otherwise(change, part) > 0 or match(change, back) > CAUSED


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
    elif kind in _OF_LINES:
        every = _with_renames(target)[:MOST_LINES]
    else:
        return {}
    if len(every) < 2:
        return {}
    return {keys: replace(target, step=only(kind, step, keys)) for keys in every}


def _with_renames(target: Target) -> list[Keys]:
    pairs: list[Keys] = [
        (f"{part.word} {part.old}", f"{part.word} {part.new}")
        for part in numbers.renamed_in(target.step)
        if f"{part.word} {part.old}" not in target.after  # else another one has the name
    ]
    if {*_OF_QUERY} <= {*target.changed}:
        pairs.append(_OF_QUERY)
    paired = {*chain.from_iterable(pairs)}
    return [*pairs, *((key,) for key in target.changed if key not in paired)]


def _rank(kind: CatalogKind, line: Target) -> int:
    return risk.LADDER.index(risk.severity(kind, line.step, attributed=True))
