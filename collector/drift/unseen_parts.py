"""What a statement did that is no line of its own: it is named beside who made the difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from collector.drift import wording
from collector.drift.changes import Change, moment_of
from collector.drift.matching.reserved import sets
from collector.drift.matching.target import Target
from model.catalog import CatalogKind

_CONSTRAINT = "constraint "
_SLOT = "slot"
Also = Mapping[str, tuple[Change, ...]]


def unseen_parts(
    made: Change, did: Mapping[str, Change], found: Sequence[Change], target: Target
) -> Also:
    """By line, or by none where it is of all. ``found``: what may have changed the object."""
    return {**_validated(made, did, found, target), **_without_slot(made, found, target)}


def as_others_are(kind: CatalogKind) -> str:
    """Lines that a new object has unless somebody took them away."""
    return f"{_SLOT}: its own" if kind is CatalogKind.SUBSCRIPTION else ""


def _validated(
    made: Change, did: Mapping[str, Change], found: Sequence[Change], target: Target
) -> Also:
    """One adds a constraint that is NOT VALID and another validates it: there is one line."""
    also = {}
    for key in target.changed:
        if not key.startswith(_CONSTRAINT) or key in target.before:
            continue
        name, makes = wording.unquoted(key.removeprefix(_CONSTRAINT)), did.get(key, made)
        others = [each for each in found if each.actor != makes.actor and _is_on(each, name)]
        if others:
            also[key] = _in_order(others)
    return also


def _is_on(change: Change, name: str) -> bool:
    words = wording.tokens(change.said)
    three = zip(words, words[1:], words[2:], strict=False)
    return any(each in (("add", "constraint", name), ("validate", "constraint", name))
               for each in three)  # fmt: skip


def _without_slot(made: Change, found: Sequence[Change], target: Target) -> Also:
    """A subscription that lets go of its slot has no line for it."""
    if target.scope.kind is not CatalogKind.SUBSCRIPTION or not target.added:
        return {}
    if _SLOT in target.after:
        return {}
    others = [
        each
        for each in found
        if each.actor != made.actor
        and moment_of(each) > moment_of(made)
        and sets(each, target.scope.kind, _SLOT)
    ]
    return {"": _in_order(others)} if others else {}


def _in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=moment_of))
