"""Lines of a table that statements set without naming the table: by an index, by a tablespace."""

from __future__ import annotations

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.matching import all_in_tablespace, plain
from collector.drift.matching.target import CAUSED, POSSIBLE, RELATIONS, Target, about
from model.catalog import CatalogKind

OF_LINE = 8
"""What a statement is about is this line of the table, and not the table."""
_INDEX = frozenset(("index",))
_TABLE = RELATIONS - _INDEX
_IDENTITY, _TABLESPACE, _INDEX_LINE = "replica identity", "tablespace", "index "


def of_lines(change: Change, target: Target) -> int:
    if target.scope.kind is not CatalogKind.TABLE or target.added or target.removed:
        return 0
    return max((_of_line(change, target, key) for key in target.changed), default=0)


def _of_line(change: Change, target: Target, key: str) -> int:
    if key == _TABLESPACE:
        return _moved(change, target)
    if key == _IDENTITY:
        return _identity_dropped(change, target)
    if not key.startswith(_INDEX_LINE):
        return 0
    if change.verbs == {"reindex"}:
        return _reindexed(change, target, key)
    return max(_of_index(change, target, key), _of_parents_index(change, target, key))


def _of_index(change: Change, target: Target, key: str) -> int:
    if not change.types & _INDEX:
        return 0
    name = _name(key)
    names = [name]
    if change.renames:
        if any(key == new for new, _ in target.new_parts):
            return 0
        names = [
            rename.old.rpartition(".")[2]
            for rename in change.renames
            if (key in target.before and rename.old.rpartition(".")[2] == name)
            or (key in target.after and rename.new == name)
        ]
    on = max((about(change, _INDEX, (*target.parts[:1], each)) for each in names), default=0)
    return on and on + OF_LINE


def _of_parents_index(change: Change, target: Target, key: str) -> int:
    """What is made on a partitioned table each of its partitions has, by a name of its own."""
    is_new = key in target.after and key not in target.before
    if not is_new or not target.parent or "create" not in change.verbs:
        return 0
    words = wording.tokens(change.text or change.said)
    on = about(change, _TABLE, target.parent) if "index" in words[:3] else 0
    return CAUSED + OF_LINE if on and plain.is_on_columns(words, target.after[key]) else 0


def _reindexed(change: Change, target: Target, key: str) -> int:
    """One that was left invalid is there again."""
    if key in target.before:
        return 0
    schema = target.parts[:1]
    if on := about(change, _INDEX, (*schema, _name(key))):
        return on + OF_LINE
    if about(change, _TABLE, target.parts):
        return CAUSED + OF_LINE
    if about(change, frozenset(("schema",)), schema):
        return CAUSED
    return POSSIBLE + OF_LINE if change.types & {"database", "system"} else 0


def _identity_dropped(change: Change, target: Target) -> int:
    """By an index that is no more."""
    what, _, name = target.before.get(_IDENTITY, "").partition(" ")
    gone = what == "index" and target.after.get(_IDENTITY, "").endswith("(dropped)")
    if not gone or "drop" not in change.verbs:
        return 0
    on = about(change, _INDEX, (*target.parts[:1], wording.unquoted(name)))
    return on and on + OF_LINE


def _moved(change: Change, target: Target) -> int:
    said = map(all_in_tablespace.of_words, wording.parted(change.text))
    moves = any(each is not None and each.moves(target) for each in said)
    return CAUSED + OF_LINE if moves else 0


def _name(key: str) -> str:
    return wording.unquoted(key.removeprefix(_INDEX_LINE))
