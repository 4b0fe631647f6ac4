"""What was accepted of each server, what was last seen of it, and how the two differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from model.catalog import CLUSTER_KINDS, DATABASE_KINDS, CatalogKind, DriftChange, Snapshot

_OPTIONS = re.compile(r"^((?:foreign )?options: )(.*)$", re.MULTILINE)
HBA_ORDER = "(order)"
ORDER_SEPARATOR = " > "
_HASH = re.compile(r"\bhidden (?:(?P<key>[0-9a-f]{4})-)?[0-9a-f]{12}\b")
"""What stands for a secret. Older agents had no key."""


class Scope(NamedTuple):
    """The unit that is read, accepted and compared as a whole."""

    agent: str
    cluster: str
    kind: CatalogKind
    database: str
    """Empty for what belongs to the whole cluster."""


class Fact(NamedTuple):
    value: str
    detail: str
    """Where it comes from; never compared (a line that moved is no drift)."""


Facts = Mapping[str, Fact]


class NameRange(NamedTuple):
    """Names from ``first`` up to and without ``end``; an empty ``end`` is none."""

    first: str
    end: str

    def has(self, name: str) -> bool:
        return self.first <= name and (not self.end or name < self.end)


EVERYTHING = NameRange("", "")


@dataclass
class Known:
    """One scope: ``accepted`` is None until somebody, or the first snapshot, set a baseline."""

    accepted: Facts | None
    observed: Facts = field(default_factory=dict)
    """Replaced as a whole, never changed in place: ``accepted`` may be the same mapping."""
    at_us: int = 0
    """Moment of the newest snapshot that was applied."""
    base_at_us: int = 0
    """What that one was a change of; 0: it was a whole one."""
    covered: tuple[NameRange, ...] = (EVERYTHING,)
    """What of that one has come: a snapshot too large for one message comes in ranges."""
    major: int = 0
    """The server's major version when ``accepted`` was last true of it; 0: not known."""
    format: int = 0
    """Which lines and items the agent tells that ``accepted`` is held against."""

    @property
    def complete(self) -> bool:
        return self.covered == (EVERYTHING,)


class Difference(NamedTuple):
    name: str
    change: DriftChange
    desired: str
    observed: str
    details: tuple[str, str]
    """Where the value came from when it was accepted, and where it comes from now."""


class Part(NamedTuple):
    """What one message says of one scope."""

    at_us: int
    base_at_us: int
    since_us: int
    names: NameRange
    items: Facts
    removed: frozenset[str]
    format: int = 0


class Outcome(Enum):
    APPLIED = 1
    OLD = 2
    """It repeats what is known, or is older than that."""
    MISSED = 3
    """It is a change of something that never came: only a whole snapshot helps."""


def scopes(agent: str, snapshot: Snapshot) -> dict[Scope, Part]:
    """What the snapshot says of each scope that it covers, empty ones included."""
    found: dict[Scope, tuple[dict[str, Fact], set[str]]] = {
        Scope(agent, snapshot.cluster, kind, database): ({}, set())
        for kind in snapshot.kinds
        for database in _databases(kind, snapshot)
    }
    for item in snapshot.items:
        about = found.get(Scope(agent, snapshot.cluster, item.kind, item.database))
        if about is not None:
            about[0][item.name] = Fact(item.value, item.detail)
    for key in snapshot.removed:
        about = found.get(Scope(agent, snapshot.cluster, key.kind, key.database))
        if about is not None:
            about[1].add(key.name)
    names = NameRange(snapshot.first_name, snapshot.end_name)
    moments = (snapshot.at_us, snapshot.base_at_us, snapshot.since_us)
    return {
        scope: Part(*moments, names, items, frozenset(removed), snapshot.format)
        for scope, (items, removed) in found.items()
    }


def _databases(kind: CatalogKind, snapshot: Snapshot) -> Iterator[str]:
    """Those whose items of this kind the snapshot holds; '' is the cluster."""
    if kind in CLUSTER_KINDS and (kind not in DATABASE_KINDS or _is_cluster_wide(snapshot)):
        yield ""
    if kind in DATABASE_KINDS:
        yield snapshot.database


def _is_cluster_wide(snapshot: Snapshot) -> bool:
    if snapshot.cluster_wide is not None:
        return snapshot.cluster_wide
    return CatalogKind.ROLE in snapshot.kinds


def apply(known: Known, part: Part) -> Outcome:
    """``known`` with what ``part`` says.

    A part of a whole snapshot is true of its range by itself. A change is true only on top of all
    of its base, to which it adds.
    """
    if part.at_us < known.at_us:
        return Outcome.OLD
    if part.at_us == known.at_us:
        if part.base_at_us != known.base_at_us or _is_in(part.names, known.covered):
            return Outcome.OLD
        covered = known.covered
    elif part.base_at_us and not (known.complete and part.base_at_us == known.at_us):
        return Outcome.MISSED
    else:
        covered = ()
    known.observed = _after(known.observed, part)
    known.at_us, known.base_at_us = part.at_us, part.base_at_us
    known.covered = joined((*covered, part.names))
    return Outcome.APPLIED


def _after(observed: Facts, part: Part) -> Facts:
    if part.base_at_us:
        kept = {**observed}
        for name in part.removed:
            kept.pop(name, None)
    elif part.names == EVERYTHING:
        kept = {}
    else:
        kept = {name: fact for name, fact in observed.items() if not part.names.has(name)}
    return {**kept, **part.items}


def joined(ranges: Iterable[NameRange]) -> tuple[NameRange, ...]:
    """The same names in as few ranges as possible.

    >>> joined([NameRange("m", ""), NameRange("", "d"), NameRange("d", "m")])
    (NameRange(first='', end=''),)
    """
    found: list[NameRange] = []
    for each in sorted(ranges):
        if found and (not found[-1].end or each.first <= found[-1].end):
            last = found[-1]
            end = "" if not (last.end and each.end) else max(last.end, each.end)
            found[-1] = NameRange(last.first, end)
        else:
            found.append(each)
    return tuple(found)


def unquoted(name: str) -> str:
    """
    >>> unquoted('"Odd ""name"'), unquoted("shop")
    ('Odd "name', 'shop')
    """
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _is_in(names: NameRange, covered: tuple[NameRange, ...]) -> bool:
    return joined((*covered, names)) == covered


def changed_names(before: Facts, after: Facts) -> Iterator[str]:
    """Names whose value is another one, sorted."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is not new and (old is None or new is None or old.value != new.value):
            yield name


def differences(accepted: Facts, observed: Facts) -> Iterator[Difference]:
    for name in changed_names(accepted, observed):
        old, new = accepted.get(name), observed.get(name)
        if old is not None and new is not None:
            if _same_order(name, old.value, new.value):
                continue
            if same_but_for_keys(old.value, new.value):
                continue
            if same_but_for_option_order(old.value, new.value):
                continue
            change = DriftChange.CHANGED
        else:
            change = DriftChange.ADDED if old is None else DriftChange.REMOVED
        before, after = old or Fact("", ""), new or Fact("", "")
        details = (before.detail, after.detail)
        yield Difference(name, change, before.value, after.value, details)


def reverse(difference: Difference) -> Difference:
    """From what was seen back to what is accepted."""
    turned = {
        DriftChange.ADDED: DriftChange.REMOVED,
        DriftChange.REMOVED: DriftChange.ADDED,
    }.get(difference.change, DriftChange.CHANGED)
    before, after = difference.details
    return Difference(
        difference.name, turned, difference.observed, difference.desired, (after, before)
    )


def same_but_for_keys(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but hashes under different keys: nobody can compare them.

    >>> same_but_for_keys("a hidden 0123456789ab", "a hidden 77aa-ba9876543210")
    True
    >>> same_but_for_keys("hidden 77aa-0123456789ab", "hidden 77aa-ba9876543210")
    False
    """
    if "hidden " not in one or "hidden " not in other or one == other:
        return False
    if without_hashes(one) != without_hashes(other):
        return False
    pairs = zip(_HASH.finditer(one), _HASH.finditer(other), strict=True)
    return all(a[0] == b[0] or a["key"] != b["key"] for a, b in pairs)


def same_but_for_option_order(one: str, other: str) -> bool:
    """Whether two texts hold the same options, given in another order: it means nothing.

    >>> same_but_for_option_order("options: a=1, b=2", "options: b=2, a=1")
    True
    """
    if len(one) != len(other) or _OPTIONS.search(one) is None:
        return False
    return _OPTIONS.sub(_sorted_options, one) == _OPTIONS.sub(_sorted_options, other)


def _sorted_options(line: re.Match[str]) -> str:
    return line[1] + ", ".join(sorted(line[2].split(", ")))


def is_another(one: str, other: str) -> bool:
    return one != other and not same_but_for_keys(one, other)


def without_hashes(text: str) -> str:
    return _HASH.sub("hidden", text)


def _same_order(name: str, old: str, new: str) -> bool:
    """Rules that came or went are differences of their own; here only the order of the rest."""
    if name != HBA_ORDER:
        return False
    before, after = old.split(ORDER_SEPARATOR), new.split(ORDER_SEPARATOR)
    common = {*before} & {*after}
    return [r for r in before if r in common] == [r for r in after if r in common]
