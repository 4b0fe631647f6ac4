"""Rows of watched configuration tables."""

from __future__ import annotations

import re

from collector.drift import wording
from collector.drift.changes import WRITING, Change
from collector.drift.matching.target import CAUSED, RELATIONS, Target, Way, about, fits

VERBS = {
    "added": frozenset(("insert", "copy", "merge")),
    "removed": frozenset(("delete", "truncate", "merge")),
    "changed": frozenset(("update", "merge", "insert")),
}
_WORD = r'(?:"(?:[^"]|"")*"|[^\s",.]+)'
_QUALIFIED = re.compile(rf"{_WORD}(?:\.{_WORD})+")
_UNLIKELY = 15
"""A DELETE for a row that came: it may have called a trigger."""


def watched(change: Change, target: Target) -> int:
    if change.database != target.scope.database:
        return 0
    tables = _tables(target)
    written = max((fits(name, parts) for name in change.writes for parts in tables), default=0)
    by_way = 0 if written else max(0, _by_another_way(change, target) - 2)
    written = written or by_way
    if written and not _other_columns(target):
        likely = change.verbs & VERBS[target.step.change.value]
        return written if likely or by_way or not change.verbs & WRITING else written - _UNLIKELY
    ddl = change.verbs & {"create", "alter", "drop"}
    defined = max((about(change, RELATIONS, parts) for parts in tables), default=0)
    if ddl and defined:
        return defined if _other_columns(target) else CAUSED
    return max(0, written - _UNLIKELY)


def _by_another_way(change: Change, target: Target) -> int:
    return max(
        (
            fits(name, way.table)
            for way in target.ways
            if way.change == target.step.change.value and change.verbs & way.verbs
            for name in change.writes
        ),
        default=0,
    )


def alike(target: Target) -> tuple[object, ...]:
    """Rows that are alike in this have the same causes: keys are redacted in statements."""
    step = target.step
    return (target.scope, step.change, _tables(target), _other_columns(target))


def _tables(target: Target) -> tuple[tuple[str, ...], ...]:
    before, after = target.step.details
    return tables_of(target.step.name, after or before)


def _other_columns(target: Target) -> bool:
    """The row has columns that it had not, or lacks some: no writing does that."""
    both_there = not target.added and not target.removed
    return both_there and target.before.keys() != target.after.keys()


def tables_of(name: str, detail: str) -> tuple[tuple[str, ...], ...]:
    """The relation of an item ``public.flags[7]``; a query's detail names what it reads."""
    found = [wording.parts(name.partition("[")[0])]
    found += map(wording.parts, _QUALIFIED.findall(detail))
    return tuple(parts for parts in found if parts)


__all__ = ["VERBS", "Way", "alike", "tables_of", "watched"]
