"""Definitions that another major version writes otherwise, and that mean the same."""

from __future__ import annotations

import re

from collector.drift.baseline import Difference
from collector.drift.lines import lines_of, parts
from model.catalog import CatalogKind, DriftChange

OF_VIEW, OF_FUNCTION = frozenset(["definition", "text"]), frozenset(["body", "text"])
_NAME = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
_TOKEN = re.compile(
    rf"(?P<qualifier>(?:{_NAME}\.)*)(?P<name>{_NAME}|\*)|(?P<other>'(?:[^']|'')*'|[\w.]+|\S)"
)


def respelled(kind: CatalogKind, difference: Difference) -> bool:
    """Whether only the text of a view differs, and only by names that have their table in front;
    or the body of a function in SQL, which the server may spell anew and of which often only a
    hash is kept. One with its owner's rights is never taken for the same unseen."""
    if difference.change is not DriftChange.CHANGED:
        return False
    changed = {part.key for part in parts(kind, difference)}
    before, after = lines_of(difference.desired), lines_of(difference.observed)
    has_texts = bool(before.get("text")) and bool(after.get("text"))
    same = has_texts and alike(before["text"], after["text"])
    if kind is CatalogKind.TABLE:
        return changed <= OF_VIEW and same
    if kind is CatalogKind.FUNCTION and changed <= OF_FUNCTION:
        unseen = not has_texts and "security" not in after
        return after.get("language") == "sql" and (same or unseen)
    return False


def alike(one: str, other: str) -> bool:
    """
    >>> alike("SELECT t.id FROM hr.t WHERE (t.a = 'x.y')", "SELECT id FROM hr.t WHERE (a = 'x.y')")
    True
    >>> alike("SELECT a.id FROM a, b", "SELECT b.id FROM a, b"), alike("SELECT 1", "SELECT 2")
    (False, False)
    """
    left, right = _tokens(one), _tokens(other)
    return len(left) == len(right) and all(
        mine == yours and (not in_front or not there or in_front == there)
        for (in_front, mine), (there, yours) in zip(left, right, strict=True)
    )


def _tokens(text: str) -> list[tuple[str, str]]:
    return [
        (each["qualifier"] or "", each["name"] or each["other"]) for each in _TOKEN.finditer(text)
    ]
