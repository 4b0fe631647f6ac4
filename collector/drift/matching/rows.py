"""Rows of watched configuration tables."""

from __future__ import annotations

import re

from collector.drift import wording
from collector.drift.changes import WRITING, Change
from collector.drift.matching.target import CAUSED, POSSIBLE, RELATIONS, Target, Way, about, fits

VERBS = {
    "added": frozenset(("insert", "copy", "merge")),
    "removed": frozenset(("delete", "truncate", "merge")),
    "changed": frozenset(("update", "merge", "insert")),
}
_WORD = r'(?:"(?:[^"]|"")*"|[^\s",.]+)'
_QUALIFIED = re.compile(rf"{_WORD}(?:\.{_WORD})+")
TRIGGERS_OF = "written by triggers of "
"""So begins the detail of a watched table where triggers of others name it."""
BY_TRIGGER = POSSIBLE + 5
"""Whoever wrote to the watched table itself goes before, and of several nobody is claimed."""
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
        likely = change.verbs & VERBS[target.step.change.value] and not _only_adds(change, target)
        return written if likely or by_way or not change.verbs & WRITING else written - _UNLIKELY
    if _fires_a_trigger(change, target) and not _other_columns(target):
        return BY_TRIGGER
    ddl = change.verbs & {"create", "alter", "drop"}
    defined = max((about(change, RELATIONS, parts) for parts in tables), default=0)
    if ddl and defined:
        return defined if _other_columns(target) else CAUSED
    return max(0, written - _UNLIKELY)


def _only_adds(change: Change, target: Target) -> bool:
    """An INSERT whose text is known, and says nothing of rows that are there."""
    is_there = not target.added and not target.removed
    plain = bool(change.text) and not change.contained
    return is_there and plain and change.verbs & WRITING == {"insert"}


def _fires_a_trigger(change: Change, target: Target) -> bool:
    return bool(change.verbs & WRITING) and any(
        way.by_trigger and fits(name, way.table) for way in target.ways for name in change.writes
    )


def _by_another_way(change: Change, target: Target) -> int:
    return max(
        (
            fits(name, way.table)
            for way in target.ways
            if not way.by_trigger
            and way.change == target.step.change.value
            and change.verbs & way.verbs
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
    if not detail.startswith(TRIGGERS_OF):
        found += map(wording.parts, _QUALIFIED.findall(detail))
    return tuple(parts for parts in found if parts)


def triggered_by(detail: str) -> tuple[tuple[str, ...], ...]:
    """
    >>> triggered_by('written by triggers of shop.orders, hr."Odd t"')
    (('shop', 'orders'), ('hr', 'Odd t'))
    """
    if not detail.startswith(TRIGGERS_OF):
        return ()
    return tuple(wording.parts(each) for each in _QUALIFIED.findall(detail[len(TRIGGERS_OF) :]))


__all__ = ["VERBS", "Way", "alike", "tables_of", "triggered_by", "watched"]
