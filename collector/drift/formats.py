"""What agents tell since a later release: new to the collector, and no difference of the server.

Each scope remembers the format with which its baseline is held against what is seen. When its agent
comes with a later one, the lines and items that this brought are taken into the baseline as they
are seen first; in table ``catalog_changes`` they are changes as any other. When it comes with an
earlier one (an agent was put back), they leave the baseline again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from collector.drift import foreign_keys
from collector.drift.baseline import Fact, Facts, Known
from collector.drift.lines import LINE_KINDS, lines_of, text_of
from model.catalog import CatalogKind


class New(NamedTuple):
    """Patterns of what a format brought to a kind; as a whole, ``None``: nothing."""

    lines: str | None = None
    """Keys of lines."""
    items: str | None = None
    """Names of items."""
    copies: bool = True
    """Whether foreign keys that the server made for partitions are told."""


_IN_SCHEMAS = (
    r"built-in (casts|operators)|(collation|conversion|operator (class|family)"
    r"|text search (configuration|dictionary|parser|template)) .*"
)
BROUGHT: Mapping[int, Mapping[CatalogKind, New]] = {
    1: {
        CatalogKind.LANGUAGE: New(lines="handler|inline|validator", items="internal|c|sql"),
    },
    2: {CatalogKind.SCHEMA: New(lines=_IN_SCHEMAS)},
    3: {CatalogKind.TABLE: New(copies=False)},
}
"""By format; ``model.catalog.FORMAT`` is the last one. A kind that is new needs no entry: all of it
is a first snapshot."""


def step(kind: CatalogKind, known: Known, now: int) -> None:
    """``known``, which has a baseline, as it is held against what is told in the format ``now``."""
    assert known.accepted is not None
    if now > known.format:
        known.accepted = taking(kind, known.accepted, known.observed, since=known.format)
        known.accepted = dropping(kind, known.accepted, known.observed, since=known.format)
    elif now < known.format:
        known.accepted = _without(kind, known.accepted, known.observed, now)
    if known.complete:
        known.format = now


def taking(kind: CatalogKind, accepted: Facts, source: Facts, *, since: int = 0) -> Facts:
    """``accepted`` with what formats later than ``since`` brought, as ``source`` has it."""
    brought = _later_than(kind, since)
    if not brought:
        return accepted
    after = dict(accepted)
    for name, fact in source.items():
        mine = accepted.get(name)
        if mine is None and any(_is(new.items, name) for new in brought):
            after[name] = fact
        elif mine is not None and mine.value != fact.value and kind in LINE_KINDS:
            after[name] = _with_lines(mine, fact, brought)
    return after if after != accepted else accepted


def dropping(kind: CatalogKind, accepted: Facts, observed: Facts, *, since: int = 0) -> Facts:
    """``accepted`` without what formats later than ``since`` tell no more."""
    if all(new.copies for new in _later_than(kind, since)):
        return accepted
    return foreign_keys.without_copies(accepted, observed)


def _with_lines(mine: Fact, seen: Fact, brought: list[New]) -> Fact:
    accepted, lines = lines_of(mine.value), lines_of(seen.value)
    merged = {
        key: accepted.get(key, text)
        for key, text in lines.items()
        if key in accepted or any(_is(new.lines, key) for new in brought)
    }
    merged |= {key: text for key, text in accepted.items() if key not in merged}
    return seen if merged == lines else mine._replace(value=text_of(merged))


def _without(kind: CatalogKind, accepted: Facts, observed: Facts, now: int) -> Facts:
    brought = _later_than(kind, now)
    if not all(new.copies for new in brought):
        accepted = foreign_keys.with_copies(accepted, observed)
    return {
        name: _without_lines(fact, brought) if brought and kind in LINE_KINDS else fact
        for name, fact in accepted.items()
        if not any(_is(new.items, name) for new in brought)
    }


def _without_lines(fact: Fact, brought: list[New]) -> Fact:
    lines = lines_of(fact.value)
    kept = {k: text for k, text in lines.items() if not any(_is(new.lines, k) for new in brought)}
    return fact._replace(value=text_of(kept)) if kept != lines else fact


def _later_than(kind: CatalogKind, since: int) -> list[New]:
    return [kinds[kind] for number, kinds in BROUGHT.items() if number > since and kind in kinds]


def _is(pattern: str | None, text: str) -> bool:
    return pattern is not None and re.fullmatch(pattern, text) is not None
