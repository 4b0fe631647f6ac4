"""Statements by the names that they say."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from collector.drift.baseline import Scope
from collector.drift.changes import Change, moment_of
from collector.drift.matching.target import keys_of

# A statement's start and a snapshot's moment come from the same host, but not the same clock call.
SLACK_US = 1_000_000
MOST_NAMES = 50
"""So many names are followed from rename to rename."""


class ByName:
    def __init__(self) -> None:
        self._by_key: dict[str, OrderedDict[int, Change]] = {}
        self._renaming = 0

    def add(self, change: Change) -> None:
        self._renaming += bool(change.renames)
        for key in keys_of(change):
            self._by_key.setdefault(key, OrderedDict())[id(change)] = change

    def forget(self, change: Change) -> None:
        self._renaming -= bool(change.renames)
        for key in keys_of(change):
            entries = self._by_key[key]
            del entries[id(change)]
            if not entries:
                del self._by_key[key]

    def near(self, keys: Iterable[str], most: int) -> list[Change]:
        """Of each name the latest ``most``."""
        near = {
            number: change
            for key in keys
            if (known := self._by_key.get(key)) is not None
            for number, change in islice(reversed(known.items()), most)
        }
        return [*near.values()]

    def renames(
        self, names: Iterable[str], most: int, fits: Callable[[Change], bool]
    ) -> list[Change]:
        """Those that rename what has one of ``names``, and what leads there and on from there, in
        their order."""
        todo, seen, found = [*names], {*names}, {}
        while self._renaming and todo and len(seen) < MOST_NAMES:
            for change in self.near([todo.pop()], most):
                if not change.renames or id(change) in found or not fits(change):
                    continue
                found[id(change)] = change
                said = {each for r in change.renames for each in (*_ends(r.old), r.new, r.schema)}
                todo += sorted(said - seen - {""})
                seen |= said
        return sorted(found.values(), key=moment_of)


def in_time(scope: Scope, at_us: int, since_us: int, change: Change) -> bool:
    """Whether a rename was between these looks, and there."""
    moment_us = change.effect.committed_us or change.at_us
    here = (change.agent, change.cluster) == (scope.agent, scope.cluster)
    in_cluster = not scope.database or bool(change.types & {"role", "database"})
    here = here and (in_cluster or change.database == scope.database)
    seen = since_us - SLACK_US <= moment_us <= at_us + SLACK_US
    return here and seen and not change.effect.undone


def _ends(name: str) -> Iterable[str]:
    """``wages`` of ``hr.wages``, which may be all of a name, too."""
    return name, name.rpartition(".")[2]
