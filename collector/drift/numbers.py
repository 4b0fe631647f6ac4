"""What the server's own numbers of objects say: the same one by another name, or another one by the
same name.

An agent tells them in the detail of an item (``oid 16384; column 1-3,5; constraint 16390``, as
agent/catalog/items/numbers.py writes it). They are of one database of one server, so nothing is
compared by them: a restored dump, another server and a declared file differ in nothing else. What
an older agent sent has none, and then nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from collector.drift.baseline import Difference, Fact, Facts
from collector.drift.lines import lines_of
from model.catalog import DriftChange

_DETAIL = re.compile(r"oid (?P<oid>\d+)(?: of cluster \d+)?(?P<parts>(?:; [a-z]+ [\d,-]+)*)")
RENAMED_FROM, RENAMED_TO = "renamed from ", "renamed to "
MADE_ANEW = "dropped and made anew"
_PARTS = ("column", "constraint")


class Part(NamedTuple):
    """A column or constraint of one object by another name; both as in the keys of lines."""

    word: str
    old: str
    new: str


def oid_of(detail: str) -> str:
    """Empty where the agent did not tell it.

    >>> oid_of("oid 16384; column 1-3"), oid_of("configuration file a.conf:3")
    ('16384', '')
    """
    found = _DETAIL.fullmatch(detail)
    return found["oid"] if found else ""


def same_object(one: str, other: str) -> bool | None:
    """Whether two details are of one object; None where one of them does not say it."""
    first, second = oid_of(one), oid_of(other)
    return first == second if first and second else None


def taking(accepted: Facts, observed: Facts, names: Iterable[str]) -> Facts:
    """``accepted`` with the numbers of ``observed`` where nothing else differs. What somebody
    accepted is what it is like, and not which one it is."""
    news = {
        name: fact
        for name in names
        if (fact := observed.get(name)) is not None
        and (old := accepted.get(name)) is not None
        and old.value == fact.value
        and old.detail != fact.detail
        and oid_of(fact.detail)
    }
    return {**accepted, **news} if news else accepted


def replaced(before: Facts, after: Facts, names: Iterable[str]) -> Iterator[str]:
    """Those of ``names`` that say the same as before, and are another object, or have a number for
    the first time."""
    for name in names:
        old, new = before.get(name), after.get(name)
        if (
            old is not None
            and new is not None
            and old.value == new.value
            and oid_of(new.detail) not in ("", oid_of(old.detail))
        ):
            yield name


class Names:
    """Of all objects of a scope by their numbers: as they are accepted, and as they are."""

    def __init__(self, accepted: Facts, observed: Facts) -> None:
        self._accepted, self._observed = accepted, observed
        self._before, self._after = _by_oid(accepted), _by_oid(observed)

    def other_value(self, said: str) -> str:
        """What the object that is renamed so is, or was, under its other name."""
        if said.startswith(RENAMED_FROM):
            return self._accepted[said.removeprefix(RENAMED_FROM)].value
        name = said.removeprefix(RENAMED_TO)
        return self._observed[name].value if said.startswith(RENAMED_TO) else ""

    def said(self, difference: Difference) -> str:
        """``renamed from hr.wages``, ``renamed to hr.salary``, ``dropped and made anew``, or which
        columns have other names; empty where the numbers say nothing special."""
        old, new = map(oid_of, difference.details)
        if new and new != old and (former := self._before.get(new)) is not None:
            return f"{RENAMED_FROM}{former}"
        if difference.change is DriftChange.REMOVED and (now := self._after.get(old)) is not None:
            return f"{RENAMED_TO}{now}"
        if difference.change is not DriftChange.CHANGED or not (old and new):
            return ""
        return said_of_parts(difference) if old == new else MADE_ANEW


def said_of_parts(difference: Difference) -> str:
    """Which columns and constraints have other names; empty: none."""
    parts = renamed_in(difference)
    return ", ".join(f"{part.word} {part.old} {RENAMED_TO}{part.new}" for part in parts)


def renamed_in(difference: Difference) -> list[Part]:
    before, after = difference.details
    return renamed_parts(Fact(difference.desired, before), Fact(difference.observed, after))


def renamed_parts(before: Fact, after: Fact) -> list[Part]:
    """Columns and constraints of one object that have other names now."""
    if not same_object(before.detail, after.detail):
        return []
    found = []
    for word in _PARTS:
        old, new = numbers_of(word, before), numbers_of(word, after)
        found += [
            Part(word, old[number], name)
            for number, name in new.items()
            if old.get(number, name) != name
        ]
    return found


def other_parts(before: Fact, after: Fact) -> set[str]:
    """Keys of lines that both have and that are of two columns or constraints all the same: one was
    dropped and another one made in its place."""
    found = set()
    for word in _PARTS:
        old, new = numbers_of(word, before), numbers_of(word, after)
        numbers = {name: number for number, name in old.items()}
        found |= {
            f"{word} {name}" for number, name in new.items() if numbers.get(name, number) != number
        }
    return found


def numbers_of(word: str, fact: Fact) -> Mapping[str, str]:
    """Names of columns or constraints by number. Empty where the numbers are not those of the
    lines: a value or a detail was cut."""
    found = _DETAIL.fullmatch(fact.detail)
    told = re.search(rf"; {word} ([\d,-]+)", found["parts"]) if found else None
    start = f"{word} "
    keys = [key.removeprefix(start) for key in lines_of(fact.value) if key.startswith(start)]
    numbers = [*_numbers(told[1])] if told else []
    return dict(zip(numbers, keys, strict=True)) if len(numbers) == len(keys) else {}


def merged(before: Fact, after: Fact, value: str, keys: Collection[str]) -> str:
    """The detail of ``value``, which is ``before`` with its lines ``keys`` as in ``after``."""
    said = [after.detail.partition(";")[0]]
    for word in _PARTS:
        old, new = (
            {name: number for number, name in numbers_of(word, fact).items()}
            for fact in (before, after)
        )
        lines = [key for key in lines_of(value) if key.startswith(f"{word} ")]
        found = [
            (new if key in keys else old).get(key.removeprefix(f"{word} "), "") for key in lines
        ]
        if found and all(found):
            said.append(f"{word} {','.join(found)}")
    return "; ".join(said)


def _numbers(ranges: str) -> Iterator[str]:
    """
    >>> [*_numbers("1-3,5")]
    ['1', '2', '3', '5']
    """
    for each in ranges.split(","):
        first, _, last = each.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


def _by_oid(facts: Facts) -> dict[str, str]:
    return {oid: name for name, fact in facts.items() if (oid := oid_of(fact.detail))}
