"""What was done to a new object between its making and the first look at it.

Who made a role did not make it a superuser: a line that a later statement says better than the one
that made the object is of that statement, as it would be had a look lain between the two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from collector.drift import numbers, wording
from collector.drift.baseline import Difference, Fact
from collector.drift.changes import Change, moment_of
from collector.drift.divided import only, text_of_kind, with_lines
from collector.drift.lines import Part, parts, read_value
from collector.drift.matching.reserved import sets
from collector.drift.matching.target import CAUSED, Target, renames_part
from collector.drift.precedence import Match
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

MOST_STATEMENTS = 20
MOST_LINES = 200
_KINDS = OBJECT_KINDS | {CatalogKind.ROLE, CatalogKind.DATABASE, CatalogKind.TABLESPACE}
_REPLACING = "create or replace"
_SAY_OWNER = ("create database", "create tablespace", "create schema")
_FOR = frozenset(("owner", "authorization"))
_SELF = frozenset(("current_user", "session_user", "current_role", "default"))
_SAY_NOTHING = frozenset(
    (
        "alter", "table", "column", "constraint", "index", "type", "to", "on", "off", "set", "add",
        "not", "null", "default", "true", "false", "(", ")", ",", ".", "?", ":", "=", "'", ";",
    )
)  # fmt: skip
"""Words of many statements and of many lines."""
_NAMED = frozenset(("table", "schema", "constraint", "column", "member", "other"))
"""Lines of which an object has several."""
_USUAL = {"enabled": "origin", "volatility": "volatile", "allow connections": "yes"}
"""Lines that an object has where nobody said anything of it."""
_UNSET = {"inherit": "true"}
"""Attributes of a role that CREATE ROLE sets unless it says otherwise; others it does not."""


def afterwards(
    made: Change, found: Sequence[Change], target: Target, match: Match
) -> Mapping[str, Change]:
    """By line of a new object the statement that did it, where that is not ``made``. ``found``: all
    that may have changed it, the likeliest first."""
    kind, step = target.scope.kind, target.step
    later = [each for each in found if moment_of(each) > moment_of(made)]
    # Who gives a column another name did not make it.
    later = [each for each in later if not renames_part(each)][:MOST_STATEMENTS]
    if not later or not can_be_parted(kind, step):
        return {}
    lines = [*parts(kind, step)][:MOST_LINES]
    did: dict[str, Change] = {}
    for line in lines:
        if line.after == _as_made(kind, line.key, ""):
            continue
        one = _only_this(target, line.key)
        likely = [
            each for each in later if match(each, one) > CAUSED and _did(each, made, line, target)
        ]
        if likely:
            did[line.key] = max(likely, key=moment_of)
    left = len(did) < len(lines) or any(_as_made(kind, key, made.user) for key in did)
    return did if left else {}


def can_be_parted(kind: CatalogKind, step: Difference) -> bool:
    return kind in _KINDS and step.change is DriftChange.ADDED


def as_made(kind: CatalogKind, whole: Difference, later: Collection[str], owner: str) -> Difference:
    """``whole``, of a new object, without what was done to it in the lines ``later``. ``owner``:
    who made it."""
    lines = read_value(kind, whole.observed)
    then = {
        key: was if key in later else text
        for key, text in lines.items()
        if key not in later or (was := _as_made(kind, key, owner))
    }
    value = text_of_kind(kind, then)
    before, detail = whole.details
    if kind in OBJECT_KINDS:
        seen = Fact(whole.observed, detail)
        detail = numbers.merged(seen, Fact(value, detail), value, ()) if detail else detail
    return whole._replace(observed=value, details=(before, detail))


def owner_said(made: Change) -> str:
    """By whom it is owned whom the statement makes it for: itself unless it says another role."""
    words = wording.tokens(made.said)
    at = next((at for at, word in enumerate(words) if word in _FOR), len(words))
    said = [word for word in words[at + 1 :] if word != "="][:1]
    known = made.heading.startswith(_SAY_OWNER) and "multi" not in made.flags
    return said[0] if known and said and said[0] not in {*_SELF, "?"} else made.user


def since_made(
    kind: CatalogKind, made: Difference, whole: Difference, keys: Collection[str]
) -> Difference:
    """What was done in the lines ``keys`` to the object that was ``made``."""
    change = DriftChange.CHANGED
    details = (made.details[1], whole.details[1])
    later = Difference(whole.name, change, made.observed, whole.observed, details)
    return only(kind, later, keys)


def _as_made(kind: CatalogKind, key: str, owner: str) -> str:
    """What the line is where nobody said anything of it; empty: there is none."""
    if kind is CatalogKind.ROLE:
        return _UNSET.get(key, "false" if key not in ("connection_limit", "valid_until") else "")
    return owner if key == "owner" else _USUAL.get(key, "")


def _only_this(target: Target, key: str) -> Target:
    """As if the object had been there, and only this line came."""
    kind, step = target.scope.kind, target.step
    others = {name: text for name, text in read_value(kind, step.observed).items() if name != key}
    before = text_of_kind(kind, others)
    if kind is CatalogKind.ROLE:
        before = with_lines(kind, step.observed, f"{key}={_as_made(kind, key, '')}", {key})
    change = DriftChange.CHANGED
    return replace(target, step=step._replace(change=change, desired=before))


def _did(change: Change, made: Change, line: Part, target: Target) -> bool:
    """Whether the line is of this statement, which came after the object was ``made``."""
    if change.heading == _REPLACING:  # where both are such, which of them made it is not known
        return made.heading != _REPLACING and line.key != "owner"
    about_it = sets(change, target.scope.kind, line.key)
    if about_it is None or (about_it and not _names(change, line.key)):
        return _says_better(change, made, line, target)
    return about_it


def _names(change: Change, key: str) -> bool:
    """``table hr.t`` of a publication, ``column pay`` of a type: it says which one."""
    what, _, name = key.partition(" ")
    if what not in _NAMED or not name:
        return True
    return wording.parts(name)[-1] in wording.tokens(change.said)


def _says_better(change: Change, made: Change, line: Part, target: Target) -> bool:
    about = _words(f"{line.key} {line.after}", target)
    if made.said == made.summary:  # its text is too long to be kept
        about = _words(line.key, target)
    said, before = ({*wording.tokens(each.said)} & about for each in (change, made))
    return len(said) > len(before)


def _words(text: str, target: Target) -> set[str]:
    words = {word for each in wording.tokens(text) for word in (each, *each.split("_"))}
    return words - _SAY_NOTHING - {*target.parts}
