"""Whom an object was given to between two looks, and who gave on what was that role's.

``ALTER TABLE t OWNER TO etl`` and then ``REASSIGN OWNED BY etl TO bob``: the second one names
neither the table nor the owner that was seen before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.matching.target import Target, fits

MOST_STEPS = 4
_FLAG = "owner"
_SELF = frozenset(("current_user", "session_user", "current_role"))
_REASSIGN = ["reassign", "owned", "by"]
Roles = frozenset[str]


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
    owners, new = {target.before.get("owner", "")}, target.after.get("owner", "")
    for _ in range(MOST_STEPS):
        more = {role for change in giving for role in _given_to(change, target, owners, new)}
        if more <= owners:
            break
        owners |= more
    return replace(target, owners=frozenset(owners))


def reassigned(change: Change, new: str) -> Iterator[tuple[Roles, Roles]]:
    """Of each REASSIGN OWNED of it whose objects it gave, and to whom. ``new``: who is taken for
    the latter where the text does not tell."""
    said = [each for each in wording.parted(change.text) if [*each[:3]] == _REASSIGN]
    for words in said:
        to = words.index("to") if "to" in words else len(words)
        olds, news = ({*each} - {","} for each in (words[3:to], words[to + 1 :]))
        if "?" not in olds | news:
            yield _meant(olds, change), _meant(news, change)
            continue
        yield from _of_any(change, new)
    if "reassign" in change.verbs and not said:
        yield from _of_any(change, new)


def _of_any(change: Change, new: str) -> Iterator[tuple[Roles, Roles]]:
    named = _meant(change.roles, change)
    yield (named - {new}, frozenset((new,))) if new in named else (named, named)


def _given_to(change: Change, target: Target, owners: set[str], new: str) -> Iterator[str]:
    for olds, news in reassigned(change, new):
        if owners & olds:
            yield from news
    if "alter" in change.verbs and any(fits(name, target.parts) for _, name in change.objects):
        yield from _meant(change.roles, change)


def _meant(roles: Iterable[str], change: Change) -> Roles:
    return frozenset(change.user if role in _SELF else role for role in roles)
