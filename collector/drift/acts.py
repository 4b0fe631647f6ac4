"""What one statement is known to have done to a database: what went, came, or has another name."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from collector.drift.baseline import Difference
from collector.drift.matching.target import Target
from collector.drift.mentions import base_of, same_lines
from collector.drift.state import OpenDrift
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

OF_TABLE = frozenset((CatalogKind.POLICY, CatalogKind.TRIGGER))
"""Their names begin with their table's."""
ANY = "*"
"""Handle of what may have consequences that do not name it."""
_COLUMN = "column "
_WITH_COLUMNS = frozenset((CatalogKind.TABLE, CatalogKind.TYPE))
_CODE = re.compile(r"(?i)\s*(do|call|select)\b")
"""Of code only that it ran may be known."""
_CASCADES = re.compile(r"(?i)\bcascade\b|^\s*drop owned\b")
_RENAMES = re.compile(r"(?i)\brename\b|\bset schema\b")


class Rename(NamedTuple):
    """Names as the catalog's items have them."""

    kind: CatalogKind
    old: str
    new: str
    within: str = ""
    """Of a column: its table or type."""

    def turned(self) -> Rename:
        return self._replace(old=self.new, new=self.old)


@dataclass
class Act:
    """``sure`` is one of its differences. A vague one is known by less than its text."""

    sure: OpenDrift
    vague: bool
    removed: list[Target] = field(default_factory=list)
    added: list[Target] = field(default_factory=list)
    changed: list[Target] = field(default_factory=list)
    since_us: int = 0
    at_us: int = 0

    def add(self, drift: OpenDrift, step: Difference) -> None:
        """Another difference that is known to be its; ``step``: from what was seen before."""
        self.since_us = max(self.since_us, drift.since_us)
        self.at_us = min(self.at_us, drift.detected_at_us)
        target = Target(drift.scope, step)
        sides = {DriftChange.REMOVED: self.removed, DriftChange.ADDED: self.added}
        sides.get(step.change, self.changed).append(target)

    def is_of_look(self, drift: OpenDrift) -> bool:
        """The same database, and looks that may have seen the same transaction."""
        one, other = self.sure.scope, drift.scope
        same = (one.agent, one.cluster, one.database) == (
            other.agent,
            other.cluster,
            other.database,
        )
        return same and self.since_us < drift.detected_at_us and drift.since_us < self.at_us

    @cached_property
    def cascades(self) -> bool:
        return self.vague or _CASCADES.search(self.sure.summary) is not None

    @cached_property
    def hides_names(self) -> bool:
        """It says a new name that is not shown."""
        said = self.sure.summary
        return self.vague or (_RENAMES.search(said) is not None and "?" in said)

    def took(self, kind: CatalogKind, parts: tuple[str, ...]) -> bool:
        return (kind, parts) in self._gone_parts

    def took_function(self, name: str) -> bool:
        return name in self._gone_functions

    def others_of(self, target: Target) -> list[Target]:
        """Of its kind those that it did the opposite to."""
        side = self.removed if target.added else self.added
        return [each for each in side if each.scope.kind is target.scope.kind]

    @cached_property
    def gone(self) -> frozenset[str]:
        """As definitions name them."""
        return frozenset(
            base_of(each.scope.kind, each.step.name)
            for each in self.removed
            if each.scope.kind not in OF_TABLE
        )

    @cached_property
    def lost(self) -> tuple[Rename, ...]:
        """Columns that their tables have no more."""
        return tuple(
            Rename(target.scope.kind, key.removeprefix(_COLUMN), "", target.step.name)
            for target in self.changed
            if target.scope.kind is CatalogKind.TABLE
            for key in target.changed
            if key.startswith(_COLUMN) and key not in target.after
        )

    def renames_of(self, about: frozenset[str], *, came: bool) -> Iterator[Rename]:
        """Those whose former (``came``: new) name, or whose table, is one of ``about``."""
        known = self._by_new if came else self._by_old
        if known and (self.vague or _RENAMES.search(self.sure.summary)):
            for name in about & known.keys():
                yield from known[name]

    @cached_property
    def handles(self) -> frozenset[str]:
        """Names of which one stands in whatever may follow from it."""
        found = {*self.gone, *self._by_old, *self._by_new, *(each.within for each in self.lost)}
        found |= {each.step.name for each in (*self.removed, *self.changed)}
        of_type = any(each.scope.kind is CatalogKind.TYPE for each in self.changed)
        return frozenset(found | ({ANY} if self.hides_names or of_type else set()))

    @cached_property
    def _gone_parts(self) -> frozenset[tuple[CatalogKind, tuple[str, ...]]]:
        return frozenset((each.scope.kind, each.parts) for each in self.removed)

    @cached_property
    def _gone_functions(self) -> frozenset[str]:
        """With their arguments."""
        functions = (each for each in self.removed if each.scope.kind is CatalogKind.FUNCTION)
        return frozenset(each.step.name for each in functions)

    @cached_property
    def _by_old(self) -> dict[str, list[Rename]]:
        found: dict[str, list[Rename]] = {}
        for each in self._renames:
            name = each.within or base_of(each.kind, each.old)
            found.setdefault(name, []).append(each)
        return found

    @cached_property
    def _by_new(self) -> dict[str, list[Rename]]:
        found: dict[str, list[Rename]] = {}
        for each in self._renames:
            name = each.within or base_of(each.kind, each.new)
            found.setdefault(name, []).append(each)
        return found

    @cached_property
    def _renames(self) -> tuple[Rename, ...]:
        return (*self._of_objects(), *self._of_columns())

    def _of_objects(self) -> Iterator[Rename]:
        """What went and what came, where they are one: exactly one fits, both ways."""
        sides: dict[tuple[object, ...], tuple[list[Target], list[Target]]] = {}
        for index, side in enumerate((self.removed, self.added)):
            for target in side:
                for key in _sameness(target):
                    sides.setdefault(key, ([], []))[index].append(target)
        for gone, came in sides.values():
            if len(gone) == len(came) == 1 and _is_renamed(gone[0], came[0]):
                yield Rename(gone[0].scope.kind, gone[0].step.name, came[0].step.name)

    def _of_columns(self) -> Iterator[Rename]:
        for target in self.changed:
            if target.scope.kind not in _WITH_COLUMNS:
                continue
            columns = [key for key in target.changed if key.startswith(_COLUMN)]
            lost = [key for key in columns if key not in target.after]
            came = [key for key in columns if key not in target.before]
            if len(lost) == len(came) == 1 and target.before[lost[0]] == target.after[came[0]]:
                old, new = (each[0].removeprefix(_COLUMN) for each in (lost, came))
                yield Rename(target.scope.kind, old, new, target.step.name)


class Acts:
    """By their handles."""

    def __init__(self, known: Iterable[Act]) -> None:
        self._by_handle: dict[str, list[Act]] = {}
        for act in known:
            for handle in act.handles:
                self._by_handle.setdefault(handle, []).append(act)

    def near(self, names: Iterable[str]) -> list[Act]:
        """Those that something with these names may follow from."""
        found = {id(act): act for name in (*names, ANY) for act in self._by_handle.get(name, ())}
        return [*found.values()]


def acts(told: Iterable[tuple[OpenDrift, Difference]], vague: Container[int] = ()) -> list[Act]:
    """Of differences that have their cause, each with its step from what was seen before it.
    ``vague``: statements that ran code, or several."""
    found: dict[tuple[str, str, str, int], Act] = {}
    for drift, step in told:
        scope, number = drift.scope, drift.statement_id
        if not number or scope.kind not in OBJECT_KINDS:
            continue
        key = (scope.agent, scope.cluster, scope.database, number)
        if key not in found:
            is_vague = number in vague or _CODE.match(drift.summary) is not None
            moments = (drift.since_us, drift.detected_at_us)
            found[key] = Act(drift, is_vague, since_us=moments[0], at_us=moments[1])
        found[key].add(drift, step)
    # What only came makes no other thing go or differ.
    return [act for act in found.values() if act.removed or act.changed or act.vague]


def _sameness(target: Target) -> Iterator[tuple[object, ...]]:
    """What a rename leaves as it is: all but the last part of the name, or but the first."""
    kind, parts = target.scope.kind, target.parts
    arguments = target.step.name.partition("(")[2]
    # A line holds the name now and then, but their number stays.
    shape = (kind, len(target.known), target.known.get("owner", ""))
    if len(parts) == 1:
        yield (*shape, "alone")
    else:
        yield (*shape, "within", parts[:-1], _shape_of(target))
        yield (*shape, "called", parts[1:], arguments)


def _shape_of(target: Target) -> tuple[str, ...]:
    keys = (key for key in target.known if key.startswith(_COLUMN) or key in ("kind", "labels"))
    return tuple(f"{key}: {target.known[key]}" for key in keys)


def _is_renamed(old: Target, new: Target) -> bool:
    before, after = old.step.desired, new.step.observed
    kind = old.scope.kind
    return before == after or same_lines(kind, old.step.name, new.step.name, before, after)
