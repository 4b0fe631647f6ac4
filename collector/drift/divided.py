"""A difference that came in several steps, in parts: each line stays with the step that made it.

Who touches an object second did not do what was done to it first. The parts are open differences of
one name, each with its own cause; together they lead from what is accepted to what is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from collector.drift import numbers
from collector.drift.baseline import Difference, Fact, is_another
from collector.drift.lines import (
    LINE_KINDS,
    REVOKED,
    SEPARATOR,
    TEXT_ATTRIBUTE,
    Part,
    parts,
    read_value,
)
from collector.drift.state import OpenDrift
from model.catalog import OBJECT_KINDS, CatalogKind, DriftChange

_KINDS = LINE_KINDS | {CatalogKind.ROLE, CatalogKind.PRIVILEGE}
"""Whose values consist of something."""


@dataclass(frozen=True)
class Divided:
    kept: tuple[OpenDrift, ...]
    """Parts that still differ, each in what of it still does."""
    again: tuple[OpenDrift, ...]
    """Parts of which nothing is left: their lines are other ones now."""
    back: tuple[OpenDrift, ...]
    """Parts of which nothing is left: their lines are as accepted."""
    new: Difference | None
    """What differs and is of no part."""


def divided(kind: CatalogKind, total: Difference, mine: Sequence[OpenDrift]) -> Divided | None:
    """``total`` among ``mine``, the parts that are known of it, the oldest first. None where the
    value is one thing, or where the object came or went: that is all of it."""
    if not is_divisible(kind, total, mine):
        return None
    # Later steps start from the object as it was made; rights are given one by one.
    is_new = total.change is DriftChange.ADDED and kind is not CatalogKind.PRIVILEGE
    made = [*mine[:1]] if is_new else []
    whole = _since(made[0].difference, total) if made else total
    differing = {part.key: part for part in parts(kind, whole)}
    kept, again, back = made, [], []
    free = set(differing)
    for drift in mine[len(made) :]:
        own = {part.key: part for part in parts(kind, drift.difference)}
        keys = {key for key in own if key in free and _is_same(own[key], differing[key])}
        free -= keys
        if keys:
            kept.append(_now(drift, only(kind, whole, keys)))
        elif own.keys() & differing.keys():
            again.append(drift)
        else:
            back.append(drift)
    new = only(kind, whole, free) if free else None
    return Divided(tuple(kept), tuple(again), tuple(back), new)


def together(kind: CatalogKind, mine: Sequence[OpenDrift]) -> Difference:
    """What ``mine`` are all in all: from what is accepted to what was seen last."""
    first, last = mine[0].difference, mine[-1].difference
    value = first.observed
    for drift in mine[1:]:
        keys = {part.key for part in parts(kind, drift.difference)}
        value = with_lines(kind, value, drift.difference.observed, keys)
    return first._replace(observed=value, details=(first.details[0], last.details[1]))


def only(kind: CatalogKind, whole: Difference, keys: Collection[str]) -> Difference:
    """Of ``whole`` what differs in the lines ``keys``."""
    observed = with_lines(kind, whole.desired, whole.observed, keys)
    if observed == whole.observed or kind not in OBJECT_KINDS:
        return whole._replace(observed=observed)
    before, after = whole.details
    # Columns are numbered in the order of all the lines that there are.
    detail = numbers.merged(
        Fact(whole.desired, before), Fact(whole.observed, after), observed, keys
    )
    return whole._replace(observed=observed, details=(before, detail))


def with_lines(kind: CatalogKind, value: str, other: str, keys: Collection[str]) -> str:
    """``value`` with the lines, attributes or privileges ``keys`` as they are in ``other``."""
    have, there = read_value(kind, value), read_value(kind, other)
    merged = {
        key: source[key]
        for key in _in_order(there, have)
        if key in (source := there if key in keys else have)
    }
    same = [text for text, read in ((other, there), (value, have)) if read == merged]
    return same[0] if same else _text_of(kind, merged)


def _in_order(there: Iterable[str], have: Iterable[str]) -> list[str]:
    """All keys, as in ``there``; what is only in ``have`` behind what it follows in that."""
    found, at = [*there], 0
    known = {key: index for index, key in enumerate(found)}
    added: dict[int, list[str]] = {}
    for key in have:
        at = known.get(key, at - 1) + 1
        if key not in known:
            added.setdefault(at, []).append(key)
    return [
        key
        for index in range(len(found) + 1)
        for key in (*added.get(index, ()), *found[index : index + 1])
    ]


def accepting(kind: CatalogKind, fact: Fact | None, part: Difference) -> Fact | None:
    """What is accepted of a name, with one part of its difference as it is. None: nothing is, for
    what was changed on an object is not accepted without the object."""
    if fact is None:
        is_new = part.change is DriftChange.ADDED
        return Fact(part.observed, part.details[1]) if is_new else None
    keys = {each.key for each in parts(kind, part)}
    return fact._replace(value=with_lines(kind, fact.value, part.observed, keys))


def is_divisible(kind: CatalogKind, total: Difference, mine: Sequence[OpenDrift]) -> bool:
    """Whether lines of ``total``, of which ``mine`` are parts, can be differences of their own."""
    values = [total.desired, total.observed]
    values += [value for each in mine for value in each.difference[2:4]]
    if kind not in _KINDS or not mine or REVOKED in values:
        return False
    first, *later = [drift.difference.change for drift in mine]
    if kind is CatalogKind.PRIVILEGE:
        return DriftChange.REMOVED not in (total.change, first, *later)
    return first is total.change is not DriftChange.REMOVED and all(
        change is DriftChange.CHANGED for change in later
    )


def _now(drift: OpenDrift, difference: Difference) -> OpenDrift:
    """The details stay those of its own moment where nothing else became other."""
    said = difference._replace(details=drift.difference.details)
    return drift if said == drift.difference else replace(drift, difference=difference)


def _since(made: Difference, total: Difference) -> Difference:
    details = (made.details[1], total.details[1])
    return Difference(total.name, DriftChange.CHANGED, made.observed, total.observed, details)


def _is_same(one: Part, other: Part) -> bool:
    if one.after is None or other.after is None:
        return one.after is other.after
    return not is_another(one.after, other.after)


def _text_of(kind: CatalogKind, read: Mapping[str, str]) -> str:
    if kind is CatalogKind.ROLE:
        words = sorted(read.items(), key=lambda pair: pair[0] == TEXT_ATTRIBUTE)
        return " ".join(f"{name}={text}" for name, text in words)
    if kind is CatalogKind.PRIVILEGE:
        return ", ".join(name + "*" * (text != "granted") for name, text in read.items())
    return "\n".join(f"{key}{SEPARATOR}{text}" if text else key for key, text in read.items())
