"""What a rename brought along, and what somebody did beside it under the other name.

Who renames a schema moves what is granted in it and grants nothing. What came under a new name and
did not go under the former one in the same look is of somebody else, who may have said either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.matching.target import CAUSED, Match, Target
from collector.drift.wording import Rename
from model.catalog import OBJECT_KINDS, CatalogKind

BROUGHT = CAUSED + 5
"""It went under the former name when it came under the new one, and a statement renames so."""
MOST_STEPS = 3
"""A schema, its table and their role may all be renamed between two looks."""
MOST_NAMES = 20
KINDS = OBJECT_KINDS | {CatalogKind.PRIVILEGE}
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_PART_OF_TABLE = frozenset(("policy", "trigger"))
Place = tuple[str, tuple[str, ...], str]


def beside_renames(
    target: Target, renames: Iterable[Change], other_way: Mapping[str, str]
) -> Target:
    """``other_way``: what else went in the look in which this came, or came when this went, with
    its value. Of objects whose numbers say that they were not renamed: nothing."""
    known, found, new = [*renames], {target.step.name}, {target.step.name}
    for _ in range(MOST_STEPS):
        new = {other for name in new for each in known for other in _others(target, name, each)}
        new -= found
        found |= new
    names = tuple(sorted(found - {target.step.name}))[:MOST_NAMES]
    if not names:
        return target
    theirs = {_place(name) for name in names}
    values = [value for name, value in other_way.items() if _place(name) in theirs]
    moved = frozenset(word for value in values for word in value.split(", "))
    return replace(target, others=names, moved=moved)


def unless_moved(match: Match) -> Match:
    def matches(change: Change, target: Target) -> int:
        if target.moved is None:
            return match(change, target)
        rights = _rights(target)
        only_renames = bool(change.renames) and "multi" not in change.flags and not change.contained
        if only_renames:
            fits = match(change, target) if rights & target.moved else 0
            return max(fits, BROUGHT) if fits else 0
        if rights and rights <= target.moved and not change.renames:
            return 0
        return max(match(change, each) for each in (target, *under_other_names(target)))

    return matches


def under_other_names(target: Target) -> list[Target]:
    plain = replace(target, others=(), moved=None)
    return [replace(plain, step=target.step._replace(name=name)) for name in target.others]


def _rights(target: Target) -> set[str]:
    """Those that came or went; none of an object."""
    if target.scope.kind is not CatalogKind.PRIVILEGE:
        return set()
    step = target.step
    return ({*step.desired.split(", ")} ^ {*step.observed.split(", ")}) - {""}


def _place(name: str) -> Place:
    """Without the arguments of a function: they may speak of what was renamed, too."""
    kind, what, who = _split(name)
    return kind, wording.parts(what), who


def _split(name: str) -> tuple[str, str, str]:
    """``("table:", "hr.salary", "<-analyst")``; of an object the middle alone."""
    what, arrow, who = name.rpartition("<-")
    if not arrow:
        return "", name, ""
    kind, colon, what = what.partition(":")
    return kind + colon, what, arrow + who


def _others(target: Target, name: str, change: Change) -> Iterator[str]:
    kind, what, who = _split(name) if target.scope.kind is CatalogKind.PRIVILEGE else ("", name, "")
    parts = wording.parts(what)
    end = what[what.index("(") :] if "(" in what else ""
    for rename in change.renames:
        if "role" in change.types:
            here, there = _here_and_there(rename, target)
            if who == f"<-{here}":
                yield f"{kind}{what}<-{there}"
        elif other := _other(parts, rename, change, target):
            yield kind + ".".join(map(_quoted, other)) + end + who


def _other(
    parts: tuple[str, ...], rename: Rename, change: Change, target: Target
) -> tuple[str, ...]:
    schema, _, stem = rename.old.rpartition(".")
    if rename.schema:
        here, there = (rename.schema, schema) if target.added else (schema, rename.schema)
        fits = len(parts) > 1 and parts[1] == stem and parts[0] == here
        return (there, *parts[1:]) if fits and there else ()
    here, there = _here_and_there(rename, target)
    if "schema" in change.types:
        return (there, *parts[1:]) if parts[:1] == (here,) else ()
    at = 2 if change.types & _PART_OF_TABLE else 1
    fits = len(parts) > at and parts[at] == here and schema in ("", parts[0])
    return (*parts[:at], there, *parts[at + 1 :]) if fits else ()


def _here_and_there(rename: Rename, target: Target) -> tuple[str, str]:
    old = rename.old.rpartition(".")[2]
    return (rename.new, old) if target.added else (old, rename.new)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
