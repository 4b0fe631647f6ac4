"""Which of several statements that fit a difference equally made it: what repeats does nothing.

What is there cannot come again, so of two CREATE ... IF NOT EXISTS, and of two GRANTs, the first
one did it. What succeeds without such an IF has certainly done it, and of values that are set
again the last one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from collector.drift import risk, wording
from collector.drift.baseline import Difference
from collector.drift.changes import Change, moment_of
from collector.drift.lines import Part, parts
from collector.drift.matching.target import CAUSED, EXACT, Target
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

Match = Callable[[Change, Target], int]

_GRANTED = frozenset((CatalogKind.PRIVILEGE, CatalogKind.MEMBERSHIP))
_MANY_OF_A_NAME = frozenset((CatalogKind.FUNCTION,))
"""A statement about one of them is told without the arguments: it may be another one's."""
_ATTRIBUTE_WORDS = {"connection_limit": "connection", "valid_until": "valid"}
"""Of a role, where a statement calls it otherwise."""


def maker(
    equal: Sequence[Change], undoing: Iterable[Change], target: Target, match: Match
) -> Change:
    """One of ``equal``. ``undoing``: what did the opposite in that time."""
    fitting = sorted(equal, key=moment_of)
    if len(fitting) < 2:
        return fitting[0]
    kind = target.scope.kind
    if kind in _GRANTED:
        return _most_of_it(since_undone(fitting, undoing), target)[0]
    if target.removed or (target.added and kind is not CatalogKind.SETTING):
        return _of_coming_and_going(fitting, undoing, target, match)
    return setter(_most_of_it(fitting, target), target, match)


def setter(equal: Sequence[Change], target: Target, match: Match) -> Change:
    """Of those that set values, in their order: the last one, or the first that says the same as
    that where nobody set it otherwise in between."""
    certain = [change for change in equal if not change.conditional] or [*equal]
    last = made = certain[-1]
    mine = _set_by(last, target, match)
    for earlier in reversed(certain[:-1]):
        if _repeats(earlier, last):
            made = earlier
        elif mine is None or any(match(earlier, line) >= how for line, how in mine):
            break
    return made


def may_have_been(change: Change, made: Change, target: Target, match: Match) -> bool:
    """Whether ``change``, which fits as well as ``made``, is left as another possibility."""
    may_be_nothing = change.conditional or bool(change.parent_id)
    return not (may_be_nothing and not made.parent_id and _proves(made, target, match))


def surest(equal: Sequence[Change]) -> Sequence[Change]:
    """Without what ran inside others, where a client sent one, too: a function or block may have
    undone it, by an EXCEPTION block or a procedure's ROLLBACK, and nothing tells. Who says IF
    EXISTS or IF NOT EXISTS may have done nothing either."""
    if not any(not (each.parent_id or each.conditional) for each in equal):
        return equal
    return [each for each in equal if not each.parent_id]


def _of_coming_and_going(
    fitting: Sequence[Change], undoing: Iterable[Change], target: Target, match: Match
) -> Change:
    if match(fitting[0], target) < EXACT or target.scope.kind in _MANY_OF_A_NAME:
        # Another schema's, or another one of that name, may be meant: whose it is tells more.
        ours = _of_its_owner(fitting, target)
        ours = since_undone(ours, undoing)
        replacing = [change for change in ours if change.heading == "create or replace"]
        return replacing[-1] if replacing else ours[0]
    left = since_undone(fitting, undoing)
    # It was there, or not, each time that one succeeded: what came in between was not seen.
    proof = [change for change in left if _proves(change, target, match)]
    if direct := [change for change in proof if not change.parent_id]:
        return direct[-1]
    ours = _of_its_owner(left, target)
    return next((change for change in reversed(proof) if change in ours), ours[0])


def _proves(change: Change, target: Target, match: Match) -> bool:
    """Without IF NOT EXISTS or IF EXISTS it fails where there is nothing for it to do."""
    if not (target.added or target.removed) or target.scope.kind in _GRANTED | _MANY_OF_A_NAME:
        return False
    # What replaces succeeds in any case.
    known = change.heading not in ("", "create or replace") and not change.conditional
    return known and match(change, target) >= EXACT


def since_undone(fitting: Sequence[Change], undoing: Iterable[Change]) -> Sequence[Change]:
    """Those after the last one that did the opposite. A script of DROP and CREATE is both."""
    last = max(map(moment_of, undoing), default=(0, 0, 0))
    return [change for change in fitting if moment_of(change) >= last] or fitting


def standing(
    equal: Sequence[Change], undoing: Iterable[Change], target: Target, match: Match
) -> Sequence[Change]:
    """Of those that set a value the ones after the last that set another: who did that is no cause
    of what is there now, and what was set before that is over."""
    if target.added or target.removed or target.scope.kind in _GRANTED:
        return equal
    return since_undone(equal, [change for change in undoing if not match(change, target)])


def with_undoing(found: Sequence[Change], undoing: Iterable[Change]) -> list[Change]:
    """Those that set a line back explain nothing, but what was set before them is over."""
    known = {id(change) for change in found}
    return [*found, *(change for change in undoing if id(change) not in known)]


def _of_its_owner(fitting: Sequence[Change], target: Target) -> Sequence[Change]:
    """Those by the role that owns what came, if any: it belongs to who made it."""
    owner = target.after.get("owner", "") if target.added else ""
    return [change for change in fitting if owner and change.user == owner] or fitting


def _repeats(earlier: Change, later: Change) -> bool:
    """It says the same and nothing is redacted, or it does nothing where the other one did."""
    if earlier.conditional and later.conditional:
        return True
    one, other = _words(earlier), _words(later)
    return one == other and "?" not in one and bool(earlier.heading)


def _set_by(change: Change, target: Target, match: Match) -> Sequence[tuple[Target, int]] | None:
    """Parts of what differs that it sets, and how well that fits; None: it is one thing."""
    if target.scope.kind not in OBJECT_KINDS:
        return None
    lines = map(target.of_line, target.changed)
    return [(line, fits) for line in lines if (fits := match(change, line)) > CAUSED]


def _most_of_it(fitting: Sequence[Change], target: Target) -> Sequence[Change]:
    """Those that say the most, and the worst, of what differs."""
    does = [_says(change, target) for change in fitting]
    most = max(does)
    return [change for change, did in zip(fitting, does, strict=True) if did == most]


def _says(change: Change, target: Target) -> tuple[int, int]:
    """How bad is what it says of the difference, and how much that is."""
    kind, words = target.scope.kind, frozenset(_words(change))
    if kind is CatalogKind.MEMBERSHIP:
        return 0, _of_membership(words, target)
    changed = [part for part in parts(kind, target.step) if part.key]
    if kind is CatalogKind.PRIVILEGE:
        return 0, sum(_of_privilege(change, words, part) for part in changed)
    if kind is CatalogKind.ROLE:
        said = [part for part in changed if _of_attribute(words, part)]
        return max((_rank(part) for part in said), default=0), len(said)
    return 0, 0


def _of_privilege(change: Change, words: frozenset[str], part: Part) -> int:
    named = change.privileges
    if named and "ALL" not in named and part.key not in named:
        return 0
    further = "with grant option" in (part.before, part.after)
    return 1 + (("option" in words) is further)


def _of_membership(words: frozenset[str], target: Target) -> int:
    before, after = ({*value.replace(",", " ").split()} for value in (
        target.step.desired, target.step.observed
    ))  # fmt: skip
    options = {word.removeprefix("no") for word in (before ^ after) - {"member"}}
    return len(options & words) - ("admin" in words - options)


def _of_attribute(words: frozenset[str], part: Part) -> bool:
    word = _ATTRIBUTE_WORDS.get(part.key, part.key)
    return (f"no{word}" if part.after == "false" else word) in words


def _rank(part: Part) -> int:
    before, after = (f"{part.key}={value or ''}" for value in (part.before, part.after))
    step = Difference("", DriftChange.CHANGED, before, after, ("", ""))
    return risk.LADDER.index(risk.severity(CatalogKind.ROLE, step, attributed=True))


def _words(change: Change) -> list[str]:
    return [word for word in wording.tokens(change.said) if word != ";"]
