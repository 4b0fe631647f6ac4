"""What a thing is called after a captured rename, or was called before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from collector.drift import wording
from collector.drift.changes import Change, Moment, moment_of
from collector.drift.matching.objects import TYPES
from collector.drift.matching.target import RELATIONS, ROUTINES, Called, fits
from collector.drift.wording import Rename
from model.catalog import CatalogKind

Parts = tuple[str, ...]
LONG_AGO: Moment = (0, 0, 0)
NEVER: Moment = (1 << 62, 0, 0)
_SCHEMA = frozenset(("schema",))
_OWN: Mapping[str, frozenset[str]] = {
    **{str(kind): types for kind, types in TYPES.items()},
    CatalogKind.ROLE: frozenset(("role",)),
    CatalogKind.DATABASE: frozenset(("database",)),
    CatalogKind.TABLESPACE: frozenset(("tablespace",)),
    "column": RELATIONS,
    **dict.fromkeys(("procedure", "aggregate"), ROUTINES),
    "domain": TYPES[CatalogKind.TYPE],
}
"""What statements call a kind of object, or what a privilege's name begins with."""
_OF_TABLE = frozenset((CatalogKind.POLICY, CatalogKind.TRIGGER))
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


class Step(NamedTuple):
    """A rename, and what the thing is called beyond it."""

    change: Change
    parts: Parts


def parts_of(kind: str, name: str) -> Parts:
    """Roles stand as they are, without quotes."""
    return (name,) if kind == CatalogKind.ROLE else wording.parts(name)


def name_of(kind: str, parts: Parts, like: str) -> str:
    """``like``: the same thing by another name; a function keeps its arguments."""
    if kind == CatalogKind.ROLE:
        return parts[0]
    end = like[like.index("(") :] if "(" in like else ""
    return ".".join(map(_quoted, parts)) + end


def steps(kind: str, name: str, renames: Sequence[Change], *, forwards: bool = True) -> list[Step]:
    """From ``name`` on, or back from it. ``renames``: in their order."""
    found, at = [], parts_of(kind, name)
    turn = (lambda each: each) if forwards else reversed
    for change in turn(renames):
        for rename in turn(change.renames):
            if beyond := renamed(kind, at, change, rename, forwards=forwards):
                found.append(Step(change, beyond))
                at = beyond
    return found


def names_of_new(kind: str, name: str, renames: Sequence[Change]) -> tuple[Called, ...]:
    """Of a thing that was made: what it is called, then what it was called before."""
    found, until, at = [], NEVER, name
    for step in steps(kind, name, renames, forwards=False):
        moment = moment_of(step.change)
        found.append(Called(at, moment, until))
        until, at = moment, name_of(kind, step.parts, name)
    return (*found, Called(at, LONG_AGO, until))


def names_since(kind: str, name: str, renames: Sequence[Change]) -> tuple[Called, ...]:
    """Of a thing that was there: what it was called, and what it was called later."""
    found, since, at = [], LONG_AGO, name
    for step in steps(kind, name, renames, forwards=True):
        moment = moment_of(step.change)
        found.append(Called(at, since, moment))
        since, at = moment, name_of(kind, step.parts, name)
    return (*found, Called(at, since, NEVER))


def renamed(kind: str, parts: Parts, change: Change, rename: Rename, *, forwards: bool) -> Parts:
    """Empty where it is about something else. ``kind``: of an object, or the word before one in a
    privilege's name."""
    for at in _places(kind, parts, change):
        if found := _renamed_at(at, parts, rename, forwards=forwards):
            return found
    return ()


def _places(kind: str, parts: Parts, change: Change) -> Iterator[int]:
    """Which part of the name may be another one by it."""
    own = _OWN.get(kind)
    is_own = own is None or bool(change.types & own)
    if kind in _OF_TABLE and len(parts) > 2:
        on = any(fits(name, parts[:2]) for _, name in change.objects)
        yield from (2,) if is_own and on else ()
        is_own = bool(change.types & RELATIONS)
    if len(parts) > 1:
        yield from (1,) if is_own else ()
        yield from (0,) if change.types & _SCHEMA else ()
    elif parts and is_own:
        yield 0


def _renamed_at(at: int, parts: Parts, rename: Rename, *, forwards: bool) -> Parts:
    place = ".".join(parts[:at])
    said = rename.old.removeprefix(f"{place}.") if place else rename.old
    if rename.schema:
        if at != 1:
            return ()
        if forwards:
            fits_old = rename.old in (parts[1], f"{place}.{parts[1]}")
            return (rename.schema, *parts[1:]) if fits_old else ()
        schema, _, stem = rename.old.rpartition(".")
        arrived = bool(schema) and (rename.schema, stem) == parts[:2]
        return (schema, *parts[1:]) if arrived else ()
    if forwards:
        return (*parts[:at], rename.new, *parts[at + 1 :]) if said == parts[at] else ()
    elsewhere = at == 1 and said == rename.old and "." in said
    return (
        (*parts[:at], said, *parts[at + 1 :]) if rename.new == parts[at] and not elsewhere else ()
    )


def part_renames(change: Change) -> Iterator[tuple[str, str]]:
    """A column or constraint, by its former name and the new one."""
    words = [word for word in wording.tokens(change.said) if word != ";"]
    if words[-2:-1] == ["to"] and "rename" in words:
        yield words[-3], words[-1]


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
