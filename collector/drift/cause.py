"""Who made a difference, and who else did, or may have done, some of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

from collector.drift.changes import Change


@dataclass(frozen=True, slots=True)
class Cause:
    change: Change
    others: tuple[Change, ...] = ()
    """Statements of other sessions that could have done it as well."""
    undecided: bool = False
    """It is one of them, and nothing tells which."""
    by_line: Mapping[str, Change] = field(default_factory=dict)
    """Other statements that did a part of it, by the lines that they did."""
    nobodys: frozenset[str] = frozenset()
    """Lines that no statement can have done."""
    also: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    """By line, what else led to it: who dropped what was there by the same name before, or gave it
    this name. Of all of the object by no line."""
    weak: bool = False
    """It is of a sort that may have done it, and says nothing of this object."""

    @property
    def shares(self) -> tuple[Change, ...]:
        every = dict.fromkeys((*self.by_line.values(), *chain.from_iterable(self.also.values())))
        return tuple(each for each in every if each is not self.change)
